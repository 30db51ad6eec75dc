//! Faults for a lab's members, and healing: what was cut, slowed or broken from outside is whole again, stopped processes
//! go on, missing agents start. Nothing else is mended here: that is the agents' work.

mod disk;
mod limits;
mod links;
mod processes;

use crate::clocks;
use crate::disks;
use crate::error::LabError;
use crate::find;
use crate::process::Process;
use crate::spawn;
use crate::state::{Lab, LabMember};
pub use disk::DiskFault;
pub use links::LinkFault;
pub use processes::ProcessFault;
use rustix::process::Signal;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// How often processes are looked at while something takes hold.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Longest time until a started agent is seen among the processes.
const START_WAIT_MAX: Duration = Duration::from_secs(5);

/// What can happen to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// To its processes.
    Processes(ProcessFault),
    /// To its links with other members: needs `--hosts`.
    Links(LinkFault),
    /// To its server's disk, as the server sees it.
    Disk(DiskFault),
    /// Its agent may open no more files or connections.
    Descriptors,
    /// Its machine loses its power: processes and everything that was not flushed are gone. Needs `--disks`.
    PowerCut,
    /// Its wall clock is set to another time. Needs `--clocks`.
    Clock(ClockFault),
}

/// Where a wall clock is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockFault {
    /// Three hours ahead.
    Forward,
    /// Three hours back.
    Back,
}

impl FaultKind {
    /// Every kind, with its name.
    pub const NAMES: [(&'static str, Self); 27] = [
        ("kill-server", Self::Processes(ProcessFault::KillServer)),
        ("kill-agent", Self::Processes(ProcessFault::KillAgent)),
        ("kill-node", Self::Processes(ProcessFault::KillNode)),
        ("freeze-server", Self::Processes(ProcessFault::FreezeServer)),
        ("freeze-agent", Self::Processes(ProcessFault::FreezeAgent)),
        ("freeze-node", Self::Processes(ProcessFault::FreezeNode)),
        ("freeze-backend", Self::Processes(ProcessFault::FreezeBackend)),
        ("no-descriptors", Self::Descriptors),
        ("power-cut", Self::PowerCut),
        ("partition", Self::Links(LinkFault::Partition)),
        ("partition-in", Self::Links(LinkFault::PartitionIn)),
        ("partition-out", Self::Links(LinkFault::PartitionOut)),
        ("replication-cut", Self::Links(LinkFault::ReplicationCut)),
        ("store-cut", Self::Links(LinkFault::StoreCut)),
        ("cut-pair", Self::Links(LinkFault::CutPair)),
        ("client-cut", Self::Links(LinkFault::ClientCut)),
        ("split", Self::Links(LinkFault::Split)),
        ("reset", Self::Links(LinkFault::Reset)),
        ("delay", Self::Links(LinkFault::Delay)),
        ("late", Self::Links(LinkFault::Late)),
        ("slow", Self::Links(LinkFault::Slow)),
        ("disk-full", Self::Disk(DiskFault::Full)),
        ("disk-error", Self::Disk(DiskFault::Error)),
        ("disk-slow", Self::Disk(DiskFault::Slow)),
        ("disk-hang", Self::Disk(DiskFault::Hang)),
        ("clock-forward", Self::Clock(ClockFault::Forward)),
        ("clock-back", Self::Clock(ClockFault::Back)),
    ];
}

impl From<ProcessFault> for FaultKind {
    fn from(kind: ProcessFault) -> Self {
        Self::Processes(kind)
    }
}

impl FromStr for FaultKind {
    type Err = LabError;

    fn from_str(text: &str) -> Result<Self, LabError> {
        if let Some((_, kind)) = Self::NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(*kind);
        }
        let names: Vec<_> = Self::NAMES.iter().map(|(name, _)| *name).collect();
        Err(LabError::Usage(format!("there is no fault {text:?}; the kinds are {}", names.join(", "))))
    }
}

/// What a fault hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The processes, when it was about processes.
    pub processes: Vec<Process>,
    /// In words.
    pub text: String,
}

/// Makes this happen to the member. Returns what was hit, once it took hold.
///
/// # Errors
/// When the member does not exist, when nothing is there to be hit, or when this lab or machine cannot make it.
pub fn fault(lab: &Lab, member: &str, kind: impl Into<FaultKind>) -> Result<Hit, LabError> {
    let member = lab.member(member)?;
    let of_processes = |processes: Vec<Process>| {
        let pids: Vec<String> = processes.iter().map(|p| p.pid.to_string()).collect();
        Hit { text: format!("hit {}", pids.join(" ")), processes }
    };
    match kind.into() {
        FaultKind::Processes(kind) => processes::hit(lab, member, kind).map(of_processes),
        FaultKind::Links(kind) => links::hit(lab, member, kind).map(|text| Hit { processes: Vec::new(), text }),
        FaultKind::Disk(kind) => disk::hit(lab, member, kind).map(of_processes),
        FaultKind::Descriptors => limits::hit(lab, member).map(of_processes),
        FaultKind::PowerCut => power_cut(lab, member).map(of_processes),
        FaultKind::Clock(kind) => set_clock(lab, member, kind).map(|text| Hit { processes: Vec::new(), text }),
    }
}

fn set_clock(lab: &Lab, member: &LabMember, kind: ClockFault) -> Result<String, LabError> {
    if !lab.clocks {
        let text = "the members of this lab share a clock: setting it needs one made with `dauphin lab up --clocks`";
        return Err(LabError::Usage(text.to_owned()));
    }
    let (offset, text) = match kind {
        ClockFault::Forward => ("+3h", "its clock shows three hours more"),
        ClockFault::Back => ("-3h", "its clock shows three hours less"),
    };
    clocks::set(lab, member, offset)?;
    std::thread::sleep(Duration::from_secs(clocks::LOOKS_EVERY_S));
    Ok(text.to_owned())
}

/// Its processes stand still, its disk loses what was not flushed, and only then they are gone: none of them tells anybody
/// what it did last.
fn power_cut(lab: &Lab, member: &LabMember) -> Result<Vec<Process>, LabError> {
    if !lab.disks {
        let text = "the members of this lab share a disk: power cuts need one made with `dauphin lab up --disks`";
        return Err(LabError::Usage(text.to_owned()));
    }
    disk::mend(lab, member)?;
    links::leave_disk(lab, member)?;
    processes::hit(lab, member, ProcessFault::FreezeNode)?;
    let mut hit = Vec::new();
    disks::cut(lab, member, || {
        hit = processes::hit(lab, member, ProcessFault::KillNode)?;
        Ok(())
    })?;
    Ok(hit)
}

/// Waits for a process that something else ends: it must not stay behind as a zombie.
fn reap(mut child: std::process::Child) {
    std::thread::spawn(move || child.wait());
}

/// What `heal` did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Healed {
    /// Members with stopped processes that go on now.
    pub thawed: Vec<String>,
    /// Members (or `proxy`) whose process was started.
    pub started: Vec<String>,
    /// Members whose links or disk are whole again.
    pub mended: Vec<String>,
}

/// Ends cuts and disk faults, thaws stopped processes and starts missing agents, of this member or of all (then the
/// proxy too), whoever stopped them. Returns when they run.
///
/// # Errors
/// When the member does not exist or an agent does not start.
pub fn heal(lab: &Lab, only: Option<&str>) -> Result<Healed, LabError> {
    let members: Vec<&LabMember> = match only {
        Some(name) => vec![lab.member(name)?],
        None => lab.members.iter().collect(),
    };
    let mut healed = Healed::default();
    for member in members {
        let cut = links::mend(lab, member)?;
        let limited = limits::mend(lab, member)?;
        let mut mended = disk::mend(lab, member)? || cut || limited;
        let node = find::node(lab, member, &Process::all());
        // the guard first: it may have a server to stop
        let guard_first = node.guard.iter().chain(&node.agent).chain(&node.server_tree).chain(&node.others);
        let stopped: Vec<&Process> = guard_first.filter(|p| p.is_stopped()).collect();
        for handle in stopped.iter().filter_map(|p| p.handle()) {
            handle.signal(Signal::CONT);
        }
        if !stopped.is_empty() {
            healed.thawed.push(member.name.clone());
        }
        if node.agent.is_none() {
            if lab.disks {
                disks::revive(lab, member)?;
            }
            spawn::agent(lab, member)?;
            seen(|all| find::node(lab, member, all).agent.is_some(), &member.name)?;
            healed.started.push(member.name.clone());
        }
        // last: a machine that was started learns the time only then
        mended |= clocks::mend(lab, member)?;
        if mended {
            healed.mended.push(member.name.clone());
        }
    }
    if only.is_none() && lab.proxy.is_some() {
        heal_proxy(lab, &mut healed)?;
    }
    Ok(healed)
}

fn heal_proxy(lab: &Lab, healed: &mut Healed) -> Result<(), LabError> {
    match find::proxy(lab, &Process::all()) {
        Some(proxy) if proxy.is_stopped() => {
            if let Some(handle) = proxy.handle() {
                handle.signal(Signal::CONT);
            }
            healed.thawed.push("proxy".into());
        }
        Some(_) => {}
        None => {
            spawn::proxy(lab)?;
            seen(|all| find::proxy(lab, all).is_some(), "proxy")?;
            healed.started.push("proxy".into());
        }
    }
    Ok(())
}

fn seen(there: impl Fn(&[Process]) -> bool, name: &str) -> Result<(), LabError> {
    let deadline = Instant::now() + START_WAIT_MAX;
    while !there(&Process::all()) {
        if Instant::now() > deadline {
            return Err(LabError::Failed(format!("{name} did not start: see its log in the lab's folder")));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Ends what was tampered with from outside, before the lab itself ends.
pub(crate) fn let_go(lab: &Lab) {
    for member in &lab.members {
        let _ = disk::mend(lab, member);
        let _ = links::mend(lab, member);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_or_wrong() {
        for (name, kind) in FaultKind::NAMES {
            assert_eq!(name.parse::<FaultKind>().ok(), Some(kind));
        }
        let error = "earthquake".parse::<FaultKind>().expect_err("refused");
        assert_eq!(error.exit(), 2);
        assert!(error.to_string().contains("partition-in"), "{error}");
    }
}
