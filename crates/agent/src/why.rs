//! What led to a decision: the entries of the journal that belong to it, and a sentence or three. Called by `explain`;
//! it only reads what it is given.

use crate::journal::Entry;
use dauphin_api::dto::Explanation;
use dauphin_ha::Reason;
use dauphin_model::Term;

/// How far back a cause is looked for, in microseconds.
const BEFORE_US: u64 = 15_000_000;

/// The decision `chosen` with everything from its cause on. `all` is in the order of time.
pub(crate) fn explanation(all: &[Entry], chosen: &Entry) -> Explanation {
    let oldest = chosen.id.saturating_sub(BEFORE_US);
    let lately: Vec<&Entry> = all.iter().filter(|e| e.id >= oldest && e.id <= chosen.id).collect();
    // what is older than the leadership before has no part in it; its leader may not have lived to tell that it opened
    let own = term_of(&chosen.reason);
    let earlier = |e: &&Entry| term_of(&e.reason).is_some_and(|term| own.is_none_or(|own| term < own));
    let before = lately.iter().rposition(|e| e.id < chosen.id && earlier(e));
    let since = &lately[before.map_or(0, |at| at + 1)..];
    // its term counts however long it lasted
    let former = all.iter().rev().filter(|e| e.id < chosen.id && earlier(e)).find_map(|e| term_of(&e.reason));
    let ended = |e: &&&Entry| is_cause(&e.reason) && ended_term(&e.reason).is_none_or(|term| Some(term) >= former);
    // an election that came to nothing was about something that passed, if there is a cause behind it
    let dropped = since.iter().rposition(|e| matches!(e.reason, Reason::ElectionDropped { .. })).map_or(0, |at| at + 1);
    let since = if since[dropped..].iter().any(|e| ended(&e)) { &since[dropped..] } else { since };
    let cause = since.iter().position(|e| ended(&e));
    let entries = &since[cause.unwrap_or(0)..];
    let causes: Vec<&Entry> = entries.iter().filter(ended).copied().collect();
    Explanation { summary: summary(entries, &causes, chosen), entries: entries.iter().map(|e| e.dto()).collect() }
}

/// The term that a decision made.
fn term_of(reason: &Reason) -> Option<Term> {
    match reason {
        Reason::Decided { term, .. } | Reason::Opened { term, .. } => Some(*term),
        _ => None,
    }
}

/// What an election, or the end of a leadership, begins with.
fn is_cause(reason: &Reason) -> bool {
    matches!(reason, Reason::SwitchoverStarted { .. } | Reason::Fencing { .. } | Reason::LeaderGone { .. })
}

/// The term that a cause says is over. A former leader that comes back tells late that a much older one is.
fn ended_term(reason: &Reason) -> Option<Term> {
    match reason {
        Reason::Fencing { term, .. } | Reason::LeaderGone { term, .. } => Some(*term),
        _ => None,
    }
}

fn summary(entries: &[&Entry], causes: &[&Entry], chosen: &Entry) -> String {
    let mut parts: Vec<String> = Vec::new();
    if let Reason::Opened { .. } = &chosen.reason {
        let decided = entries.iter().rev().find(|e| matches!(e.reason, Reason::Decided { .. }));
        // who acted says more than who noticed
        let acted = causes.iter().find(|e| !matches!(e.reason, Reason::LeaderGone { .. }));
        parts.extend(acted.or(causes.first()).map(|e| e.text()));
        parts.extend(decided.map(|e| e.text()));
    }
    parts.push(chosen.text());
    parts.join(". ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_ha::Gone;
    use dauphin_model::{EngineKind, Evidence, Incarnation, Lsn, MemberName, Position, Timeline, Voter};

    fn entry(seconds: u64, reason: Reason) -> Entry {
        let member = MemberName::new("m2").expect("a name");
        Entry {
            id: 1_000_000_000 + seconds * 1_000_000,
            at: String::new(),
            term: Term(1),
            member,
            reason,
            engine: EngineKind::Postgres,
        }
    }

    fn opened(term: u64) -> Reason {
        Reason::Opened { term: Term(term), voters: Vec::new(), answers: 1 }
    }

    fn gone(term: u64) -> Reason {
        let leader = MemberName::new("m1").expect("a name");
        Reason::LeaderGone { leader, term: Term(term), how: Gone::Refused }
    }

    #[test]
    fn it_begins_with_the_cause_and_leaves_out_what_came_before() {
        let all = [
            entry(1, gone(1)),
            entry(2, opened(2)),
            entry(3, Reason::Degraded { term: Term(2) }),
            entry(4, gone(2)),
            entry(5, gone(2)),
            entry(6, opened(3)),
            entry(7, gone(3)),
        ];
        let explained = explanation(&all, &all[5]);
        let texts: Vec<_> = explained.entries.iter().map(|e| e.id).collect();
        assert_eq!(texts, [all[3].id, all[4].id, all[5].id]);
        assert!(explained.summary.starts_with("leader m1 of term 2 is believed gone"), "{}", explained.summary);
    }

    /// The leader in between was decided and died before its word that it opened was shared.
    #[test]
    fn a_term_that_nobody_told_the_end_of_has_no_part_in_it_either() {
        let member = MemberName::new("m2").expect("a name");
        let decided = Reason::Decided {
            term: Term(2),
            leader: Voter::new(member, Incarnation(1)),
            position: Position::new(Timeline(1), Lsn(1)),
            others: Vec::new(),
            evidence: Evidence::Bootstrap,
        };
        let to = MemberName::new("m2").expect("a name");
        let all =
            [entry(1, Reason::SwitchoverStarted { to }), entry(2, decided), entry(3, gone(2)), entry(4, opened(3))];
        let explained = explanation(&all, &all[3]);
        assert_eq!(explained.entries.len(), 2);
        assert!(explained.summary.starts_with("leader m1 of term 2 is believed gone"), "{}", explained.summary);
    }

    /// A moment of silence, an election that was dropped as the leader was back, and then it died.
    #[test]
    fn what_passed_is_no_cause() {
        let leader = MemberName::new("m1").expect("a name");
        let silent =
            |seconds| entry(seconds, Reason::LeaderGone { leader: leader.clone(), term: Term(2), how: Gone::Silent });
        let dropped =
            |seconds| entry(seconds, Reason::ElectionDropped { term: Term(3), because: "the leader is back".into() });
        let all = [entry(0, opened(2)), silent(1), dropped(2), entry(8, gone(2)), entry(9, opened(3))];
        let explained = explanation(&all, &all[4]);
        assert!(explained.summary.starts_with("leader m1 of term 2 is believed gone: both"), "{}", explained.summary);
        // dropped for another reason, and the same cause goes on
        let all = [entry(0, opened(2)), silent(1), dropped(2), entry(9, opened(3))];
        assert!(explanation(&all, &all[3]).summary.contains("nothing is heard of it"));
    }

    /// A leader that had stood still goes on while the next one dies.
    #[test]
    fn what_a_former_leader_says_late_of_its_own_term_is_no_cause() {
        let late = Reason::Fencing { term: Term(1), because: "its lease ran out".into() };
        let all = [entry(0, opened(2)), entry(20, late.clone()), entry(21, gone(2)), entry(22, opened(3))];
        let explained = explanation(&all, &all[3]);
        assert!(explained.summary.starts_with("leader m1 of term 2 is believed gone"), "{}", explained.summary);
        assert_eq!(explained.entries.len(), 2);
        // and in the middle of it
        let all = [entry(0, opened(2)), entry(20, gone(2)), entry(21, late), entry(22, opened(3))];
        let explained = explanation(&all, &all[3]);
        assert!(explained.summary.starts_with("leader m1 of term 2 is believed gone"), "{}", explained.summary);
    }

    #[test]
    fn a_decision_without_a_cause_is_shown_with_the_moments_before() {
        let all = [entry(1, Reason::Degraded { term: Term(1) }), entry(2, opened(1))];
        assert_eq!(explanation(&all, &all[1]).entries.len(), 2);
        assert_eq!(explanation(&all, &all[0]).entries.len(), 1);
    }
}
