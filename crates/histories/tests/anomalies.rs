//! Each anomaly has a broken history of its own that must turn the checker red, and a healthy twin that must not.

use dauphin_histories::append::{Anomaly, Finding, Op, Orders, Txn, check};
use dauphin_histories::{During, Outcome};

fn a(key: u64, value: u64) -> Op {
    Op::Append { key, value }
}

fn r(key: u64, values: &[u64]) -> Op {
    Op::Read { key, values: values.to_vec() }
}

/// All at the same time, each in a session of its own, all done.
fn together(txns: &[&[Op]]) -> Vec<Txn> {
    let txn = |(at, ops): (usize, &&[Op])| Txn {
        session: u32::try_from(at).expect("small"),
        during: During { from: 0, to: 100 },
        outcome: Outcome::Ok,
        ops: ops.to_vec(),
    };
    txns.iter().enumerate().map(txn).collect()
}

/// One after the other.
fn in_turn(txns: &[&[Op]]) -> Vec<Txn> {
    let mut history = together(txns);
    for (at, txn) in history.iter_mut().enumerate() {
        txn.during = During { from: at as u64 * 10, to: at as u64 * 10 + 5 };
    }
    history
}

fn names(history: &[Txn], orders: Orders) -> Vec<Anomaly> {
    check(history, orders).into_iter().map(|found| found.anomaly).collect()
}

#[track_caller]
fn only(history: &[Txn], anomaly: Anomaly) -> Finding {
    let found = check(history, Orders::default());
    assert_eq!(found.iter().map(|f| f.anomaly).collect::<Vec<_>>(), [anomaly], "{found:#?}");
    found.into_iter().next().expect("one")
}

#[test]
fn a_serial_history_is_well() {
    let strict = Orders { session: true, real_time: true };
    let history =
        in_turn(&[&[a(1, 1)], &[r(1, &[1]), a(1, 2), r(1, &[1, 2])], &[r(1, &[1, 2]), a(2, 1)], &[r(2, &[1])]]);
    assert_eq!(names(&history, strict), []);
}

#[test]
fn what_is_wrong_on_its_face() {
    only(&together(&[&[a(1, 1)], &[r(1, &[1, 1])]]), Anomaly::Duplicate);
    only(&together(&[&[a(1, 1)], &[r(1, &[1, 9])]]), Anomaly::Unwritten);
    let twice = names(&together(&[&[a(1, 1)], &[r(1, &[1]), r(1, &[])]]), Orders::default());
    assert_eq!(twice, [Anomaly::Internal, Anomaly::GSingle], "a read that cannot be repeated is a skew too");
    only(&together(&[&[a(1, 1), r(1, &[])]]), Anomaly::Internal);
    let mut failed = together(&[&[a(1, 1)], &[r(1, &[1])]]);
    failed[0].outcome = Outcome::Failed;
    only(&failed, Anomaly::G1a);
    failed[0].outcome = Outcome::Unknown;
    assert_eq!(names(&failed, Orders::default()), [], "it may have been done");
    let found = check(&together(&[&[a(1, 1), a(1, 2)], &[r(1, &[1])]]), Orders::default());
    assert!(found.iter().any(|f| f.anomaly == Anomaly::G1b), "{found:#?}");
}

#[test]
fn split_brain_and_lost_commits() {
    let found = names(&together(&[&[a(1, 1)], &[a(1, 2)], &[r(1, &[1])], &[r(1, &[2])]]), Orders::default());
    assert!(found.contains(&Anomaly::IncompatibleOrder), "{found:?}");
    // acknowledged, and never seen again
    let history = in_turn(&[&[a(1, 1)], &[a(1, 2)], &[r(1, &[1])]]);
    assert_eq!(names(&history, Orders::default()), [Anomaly::Lost]);
}

#[test]
fn circles() {
    // two writers, two lists, opposite orders
    let dirty = together(&[&[a(1, 1), a(2, 1)], &[a(1, 2), a(2, 2)], &[r(1, &[1, 2])], &[r(2, &[2, 1])]]);
    only(&dirty, Anomaly::G0);
    // each read the other's write
    only(&together(&[&[a(1, 1), r(2, &[1])], &[a(2, 1), r(1, &[1])]]), Anomaly::G1c);
    // read skew: saw one write of a transaction and missed the other
    let skew = only(&together(&[&[a(1, 1), a(2, 1)], &[r(1, &[1]), r(2, &[])]]), Anomaly::GSingle);
    assert_eq!(skew.cycle.map(|cycle| cycle.0.len()), Some(2));
    // lost update: both read the same and both append
    let lost = together(&[&[r(1, &[]), a(1, 1)], &[r(1, &[]), a(1, 2)], &[r(1, &[1, 2])]]);
    assert!(names(&lost, Orders::default()).contains(&Anomaly::GSingle));
    // long fork: two readers, two writers, opposite orders
    let fork = together(&[&[a(1, 1)], &[a(2, 1)], &[r(1, &[1]), r(2, &[])], &[r(1, &[]), r(2, &[1])]]);
    only(&fork, Anomaly::GNonadjacent);
    // write skew
    only(&together(&[&[r(1, &[]), a(2, 1)], &[r(2, &[]), a(1, 1)]]), Anomaly::G2Item);
}

#[test]
fn orders_of_sessions_and_of_time_count_where_they_are_asked_for() {
    // a later transaction that does not see an earlier one's write
    let stale = in_turn(&[&[a(1, 1)], &[r(1, &[])], &[r(1, &[1])]]);
    assert_eq!(names(&stale, Orders::default()), []);
    assert_eq!(names(&stale, Orders { real_time: true, session: false }), [Anomaly::GSingle]);
    let mut own = stale;
    own.iter_mut().for_each(|txn| txn.session = 1);
    assert_eq!(names(&own, Orders { session: true, real_time: false }), [Anomaly::GSingle]);
}

#[test]
fn the_shortest_witness_is_told() {
    // a long circle and a short one
    let mut txns: Vec<Vec<Op>> = (0..6).map(|n| vec![a(n, 1), r((n + 1) % 6, &[1])]).collect();
    txns.push(vec![a(20, 1), r(21, &[1])]);
    txns.push(vec![a(21, 1), r(20, &[1])]);
    let history = together(&txns.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let found = only(&history, Anomaly::G1c);
    assert_eq!(found.cycle.map(|cycle| cycle.0.len()), Some(2), "{}", found.text);
}
