//! How the store is, as one member sees it. The agent watches it; `dauphin store status` shows it.

use crate::types::{ClusterIdentity, Rev};
use dauphin_model::MemberName;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// What this member is to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Not part of a cluster yet.
    Waiting {
        /// For what.
        why: String,
    },
    /// Follows the log without a vote.
    Learner,
    /// Has a vote.
    Voter,
    /// Was part of the cluster and is no longer.
    Removed,
}

/// How the store is, as this member sees it. A watch on it wakes when anything but the moments changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreHealth {
    /// What this member is.
    pub standing: Standing,
    /// The Raft leader, when known.
    pub leader: Option<MemberName>,
    /// Whether it is this member.
    pub is_leader: bool,
    /// The Raft term.
    pub term: u64,
    /// Members that vote.
    pub voters: BTreeSet<MemberName>,
    /// Members that only follow.
    pub learners: BTreeSet<MemberName>,
    /// On the leader: when a majority answered last. Elsewhere: when the leader was heard last.
    /// Kept fresh without waking watchers.
    pub quorum_seen: Option<Instant>,
    /// Why the store has stopped, when it has.
    pub failed: Option<String>,
}

impl StoreHealth {
    pub(crate) fn starting() -> Self {
        Self {
            standing: Standing::Waiting { why: "starting".to_owned() },
            leader: None,
            is_leader: false,
            term: 0,
            voters: BTreeSet::new(),
            learners: BTreeSet::new(),
            quorum_seen: None,
            failed: None,
        }
    }
}

/// How far a member's log is, as the leader knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberProgress {
    /// Last entry it is known to hold.
    pub matched: Option<u64>,
    /// When it answered last.
    pub seen: Option<Instant>,
}

/// Everything that `dauphin store status` shows.
#[derive(Debug, Clone)]
pub struct StoreStatus {
    /// Which cluster.
    pub identity: Option<ClusterIdentity>,
    /// Health at this moment.
    pub health: StoreHealth,
    /// Last entry in this member's log.
    pub last_log: Option<u64>,
    /// Last entry known to be committed.
    pub committed: Option<u64>,
    /// Last entry applied.
    pub applied: Rev,
    /// Last entry that this member's saved snapshot covers.
    pub snapshot: Option<u64>,
    /// Number of keys.
    pub keys: usize,
    /// Durable commits (one fsync each) since this process started.
    pub disk_commits: u64,
    /// On the leader: the other members' progress.
    pub progress: BTreeMap<MemberName, MemberProgress>,
}
