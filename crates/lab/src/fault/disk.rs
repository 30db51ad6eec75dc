//! Faults of a server's disk: system calls of the server, of what its guard starts next, and of the agent's probe of that
//! disk fail or take long, injected by strace. The agent's store, which in real life may lie on the same disk, is left alone.

use super::{LOOK_EVERY, START_WAIT_MAX};
use crate::error::LabError;
use crate::find;
use crate::options::Engine;
use crate::process::{Process, lies_in};
use crate::state::{Lab, LabMember};
use rustix::process::Signal;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

/// What can happen to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// Nothing more can be written: ENOSPC.
    Full,
    /// Writing and flushing fail: EIO.
    Error,
    /// Each write and flush takes 200 ms.
    Slow,
    /// Flushes do not return.
    Hang,
}

impl DiskFault {
    /// Calls that it is about, and strace's word for what becomes of them. Sockets and the log, which are written by other
    /// calls, are not touched.
    fn inject(self) -> (&'static str, &'static str) {
        match self {
            Self::Full => ("pwrite64,pwritev,pwritev2,fallocate", "error=ENOSPC"),
            Self::Error => ("pwrite64,pwritev,pwritev2,fsync,fdatasync", "error=EIO"),
            Self::Slow => ("pwrite64,pwritev,pwritev2,fsync,fdatasync", "delay_exit=200000"),
            Self::Hang => ("fsync,fdatasync", "delay_enter=3600000000"),
        }
    }

    /// The same of a server that runs. MySQL and MariaDB write their binary and relay logs by plain `write`, and sockets by `send`;
    /// their error log shares the disk's fate. PostgreSQL has only its own log for that call.
    fn inject_server(self, engine: &str) -> String {
        let (calls, _) = self.inject();
        let by_write = engine != Engine::Postgres.word() && self != Self::Hang;
        if by_write { format!("write,{calls}") } else { calls.to_owned() }
    }
}

/// Calls by which the agent's probe of the data disk writes.
const PROBE_CALLS: &str = "write,fdatasync";
/// Name of the probe's thread.
const PROBE_THREAD: &str = "disk-probe";

/// Attaches to guard and server, and to the agent's probe of the same disk. Returns the processes that it has hold of.
pub(super) fn hit(lab: &Lab, member: &LabMember, kind: DiskFault) -> Result<Vec<Process>, LabError> {
    let node = find::node(lab, member, &Process::all());
    let targets: Vec<Process> = node.guard.iter().chain(&node.server_tree).cloned().collect();
    if targets.is_empty() {
        let (name, dir) = (&member.name, lab.dir.display());
        return Err(LabError::Failed(format!(
            "{name} runs no server whose disk could fail; `dauphin lab heal --dir {dir}` starts what is missing"
        )));
    }
    mend(lab, member)?;
    let (calls, effect) = kind.inject();
    let pids = |of: &[Process]| of.iter().map(|p| p.pid).collect::<Vec<i32>>();
    let lives = |pid| Process::read(pid).is_some();
    let hold = || {
        // the guard speaks to its agent by plain `write`, so the two are held apart; what it starts is held as it is
        let guard: Vec<Process> = node.guard.iter().cloned().collect();
        attach(lab, member, &["-f"], &pids(&guard), calls, effect, &lives)?;
        attach(lab, member, &["-f"], &pids(&node.server_tree), &kind.inject_server(&lab.engine), effect, &lives)?;
        match node.agent.as_ref().and_then(|agent| probe_of(agent.pid)) {
            Some((thread, path)) => attach(lab, member, &[], &[thread], PROBE_CALLS, effect, &|_| path.exists()),
            None => Ok(()),
        }
    };
    hold().inspect_err(|_| {
        let _ = mend(lab, member);
    })?;
    Ok(targets)
}

/// The agent's thread that probes the disk, and where it is seen.
fn probe_of(agent: i32) -> Option<(i32, PathBuf)> {
    let threads = fs::read_dir(format!("/proc/{agent}/task")).ok()?;
    threads.flatten().map(|entry| entry.path()).find_map(|path| {
        let name = fs::read_to_string(path.join("comm")).ok()?;
        let number = path.file_name()?.to_str()?.parse().ok()?;
        (name.trim() == PROBE_THREAD).then_some((number, path))
    })
}

/// Starts strace on these, and waits until it has hold of all that `live`.
fn attach(
    lab: &Lab,
    member: &LabMember,
    options: &[&str],
    pids: &[i32],
    calls: &str,
    effect: &str,
    live: &dyn Fn(i32) -> bool,
) -> Result<(), LabError> {
    if pids.is_empty() {
        return Ok(());
    }
    let mut command = Command::new("strace");
    command.args(options).args(["-qq", "-e", "signal=none", "-o", "/dev/null"]);
    command.arg("-e").arg(format!("trace={calls}")).arg("-e").arg(format!("inject={calls}:{effect}"));
    for pid in pids {
        command.arg("-p").arg(pid.to_string());
    }
    // known by its folder later; in a group of its own, so that Ctrl-C does not end it
    command.current_dir(lab.member_dir(member).join("log")).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| {
        LabError::Usage(format!(
            "disk faults are made by strace, which does not start ({error}): apt-get install strace"
        ))
    })?;
    let deadline = Instant::now() + START_WAIT_MAX;
    let holder = i32::try_from(child.id()).unwrap_or_default();
    // children that come and go are followed by strace itself
    while pids.iter().any(|pid| live(*pid) && tracer(*pid) != holder) {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(LabError::Failed(format!(
                "strace ended at once ({status}): may processes be traced here? (kernel.yama.ptrace_scope)"
            )));
        }
        if Instant::now() > deadline {
            return Err(LabError::Failed("strace does not get hold of the server".to_owned()));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    super::reap(child);
    Ok(())
}

/// Lets the server go again. Says whether anything had hold of it.
pub(super) fn mend(lab: &Lab, member: &LabMember) -> Result<bool, LabError> {
    let folder = lab.member_dir(member);
    let ours = |p: &Process| {
        p.arguments.first().is_some_and(|a| a.ends_with("strace"))
            && p.directory.as_deref().is_some_and(|d| lies_in(d, &folder))
    };
    let holders: Vec<Process> = Process::all().into_iter().filter(ours).collect();
    // killed, not asked: one that is in the middle of a delay answers nothing, and the kernel lets its processes go
    holders.iter().filter_map(Process::handle).for_each(|handle| handle.signal(Signal::KILL));
    let deadline = Instant::now() + START_WAIT_MAX;
    while holders.iter().any(Process::lives) {
        if Instant::now() > deadline {
            return Err(LabError::Failed("strace does not let the server go".to_owned()));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(!holders.is_empty())
}

/// Who traces this process; 0 for nobody.
fn tracer(pid: i32) -> i32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
}
