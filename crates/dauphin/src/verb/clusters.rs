//! `dauphin clusters`: the clusters that this machine knows of: named by `--config`, by files in the usual folders, or
//! by agents and proxies that run here.

use crate::cli::Target;
use crate::failure::{DONE, Outcome};
use crate::look::{Table, dash};
use crate::say::{self, Tone};
use crate::target;
use dauphin_api::Client;
use dauphin_api::dto::Cluster;
use dauphin_lab::Process;
use dauphin_model::ClusterFile;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Folders whose `*.toml` are looked at.
const FOLDERS: [&str; 1] = ["/etc/dauphin"];

/// A cluster with the file that names it.
pub(crate) struct Known {
    pub(crate) path: PathBuf,
    pub(crate) file: ClusterFile,
}

pub(crate) fn run(target: &Target) -> Outcome {
    let known = known(target);
    let asked: Vec<(&Known, Option<Cluster>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = known
            .iter()
            .map(|one| (one, scope.spawn(|| Client::new(target::endpoints(&one.file), None).cluster().ok())))
            .collect();
        threads.into_iter().map(|(one, thread)| (one, thread.join().ok().flatten())).collect()
    });
    if target.json {
        let list: Vec<_> = asked
            .iter()
            .map(|(one, now)| {
                json!({
                    "cluster": one.file.spec.cluster,
                    "config": one.path,
                    "members": one.file.spec.members.len(),
                    "leader": now.as_ref().and_then(|c| c.leader.clone()),
                    "health": now.as_ref().map(|c| c.health.clone()),
                })
            })
            .collect();
        say::json(&json!({"clusters": list}))?;
        return Ok(DONE);
    }
    if asked.is_empty() {
        say::note("no cluster is known here: name a file with --config, or put it into /etc/dauphin");
        return Ok(DONE);
    }
    let mut table = Table::new(&["CLUSTER", "HEALTH", "LEADER", "MEMBERS", "CONFIG"]);
    for (one, now) in &asked {
        let health = now.as_ref().map_or("no answer", |c| c.health.as_str());
        table.row(vec![
            (one.file.spec.cluster.to_string(), Tone::Bold),
            (health.to_owned(), if health == "healthy" { Tone::Good } else { Tone::Warn }),
            (dash(now.as_ref().and_then(|c| c.leader.clone())), Tone::Plain),
            (one.file.spec.members.len().to_string(), Tone::Plain),
            (one.path.display().to_string(), Tone::Dim),
        ]);
    }
    table.lines(say::colours_out()).iter().for_each(|line| say::line(line));
    Ok(DONE)
}

/// Every cluster known here, one file each. Two clusters may have the same name: their members tell them apart.
pub(crate) fn known(target: &Target) -> Vec<Known> {
    let mut paths: BTreeSet<PathBuf> = target.config.iter().map(|p| whole(p)).collect();
    for folder in FOLDERS {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        paths.extend(entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "toml")));
    }
    paths.extend(Process::all().iter().filter_map(config_of));
    let mut found: BTreeMap<Vec<String>, Known> = BTreeMap::new();
    for path in paths {
        if let Ok(file) = target::load(&path) {
            let mut members: Vec<String> =
                file.spec.members.iter().map(|m| format!("{}:{}", m.host, m.api_port)).collect();
            members.sort();
            members.push(file.spec.cluster.to_string());
            found.entry(members).or_insert(Known { path, file });
        }
    }
    found.into_values().collect()
}

fn whole(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The configuration of a running agent or proxy.
fn config_of(process: &Process) -> Option<PathBuf> {
    let verb = process.arguments.get(1)?;
    if verb != "agent" && verb != "proxy" {
        return None;
    }
    let at = process.arguments.iter().position(|a| a == "--config")?;
    let path = PathBuf::from(process.arguments.get(at + 1)?);
    Some(match &process.directory {
        Some(directory) if path.is_relative() => directory.join(path),
        _ => path,
    })
}
