//! Who of several members holds all that any of them holds: the same rule for every kind of position.

use crate::set;
use dauphin_model::{Furthest, Held, Lsn, MariaPosition, Position, Timeline, furthest};
use proptest::prelude::*;

/// `m1` executed `a:1-5` and retrieved `a:6-7`: what it only received counts.
fn members(list: &[(&'static str, &str, &str)]) -> Furthest<&'static str> {
    let held = |(name, executed, retrieved): &(&'static str, &str, &str)| {
        (*name, set(executed).join(&set(retrieved)).expect("sets always join"))
    };
    furthest(&list.iter().map(held).collect::<Vec<_>>())
}

#[test]
fn the_superset_of_what_was_received_wins_not_what_was_executed() {
    // the first has executed more, the second holds more: it must win, or acknowledged commits are lost
    let found = members(&[("m1", "a:1-90", "a:85-92"), ("m2", "a:1-70", "a:60-100")]);
    assert_eq!(found, Furthest::Hold(vec!["m2"]));
    assert_eq!(members(&[("m1", "a:1-9", ""), ("m2", "a:1-5", "a:6-9")]), Furthest::Hold(vec!["m1", "m2"]));
    assert_eq!(members(&[]), Furthest::Hold(vec![]));
}

#[test]
fn members_that_each_hold_something_alone_must_be_merged() {
    let found = members(&[("m1", "a:1-90 b:1", ""), ("m2", "a:1-100", ""), ("m3", "a:1-80", "")]);
    assert_eq!(found, Furthest::Scattered(vec!["m1", "m2"]), "the third holds nothing of its own");
}

#[test]
fn the_rule_is_the_same_for_mariadb_and_postgresql() {
    let at = |text: &str| text.parse::<MariaPosition>().expect("a position");
    assert_eq!(furthest(&[(1, at("0-1-9")), (2, at("0-1-7,1-1-1")), (3, at("0-1-9,1-1-1"))]), Furthest::Hold(vec![3]));
    assert_eq!(furthest(&[(1, at("0-1-9")), (2, at("0-2-9"))]), Furthest::Scattered(vec![1, 2]));
    let log = |lsn| Position::new(Timeline(1), Lsn(lsn));
    assert_eq!(furthest(&[(1, log(90)), (2, log(100)), (3, log(100))]), Furthest::Hold(vec![2, 3]));
    assert_eq!(log(90).join(&log(100)), Some(log(100)));
    let promoted = Position { lsn: Lsn(85), ..log(80).promoted(Timeline(2)) };
    assert_eq!(log(90).join(&promoted), None, "the old leader wrote past the switch");
    assert_eq!(furthest(&[(1, log(90)), (2, promoted)]), Furthest::Scattered(vec![1, 2]));
}

proptest! {
    #[test]
    fn whoever_is_named_holds_all_or_is_held_by_nobody(
        ends in proptest::collection::vec((0..20_u64, 0..20_u64), 1..6)
    ) {
        let one = |(a, b): &(u64, u64)| set(&format!("a:1-{a} b:1-{b}"));
        let members: Vec<_> = ends.iter().map(one).enumerate().collect();
        let union = members.iter().skip(1).fold(members[0].1.clone(), |all, (_, held)| all.union(held));
        match furthest(&members) {
            Furthest::Hold(named) => {
                prop_assert!(!named.is_empty());
                members.iter().for_each(|(n, held)| assert_eq!(named.contains(n), *held == union));
            }
            Furthest::Scattered(named) => {
                prop_assert!(named.len() > 1 && members.iter().all(|(_, held)| *held != union));
                let merged = named.iter().fold(members[named[0]].1.clone(), |all, n| all.union(&members[*n].1));
                prop_assert_eq!(merged, union, "those named hold everything together");
            }
        }
    }
}
