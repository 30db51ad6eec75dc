//! How long the parts of a takeover took, by what this member itself put into its journal: nobody's clock is compared with
//! another's. The journal feeds it; the metrics show it.

use crate::lengths::Lengths;
use dauphin_ha::{Reason, Role};
use dauphin_model::Mono;
use std::collections::BTreeMap;

/// A part of a takeover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// From the belief that the leader is gone to the agreement of a majority.
    Elect,
    /// From there to the decision: voters freeze and answer.
    Freeze,
    /// From the decision, as the winner learns of it, to its promotion.
    Promote,
    /// From there until enough replicas hold the whole log and clients are let in.
    Barrier,
    /// From the belief to clients, where one member did all of it.
    Whole,
}

impl Phase {
    pub(crate) const ALL: [Self; 5] = [Self::Elect, Self::Freeze, Self::Promote, Self::Barrier, Self::Whole];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Elect => "elect",
            Self::Freeze => "freeze",
            Self::Promote => "promote",
            Self::Barrier => "barrier",
            Self::Whole => "whole",
        }
    }
}

/// What is under way, and what took how long before.
#[derive(Debug, Default)]
pub(crate) struct Phases {
    gone: Option<Mono>,
    started: Option<Mono>,
    won: Option<Mono>,
    promoted: Option<Mono>,
    lengths: BTreeMap<Phase, Lengths>,
}

impl Phases {
    /// Takes a decision in.
    pub(crate) fn note(&mut self, now: Mono, reason: &Reason) {
        match reason {
            // those who notice it again and again noticed it first
            Reason::LeaderGone { .. } => self.gone = self.gone.or(Some(now)),
            Reason::ElectionStarted { .. } => {
                self.took(Phase::Elect, self.gone, now);
                self.started = Some(now);
            }
            Reason::Decided { .. } => {
                let started = self.started.take();
                self.took(Phase::Freeze, started, now);
                self.won = self.won.or(Some(now));
            }
            Reason::RoleChanged { to: Role::Winner, .. } => self.won = Some(now),
            Reason::Promoted { .. } => {
                let won = self.won.take();
                self.took(Phase::Promote, won, now);
                self.promoted = Some(now);
            }
            Reason::Opened { .. } => {
                let promoted = self.promoted.take();
                // who goes on under another term was not promoted
                self.took(Phase::Whole, self.gone.filter(|_| promoted.is_some()), now);
                self.took(Phase::Barrier, promoted, now);
                self.forget();
            }
            // another one leads, or nobody had to
            Reason::Following { .. } | Reason::ElectionDropped { .. } => self.forget(),
            _ => {}
        }
    }

    fn took(&mut self, phase: Phase, since: Option<Mono>, now: Mono) {
        if let Some(since) = since {
            self.lengths.entry(phase).or_default().note(now.since(since).duration());
        }
    }

    fn forget(&mut self) {
        (self.gone, self.started, self.won, self.promoted) = (None, None, None, None);
    }

    /// How long each took, since the agent's start.
    pub(crate) fn lengths(&self) -> Vec<(Phase, Lengths)> {
        Phase::ALL.iter().map(|phase| (*phase, self.lengths.get(phase).copied().unwrap_or_default())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_ha::Gone;
    use dauphin_model::{Evidence, Incarnation, Lsn, MemberName, Position, Span, Term, Timeline, Voter};

    fn name() -> MemberName {
        MemberName::new("m1").expect("a name")
    }

    fn gone() -> Reason {
        Reason::LeaderGone { leader: name(), term: Term(1), how: Gone::Refused }
    }

    fn started() -> Reason {
        Reason::ElectionStarted { term: Term(2), agreed: Vec::new() }
    }

    fn decided() -> Reason {
        let (leader, position) = (Voter::new(name(), Incarnation(1)), Position::new(Timeline(1), Lsn(1)));
        Reason::Decided { term: Term(2), leader, position, others: Vec::new(), evidence: Evidence::Bootstrap }
    }

    fn wins() -> Reason {
        Reason::RoleChanged { from: Role::Frozen, to: Role::Winner, because: String::new() }
    }

    fn promoted() -> Reason {
        Reason::Promoted { term: Term(2), timeline: Timeline(2), at: Lsn(1) }
    }

    fn opened() -> Reason {
        Reason::Opened { term: Term(2), voters: Vec::new(), answers: 1 }
    }

    /// Each decision with its second; what is told of each phase: how many, and how many seconds together.
    #[track_caller]
    fn check(story: &[(u64, Reason)], expected: [(u64, f64); 5]) {
        let mut phases = Phases::default();
        for (second, reason) in story {
            phases.note(Mono(5_000_000) + Span::ms(second * 1_000), reason);
        }
        let told = phases.lengths().into_iter().map(|(_, lengths)| {
            let (counts, sum) = lengths.told();
            (counts.last().map_or(0, |(_, count)| *count), sum)
        });
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_takeover_by_one_member_has_all_its_phases() {
        let story =
            [(1, gone()), (2, gone()), (3, started()), (6, decided()), (7, wins()), (9, promoted()), (14, opened())];
        check(&story, [(1, 2.0), (1, 3.0), (1, 2.0), (1, 5.0), (1, 13.0)]);
    }

    #[test]
    fn a_member_tells_of_its_own_part_alone() {
        // it elected another one
        let following = Reason::Following { upstream: name(), term: Term(2) };
        check(
            &[(1, gone()), (2, started()), (3, decided()), (9, following)],
            [(1, 1.0), (1, 1.0), (0, 0.0), (0, 0.0), (0, 0.0)],
        );
        // it was elected by another one
        check(&[(1, wins()), (2, promoted()), (4, opened())], [(0, 0.0), (0, 0.0), (1, 1.0), (1, 2.0), (0, 0.0)]);
    }

    #[test]
    fn what_came_to_nothing_is_no_takeover() {
        let dropped = Reason::ElectionDropped { term: Term(2), because: String::new() };
        let story = [(1, gone()), (2, started()), (3, dropped), (60, gone()), (61, started()), (62, decided())];
        check(&story, [(2, 2.0), (1, 1.0), (0, 0.0), (0, 0.0), (0, 0.0)]);
        // a leader that goes on under a higher term
        check(&[(1, gone()), (30, opened())], [(0, 0.0), (0, 0.0), (0, 0.0), (0, 0.0), (0, 0.0)]);
    }
}
