//! The one table of role transitions. The diagram, the documentation and the exhaustive test come from it; the core may
//! change its role in no other way, and a cause without a row is refused loudly.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a member is just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Just started: fenced until it knows what it is.
    Boot,
    /// Holds no data.
    Empty,
    /// Its data is being copied.
    Cloning,
    /// Follows a leader.
    Replica,
    /// Pledged: receives nothing until a leader of that term or later ends it.
    Frozen,
    /// Decided in the store; promotes and waits behind the barrier.
    Winner,
    /// Open.
    Leader,
    /// Cannot acknowledge; its server is down or recovers its own log.
    Fenced,
    /// Comes back behind a leader.
    Rejoining,
    /// Needs a person.
    Quarantined,
    /// Votes and holds no data.
    Witness,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Boot,
        Self::Empty,
        Self::Cloning,
        Self::Replica,
        Self::Frozen,
        Self::Winner,
        Self::Leader,
        Self::Fenced,
        Self::Rejoining,
        Self::Quarantined,
        Self::Witness,
    ];

    /// Whether it leads, open or not.
    #[must_use]
    pub fn leads(self) -> bool {
        matches!(self, Self::Winner | Self::Leader)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Boot => "boot",
            Self::Empty => "empty",
            Self::Cloning => "cloning",
            Self::Replica => "replica",
            Self::Frozen => "frozen",
            Self::Winner => "winner",
            Self::Leader => "leader",
            Self::Fenced => "fenced",
            Self::Rejoining => "rejoining",
            Self::Quarantined => "quarantined",
            Self::Witness => "witness",
        })
    }
}

/// Why a role changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The specification says that it holds no data.
    IsWitness,
    /// No data on the disk.
    NoData,
    /// Data on the disk, no server running.
    DataFound,
    /// A server of ours still runs as a replica.
    ReplicaAdopted,
    /// The store names this member.
    Decided,
    /// The compare-and-set that opens the term came through.
    Opened,
    /// It must not acknowledge any more.
    Fence,
    /// A voter's pledge is on the disk.
    Pledged,
    /// It receives from a leader of the current term.
    Follows,
    /// A leader is there to come back to.
    LeaderSeen,
    /// The data has to be copied.
    CloneNeeded,
    /// The copy is complete.
    Cloned,
    /// The copy or the way back failed and may be tried again.
    Retry,
    /// A person is needed.
    GiveUp,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row {
    /// Before.
    pub from: Role,
    /// Why.
    pub cause: Cause,
    /// After.
    pub to: Role,
    /// Shown to people when the row fires.
    pub comment: &'static str,
}

const fn row(from: Role, cause: Cause, to: Role, comment: &'static str) -> Row {
    Row { from, cause, to, comment }
}

/// The table.
pub const ROWS: &[Row] = &[
    row(Role::Boot, Cause::IsWitness, Role::Witness, "votes in the store and in elections, holds no data"),
    row(Role::Boot, Cause::NoData, Role::Empty, "no data here yet: waits for a leader to copy from"),
    row(Role::Boot, Cause::DataFound, Role::Fenced, "started fenced: recovers its own log and receives nothing"),
    row(
        Role::Boot,
        Cause::ReplicaAdopted,
        Role::Fenced,
        "took over a running replica: fenced until it knows whom to follow",
    ),
    row(Role::Boot, Cause::GiveUp, Role::Quarantined, "cannot start safely"),
    row(Role::Empty, Cause::Decided, Role::Winner, "first leader of a new cluster"),
    row(Role::Empty, Cause::CloneNeeded, Role::Cloning, "copies the leader's data"),
    row(Role::Empty, Cause::GiveUp, Role::Quarantined, "cannot go on safely"),
    row(Role::Cloning, Cause::Cloned, Role::Fenced, "copied: recovers, then follows"),
    row(Role::Cloning, Cause::Retry, Role::Empty, "the copy failed: starts over"),
    row(Role::Cloning, Cause::GiveUp, Role::Quarantined, "cannot go on safely"),
    row(Role::Replica, Cause::Pledged, Role::Frozen, "an election is on: receives nothing of an older term"),
    row(Role::Replica, Cause::Fence, Role::Fenced, "its server went away: starts it again"),
    row(Role::Replica, Cause::LeaderSeen, Role::Rejoining, "the leader's log parts from this one"),
    row(Role::Replica, Cause::CloneNeeded, Role::Empty, "an operator asked for a fresh copy"),
    row(Role::Replica, Cause::GiveUp, Role::Quarantined, "cannot go on safely"),
    row(Role::Frozen, Cause::Pledged, Role::Frozen, "pledged to a later term"),
    row(Role::Frozen, Cause::Decided, Role::Winner, "elected: promotes, closed until the barrier"),
    row(Role::Frozen, Cause::Follows, Role::Replica, "a leader of its term or later took over"),
    row(Role::Frozen, Cause::LeaderSeen, Role::Rejoining, "the new leader's log parts from this one"),
    row(Role::Frozen, Cause::Fence, Role::Fenced, "its server went away: starts it again, still pledged"),
    row(Role::Frozen, Cause::CloneNeeded, Role::Empty, "an operator asked for a fresh copy"),
    row(Role::Frozen, Cause::GiveUp, Role::Quarantined, "cannot go on safely"),
    row(Role::Winner, Cause::Opened, Role::Leader, "enough replicas hold the whole log: clients are let in"),
    row(Role::Winner, Cause::Fence, Role::Fenced, "stopped before it opened: nothing was acknowledged"),
    row(Role::Winner, Cause::GiveUp, Role::Quarantined, "cannot go on safely"),
    row(Role::Leader, Cause::Fence, Role::Fenced, "may not acknowledge any more"),
    row(Role::Leader, Cause::GiveUp, Role::Quarantined, "cannot go on safely"),
    row(Role::Fenced, Cause::Pledged, Role::Frozen, "recovered its log and pledged"),
    row(Role::Fenced, Cause::Follows, Role::Replica, "its log leads into the leader's: follows"),
    row(Role::Fenced, Cause::LeaderSeen, Role::Rejoining, "its log parts from the leader's"),
    row(Role::Fenced, Cause::CloneNeeded, Role::Empty, "its data cannot be used: a fresh copy is needed"),
    row(Role::Fenced, Cause::GiveUp, Role::Quarantined, "cannot come back by itself"),
    row(Role::Rejoining, Cause::Cloned, Role::Fenced, "went back to where the logs part"),
    row(Role::Rejoining, Cause::CloneNeeded, Role::Empty, "cannot go back: a fresh copy is needed"),
    row(Role::Rejoining, Cause::GiveUp, Role::Quarantined, "cannot come back by itself"),
    row(Role::Quarantined, Cause::CloneNeeded, Role::Empty, "an operator asked for a fresh copy"),
];

/// The row for a cause in a role.
#[must_use]
pub(crate) fn find(from: Role, cause: Cause) -> Option<&'static Row> {
    ROWS.iter().find(|r| r.from == from && r.cause == cause)
}

/// The table as a Mermaid diagram: what the documentation shows.
#[must_use]
pub fn mermaid() -> String {
    let mut text = String::from("stateDiagram-v2\n    [*] --> boot\n");
    for row in ROWS {
        text.push_str(&format!("    {} --> {}: {}\n", row.from, row.to, row.comment.replace(':', ",")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_and_cause_has_one_row_at_most() {
        for (i, a) in ROWS.iter().enumerate() {
            for b in &ROWS[i + 1..] {
                assert!((a.from, a.cause) != (b.from, b.cause), "{a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn every_role_can_be_reached_and_every_leading_role_can_be_fenced() {
        let mut seen = vec![Role::Boot];
        while let Some(row) = ROWS.iter().find(|r| seen.contains(&r.from) && !seen.contains(&r.to)) {
            seen.push(row.to);
        }
        for role in Role::ALL {
            assert!(seen.contains(&role), "{role} cannot be reached");
            assert!(!role.leads() || find(role, Cause::Fence).is_some(), "{role} cannot be fenced");
        }
    }

    #[test]
    fn only_the_store_makes_a_leader() {
        for row in ROWS.iter().filter(|r| r.to.leads()) {
            assert!(matches!(row.cause, Cause::Decided | Cause::Opened), "{row:?}");
        }
    }
}
