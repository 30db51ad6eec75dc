//! Sets of transaction numbers as runs: sorted, apart from each other, never adjacent. GTID sets are made of them.
//! Every operation takes time by the number of runs, never by the numbers in them.

use std::fmt;

/// The largest transaction number that MySQL gives.
pub const NUMBER_MAX: u64 = (1 << 63) - 2;

/// A run of transaction numbers, both ends in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    first: u64,
    last: u64,
}

impl Interval {
    /// A run; `None` unless 1 <= first <= last <= [`NUMBER_MAX`].
    #[must_use]
    pub const fn new(first: u64, last: u64) -> Option<Self> {
        if first >= 1 && first <= last && last <= NUMBER_MAX { Some(Self { first, last }) } else { None }
    }

    /// Its first number.
    #[must_use]
    pub const fn first(self) -> u64 {
        self.first
    }

    /// Its last number.
    #[must_use]
    pub const fn last(self) -> u64 {
        self.last
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// A set of transaction numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Intervals(Vec<Interval>);

impl Intervals {
    /// The set of one run.
    #[must_use]
    pub fn of(run: Interval) -> Self {
        Self(vec![run])
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its runs, in order.
    #[must_use]
    pub fn runs(&self) -> &[Interval] {
        &self.0
    }

    /// How many numbers it holds.
    #[must_use]
    pub fn count(&self) -> u64 {
        // runs are apart and end at NUMBER_MAX: the sum fits
        self.0.iter().map(|run| run.last - run.first + 1).sum()
    }

    /// Whether it holds this number.
    #[must_use]
    pub fn has(&self, number: u64) -> bool {
        let after = self.0.partition_point(|run| run.first <= number);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|run| number <= run.last)
    }

    /// The numbers of either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.0.iter().chain(&other.0).copied().collect()
    }

    /// The numbers of both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let mut found = Vec::new();
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some(a), Some(b)) = (ours.peek(), theirs.peek()) {
            found.extend(Interval::new(a.first.max(b.first), a.last.min(b.last)));
            if a.last < b.last {
                ours.next();
            } else {
                theirs.next();
            }
        }
        Self(found)
    }

    /// The numbers of this one that `other` does not hold.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut theirs = other.0.iter().peekable();
        for run in &self.0 {
            let mut first = run.first;
            while theirs.next_if(|cut| cut.last < first).is_some() {}
            // a cut that reaches past this run is looked at again for the next one
            while let Some(cut) = theirs.peek().filter(|cut| cut.first <= run.last) {
                left.extend(Interval::new(first, cut.first.saturating_sub(1)));
                first = cut.last + 1;
                if cut.last > run.last {
                    break;
                }
                theirs.next();
            }
            left.extend(Interval::new(first, run.last));
        }
        Self(left)
    }

    /// Whether it holds every number of `other`.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        let mut ours = self.0.iter().peekable();
        other.0.iter().all(|run| {
            while ours.next_if(|own| own.last < run.first).is_some() {}
            ours.peek().is_some_and(|own| own.first <= run.first && run.last <= own.last)
        })
    }
}

impl FromIterator<Interval> for Intervals {
    /// Runs in any order, overlapping or not.
    fn from_iter<I: IntoIterator<Item = Interval>>(runs: I) -> Self {
        let mut sorted: Vec<Interval> = runs.into_iter().collect();
        sorted.sort_unstable();
        let mut joined: Vec<Interval> = Vec::with_capacity(sorted.len());
        for run in sorted {
            match joined.last_mut() {
                Some(before) if run.first <= before.last + 1 => before.last = before.last.max(run.last),
                _ => joined.push(run),
            }
        }
        Self(joined)
    }
}

impl fmt::Display for Intervals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, run) in self.0.iter().enumerate() {
            let colon = if n == 0 { "" } else { ":" };
            write!(f, "{colon}{run}")?;
        }
        Ok(())
    }
}
