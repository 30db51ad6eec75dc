//! The leadership record: the one value in the store on which safety rests. It changes only by compare-and-set.

use crate::name::{Term, Timeline, Voter};
use crate::position::Lsn;
use crate::sync_set::Published;
use crate::time::Span;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How far a leadership has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeadershipState {
    /// Decided; the winner promotes and waits behind the barrier. The old published set stays in force.
    Elected,
    /// Behind the barrier: clients are let in.
    Open,
}

/// Why the election was allowed: how the leader before was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Evidence {
    /// The first leader of a new cluster.
    Bootstrap,
    /// So many voters pledged to this term: no commit quorum is left.
    Frozen {
        /// Who answered.
        voters: Vec<Voter>,
    },
    /// The fenced leader of the last open term itself: it holds everything.
    FencedLeader {
        /// The leader that stopped.
        leader: Voter,
    },
    /// The lease ended (`async` durability).
    LeaseEnded,
    /// A person accepted the loss of whatever nobody present holds.
    DataLossAccepted,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bootstrap => write!(f, "the first leader of a new cluster"),
            Self::Frozen { voters } => {
                let names: Vec<String> = voters.iter().map(ToString::to_string).collect();
                write!(f, "voters pledged to this term: {}", names.join(", "))
            }
            Self::FencedLeader { leader } => write!(f, "the former leader {leader} is fenced and holds everything"),
            Self::LeaseEnded => write!(f, "the former leader's lease ended"),
            Self::DataLossAccepted => write!(f, "an operator accepted data loss"),
        }
    }
}

/// Where a leadership's log begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SwitchPoint {
    /// The timeline before.
    pub from: Timeline,
    /// The first byte of the new timeline.
    pub lsn: Lsn,
    /// The next transaction id at that moment; 0: not known.
    pub next_xid: u64,
}

/// The leader's lease as the store holds it: a counter that grows with every renewal. It lies beside the record, so that
/// renewals never starve an election; each observer times it from when it saw the counter move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// The term it belongs to.
    pub term: Term,
    /// Grows with every renewal.
    pub counter: u64,
    /// How long its holder goes by it: the specification may be another for whoever waits for its end.
    #[serde(default)]
    pub length: Span,
}

/// One leadership that came to be open: what `history` shows, and which timelines are ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PastTerm {
    /// Its term.
    pub term: Term,
    /// Who led.
    pub leader: Voter,
    /// The timeline it wrote.
    pub timeline: Timeline,
    /// Where its log begins.
    pub switch: SwitchPoint,
    /// What revoked the leader before.
    pub evidence: Evidence,
}

/// Who writes a timeline: no two leaderships share one, except where a store was restored from an old copy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Wrote {
    /// The timeline.
    pub timeline: Timeline,
    /// Its writer.
    pub leader: Voter,
}

impl PastTerm {
    /// Who wrote its timeline.
    #[must_use]
    pub fn wrote(&self) -> Wrote {
        Wrote { timeline: self.timeline, leader: self.leader.clone() }
    }
}

impl Leadership {
    /// Who writes its timeline.
    #[must_use]
    pub fn wrote(&self) -> Wrote {
        Wrote { timeline: self.timeline, leader: self.leader.clone() }
    }
}

/// The leadership record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Leadership {
    /// Number of the leadership.
    pub term: Term,
    /// Who leads.
    pub leader: Voter,
    /// The timeline it writes, used by no other leadership.
    pub timeline: Timeline,
    /// How far it has come.
    pub state: LeadershipState,
    /// The published sync set.
    pub published: Published,
    /// The leader of the last term that was open: fenced, it holds everything that was ever acknowledged.
    pub holder: Option<Voter>,
    /// What revoked the leader before.
    pub evidence: Evidence,
    /// Where its log begins; known once open.
    pub switch: Option<SwitchPoint>,
}
