//! Unique inserts into a set: what was acknowledged stays, and nothing appears that nobody wrote.
//! After Jepsen's `set-full`.

use crate::{During, Outcome};
use std::collections::{BTreeMap, BTreeSet};

/// An insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Add {
    /// The value; each is written once.
    pub value: u64,
    /// When.
    pub during: During,
    /// What came of it.
    pub outcome: Outcome,
}

/// A read of the whole set that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// What it saw.
    pub values: BTreeSet<u64>,
    /// When.
    pub during: During,
    /// It may lag behind: what it lacks is not held against it.
    pub may_lag: bool,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Acknowledged, and in none of the last reads.
    pub lost: Vec<u64>,
    /// Seen, and never written, or certainly not.
    pub unexpected: Vec<u64>,
    /// Acknowledged, absent from a read that began later and may not lag, and seen again afterwards.
    pub stale: Vec<u64>,
    /// Of unknown outcome, and there.
    pub recovered: Vec<u64>,
    /// Acknowledged, and no read began afterwards: nothing can be said.
    pub unread: Vec<u64>,
}

impl Findings {
    /// Whether the promise was kept.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.lost.is_empty() && self.unexpected.is_empty() && self.stale.is_empty()
    }
}

/// Checks a history.
#[must_use]
pub fn check(adds: &[Add], reads: &[Read]) -> Findings {
    let written: BTreeMap<u64, &Add> = adds.iter().map(|add| (add.value, add)).collect();
    let mut found = Findings::default();
    let seen: BTreeSet<u64> = reads.iter().flat_map(|read| &read.values).copied().collect();
    for value in &seen {
        match written.get(value).map(|add| add.outcome) {
            None | Some(Outcome::Failed) => found.unexpected.push(*value),
            Some(Outcome::Unknown) => found.recovered.push(*value),
            Some(Outcome::Ok) => {}
        }
    }
    let firm: Vec<&Read> = reads.iter().filter(|read| !read.may_lag).collect();
    for add in adds.iter().filter(|add| add.outcome == Outcome::Ok) {
        let later = || firm.iter().filter(|read| add.during.before(read.during));
        let Some(last) = later().max_by_key(|read| read.during.from) else {
            found.unread.push(add.value);
            continue;
        };
        if !last.values.contains(&add.value) {
            found.lost.push(add.value);
        } else if later().any(|read| !read.values.contains(&add.value)) {
            found.stale.push(add.value);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(value: u64, from: u64, to: u64, outcome: Outcome) -> Add {
        Add { value, during: During { from, to }, outcome }
    }

    fn read(values: &[u64], from: u64, may_lag: bool) -> Read {
        Read { values: values.iter().copied().collect(), during: During { from, to: from + 1 }, may_lag }
    }

    #[test]
    fn what_was_acknowledged_stays_and_nothing_else_appears() {
        let adds = [
            add(1, 0, 1, Outcome::Ok),
            add(2, 0, 1, Outcome::Unknown),
            add(3, 0, 1, Outcome::Failed),
            add(4, 0, 1, Outcome::Unknown),
            add(5, 20, 21, Outcome::Ok),
        ];
        let good = check(&adds, &[read(&[], 1, false), read(&[1, 2], 10, false), read(&[], 11, true)]);
        assert!(good.is_well(), "{good:?}");
        assert_eq!((good.recovered, good.unread), (vec![2], vec![5]));
    }

    #[test]
    fn each_fault_is_told_by_its_name() {
        let adds = [add(1, 0, 1, Outcome::Ok), add(2, 0, 1, Outcome::Ok), add(3, 0, 1, Outcome::Failed)];
        let found = check(&adds, &[read(&[1, 2], 5, false), read(&[1], 10, false)]);
        assert_eq!(found.lost, [2], "acknowledged, seen, and gone");
        let found = check(&adds, &[read(&[1], 5, false), read(&[1, 2], 10, false)]);
        assert_eq!(found.stale, [2], "absent for a while");
        let found = check(&adds, &[read(&[1, 2, 3, 9], 5, false)]);
        assert_eq!(found.unexpected, [3, 9], "one failed, one was never written");
    }
}
