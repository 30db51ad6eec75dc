//! The dependencies between transactions: who wrote over whom, who read whom, who read what another wrote over.

use super::cycles::{Edge, Kind};
use super::order::{Known, appends_of};
use super::{Op, Orders, Txn};
use crate::Outcome;
use std::collections::{BTreeMap, BTreeSet};

/// A graph of transactions, by their places in the history.
pub(super) type Graph = BTreeMap<usize, BTreeSet<Edge>>;

/// Builds it.
pub(super) fn of(history: &[Txn], known: &Known, orders: Orders) -> Graph {
    let mut graph = Graph::new();
    let mut add = |from: usize, to: usize, kind: Kind| {
        if from != to {
            graph.entry(from).or_default().insert(Edge { to, kind });
        }
    };
    let writer = |key: u64, value: u64| known.writer.get(&(key, value)).copied();
    for (key, order) in &known.order {
        for pair in order.windows(2) {
            if let (Some(from), Some(to)) = (writer(*key, pair[0]), writer(*key, pair[1])) {
                add(from, to, Kind::Ww { key: *key, value: pair[1] });
            }
        }
    }
    for (at, txn) in history.iter().enumerate().filter(|(_, txn)| txn.outcome == Outcome::Ok) {
        for op in &txn.ops {
            let Op::Read { key, values } = op else { continue };
            let own = appends_of(txn, *key);
            let theirs = values.iter().rev().find(|value| !own.contains(value));
            if let Some(from) = theirs.and_then(|value| writer(*key, *value)) {
                add(from, at, Kind::Wr { key: *key, value: *theirs.unwrap_or(&0) });
            }
            let next = known.order.get(key).and_then(|order| order.get(values.len()));
            if let Some((value, to)) = next.and_then(|value| Some((*value, writer(*key, *value)?))) {
                add(at, to, Kind::Rw { key: *key, value });
            }
        }
    }
    if orders.session {
        let mut last: BTreeMap<u32, usize> = BTreeMap::new();
        for at in by_start(history) {
            if let Some(before) = last.insert(history[at].session, at) {
                add(before, at, Kind::Session);
            }
        }
    }
    if orders.real_time {
        real_time(history, &mut add);
    }
    graph
}

/// Transactions that happened, or may have, by when they began.
fn by_start(history: &[Txn]) -> Vec<usize> {
    let mut all: Vec<usize> = (0..history.len()).filter(|at| history[*at].outcome == Outcome::Ok).collect();
    all.sort_by_key(|at| history[*at].during.from);
    all
}

/// What ended before another began comes before it. Only links that do not follow from others: from those that ended last.
fn real_time(history: &[Txn], add: &mut impl FnMut(usize, usize, Kind)) {
    let starts = by_start(history);
    let mut ends = starts.clone();
    ends.sort_by_key(|at| history[*at].during.to);
    let mut ended = ends.into_iter().peekable();
    // ended, and not yet before anybody that ended too
    let mut frontier: Vec<usize> = Vec::new();
    for at in starts {
        while let Some(done) = ended.next_if(|done| history[*done].during.before(history[at].during)) {
            frontier.retain(|earlier| !history[*earlier].during.before(history[done].during));
            frontier.push(done);
        }
        frontier.iter().for_each(|before| add(*before, at, Kind::RealTime));
    }
}
