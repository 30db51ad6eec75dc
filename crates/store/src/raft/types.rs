//! The types that openraft is instantiated with. Used all over the backend; never outside this crate.

use crate::machine::{Command, Reply};
use crate::raft::state::StateStore;
use dauphin_model::MemberName;
use openraft::EmptyNode;
use openraft::alias::{EntryOf, LogIdOf, SnapshotMetaOf, StoredMembershipOf, VoteOf};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One disk's vote: a member whose folder was wiped comes back as another node, so that it can never vote a second
/// time in a term, nor pretend to hold a log that it lost.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct NodeId {
    pub(crate) name: MemberName,
    /// Random, drawn when the member's folder was made.
    pub(crate) nonce: u64,
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{:08x}", self.name, self.nonce >> 32)
    }
}

openraft::declare_raft_types!(
    /// The instantiation.
    pub(crate) TC:
        D = Command,
        R = Reply,
        NodeId = NodeId,
        Node = EmptyNode,
);

pub(crate) type Raft = openraft::Raft<TC, StateStore>;
pub(crate) type LogId = LogIdOf<TC>;
pub(crate) type Vote = VoteOf<TC>;
pub(crate) type LogEntry = EntryOf<TC>;
pub(crate) type Membership = StoredMembershipOf<TC>;
pub(crate) type SnapshotMeta = SnapshotMetaOf<TC>;

#[cfg(test)]
impl From<u64> for NodeId {
    fn from(n: u64) -> Self {
        Self { name: MemberName::new(&format!("n{n}")).expect("a name"), nonce: n << 32 }
    }
}
