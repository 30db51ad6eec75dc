//! Who wrote what, in which order each list grew, and what is wrong on its face, before any graph.

use super::{Anomaly, Finding, Op, Txn};
use crate::Outcome;
use std::collections::{BTreeMap, BTreeSet};

/// What a history tells without looking at dependencies.
pub(super) struct Known {
    /// Who appended a value to a key.
    pub(super) writer: BTreeMap<(u64, u64), usize>,
    /// How each key's list grew, as its longest read shows.
    pub(super) order: BTreeMap<u64, Vec<u64>>,
}

impl Known {
    pub(super) fn of(history: &[Txn]) -> Self {
        let mut writer = BTreeMap::new();
        let mut order: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut appends: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (at, txn) in history.iter().enumerate() {
            for op in &txn.ops {
                match op {
                    Op::Append { key, value } => {
                        writer.insert((*key, *value), at);
                        appends.entry(*key).or_default().push(*value);
                    }
                    Op::Read { key, values } if txn.outcome == Outcome::Ok => {
                        let longest = order.entry(*key).or_default();
                        if values.len() > longest.len() {
                            longest.clone_from(values);
                        }
                    }
                    Op::Read { .. } => {}
                }
            }
        }
        for (key, values) in appends {
            // a list that was only ever written once, by somebody who succeeded, has but one order
            let longest = order.entry(key).or_default();
            if let ([value], true) = (values.as_slice(), longest.is_empty())
                && history[writer[&(key, *value)]].outcome == Outcome::Ok
            {
                longest.push(*value);
            }
        }
        Self { writer, order }
    }
}

fn finding(anomaly: Anomaly, text: String) -> Finding {
    Finding { anomaly, text, cycle: None }
}

/// Everything that is wrong on its face.
pub(super) fn direct(history: &[Txn], known: &Known) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, txn) in history.iter().enumerate().filter(|(_, txn)| txn.outcome == Outcome::Ok) {
        internal(at, txn, &mut found);
        for op in &txn.ops {
            if let Op::Read { key, values } = op {
                reads(history, known, (at, *key, values), &mut found);
            }
        }
    }
    lost(history, &mut found);
    found
}

/// A transaction's reads show what it read and appended itself.
fn internal(at: usize, txn: &Txn, found: &mut Vec<Finding>) {
    // what a list must end with, and the whole of it once it was read
    let mut own: BTreeMap<u64, (Option<Vec<u64>>, Vec<u64>)> = BTreeMap::new();
    for op in &txn.ops {
        match op {
            Op::Append { key, value } => {
                let (whole, appended) = own.entry(*key).or_default();
                if let Some(whole) = whole {
                    whole.push(*value);
                }
                appended.push(*value);
            }
            Op::Read { key, values } => {
                let (whole, appended) = own.entry(*key).or_default();
                let fits = whole.as_ref().map_or_else(|| values.ends_with(appended), |whole| whole == values);
                if !fits {
                    let text = format!("T{at} reads {values:?} of list {key}, against its own earlier operations");
                    found.push(finding(Anomaly::Internal, text));
                }
                *whole = Some(values.clone());
            }
        }
    }
}

fn reads(history: &[Txn], known: &Known, (at, key, values): (usize, u64, &[u64]), found: &mut Vec<Finding>) {
    let distinct: BTreeSet<&u64> = values.iter().collect();
    if distinct.len() < values.len() {
        found.push(finding(Anomaly::Duplicate, format!("T{at} reads a value twice in list {key}: {values:?}")));
    }
    if !known.order.get(&key).is_some_and(|longest| longest.starts_with(values)) {
        let longest = known.order.get(&key).cloned().unwrap_or_default();
        let text = format!("T{at} reads {values:?} of list {key}, which another saw as {longest:?}");
        found.push(finding(Anomaly::IncompatibleOrder, text));
    }
    for value in values {
        match known.writer.get(&(key, *value)) {
            None => {
                let text = format!("T{at} reads {value} in list {key}, which nobody wrote");
                found.push(finding(Anomaly::Unwritten, text));
            }
            Some(writer) if history[*writer].outcome == Outcome::Failed => {
                let text = format!("T{at} reads {value} in list {key}, which T{writer} wrote and failed");
                found.push(finding(Anomaly::G1a, text));
            }
            Some(_) => {}
        }
    }
    // the last value read must be the last that its writer appended, unless the reader wrote it
    if let Some(last) = values.last()
        && let Some(writer) = known.writer.get(&(key, *last)).filter(|writer| **writer != at)
        && appends_of(&history[*writer], key).last() != Some(last)
    {
        let text = format!("T{at} reads list {key} in the middle of T{writer}");
        found.push(finding(Anomaly::G1b, text));
    }
}

/// What a transaction appended to a list, in order.
pub(super) fn appends_of(txn: &Txn, list: u64) -> Vec<u64> {
    let values = txn.ops.iter().filter_map(|op| match op {
        Op::Append { key, value } if *key == list => Some(*value),
        Op::Append { .. } | Op::Read { .. } => None,
    });
    values.collect()
}

/// Appends that were acknowledged, and that no read which began afterwards has, down to the last.
fn lost(history: &[Txn], found: &mut Vec<Finding>) {
    let mut reads: BTreeMap<u64, Vec<(usize, &[u64])>> = BTreeMap::new();
    for (at, txn) in history.iter().enumerate().filter(|(_, txn)| txn.outcome == Outcome::Ok) {
        for op in &txn.ops {
            if let Op::Read { key, values } = op {
                reads.entry(*key).or_default().push((at, values));
            }
        }
    }
    for (at, txn) in history.iter().enumerate().filter(|(_, txn)| txn.outcome == Outcome::Ok) {
        for op in &txn.ops {
            let Op::Append { key, value } = op else { continue };
            let later = reads.get(key).into_iter().flatten();
            let later: Vec<_> = later.filter(|(by, _)| txn.during.before(history[*by].during)).collect();
            let last = later.iter().max_by_key(|(by, _)| history[*by].during.from);
            if let Some((by, _)) = last
                && later.iter().all(|(_, values)| !values.contains(value))
            {
                let text =
                    format!("T{at} appended {value} to list {key}, and T{by}, which began later, does not see it");
                found.push(finding(Anomaly::Lost, text));
            }
        }
    }
}
