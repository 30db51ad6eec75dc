//! MariaDB's positions and states.

use dauphin_model::{BinlogState, Held, MariaGtid, MariaPosition, Standing};
use proptest::prelude::*;

fn at(text: &str) -> MariaPosition {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn positions_are_read_and_printed_as_the_server_does() {
    let prints = |text: &str, expected: &str| assert_eq!(at(text).to_string(), expected, "{text}");
    prints("", "");
    prints("0-1-5", "0-1-5");
    prints("17-1-1, 0-1-5,3-2-1", "0-1-5,3-2-1,17-1-1");
    prints(" +1-02-3,", "1-2-3");
    prints("4294967295-4294967295-18446744073709551615", "4294967295-4294967295-18446744073709551615");
}

#[test]
fn what_is_no_position_is_refused_with_the_place() {
    let refused = |text: &str, place: usize, words: &str| {
        let error = text.parse::<MariaPosition>().expect_err(text);
        assert_eq!(error.at, place, "{text}: {error}");
        assert!(error.to_string().contains(words), "{text}: {error}");
    };
    refused("x", 0, "a domain number");
    refused("0-1", 3, "a dash: domain-server-sequence, as in 0-1-42");
    refused("0-1-", 4, "a sequence number");
    refused("4294967296-1-1", 0, "a domain number, 0 to 4294967295");
    refused("0-4294967296-1", 2, "a server number, 0 to 4294967295");
    refused("0-1-18446744073709551616", 4, "a sequence number");
    refused("0-1-5 ", 5, "a comma, or the end");
    refused("1-2-3,1-1-5", 6, "one GTID for each domain");
    refused("0--1-5", 2, "a server number");
}

#[test]
fn positions_are_compared_by_domain() {
    let check = |a: &str, b: &str, expected| {
        assert_eq!(at(a).compare(&at(b)), expected, "{a} against {b}");
        assert_eq!(at(b).compare(&at(a)), expected.mirrored(), "{b} against {a}");
    };
    check("0-1-5", "0-1-5", Standing::Equal);
    check("", "0-1-5", Standing::Behind);
    check("0-1-5", "0-2-9", Standing::Behind);
    check("0-1-5", "0-2-5", Standing::Diverged);
    check("0-1-5,1-1-9", "0-1-7,1-1-3", Standing::Diverged);
    check("0-1-5,1-1-9", "0-1-5", Standing::Ahead);
    assert_eq!(at("0-1-5,1-1-9").compare_in(0, &at("0-1-7,1-1-3")), Standing::Behind);
    assert_eq!(at("0-1-5,1-1-9").compare_in(1, &at("0-1-7,1-1-3")), Standing::Ahead);
    assert_eq!(at("0-1-5").compare_in(7, &at("0-1-7")), Standing::Equal);
}

#[test]
fn retrieved_and_executed_join_by_domain() {
    assert_eq!(at("0-1-5,1-1-9").join(&at("0-2-7,2-1-1")), Some(at("0-2-7,1-1-9,2-1-1")));
    assert_eq!(at("0-1-5").join(&at("0-2-5")), None, "no log holds both");
}

#[test]
fn a_state_knows_every_server_and_which_came_last() {
    let state: BinlogState = "0-1-5,0-2-3,1-1-1".parse().expect("a state");
    assert_eq!(state.position(), at("0-2-3,1-1-1"), "the last in the text is the last in the log");
    assert_eq!(state.last_of(0, 1), Some(5));
    assert_eq!(state.to_string(), "0-1-5,0-2-3,1-1-1");
    let mut state = state;
    state.log(MariaGtid { domain: 0, server: 1, sequence: 8 });
    assert_eq!(state.to_string(), "0-2-3,0-1-8,1-1-1");
    let twice: BinlogState = "0-1-5,0-2-3,0-1-4".parse().expect("a state");
    assert_eq!(twice.to_string(), "0-2-3,0-1-4", "the later counts");
}

#[test]
fn a_write_on_a_replica_shows_in_its_state() {
    let state = |text: &str| text.parse::<BinlogState>().expect("a state");
    let errant = |replica: &str, leader: &str| {
        let found = state(replica).errant(&state(leader), 1);
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    };
    assert_eq!(errant("0-1-90", "0-1-100"), "");
    assert_eq!(errant("0-1-105", "0-1-100"), "", "the leader's own, and the look at it is older");
    assert_eq!(errant("0-2-91,0-1-92", "0-1-100"), "0-2-91", "in the middle of the log: no position shows it");
    assert_eq!(errant("0-3-40,0-1-90", "0-3-40,0-1-100"), "", "a former leader's");
    assert_eq!(errant("0-3-41,0-1-90", "0-3-40,0-1-100"), "0-3-41");
    assert_eq!(errant("0-1-90,5-2-1", "0-1-100"), "5-2-1");
}

proptest! {
    #[test]
    fn joining_is_the_least_that_holds_both(a in gtids(), b in gtids()) {
        let make = |list: &[(u32, u64)]| {
            let mut position = MariaPosition::default();
            list.iter().for_each(|(domain, sequence)| position.set(MariaGtid { domain: *domain, server: 1, sequence: *sequence }));
            position
        };
        let (a, b) = (make(&a), make(&b));
        let both = a.join(&b).expect("one server: nothing clashes");
        prop_assert!(both.holds(&a) && both.holds(&b));
        prop_assert_eq!(b.join(&a), Some(both.clone()));
        prop_assert_eq!(a.holds(&b), both == a);
        prop_assert_eq!(both.to_string().parse::<MariaPosition>(), Ok(both));
    }

    #[test]
    fn no_text_brings_it_down(text in "[-0-9, +x]{0,30}") {
        if let Ok(position) = text.parse::<MariaPosition>() {
            prop_assert_eq!(position.to_string().parse::<MariaPosition>(), Ok(position));
        }
        let _ = text.parse::<BinlogState>();
    }
}

fn gtids() -> impl Strategy<Value = Vec<(u32, u64)>> {
    proptest::collection::vec((0..4_u32, 0..9_u64), 0..5)
}
