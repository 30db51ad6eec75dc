//! The sync set's transitions: one move at a time, each of which may be the last one that happens. Keeps invariant I3.
//! The leader's duties call [`next_move`]; the exhaustive test replays every interrupted transition.

use crate::variant::Variant;
use dauphin_model::sync_set::{answers_for, holders_needed};
use dauphin_model::{Enforced, Published, Voter};
use std::collections::BTreeSet;

/// Where the sync set should be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Who should vouch, and how many of them must.
    pub enforced: Enforced,
    /// That is fewer than the durability promises.
    pub degraded: bool,
}

/// The next thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Move {
    /// Publish this first.
    Publish(Published),
    /// Configure the server, and confirm it.
    Configure(Enforced),
}

/// The next move from what is published and enforced towards the target; `None`: there, or waiting for voters to hold
/// what was acknowledged. `holding` says how many of these voters hold everything acknowledged under earlier settings.
pub fn next_move(
    published: &Published,
    enforced: &Enforced,
    target: &Target,
    holding: impl Fn(&BTreeSet<Voter>) -> usize,
    broken: Option<Variant>,
) -> Option<Move> {
    let voters = &target.enforced.voters;
    let goal = Published {
        voters: voters.clone(),
        answers: answers_for(voters.len(), target.enforced.required),
        version: published.version.next(),
        degraded: target.degraded,
    };
    let there = published.same_set(&goal);
    if broken == Some(Variant::PublishBeforeConfigure) && !there {
        return Some(Move::Publish(goal));
    }
    if *enforced == target.enforced {
        let held = broken == Some(Variant::SkipHolders) || holding(voters) >= holders_needed(&goal);
        return (!there && held).then_some(Move::Publish(goal));
    }
    let union: BTreeSet<Voter> = published.voters.union(&enforced.voters).chain(voters).cloned().collect();
    let required = enforced.required.min(target.enforced.required);
    let added = union.len() - published.voters.len();
    // enough for either setting, and for what was acknowledged under the ones before
    let answers = answers_for(union.len(), required)
        .max(published.answers.saturating_add(u32::try_from(added).unwrap_or(u32::MAX)));
    let wide = added == 0 && published.answers >= answers && (published.degraded || !target.degraded);
    let skip = matches!(broken, Some(Variant::ConfigureBeforePublish))
        || (broken == Some(Variant::DegradeBeforePublish) && target.degraded);
    if wide || skip {
        return Some(Move::Configure(target.enforced.clone()));
    }
    Some(Move::Publish(Published {
        voters: union,
        answers,
        version: published.version.next(),
        degraded: published.degraded || target.degraded,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_model::sync_set::intersects;
    use dauphin_model::{Incarnation, MemberName, SetVersion};

    fn voters(bits: u32) -> BTreeSet<Voter> {
        (0..5)
            .filter(|i| bits & (1 << i) != 0)
            .map(|i| Voter::new(MemberName::new(&format!("m{i}")).expect("a name"), Incarnation(1)))
            .collect()
    }

    /// Walks from one steady state to another; in between, the target may change at any step.
    fn walk(from: (u32, u32), through: (u32, u32), to: (u32, u32), turn_at: usize) {
        let steady = |(bits, required): (u32, u32)| Enforced { voters: voters(bits), required };
        let mut enforced = steady(from);
        let mut published = Published {
            answers: answers_for(enforced.voters.len(), enforced.required),
            voters: enforced.voters.clone(),
            version: SetVersion(1),
            degraded: false,
        };
        for n in 0..12 {
            let goal = steady(if n < turn_at { through } else { to });
            let target = Target { enforced: goal, degraded: false };
            let moved = next_move(&published, &enforced, &target, BTreeSet::len, None);
            match moved {
                None if n >= turn_at => {
                    assert_eq!(enforced, target.enforced);
                    assert_eq!(published.voters, enforced.voters);
                    return;
                }
                None => {}
                Some(Move::Publish(p)) => {
                    assert!(p.version > published.version);
                    published = p;
                }
                Some(Move::Configure(e)) => {
                    // while it is being configured, either may be in use
                    assert!(intersects(&published, &e), "{from:?} {through:?} {to:?}: {published:?} against {e:?}");
                    let both = Enforced {
                        voters: enforced.voters.union(&e.voters).cloned().collect(),
                        required: enforced.required.min(e.required),
                    };
                    assert!(intersects(&published, &both), "{published:?} against {both:?}");
                    enforced = e;
                }
            }
            assert!(
                intersects(&published, &enforced),
                "{from:?} {through:?} {to:?}: {published:?} against {enforced:?}"
            );
        }
        panic!("never arrives: {from:?} {through:?} {to:?}");
    }

    #[test]
    fn every_interrupted_transition_keeps_the_inequality_and_arrives() {
        let states: Vec<(u32, u32)> =
            (1..16u32).flat_map(|bits| (1..=bits.count_ones()).map(move |required| (bits, required))).collect();
        for &from in &states {
            for &to in &states {
                for &through in states.iter().step_by(3) {
                    for turn_at in 0..4 {
                        walk(from, through, to, turn_at);
                    }
                }
            }
        }
    }

    #[test]
    fn a_smaller_set_is_published_only_when_its_voters_hold_what_was_acknowledged() {
        let enforced = Enforced { voters: voters(0b01), required: 1 };
        let published = Published { voters: voters(0b11), answers: 2, version: SetVersion(4), degraded: false };
        let target = Target { enforced: enforced.clone(), degraded: false };
        assert_eq!(next_move(&published, &enforced, &target, |_| 0, None), None);
        let Some(Move::Publish(p)) = next_move(&published, &enforced, &target, |_| 1, None) else {
            panic!("publishes once its voter holds everything")
        };
        assert_eq!((p.voters, p.answers), (voters(0b01), 1));
    }

    #[test]
    fn degraded_is_published_before_it_is_configured() {
        let enforced = Enforced { voters: voters(0b1), required: 1 };
        let published = Published { voters: voters(0b1), answers: 1, version: SetVersion(4), degraded: false };
        let target = Target { enforced: Enforced::default(), degraded: true };
        let Some(Move::Publish(p)) = next_move(&published, &enforced, &target, |_| 0, None) else {
            panic!("publishes first")
        };
        assert!(p.degraded && p.answers == 2, "nobody but the leader itself can answer: {p:?}");
        assert_eq!(next_move(&p, &enforced, &target, |_| 0, None), Some(Move::Configure(Enforced::default())));
    }
}
