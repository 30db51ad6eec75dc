//! Which processes belong to which member of a lab: told by their arguments and working directory in the lab's own
//! folder, never by name. Used by `show`, `fault`, `heal` and `down`; it only looks.

use crate::process::{Process, descendants, lies_in};
use crate::state::{Lab, LabMember};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The processes of one member.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    /// The agent.
    pub(crate) agent: Option<Process>,
    /// The guard.
    pub(crate) guard: Option<Process>,
    /// The server's first process.
    pub(crate) server: Option<Process>,
    /// All processes of the server, the first one included, orphans too.
    pub(crate) server_tree: Vec<Process>,
    /// What else agent and guard have started: tools under way.
    pub(crate) others: Vec<Process>,
}

impl Node {
    /// All of them: agent, guard, server, tools.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Process> {
        self.agent.iter().chain(&self.guard).chain(&self.server_tree).chain(&self.others)
    }
}

/// The processes of this member, among `all`.
pub(crate) fn node(lab: &Lab, member: &LabMember, all: &[Process]) -> Node {
    let folder = lab.member_dir(member);
    let data = lab.data_dir(member);
    let agent = all.iter().find(|p| is_service(p, "agent", &folder)).cloned();
    let guard = all.iter().find(|p| is_guard(p, &folder)).cloned();
    let in_data = |p: &&Process| p.directory.as_deref().is_some_and(|d| lies_in(d, &data));
    let server = postmaster(&data).or_else(|| first_of(all.iter().filter(in_data)));
    let mut tree: BTreeSet<i32> = all.iter().filter(in_data).map(|p| p.pid).collect();
    tree.extend(server.as_ref().map(|p| p.pid));
    tree.extend(descendants(all, &tree));
    let roots: BTreeSet<i32> = agent.iter().chain(&guard).map(|p| p.pid).collect();
    let others = &(&descendants(all, &roots) - &roots) - &tree;
    let pick = |pids: &BTreeSet<i32>| all.iter().filter(|p| pids.contains(&p.pid)).cloned().collect();
    let tree = &tree - &roots;
    Node { agent, guard, server, server_tree: pick(&tree), others: pick(&others) }
}

/// The proxy's processes, among `all`, the one that takes clients last: after a takeover the one before may still have some.
pub(crate) fn proxies(lab: &Lab, all: &[Process]) -> Vec<Process> {
    let mut found: Vec<_> = all.iter().filter(|p| is_service(p, "proxy", &lab.proxy_dir())).cloned().collect();
    found.sort_by_key(|p| p.start);
    found
}

/// The process of the proxy that takes clients.
pub(crate) fn proxy(lab: &Lab, all: &[Process]) -> Option<Process> {
    proxies(lab, all).pop()
}

/// `dauphin VERB … --config FILE` with a file in this folder.
fn is_service(process: &Process, verb: &str, folder: &Path) -> bool {
    process.arguments.get(1).is_some_and(|a| a == verb)
        && option(process, "--config").is_some_and(|p| lies_in(&p, folder))
}

/// `dauphin guard --dir RUN` with a run directory in this folder. The guard's short-lived starter has other arguments.
fn is_guard(process: &Process, folder: &Path) -> bool {
    process.arguments.get(1).is_some_and(|a| a == "guard")
        && option(process, "--dir").is_some_and(|p| lies_in(&p, folder))
}

/// The path behind an option, as seen from the process's own directory.
fn option(process: &Process, name: &str) -> Option<PathBuf> {
    let mut arguments = process.arguments.iter();
    let value = loop {
        let argument = arguments.next()?;
        if argument == name {
            break arguments.next()?.as_str();
        }
        if let Some(value) = argument.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
            break value;
        }
    };
    let path = Path::new(value);
    Some(match &process.directory {
        Some(directory) if path.is_relative() => directory.join(path),
        _ => path.to_owned(),
    })
}

/// The server that `postmaster.pid` names, if it really is one: it works in the data directory.
fn postmaster(data: &Path) -> Option<Process> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let pid: i32 = text.lines().next()?.trim().parse().ok()?;
    let process = Process::read(pid)?;
    process.directory.as_deref().is_some_and(|d| lies_in(d, data)).then_some(process)
}

/// The process among these that none of them has started: a server of one process, that writes no `postmaster.pid`.
fn first_of<'a>(processes: impl Iterator<Item = &'a Process> + Clone) -> Option<Process> {
    let pids: BTreeSet<i32> = processes.clone().map(|p| p.pid).collect();
    processes.filter(|p| !pids.contains(&p.parent)).min_by_key(|p| p.start).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(arguments: &[&str], directory: &str) -> Process {
        Process {
            pid: 5,
            start: 1,
            parent: 1,
            state: 'S',
            arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
            directory: Some(directory.into()),
        }
    }

    #[test]
    fn a_service_is_known_by_its_verb_and_its_file() {
        let folder = Path::new("/lab/m1");
        let agent = |arguments: &[&str], directory| is_service(&process(arguments, directory), "agent", folder);
        assert!(agent(&["dauphin", "agent", "--config", "/lab/m1/dauphin.toml"], "/"));
        assert!(agent(&["/x/dauphin", "agent", "--config=m1/dauphin.toml"], "/lab"));
        assert!(!agent(&["dauphin", "agent", "--config", "/lab/m10/dauphin.toml"], "/"));
        assert!(!agent(&["dauphin", "status", "--config", "/lab/m1/dauphin.toml"], "/"));
        assert!(!agent(&["dauphin", "agent", "--config"], "/"));
        assert!(is_guard(&process(&["dauphin", "guard", "--dir", "/lab/m1/run"], "/"), folder));
        assert!(!is_guard(&process(&["dauphin", "guard", "--exec", "/lab/m1/run"], "/"), folder));
    }
}
