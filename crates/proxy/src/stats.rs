//! Counters of what happened to clients. Sessions count; the service logs them at each change of leader.

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};

/// A counter or gauge.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One more while it lives.
#[derive(Debug)]
pub(crate) struct Gauge<'a>(&'a Count);

impl<'a> Gauge<'a> {
    pub(crate) fn new(count: &'a Count) -> Self {
        count.add();
        Self(count)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.sub();
    }
}

/// Live counters.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) clients: Count,
    pub(crate) logging_in: Count,
    pub(crate) held: Count,
    pub(crate) former: Count,
    pub(crate) logins: Count,
    pub(crate) refused: Count,
    pub(crate) reattached: Count,
    pub(crate) cut_pinned: Count,
    pub(crate) cut_busy: Count,
    pub(crate) unknown: Count,
    pub(crate) resolved: Count,
    pub(crate) cancelled_waits: Count,
    pub(crate) waited_too_long: Count,
    pub(crate) cancels: Count,
    pub(crate) reads: Count,
    pub(crate) reads_again: Count,
    pub(crate) reads_behind: Count,
}

/// Counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Snapshot {
    /// Clients connected now.
    pub clients: u64,
    /// Clients that log in now.
    pub logging_in: u64,
    /// Clients that wait for a server now.
    pub held: u64,
    /// Clients that processes before this one still have.
    pub former: u64,
    /// Logins that succeeded.
    pub logins: u64,
    /// Logins refused.
    pub refused: u64,
    /// Sessions that went on with another server.
    pub reattached: u64,
    /// Sessions ended at a change of leader because they could not move.
    pub cut_pinned: u64,
    /// Sessions ended in the middle of a statement or transaction.
    pub cut_busy: u64,
    /// Of those and others: statements whose outcome nobody can tell.
    pub unknown: u64,
    /// Commits whose answer was lost with the leader, and of which the next one knew what had become.
    pub resolved: u64,
    /// Commits whose wait for replicas was cancelled, reported as unknown.
    pub cancelled_waits: u64,
    /// Clients that waited for a server longer than the limit.
    pub waited_too_long: u64,
    /// Cancel requests forwarded.
    pub cancels: u64,
    /// Rounds that only read, of sessions that also write, which a replica answered.
    pub reads: u64,
    /// Of those that were sent to one: it refused or lost them, and the leader served them.
    pub reads_again: u64,
    /// Such rounds that the leader served, as no replica was fresh enough in time.
    pub reads_behind: u64,
}

impl Stats {
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            clients: self.clients.get(),
            logging_in: self.logging_in.get(),
            held: self.held.get(),
            former: self.former.get(),
            logins: self.logins.get(),
            refused: self.refused.get(),
            reattached: self.reattached.get(),
            cut_pinned: self.cut_pinned.get(),
            cut_busy: self.cut_busy.get(),
            unknown: self.unknown.get(),
            resolved: self.resolved.get(),
            cancelled_waits: self.cancelled_waits.get(),
            waited_too_long: self.waited_too_long.get(),
            cancels: self.cancels.get(),
            reads: self.reads.get(),
            reads_again: self.reads_again.get(),
            reads_behind: self.reads_behind.get(),
        }
    }
}
