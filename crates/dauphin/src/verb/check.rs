//! `dauphin check`: one line and an exit code for cron and monitoring: 0 healthy, 1 warning, 2 critical, 3 unknown.

use crate::cli::Target;
use crate::failure::{Failure, Outcome};
use crate::say;
use crate::target;
use dauphin_api::dto::Cluster;
use serde_json::json;

const WORDS: [&str; 4] = ["OK", "WARNING", "CRITICAL", "UNKNOWN"];

pub(crate) fn run(target: &Target) -> Outcome {
    let asked = target::client(target).and_then(|client| client.cluster().map_err(Failure::from));
    let (code, name, text) = match asked {
        Ok(cluster) => {
            let (code, text) = verdict(&cluster);
            (code, cluster.cluster, text)
        }
        Err(failure) => (3, "cluster".to_owned(), failure.message),
    };
    let word = WORDS[usize::from(code)];
    if target.json {
        say::json(&json!({"verdict": word.to_lowercase(), "exit": code, "cluster": name, "text": text}))?;
    } else {
        say::line(&format!("{word} {name}: {}", text.replace('\n', " ")));
    }
    Ok(code)
}

/// The worst of what there is to say, in one line.
fn verdict(cluster: &Cluster) -> (u8, String) {
    let leader = cluster.leader.as_deref().unwrap_or_default();
    if cluster.leader.is_none() || !cluster.open {
        let problem = cluster.problems.first().map(|p| format!(": {p}")).unwrap_or_default();
        return (2, format!("no leader takes writes{problem}"));
    }
    let mut found: Vec<(u8, String)> = Vec::new();
    for member in &cluster.members {
        match member.alert.as_str() {
            "critical" | "emergency" => found.push((2, format!("{} lag {}", member.name, member.alert))),
            "warning" => found.push((1, format!("{} lag warning", member.name))),
            _ => {}
        }
        if member.state != "running" && member.role != "witness" {
            found.push((1, format!("{} is {}", member.name, member.state)));
        }
        if member.role == "witness" && member.state == "unreachable" {
            found.push((1, format!("witness {} is unreachable", member.name)));
        }
    }
    if cluster.commits_wait {
        found.push((2, "commits wait: too few replicas are there to hold them".into()));
    }
    for member in &cluster.members {
        let remarks = member.remarks.iter();
        found.extend(remarks.map(|r| (if r.critical { 2 } else { 1 }, format!("{}: {}", member.name, r.text))));
    }
    if cluster.degraded {
        found.push((1, "degraded: commits have fewer copies than promised".into()));
    }
    if cluster.paused {
        found.push((1, "paused".into()));
    }
    if cluster.health != "healthy" && found.is_empty() {
        found.push((1, cluster.problems.first().cloned().unwrap_or_else(|| format!("health {}", cluster.health))));
    }
    let code = found.iter().map(|(code, _)| *code).max().unwrap_or(0);
    if code == 0 {
        let replicas = cluster.members.iter().filter(|m| m.role == "replica").count();
        let text = format!("leader {leader}, {replicas} replicas, term {}", cluster.term.unwrap_or_default());
        return (0, text);
    }
    found.sort_by_key(|(code, _)| std::cmp::Reverse(*code));
    (code, found.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_api::dto::Member;

    fn healthy() -> Cluster {
        let member = |name: &str, role: &str| Member {
            name: name.into(),
            role: role.into(),
            state: "running".into(),
            alert: "ok".into(),
            ..Member::default()
        };
        Cluster {
            cluster: "lab".into(),
            leader: Some("m1".into()),
            term: Some(3),
            open: true,
            health: "healthy".into(),
            members: vec![member("m1", "leader"), member("m2", "replica")],
            ..Cluster::default()
        }
    }

    #[test]
    fn the_worst_decides() {
        assert_eq!(verdict(&healthy()), (0, "leader m1, 1 replicas, term 3".into()));
        assert_eq!(verdict(&Cluster { open: false, ..healthy() }).0, 2);
        assert_eq!(verdict(&Cluster { paused: true, ..healthy() }), (1, "paused".into()));
        let mut cluster = healthy();
        cluster.members[1].state = "unreachable".into();
        assert_eq!(verdict(&cluster), (1, "m2 is unreachable".into()));
        cluster.members[1].alert = "emergency".into();
        assert_eq!(verdict(&cluster), (2, "m2 lag emergency; m2 is unreachable".into()));
    }
}
