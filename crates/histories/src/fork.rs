//! Long fork: two readers see two independent writes in opposite orders. Each key is written once; a read looks at several.
//! Snapshot isolation forbids it, parallel snapshot isolation (replicas) allows it.

use std::collections::BTreeMap;

/// A read of some keys in one transaction: whether each was written already.
pub type Seen = BTreeMap<u64, bool>;

/// Two reads that no order of the writes explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fork {
    /// The two reads.
    pub reads: (usize, usize),
    /// A key that only the first saw, and one that only the second saw.
    pub keys: (u64, u64),
}

/// Every pair of reads that disagrees.
#[must_use]
pub fn check(reads: &[Seen]) -> Vec<Fork> {
    let mut found = Vec::new();
    for (a, first) in reads.iter().enumerate() {
        for (b, second) in reads.iter().enumerate().skip(a + 1) {
            let only = |one: &Seen, other: &Seen| {
                one.iter().find(|(key, seen)| **seen && other.get(key) == Some(&false)).map(|(key, _)| *key)
            };
            if let (Some(x), Some(y)) = (only(first, second), only(second, first)) {
                found.push(Fork { reads: (a, b), keys: (x, y) });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opposite_orders_are_seen_and_lagging_is_not_one() {
        let read = |x, y| Seen::from([(1, x), (2, y)]);
        assert_eq!(check(&[read(false, false), read(true, false), read(true, true)]), []);
        assert_eq!(check(&[read(true, false), read(false, true)]), [Fork { reads: (0, 1), keys: (1, 2) }]);
        assert_eq!(check(&[Seen::from([(1, true)]), Seen::from([(2, true)])]), [], "nothing in common");
    }
}
