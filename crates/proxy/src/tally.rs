//! One database as a shard knows it: whether it is paused, and what happened to its clients, as counts and lengths of time.
//! Sessions note without a lock and without an allocation; console and metrics copy. It decides nothing.

use std::cell::{Cell, RefCell};
use std::ops::{AddAssign, Sub};
use std::time::{Duration, Instant};
use tokio::time::Instant as Moment;

/// Upper bounds of the buckets that lengths of time are counted in, in microseconds; one more has no bound.
pub(crate) const BOUNDS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000, 30_000_000,
];

/// Over how long averages are taken.
const PERIOD: Duration = Duration::from_secs(60);

/// How long something took, many times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Spread {
    /// How many in each bucket.
    pub(crate) buckets: [u64; BOUNDS_US.len() + 1],
    /// All of them together, in microseconds.
    pub(crate) sum_us: u64,
}

impl Spread {
    /// One more.
    pub(crate) fn note(&mut self, length: Duration) {
        let us = u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
        let at = BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(BOUNDS_US.len());
        if let Some(bucket) = self.buckets.get_mut(at) {
            *bucket += 1;
        }
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl AddAssign for Spread {
    fn add_assign(&mut self, other: Self) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(ours, theirs)| *ours += theirs);
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }
}

impl Sub for Spread {
    type Output = Self;
    fn sub(mut self, other: Self) -> Self {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(ours, theirs)| *ours = ours.saturating_sub(theirs));
        self.sum_us = self.sum_us.saturating_sub(other.sum_us);
        self
    }
}

/// All that is counted of a database's clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    /// Bytes from clients.
    pub(crate) received: u64,
    /// Bytes from servers.
    pub(crate) sent: u64,
    /// From the first message to the server's being ready outside a transaction.
    pub(crate) transactions: Spread,
    /// From something sent to everything answered; a pipeline is one.
    pub(crate) queries: Spread,
    /// From the wish for a server to having one; without a wait it is none.
    pub(crate) waits: Spread,
    /// Of those, the ones that met a time without a leader that takes transactions.
    pub(crate) holds: Spread,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.sent += other.sent;
        self.transactions += other.transactions;
        self.queries += other.queries;
        self.waits += other.waits;
        self.holds += other.holds;
    }
}

impl Sub for Totals {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self {
            received: self.received.saturating_sub(other.received),
            sent: self.sent.saturating_sub(other.sent),
            transactions: self.transactions - other.transactions,
            queries: self.queries - other.queries,
            waits: self.waits - other.waits,
            holds: self.holds - other.holds,
        }
    }
}

/// What was counted in the last whole period, and how long that was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recent {
    pub(crate) totals: Totals,
    pub(crate) length: Duration,
}

/// One database.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) name: String,
    /// New transactions wait.
    pub(crate) paused: Cell<bool>,
    /// Connections from before this are closed once they are free.
    pub(crate) renewed: Cell<Moment>,
    pub(crate) totals: RefCell<Totals>,
    /// The totals when the period that runs began, and the last whole one.
    begun: Cell<(Instant, Totals)>,
    recent: Cell<Option<Recent>>,
}

impl Database {
    pub(crate) fn new(name: &str, paused: bool) -> Self {
        Self {
            name: name.to_owned(),
            paused: Cell::new(paused),
            renewed: Cell::new(Moment::now()),
            totals: RefCell::default(),
            begun: Cell::new((Instant::now(), Totals::default())),
            recent: Cell::new(None),
        }
    }

    /// Changes what is counted.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Totals)) {
        change(&mut self.totals.borrow_mut());
    }

    /// Ends a period that has lasted long enough.
    pub(crate) fn roll(&self, now: Instant) {
        let (since, before) = self.begun.get();
        let length = now.saturating_duration_since(since);
        if length >= PERIOD {
            let totals = *self.totals.borrow();
            self.recent.set(Some(Recent { totals: totals - before, length }));
            self.begun.set((now, totals));
        }
    }

    /// The last whole period; before there is one, all that was counted.
    pub(crate) fn recent(&self, now: Instant) -> Recent {
        let so_far = || {
            let (since, before) = self.begun.get();
            let length = now.saturating_duration_since(since).max(Duration::from_millis(1));
            Recent { totals: *self.totals.borrow() - before, length }
        };
        self.recent.get().unwrap_or_else(so_far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_counted_where_it_fits() {
        let mut spread = Spread::default();
        for us in [0, 100, 101, 30_000_000, 30_000_001] {
            spread.note(Duration::from_micros(us));
        }
        assert_eq!((spread.buckets[0], spread.buckets[1], spread.buckets[15], spread.buckets[16]), (2, 1, 1, 1));
        assert_eq!((spread.count(), spread.sum_us), (5, 60_000_202));
        let mut twice = spread;
        twice += spread;
        assert_eq!(twice - spread, spread);
    }

    #[test]
    fn averages_are_of_the_last_whole_period() {
        let (database, begun) = (Database::new("shop", false), Instant::now());
        database.note(|totals| totals.sent += 5);
        assert_eq!(database.recent(begun + Duration::from_secs(1)).totals.sent, 5, "so far");
        database.roll(begun + PERIOD * 2);
        database.note(|totals| totals.sent += 7);
        database.roll(begun + PERIOD * 2 + Duration::from_secs(1));
        assert_eq!(database.recent(begun + PERIOD * 3).totals.sent, 5);
        database.roll(begun + PERIOD * 4);
        let recent = database.recent(begun + PERIOD * 4);
        assert_eq!((recent.totals.sent, recent.length), (7, PERIOD * 2));
    }
}
