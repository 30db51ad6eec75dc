//! Faults: members' processes killed or stopped from outside, as a machine would lose them; and healing: stopped
//! processes go on, missing agents start. Nothing else is mended here: that is the agents' work.

use crate::error::LabError;
use crate::find::{self, Node};
use crate::process::{Handle, Process};
use crate::spawn;
use crate::state::{Lab, LabMember};
use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Longest time until every process of a fault is gone or stopped.
const FAULT_WAIT_MAX: Duration = Duration::from_secs(5);
/// How often processes are looked at while a fault takes hold.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Longest time until a started agent is seen among the processes.
const START_WAIT_MAX: Duration = Duration::from_secs(5);

/// Clock ticks a second in `/proc`: the same on every Linux architecture that people run servers on.
const TICKS_A_SECOND: u64 = 100;

/// What can happen to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// SIGKILL to the server's process tree.
    KillServer,
    /// SIGKILL to the agent.
    KillAgent,
    /// SIGKILL to agent, guard and server at once.
    KillNode,
    /// The server's process tree stops.
    FreezeServer,
    /// The agent stops.
    FreezeAgent,
    /// Agent, guard and server stop.
    FreezeNode,
}

impl FaultKind {
    /// Every kind that can be made here, with its name.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("kill-server", Self::KillServer),
        ("kill-agent", Self::KillAgent),
        ("kill-node", Self::KillNode),
        ("freeze-server", Self::FreezeServer),
        ("freeze-agent", Self::FreezeAgent),
        ("freeze-node", Self::FreezeNode),
    ];

    /// Kinds that need more than processes.
    const NOT_HERE: [&'static str; 8] = [
        "partition",
        "partition-in",
        "partition-out",
        "replication-cut",
        "store-cut",
        "disk-full",
        "disk-error",
        "slow",
    ];

    fn kills(self) -> bool {
        matches!(self, Self::KillServer | Self::KillAgent | Self::KillNode)
    }

    /// Those of a node's processes that this kind is about, the ones that could mend it first.
    fn targets(self, node: &Node) -> Vec<Process> {
        match self {
            Self::KillAgent | Self::FreezeAgent => node.agent.iter().cloned().collect(),
            Self::KillServer | Self::FreezeServer => server_first(node),
            Self::KillNode | Self::FreezeNode => {
                let mut all: Vec<_> = node.agent.iter().chain(&node.guard).cloned().collect();
                all.extend(server_first(node));
                all.extend(node.others.iter().cloned());
                all
            }
        }
    }
}

fn server_first(node: &Node) -> Vec<Process> {
    let first = node.server.as_ref().map(|s| s.pid);
    let mut tree = node.server_tree.clone();
    tree.sort_by_key(|p| (Some(p.pid) != first, p.pid));
    tree
}

impl FromStr for FaultKind {
    type Err = LabError;

    fn from_str(text: &str) -> Result<Self, LabError> {
        if let Some((_, kind)) = Self::NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(*kind);
        }
        if Self::NOT_HERE.contains(&text) {
            return Err(LabError::Usage(format!(
                "the fault {text} cannot be made in this lab: its members share one network and one disk \
                 (network and disk faults need --hosts, which is not built yet)"
            )));
        }
        let names: Vec<_> = Self::NAMES.iter().map(|(name, _)| *name).chain(Self::NOT_HERE).collect();
        Err(LabError::Usage(format!("there is no fault {text:?}; the kinds are {}", names.join(", "))))
    }
}

/// Makes this happen to the member. Returns what was hit, once it took hold.
///
/// # Errors
/// When the member does not exist, or nothing is there to be hit.
pub fn fault(lab: &Lab, member: &str, kind: FaultKind) -> Result<Vec<Process>, LabError> {
    let member = lab.member(member)?;
    let signal = if kind.kills() { Signal::KILL } else { Signal::STOP };
    let targets = kind.targets(&find::node(lab, member, &Process::all()));
    let handles: Vec<Handle> = targets.iter().filter_map(Process::handle).collect();
    if handles.is_empty() {
        return Err(LabError::Failed(format!(
            "nothing of {} is running that this could hit; dauphin lab heal --dir {} starts what is missing",
            member.name,
            lab.dir.display()
        )));
    }
    for handle in &handles {
        handle.signal(signal);
    }
    take_hold(lab, member, kind, &targets, ticks_since_boot())?;
    Ok(targets)
}

/// Waits until every process that this kind is about is gone (or stopped), hitting latecomers too: children born while
/// the signals went out. A server that the agent has started since (`hit_at`, in clock ticks) is none of them.
fn take_hold(lab: &Lab, member: &LabMember, kind: FaultKind, targets: &[Process], hit_at: u64) -> Result<(), LabError> {
    let signal = if kind.kills() { Signal::KILL } else { Signal::STOP };
    let was_hit = |p: &Process| targets.iter().any(|t| (t.pid, t.start) == (p.pid, p.start));
    let deadline = Instant::now() + FAULT_WAIT_MAX;
    loop {
        let mut left = kind.targets(&find::node(lab, member, &Process::all()));
        left.retain(|p| match kind {
            FaultKind::KillAgent => was_hit(p),
            FaultKind::KillServer => was_hit(p) || p.start < hit_at,
            FaultKind::KillNode => true,
            FaultKind::FreezeServer | FaultKind::FreezeAgent | FaultKind::FreezeNode => !p.is_stopped(),
        });
        if left.is_empty() {
            return Ok(());
        }
        for handle in left.iter().filter_map(Process::handle) {
            handle.signal(signal);
        }
        if Instant::now() > deadline {
            let pids: Vec<_> = left.iter().map(|p| p.pid.to_string()).collect();
            return Err(LabError::Failed(format!("these processes do not go: {} (in the kernel?)", pids.join(", "))));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The clock that `/proc` counts start times on.
fn ticks_since_boot() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds * TICKS_A_SECOND + u64::try_from(now.tv_nsec).unwrap_or_default() / (1_000_000_000 / TICKS_A_SECOND)
}

/// What `heal` did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Healed {
    /// Members with stopped processes that go on now.
    pub thawed: Vec<String>,
    /// Members (or `proxy`) whose process was started.
    pub started: Vec<String>,
}

/// Thaws stopped processes and starts missing agents, of this member or of all (then the proxy too), whoever stopped
/// them. Returns when they run.
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
            spawn::agent(lab, member)?;
            seen(|all| find::node(lab, member, all).agent.is_some(), &member.name)?;
            healed.started.push(member.name.clone());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_not_here_or_wrong() {
        assert_eq!("kill-node".parse::<FaultKind>().ok(), Some(FaultKind::KillNode));
        for (kind, word) in [("partition", "--hosts"), ("disk-full", "not built yet"), ("earthquake", "kill-server")] {
            let error = kind.parse::<FaultKind>().expect_err("refused");
            assert_eq!(error.exit(), 2);
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn a_node_fault_hits_those_who_could_mend_it_first() {
        let process = |pid| Process { pid, start: 1, parent: 1, state: 'S', arguments: Vec::new(), directory: None };
        let node = Node {
            agent: Some(process(9)),
            guard: Some(process(8)),
            server: Some(process(7)),
            server_tree: vec![process(3), process(7)],
            others: vec![process(2)],
        };
        let pids = |kind: FaultKind| kind.targets(&node).iter().map(|p| p.pid).collect::<Vec<_>>();
        assert_eq!(pids(FaultKind::KillNode), [9, 8, 7, 3, 2]);
        assert_eq!(pids(FaultKind::FreezeServer), [7, 3]);
        assert_eq!(pids(FaultKind::KillAgent), [9]);
    }
}
