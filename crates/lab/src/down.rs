//! The end of a lab. Its processes are killed when their data goes with them, and asked to stop, replicas first, when
//! it stays. What the lab made is removed. Only processes that work in the lab's folder are touched.

use crate::disks;
use crate::error::LabError;
use crate::fault;
use crate::find;
use crate::leftovers;
use crate::options::Engine;
use crate::process::Process;
use crate::state::{Lab, LabMember};
use dauphin_api::Client;
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long processes may take to stop by themselves.
const STOP_WAIT_MAX: Duration = Duration::from_secs(15);
/// How long a member's other processes may outlive its agent, which should have stopped them.
const ORPHAN_WAIT_MAX: Duration = Duration::from_secs(3);
/// How long they may take to go once killed.
const KILL_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often they are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Stops everything of the lab; removes what it made unless `keep_data`.
///
/// # Errors
/// When a process does not go, or a file cannot be removed.
pub fn down(lab: &Lab, keep_data: bool) -> Result<(), LabError> {
    if keep_data {
        ask(lab);
    }
    stop(lab)?;
    if !keep_data {
        remove(lab)?;
    }
    Ok(())
}

/// Kills everything of the lab that lives.
pub(crate) fn stop(lab: &Lab) -> Result<(), LabError> {
    fault::let_go(lab);
    let mut seen = living(lab, |_| true);
    if !gone(lab, &mut seen, KILL_WAIT_MAX, |_| true, true) {
        let left: Vec<_> = seen.iter().map(|p| p.pid.to_string()).collect();
        return Err(LabError::Failed(format!("these processes do not go: {} (in the kernel?)", left.join(", "))));
    }
    leftovers::remove(lab);
    if let Some(network) = &lab.network {
        network.remove(&lab.members);
    }
    Ok(())
}

/// Asks the proxy and the replicas to end, then the leader: it has nobody to hand over to then.
fn ask(lab: &Lab) {
    let leader = Client::new(lab.endpoints(), None).cluster().ok().and_then(|c| c.leader);
    let leads = |member: &LabMember| leader.as_deref() == Some(member.name.as_str());
    for handle in find::proxies(lab, &Process::all()).iter().filter_map(Process::handle) {
        handle.signal(Signal::TERM);
    }
    ask_some(lab, |member| !leads(member));
    ask_some(lab, leads);
}

/// Asks these members to end and waits, but not for ever; a frozen one does not hear it.
fn ask_some(lab: &Lab, whose: impl Fn(&LabMember) -> bool) {
    let all = Process::all();
    // what an agent started may outlive it and is hard to find then: known before, it is watched to its end
    let mut seen = living(lab, &whose);
    for member in lab.members.iter().filter(|m| whose(m)) {
        let node = find::node(lab, member, &all);
        // SIGINT is PostgreSQL's fast shutdown; the others know SIGTERM alone
        let fast = if lab.engine == Engine::Postgres.word() { Signal::INT } else { Signal::TERM };
        let (process, signal) = match &node.agent {
            Some(agent) => (Some(agent), Signal::TERM),
            None => (node.server.as_ref(), fast),
        };
        if let Some(handle) = process.and_then(Process::handle) {
            handle.signal(signal);
        }
    }
    gone(lab, &mut seen, STOP_WAIT_MAX, whose, false);
}

/// Every living process of these members, and the proxy.
fn living(lab: &Lab, whose: impl Fn(&LabMember) -> bool) -> Vec<Process> {
    let all = Process::all();
    let mut found: Vec<Process> = find::proxies(lab, &all);
    for member in lab.members.iter().filter(|m| whose(m)) {
        found.extend(find::node(lab, member, &all).all().cloned());
    }
    found
}

/// Waits until all are gone. `kill`: every look kills those that are left.
fn gone(lab: &Lab, seen: &mut Vec<Process>, wait: Duration, whose: impl Fn(&LabMember) -> bool, kill: bool) -> bool {
    let deadline = Instant::now() + wait;
    let mut looked_after = Instant::now();
    loop {
        let known: BTreeSet<i32> = seen.iter().map(|p| p.pid).collect();
        seen.extend(living(lab, &whose).into_iter().filter(|p| !known.contains(&p.pid)));
        seen.retain(Process::lives);
        if seen.is_empty() {
            return true;
        }
        if seen.iter().any(|p| p.arguments.get(1).is_some_and(|verb| verb == "agent" || verb == "proxy")) {
            looked_after = Instant::now();
        }
        if Instant::now() > deadline || (!kill && looked_after.elapsed() > ORPHAN_WAIT_MAX) {
            return false;
        }
        if kill {
            seen.iter().filter_map(Process::handle).for_each(|handle| handle.signal(Signal::KILL));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Removes what `up` made.
fn remove(lab: &Lab) -> Result<(), LabError> {
    if lab.disks {
        disks::remove(lab);
    }
    for name in &lab.made {
        remove_one(&lab.dir.join(name))?;
    }
    remove_one(&lab.dir.join(Lab::file_name()))?;
    if lab.made_dir {
        // stays when somebody put something of their own in
        let _ = fs::remove_dir(&lab.dir);
    }
    Ok(())
}

fn remove_one(path: &Path) -> Result<(), LabError> {
    let result = match fs::symlink_metadata(path) {
        Ok(m) if m.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    };
    result.map_err(LabError::io("cannot remove", path))
}
