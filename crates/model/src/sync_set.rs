//! The sync set's two halves: what the server waits for, and what an election may rely on.
//! The leader's decisions keep their inequality (invariant I3); this module states and checks it.

use crate::name::{SetVersion, Voter};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What the leader's server waits for before it acknowledges: `required` of `voters`. The leader is not among them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Enforced {
    /// Who may vouch.
    pub voters: BTreeSet<Voter>,
    /// How many must; 0 acknowledges at once.
    pub required: u32,
}

/// What the store holds: who may hold acknowledged commits, and how many of them an election needs to hear.
/// The leader is not among the voters: fenced, it counts as all of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Published {
    /// Who may hold acknowledged commits.
    pub voters: BTreeSet<Voter>,
    /// How many of them revoke the leader and, between them, hold everything acknowledged.
    pub answers: u32,
    /// Grows with every change.
    pub version: SetVersion,
    /// Commits may be acknowledged with fewer copies than the durability promises (or by the leader alone).
    pub degraded: bool,
}

impl Published {
    /// Whether both say the same, in whatever version.
    #[must_use]
    pub fn same_set(&self, other: &Self) -> bool {
        (&self.voters, self.answers, self.degraded) == (&other.voters, other.answers, other.degraded)
    }
}

/// Whether any `answers` voters are sure to meet any `required` of the enforced ones:
/// `answers + required > |published ∪ enforced|`.
#[must_use]
pub fn intersects(published: &Published, enforced: &Enforced) -> bool {
    let union = published.voters.union(&enforced.voters).count();
    published.answers as usize + enforced.required as usize > union
}

/// The smallest number of answers that is safe for `required` of `voters`.
#[must_use]
pub fn answers_for(voters: usize, required: u32) -> u32 {
    let voters = u32::try_from(voters).unwrap_or(u32::MAX);
    if required == 0 { voters.saturating_add(1) } else { (voters + 1).saturating_sub(required) }
}

/// How many of the published voters must hold everything acknowledged under any earlier setting, so that every
/// election's answers include one that does: `|voters| − answers + 1`.
#[must_use]
pub fn holders_needed(published: &Published) -> usize {
    (published.voters.len() + 1).saturating_sub(published.answers as usize)
}
