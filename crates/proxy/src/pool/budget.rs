//! How many connections a user may have to one server, all shards together. Taken when one is opened, given back when it
//! is closed; who finds it used up is told when one more may be opened.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// A limit that all shards share.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: AtomicUsize,
    used: AtomicUsize,
    starving: AtomicUsize,
    freed: Notify,
}

/// One connection of the budget.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Budget>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::AcqRel);
        self.0.freed.notify_one();
    }
}

/// Somebody waits for a connection that the budget does not allow.
#[derive(Debug)]
pub(crate) struct Starving(Arc<Budget>);

impl Drop for Starving {
    fn drop(&mut self) {
        self.0.starving.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: AtomicUsize::new(limit),
            used: AtomicUsize::new(0),
            starving: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    /// One more, if the limit allows it.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Permit> {
        let limit = self.limit.load(Ordering::Acquire);
        let more = |used| (used < limit).then_some(used + 1);
        let taken = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        taken.is_ok().then(|| Permit(Arc::clone(self)))
    }

    /// From now on so many. What is open beyond it is closed as it is given back.
    pub(crate) fn limit_to(&self, limit: usize) {
        self.limit.store(limit, Ordering::Release);
        self.freed.notify_waiters();
    }

    /// Whether no more may be opened, and so many connections, which are in use, are all that there are, or somebody waits in
    /// vain already. Those that another shard has may be free: that one gives them up when it is asked to.
    pub(crate) fn is_exhausted(&self, busy: usize) -> bool {
        let used = self.used.load(Ordering::Acquire);
        used >= self.limit.load(Ordering::Acquire) && (busy >= used || self.starving() > 0)
    }

    /// More are open than the limit allows now.
    pub(crate) fn is_over(&self) -> bool {
        self.used.load(Ordering::Acquire) > self.limit.load(Ordering::Acquire)
    }

    /// Says that somebody waits in vain, until it is dropped.
    pub(crate) fn starve(self: &Arc<Self>) -> Starving {
        self.starving.fetch_add(1, Ordering::AcqRel);
        Starving(Arc::clone(self))
    }

    /// How many do.
    pub(crate) fn starving(&self) -> usize {
        self.starving.load(Ordering::Acquire)
    }

    /// Waits until one was given back.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_limit() {
        let budget = Arc::new(Budget::new(2));
        let (one, two) = (budget.take(), budget.take());
        assert!(one.is_some() && two.is_some() && budget.take().is_none());
        assert!(budget.is_exhausted(2) && !budget.is_exhausted(1));
        let hungry = budget.starve();
        assert!(budget.is_exhausted(0), "another shard has both, and uses them");
        assert_eq!(budget.starving(), 1);
        drop((one, hungry));
        assert!(budget.starving() == 0 && !budget.is_exhausted(2) && budget.take().is_some());
    }
}
