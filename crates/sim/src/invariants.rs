//! What must always hold; one file per invariant of DESIGN.md. They look at the whole world, which no member can.

mod i1_acknowledged_survives;
mod i2_older_terms_fall_silent;
mod i3_sets_meet;
mod i4_revoked_first;
mod i5_barrier_first;
mod i6_degraded_is_published;
mod i7_numbers_grow;

use crate::world::World;
use dauphin_model::{Durability, Leadership, MemberName, Term, Timeline};
use std::collections::BTreeMap;

/// What the checks remember.
#[derive(Debug, Clone, Default, Hash)]
pub(crate) struct Watch {
    /// The first violation.
    pub(crate) violation: Option<String>,
    /// Commits acknowledged to clients.
    pub(crate) acknowledged: u64,
    /// Terms that came to be open.
    pub(crate) opened: u64,
    /// Acknowledged commits, with the timeline that acknowledged each.
    pub(crate) kept: BTreeMap<u64, Timeline>,
    /// Highest timeline that acknowledged anything, and which member wrote it.
    pub(crate) newest: Option<(Timeline, usize)>,
    /// Who was given which timeline.
    pub(crate) decided: BTreeMap<Timeline, MemberName>,
    pub(crate) last: Option<(Term, Timeline, u64)>,
    /// Since somebody led last, an election found what may be acknowledged with a member alone that nobody may follow.
    pub(crate) held_beside_stray: bool,
    /// The same of a member that others who are there could not follow.
    pub(crate) held_by_newer: bool,
    /// The fewest copies that a specification of this run has promised, once people have changed it: who leads may go by any.
    pub(crate) least_promised: Option<u32>,
}

impl Watch {
    pub(crate) fn violate(&mut self, text: String) {
        self.violation.get_or_insert(text);
    }
}

impl World {
    /// A client's commit was acknowledged by that member.
    pub(crate) fn acknowledged(&mut self, at: usize, value: u64) {
        self.watch.acknowledged += 1;
        let timeline = self.nodes[at].db.timeline;
        self.i2_acknowledged(at, value, timeline);
        self.i3_acknowledging(at);
        self.i6_acknowledged(at, value);
        self.watch.kept.insert(value, timeline);
    }

    /// The store took a new leadership record.
    pub(crate) fn check_decision(&mut self, before: Option<&Leadership>, after: &Leadership, by: usize) {
        self.i7_decided(after);
        let decided = before.is_none_or(|b| b.timeline != after.timeline);
        if decided {
            self.watch.decided.insert(after.timeline, after.leader.name.clone());
            self.i4_decided(before, after, by);
        }
        if after.state == dauphin_model::LeadershipState::Open && before.is_some_and(|b| b.state != after.state) {
            self.watch.opened += 1;
            (self.watch.held_beside_stray, self.watch.held_by_newer) = (false, false);
            self.i1_opened(after);
        }
    }

    /// Clients are about to be let in.
    pub(crate) fn check_opening(&mut self, at: usize) {
        self.i5_opening(at);
    }

    pub(crate) fn is_async(&self) -> bool {
        self.config.spec.durability == Durability::Async
    }
}
