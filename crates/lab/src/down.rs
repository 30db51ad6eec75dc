//! The end of a lab: its processes are asked to stop, then made to, and what it made in its folder is removed.
//! Only processes that work in the lab's folder are touched.

use crate::error::LabError;
use crate::find;
use crate::process::Process;
use crate::state::Lab;
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
    stop(lab)?;
    if !keep_data {
        remove(lab)?;
    }
    Ok(())
}

/// Stops everything of the lab.
pub(crate) fn stop(lab: &Lab) -> Result<(), LabError> {
    // what an agent started may outlive it and is hard to find then: known before, it is watched to its end
    let mut seen = living(lab);
    ask(lab);
    if !gone(lab, &mut seen, STOP_WAIT_MAX, None) && !gone(lab, &mut seen, KILL_WAIT_MAX, Some(Signal::KILL)) {
        let left: Vec<_> = seen.iter().map(|p| p.pid.to_string()).collect();
        return Err(LabError::Failed(format!("these processes do not go: {} (in the kernel?)", left.join(", "))));
    }
    Ok(())
}

/// Asks agents and proxy to end; what no agent looks after is ended in the server's own way.
fn ask(lab: &Lab) {
    let all = Process::all();
    let send = |process: &Process, signals: &[Signal]| {
        if let Some(handle) = process.handle() {
            signals.iter().for_each(|signal| handle.signal(*signal));
        }
    };
    if let Some(proxy) = find::proxy(lab, &all) {
        send(&proxy, &[Signal::TERM, Signal::CONT]);
    }
    for member in &lab.members {
        let node = find::node(lab, member, &all);
        let frozen = node.all().any(Process::is_stopped);
        if frozen {
            // what was frozen holds nothing that its log does not, and must not come back to life first
            node.all().for_each(|process| send(process, &[Signal::KILL]));
        } else if let Some(agent) = &node.agent {
            send(agent, &[Signal::TERM]);
        } else {
            // SIGINT is PostgreSQL's fast shutdown
            node.server.iter().for_each(|server| send(server, &[Signal::INT]));
            node.guard.iter().for_each(|guard| send(guard, &[Signal::TERM]));
        }
    }
}

/// Every living process of the lab.
fn living(lab: &Lab) -> Vec<Process> {
    let all = Process::all();
    let mut found: Vec<Process> = find::proxy(lab, &all).into_iter().collect();
    for member in &lab.members {
        found.extend(find::node(lab, member, &all).all().cloned());
    }
    found
}

/// Waits until all are gone; every look sends `signal` to those that are left.
fn gone(lab: &Lab, seen: &mut Vec<Process>, wait: Duration, signal: Option<Signal>) -> bool {
    let deadline = Instant::now() + wait;
    let mut looked_after = Instant::now();
    loop {
        let known: BTreeSet<i32> = seen.iter().map(|p| p.pid).collect();
        seen.extend(living(lab).into_iter().filter(|p| !known.contains(&p.pid)));
        seen.retain(Process::lives);
        if seen.is_empty() {
            return true;
        }
        if seen.iter().any(|p| p.arguments.get(1).is_some_and(|verb| verb == "agent" || verb == "proxy")) {
            looked_after = Instant::now();
        }
        if Instant::now() > deadline || (signal.is_none() && looked_after.elapsed() > ORPHAN_WAIT_MAX) {
            return false;
        }
        for handle in signal.iter().flat_map(|_| seen.iter().filter_map(Process::handle)) {
            signal.iter().for_each(|s| handle.signal(*s));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Removes what `up` made.
pub(crate) fn remove(lab: &Lab) -> Result<(), LabError> {
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
