//! What the simulator foretells of a cluster as it stands, held to what the rules say must come.

use dauphin_model::{Durability, MemberName, Span, Spec};
use dauphin_sim::{Blow, Condition, End, Standing, foretell, spec};

const SEEDS: std::ops::RangeInclusive<u64> = 1..=5;

fn name(n: &str) -> MemberName {
    MemberName::new(n).expect("a name")
}

/// m1 leads; the others are as told.
fn stands(spec: Spec, others: &[(&str, Condition)]) -> Standing {
    let others = others.iter().map(|(n, c)| (name(n), *c)).collect();
    Standing { spec, leader: name("m1"), others, paused: false }
}

fn three(durability: Durability) -> Standing {
    stands(spec(3, durability), &[("m2", Condition::Follows), ("m3", Condition::Follows)])
}

fn ends(standing: &Standing, blow: &Blow) -> Vec<End> {
    SEEDS.map(|seed| foretell(standing, blow, seed).expect("such a cluster can be made")).collect()
}

fn kill(n: &str) -> Blow {
    Blow::Kill(vec![name(n)])
}

#[test]
fn a_killed_leader_is_followed_by_another_and_nothing_is_lost() {
    for durability in [Durability::Quorum, Durability::Sync] {
        for end in ends(&three(durability), &kill("m1")) {
            assert!(end.leader.as_ref().is_some_and(|l| *l != name("m1")), "{end:?}");
            assert!(end.gap.is_some_and(|gap| gap > Span::ms(50) && gap < Span::ms(3_000)), "{end:?}");
            assert_eq!(end.lost, Span::ZERO, "{end:?}");
        }
    }
}

#[test]
fn without_replicas_that_are_waited_for_commits_can_be_lost() {
    let ends = ends(&three(Durability::Async), &kill("m1"));
    assert!(ends.iter().all(|end| end.leader.is_some()), "{ends:?}");
    assert!(ends.iter().any(|end| end.lost > Span::ZERO), "{ends:?}");
    // the lease must have ended first
    assert!(ends.iter().all(|end| end.gap.is_some_and(|gap| gap > Span::ms(1_000))), "{ends:?}");
}

#[test]
fn a_frozen_leader_takes_longer_than_a_dead_one() {
    let slowest = |blow: &Blow| ends(&three(Durability::Quorum), blow).iter().filter_map(|end| end.gap).max();
    assert!(slowest(&Blow::Freeze(name("m1"))) > slowest(&kill("m1")));
}

#[test]
fn a_killed_replica_stops_nobody() {
    for end in ends(&three(Durability::Quorum), &kill("m2")) {
        assert_eq!(end.leader, Some(name("m1")));
        assert!(end.gap.is_some_and(|gap| gap < Span::ms(500)), "{end:?}");
    }
}

#[test]
fn who_has_the_log_comes_before_who_is_behind_and_before_who_is_away() {
    let late = stands(spec(3, Durability::Quorum), &[("m2", Condition::Behind(1 << 30)), ("m3", Condition::Follows)]);
    let leaders: Vec<_> = ends(&late, &kill("m1")).into_iter().map(|end| end.leader).collect();
    assert!(leaders.iter().all(|leader| *leader == Some(name("m3"))), "{leaders:?}");
    let away = [("m2", Condition::Away), ("m3", Condition::Follows), ("m4", Condition::Follows)];
    for end in ends(&stands(spec(4, Durability::Quorum), &away), &kill("m1")) {
        // two of four are no majority of the store
        assert_eq!((end.leader, end.gap), (None, None));
    }
}

#[test]
fn the_last_one_that_is_there_does_not_take_over_alone() {
    let alone = stands(spec(3, Durability::Quorum), &[("m2", Condition::Away), ("m3", Condition::Follows)]);
    for end in ends(&alone, &kill("m1")) {
        assert_eq!((end.leader, end.gap), (None, None));
    }
}

#[test]
fn a_leader_cut_off_alone_is_followed_and_two_cut_off_together_go_on() {
    for end in ends(&three(Durability::Quorum), &Blow::CutOff(vec![name("m1")])) {
        assert!(end.leader.as_ref().is_some_and(|l| *l != name("m1")), "{end:?}");
        assert_eq!(end.lost, Span::ZERO);
    }
    for end in ends(&three(Durability::Quorum), &Blow::CutOff(vec![name("m1"), name("m2")])) {
        assert_eq!(end.leader, Some(name("m1")), "{end:?}");
    }
}

#[test]
fn nobody_takes_over_while_failover_is_paused_and_that_is_said() {
    for end in ends(&Standing { paused: true, ..three(Durability::Quorum) }, &kill("m1")) {
        assert_eq!(end.leader, None);
        assert!(end.because.is_some(), "{end:?}");
    }
}

#[test]
fn the_leader_is_the_live_one_whoever_would_lead_first() {
    let standing = Standing {
        leader: name("m3"),
        others: vec![(name("m1"), Condition::Follows), (name("m2"), Condition::Follows)],
        ..three(Durability::Quorum)
    };
    for end in ends(&standing, &kill("m3")) {
        assert!(end.leader.as_ref().is_some_and(|l| *l != name("m3")), "{end:?}");
    }
}
