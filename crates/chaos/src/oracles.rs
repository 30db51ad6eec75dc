//! What must hold whatever happens, looked for while and after a leg: terms that only grow, decisions that are explained,
//! no panic and no secret where it does not belong, no process that grows. It only looks.

use dauphin_api::dto::History;
use dauphin_lab::{Lab, Process};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Memory and descriptors of one process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Resident, in kB.
    pub kilobytes: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

/// Sizes of every agent and of the proxy, by what they are (`agent m1`) and pid.
#[must_use]
pub fn sizes(lab: &Lab) -> BTreeMap<(String, i32), Size> {
    let mut found = BTreeMap::new();
    for process in ours(lab) {
        let Some(verb) = process.arguments.get(1).filter(|v| matches!(v.as_str(), "agent" | "proxy" | "guard")) else {
            continue;
        };
        let of = lab.members.iter().find(|m| mentions(&process, &lab.member_dir(m))).map_or("", |m| m.name.as_str());
        let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
        let kilobytes = line.split_whitespace().next().and_then(|w| w.parse().ok()).unwrap_or_default();
        let descriptors = fs::read_dir(format!("/proc/{}/fd", process.pid)).map_or(0, |d| d.count() as u64);
        found.insert((format!("{verb} {of}").trim_end().to_owned(), process.pid), Size { kilobytes, descriptors });
    }
    found
}

fn mentions(process: &Process, folder: &Path) -> bool {
    process.arguments.iter().any(|a| Path::new(a).starts_with(folder))
}

fn ours(lab: &Lab) -> Vec<Process> {
    let of_lab = |p: &Process| mentions(p, &lab.dir) || p.directory.as_deref().is_some_and(|d| d.starts_with(&lab.dir));
    Process::all().into_iter().filter(of_lab).collect()
}

/// Terms that do not grow, and leaderships without a reason.
#[must_use]
pub fn history(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    for pair in history.history.windows(2) {
        if let [a, b] = pair {
            if b.term <= a.term {
                found.push(format!("term {} follows term {}", b.term, a.term));
            }
            if let (Some(x), Some(y)) = (a.timeline, b.timeline)
                && y <= x
                && b.kind != "restart"
            {
                found.push(format!("timeline {y} of term {} follows {x}", b.term));
            }
        }
    }
    let silent = history.history.iter().filter(|e| e.reason.trim().is_empty());
    found.extend(silent.map(|e| format!("term {} has no reason", e.term)));
    found
}

/// Panics, errors that nobody expects, and secrets, in logs, arguments and environments.
#[must_use]
pub fn leaks(lab: &Lab) -> Vec<String> {
    let secrets = secrets(lab);
    let mut found = Vec::new();
    for log in logs(lab) {
        let text = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
        let name = log.strip_prefix(&lab.dir).unwrap_or(&log).display().to_string();
        found.extend(text.lines().filter(|l| l.contains("panicked at")).map(|l| format!("{name}: {l}")));
        found.extend(secrets.iter().filter(|s| text.contains(s.as_str())).map(|_| format!("{name} holds a secret")));
    }
    for process in ours(lab) {
        for place in ["cmdline", "environ"] {
            let bytes = fs::read(format!("/proc/{}/{place}", process.pid)).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            if secrets.iter().any(|s| text.contains(s.as_str())) {
                let program = process.arguments.first().cloned().unwrap_or_default();
                found.push(format!("the {place} of {program} holds a secret"));
            }
        }
    }
    found
}

/// Every password and token of the lab.
fn secrets(lab: &Lab) -> Vec<String> {
    let mut all = vec![lab.token.clone(), lab.app.password.clone(), lab.admin.password.clone()];
    for member in &lab.members {
        let text = fs::read_to_string(lab.member_dir(member).join("secrets.toml")).unwrap_or_default();
        all.extend(text.lines().filter_map(|l| l.split('"').nth(1).map(str::to_owned)));
    }
    all.retain(|secret| secret.len() >= 16);
    all.sort();
    all.dedup();
    all
}

/// Every log of the lab.
#[must_use]
pub fn logs(lab: &Lab) -> Vec<PathBuf> {
    let folders = lab.members.iter().map(|m| lab.member_dir(m)).chain([lab.proxy_dir()]);
    let files = folders.flat_map(|f| fs::read_dir(f.join("log")).into_iter().flatten().flatten());
    files.map(|entry| entry.path()).filter(|path| path.is_file()).collect()
}

/// What servers wrote that says who wrote what: binary and relay logs, where they have such.
#[must_use]
pub fn data_logs(lab: &Lab) -> Vec<PathBuf> {
    let entries = lab.members.iter().flat_map(|m| fs::read_dir(lab.data_dir(m)).into_iter().flatten().flatten());
    let is_log = |name: &str| ["binlog.", "relay."].iter().any(|begin| name.starts_with(begin));
    entries.filter(|entry| is_log(&entry.file_name().to_string_lossy())).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_api::dto::HistoryEntry;

    #[test]
    fn terms_grow_and_have_reasons() {
        let entry = |term, timeline, reason: &str| HistoryEntry {
            term,
            leader: "m1".into(),
            timeline: Some(timeline),
            kind: "failover".into(),
            at: String::new(),
            switch_position: None,
            reason: reason.into(),
            lost: None,
        };
        let of = |entries: Vec<HistoryEntry>| history(&History { history: entries });
        assert_eq!(of(vec![entry(1, 2, "a"), entry(2, 3, "b")]), [""; 0]);
        assert_eq!(of(vec![entry(2, 2, "a"), entry(2, 3, "b")]), ["term 2 follows term 2"]);
        assert_eq!(of(vec![entry(1, 3, "a"), entry(2, 3, " ")]).len(), 2);
    }
}
