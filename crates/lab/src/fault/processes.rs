//! Faults of processes: a member's agent, guard and server killed or stopped from outside, as a machine would lose them.

use crate::error::LabError;
use crate::find::{self, Node};
use crate::options::Engine;
use crate::process::{Handle, Process};
use crate::state::{Lab, LabMember};
use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// Longest time until every process of a fault is gone or stopped.
const FAULT_WAIT_MAX: Duration = Duration::from_secs(5);
/// How often processes are looked at while a fault takes hold.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Clock ticks a second in `/proc`: the same on every Linux architecture that people run servers on.
const TICKS_A_SECOND: u64 = 100;

/// What can happen to processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessFault {
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
    /// The server's process of one client stops, with whatever it holds; one in the middle of something if there is one.
    FreezeBackend,
}

impl ProcessFault {
    fn signal(self) -> Signal {
        match self {
            Self::KillServer | Self::KillAgent | Self::KillNode => Signal::KILL,
            Self::FreezeServer | Self::FreezeAgent | Self::FreezeNode | Self::FreezeBackend => Signal::STOP,
        }
    }

    /// Those of a node's processes that this is about, the ones that could mend it first.
    fn targets(self, node: &Node) -> Vec<Process> {
        match self {
            Self::KillAgent | Self::FreezeAgent => node.agent.iter().cloned().collect(),
            Self::KillServer | Self::FreezeServer => server_first(node),
            Self::FreezeBackend => backend(&node.server_tree).into_iter().collect(),
            Self::KillNode | Self::FreezeNode => {
                let mut all: Vec<_> = node.agent.iter().chain(&node.guard).cloned().collect();
                all.extend(server_first(node));
                all.extend(node.others.iter().cloned());
                all
            }
        }
    }
}

/// A client's process among these: `postgres: lab_m1: app app 10.0.0.254(5000) COMMIT`. One that is stopped already is the
/// one; else one that does something is preferred.
fn backend(server: &[Process]) -> Option<Process> {
    let doing = |p: &&Process| -> Option<bool> {
        let title = p.arguments.first()?.strip_prefix("postgres: ")?;
        let words: Vec<&str> = title.split_once(": ").map_or(title, |(_, rest)| rest).split(' ').collect();
        let client =
            words.get(2).is_some_and(|w| w.ends_with(')') || *w == "[local]") && words.first() != Some(&"walsender");
        client.then(|| words.get(3).is_some_and(|w| *w != "idle"))
    };
    let clients: Vec<&Process> = server.iter().filter(|p| doing(p).is_some()).collect();
    let stopped = clients.iter().find(|p| p.is_stopped());
    stopped.or_else(|| clients.iter().find(|p| doing(p) == Some(true))).or(clients.first()).map(|p| (*p).clone())
}

fn server_first(node: &Node) -> Vec<Process> {
    let first = node.server.as_ref().map(|s| s.pid);
    let mut tree = node.server_tree.clone();
    tree.sort_by_key(|p| (Some(p.pid) != first, p.pid));
    tree
}

/// Makes this happen to the member. Returns what was hit, once it took hold.
///
/// # Errors
/// When nothing is there to be hit.
pub(super) fn hit(lab: &Lab, member: &LabMember, kind: ProcessFault) -> Result<Vec<Process>, LabError> {
    if kind == ProcessFault::FreezeBackend && lab.engine != Engine::Postgres.word() {
        let text = "freeze-backend stops one client's process, and this engine serves clients by threads of one: freeze-server";
        return Err(LabError::Usage(text.to_owned()));
    }
    let signal = kind.signal();
    let hit = kind.targets(&find::node(lab, member, &Process::all()));
    let handles: Vec<Handle> = hit.iter().filter_map(Process::handle).collect();
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
    take_hold(lab, member, kind, &hit, ticks_since_boot())?;
    Ok(hit)
}

/// Waits until every process that this kind is about is gone (or stopped), hitting latecomers too: children born while
/// the signals went out. A server that the agent has started since (`hit_at`, in clock ticks) is none of them.
fn take_hold(lab: &Lab, member: &LabMember, kind: ProcessFault, hit: &[Process], hit_at: u64) -> Result<(), LabError> {
    let signal = kind.signal();
    let was_hit = |p: &Process| hit.iter().any(|t| (t.pid, t.start) == (p.pid, p.start));
    let deadline = Instant::now() + FAULT_WAIT_MAX;
    loop {
        let mut left = kind.targets(&find::node(lab, member, &Process::all()));
        left.retain(|p| match kind {
            ProcessFault::KillAgent => was_hit(p),
            ProcessFault::KillServer => was_hit(p) || p.start < hit_at,
            ProcessFault::KillNode => true,
            ProcessFault::FreezeBackend => was_hit(p) && !p.is_stopped(),
            ProcessFault::FreezeServer | ProcessFault::FreezeAgent | ProcessFault::FreezeNode => !p.is_stopped(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_process_is_known_by_its_title() {
        let process = |pid, title: &str, state| Process {
            pid,
            start: 1,
            parent: 1,
            state,
            arguments: vec![title.to_owned()],
            directory: None,
        };
        let mut all = vec![
            process(1, "/usr/lib/postgresql/15/bin/postgres", 'S'),
            process(2, "postgres: lab_m1: checkpointer ", 'S'),
            process(3, "postgres: lab_m1: walsender dauphin_replication 10.0.0.2(5000) streaming 0/3000148", 'S'),
            process(4, "postgres: lab_m1: logical replication launcher ", 'S'),
        ];
        assert_eq!(backend(&all), None);
        all.push(process(5, "postgres: lab_m1: app app 10.0.0.254(5000) idle", 'S'));
        assert_eq!(backend(&all).map(|p| p.pid), Some(5));
        all.push(process(6, "postgres: lab_m1: app app 10.0.0.254(5001) COMMIT", 'S'));
        all.push(process(7, "postgres: lab_m1: dauphin postgres [local] idle", 'S'));
        assert_eq!(backend(&all).map(|p| p.pid), Some(6));
        all.push(process(8, "postgres: lab_m1: app app 10.0.0.254(5002) idle in transaction", 'T'));
        assert_eq!(backend(&all).map(|p| p.pid), Some(8));
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
        let pids = |kind: ProcessFault| kind.targets(&node).iter().map(|p| p.pid).collect::<Vec<_>>();
        assert_eq!(pids(ProcessFault::KillNode), [9, 8, 7, 3, 2]);
        assert_eq!(pids(ProcessFault::FreezeServer), [7, 3]);
        assert_eq!(pids(ProcessFault::KillAgent), [9]);
    }
}
