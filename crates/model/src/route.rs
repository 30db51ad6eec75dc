//! Where clients go: what an agent tells every proxy about the leader and the replicas.
//! The agent makes it, the proxy merges what all agents say; it never holds a decision of its own.

use crate::name::{ClusterName, MemberName, Term, Timeline};
use crate::position::Lsn;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Number of the link's channel on which agents publish their [`Route`] as JSON.
pub const ROUTE_CHANNEL: u8 = 3;

/// Largest encoded route, in bytes. A cluster has tens of members, each below 800 bytes.
pub const ROUTE_BYTES_MAX: usize = 64 * 1024;

/// Whether the leader of a term takes clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteState {
    /// Not yet, or no more.
    #[default]
    Closed,
    /// Behind the barrier: clients are let in.
    Open,
}

impl fmt::Display for RouteState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Closed => "closed",
            Self::Open => "open",
        })
    }
}

/// A server that takes clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The member.
    pub member: MemberName,
    /// Address or name.
    pub host: String,
    /// Port of the database server.
    pub port: u16,
    /// Where it stands. Agents of older versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// A replica that may take reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReplicaTarget {
    /// Where it is.
    #[serde(flatten)]
    pub target: Target,
    /// How far its replay is behind the leader's log, in bytes; `None`: unknown.
    pub lag_bytes: Option<u64>,
    /// Healthy and within the lag limit of the specification.
    pub usable: bool,
    /// For people and analytics: ordinary reads go elsewhere. Agents of older versions do not say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reporting: bool,
}

/// Leaderships whose [`Fence`] a route tells.
pub const FENCES_MAX: usize = 8;

/// Where the leader of a term began. The first transaction number that it may have given out: one as high of a leader
/// before is lost. And where its log left that of the leader before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Fence {
    /// The term.
    pub term: Term,
    /// The number; 0: it is not known.
    pub next_xid: u64,
    /// The timeline that it writes.
    #[serde(default)]
    pub timeline: Timeline,
    /// The timeline that its log came from; the same as its own when nobody was promoted.
    #[serde(default)]
    pub from: Timeline,
    /// Where its own part of the log begins.
    #[serde(default)]
    pub begins: Lsn,
}

/// The lowest number that may have been given out anew since `term`; `None`: nobody leads since, or it is not known.
#[must_use]
pub fn fence_after(fences: &[Fence], term: Term) -> Option<u64> {
    let whole = fences.len() < FENCES_MAX || fences.iter().any(|fence| fence.term <= term);
    let lowest = fences.iter().filter(|fence| fence.term > term).map(|fence| fence.next_xid).min();
    lowest.filter(|number| whole && *number > 0)
}

/// What one agent knows about where clients go.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Route {
    /// The cluster.
    pub cluster: ClusterName,
    /// The member whose agent says so.
    pub from: MemberName,
    /// The highest term that this agent knows, elected or open.
    pub term: Term,
    /// Whether the leader of that term takes clients.
    pub state: RouteState,
    /// The leader of that term.
    pub leader: Option<Target>,
    /// The replicas.
    pub replicas: Vec<ReplicaTarget>,
    /// A planned switchover is about to happen: new transactions are to be held, running ones go on.
    pub draining: bool,
    /// Of the last leaderships that came to be open, oldest first, at most [`FENCES_MAX`].
    #[serde(default)]
    pub fences: Vec<Fence>,
    /// Grows with every message of this agent's life.
    pub generation: u64,
}

impl Route {
    /// Whether `from` is the leader that this route names.
    #[must_use]
    pub fn is_from_leader(&self) -> bool {
        self.leader.as_ref().is_some_and(|leader| leader.member == self.from)
    }

    /// The leader, when it takes clients.
    #[must_use]
    pub fn open_leader(&self) -> Option<&Target> {
        match self.state {
            RouteState::Open => self.leader.as_ref(),
            RouteState::Closed => None,
        }
    }

    /// The leader, when it takes new transactions: open, and no switchover about to happen.
    #[must_use]
    pub fn admitting_leader(&self) -> Option<&Target> {
        if self.draining { None } else { self.open_leader() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_older_agents_do_not_say_is_not_so_and_older_proxies_are_told_nothing_new() {
        let old = r#"{"member":"m2","host":"h","port":1,"lag_bytes":5,"usable":true}"#;
        let replica: ReplicaTarget = serde_json::from_str(old).expect("read");
        assert_eq!((replica.target.zone.as_deref(), replica.reporting), (None, false));
        assert_eq!(serde_json::to_string(&replica).expect("written"), old);
        let target = Target { zone: Some("z2".to_owned()), ..replica.target.clone() };
        let tagged = ReplicaTarget { target, reporting: true, ..replica };
        let text = serde_json::to_string(&tagged).expect("written");
        assert_eq!(serde_json::from_str::<ReplicaTarget>(&text).expect("read"), tagged);
    }
}
