//! Sessions over counters that one writer each makes grow: nobody reads backwards, and everybody reads their own writes.
//! Terry and others, "Session guarantees for weakly consistent replicated data", 1994.

use crate::Outcome;
use std::collections::BTreeMap;

/// One step of a session; a session's steps are in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Whose.
    pub session: u32,
    /// Which counter.
    pub key: u64,
    /// What was written, or read; values of a key only grow.
    pub value: u64,
    /// It wrote.
    pub wrote: bool,
    /// What came of it.
    pub outcome: Outcome,
}

/// What a session saw that it must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// It had read a later value before.
    Backwards {
        /// Which step.
        step: usize,
        /// What it had seen.
        had: u64,
    },
    /// It had written a later value before.
    OwnWriteMissing {
        /// Which step.
        step: usize,
        /// What it had written.
        wrote: u64,
    },
}

/// Checks sessions.
#[must_use]
pub fn check(steps: &[Step]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut seen: BTreeMap<(u32, u64), u64> = BTreeMap::new();
    let mut written: BTreeMap<(u32, u64), u64> = BTreeMap::new();
    for (at, step) in steps.iter().enumerate().filter(|(_, step)| step.outcome == Outcome::Ok) {
        let place = (step.session, step.key);
        if step.wrote {
            let wrote = written.entry(place).or_default();
            *wrote = (*wrote).max(step.value);
            continue;
        }
        let had = seen.entry(place).or_default();
        if step.value < *had {
            found.push(Finding::Backwards { step: at, had: *had });
        }
        *had = (*had).max(step.value);
        if let Some(wrote) = written.get(&place).filter(|wrote| step.value < **wrote) {
            found.push(Finding::OwnWriteMissing { step: at, wrote: *wrote });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(session: u32, wrote: bool, value: u64, outcome: Outcome) -> Step {
        Step { session, key: 7, value, wrote, outcome }
    }

    #[test]
    fn reading_backwards_and_missing_ones_own_write_are_seen() {
        let (read, write) = (|s, v| step(s, false, v, Outcome::Ok), |s, v| step(s, true, v, Outcome::Ok));
        assert_eq!(check(&[write(1, 1), read(1, 1), read(2, 0), write(1, 2), read(1, 2), read(2, 1)]), []);
        assert_eq!(check(&[read(1, 2), read(1, 1)]), [Finding::Backwards { step: 1, had: 2 }]);
        assert_eq!(check(&[write(1, 3), read(1, 2)]), [Finding::OwnWriteMissing { step: 1, wrote: 3 }]);
        assert_eq!(check(&[step(1, true, 3, Outcome::Unknown), read(1, 2)]), [], "it may not have been done");
    }
}
