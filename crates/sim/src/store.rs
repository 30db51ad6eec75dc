//! A fake consensus store: linearizable compare-and-set on the record, the lease and the rest. The world adds latency and
//! unknown outcomes; each member applies changes in order, some time after they were made.

use dauphin_ha::{Rev, StoreResult, StoreTxn, StoreView};
use dauphin_model::{Mono, Span};

/// Copies kept at most.
const COPIES_MAX: usize = 10;

/// The store, and what people keep of it.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Stores {
    /// What it holds.
    pub(crate) now: Store,
    /// It has no majority until then.
    pub(crate) stands_until: Mono,
    /// It was restored from an old copy.
    pub(crate) restored: bool,
    copies: Vec<(Mono, Store)>,
}

impl Stores {
    /// A new store.
    pub(crate) fn new() -> Self {
        Self { now: Store::new(), stands_until: Mono(0), restored: false, copies: Vec::new() }
    }

    /// Keeps a copy.
    pub(crate) fn keep_copy(&mut self, now: Mono) {
        if self.copies.len() >= COPIES_MAX {
            self.copies.remove(0);
        }
        self.copies.push((now, self.now.clone()));
    }

    /// Goes back to the newest copy that is as old as that. Whether there was one, and it was never done before.
    pub(crate) fn restore(&mut self, now: Mono, age: Span) -> bool {
        let copy = self.copies.iter().rev().find(|(at, _)| now.since(*at) >= age);
        let Some((_, copy)) = copy.filter(|_| !self.restored) else { return false };
        self.now = copy.clone();
        self.restored = true;
        true
    }
}

/// The store's truth.
#[derive(Debug, Clone, Default, Hash)]
pub(crate) struct Store {
    /// What it holds. `lease_seen` is each observer's own and unused here.
    pub view: StoreView,
    rev: u64,
}

impl Store {
    /// A new store of a cluster.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self { view: StoreView { cluster_id: "sim".to_owned(), ..StoreView::default() }, rev: 0 }
    }

    /// One compare-and-set.
    pub(crate) fn commit(&mut self, txn: &StoreTxn) -> StoreResult {
        if txn.expect_leadership.is_some_and(|r| r != self.view.leadership_rev)
            || txn.expect_lease.is_some_and(|r| r != self.view.lease_rev)
        {
            return StoreResult::Conflict;
        }
        self.rev += 1;
        let rev = Rev(self.rev);
        if let Some(leadership) = &txn.leadership {
            self.view.leadership = Some(leadership.clone());
            self.view.leadership_rev = rev;
        }
        if let Some(lease) = txn.lease {
            self.view.lease = Some(lease);
            self.view.lease_rev = rev;
        }
        if let Some(past) = &txn.past {
            self.view.past.push(past.wrote());
        }
        if let Some(intent) = &txn.intent {
            self.view.intent.clone_from(intent);
        }
        if let Some(paused) = txn.paused {
            self.view.paused = paused;
        }
        StoreResult::Committed(rev)
    }

    /// What a member sees that applies the store's state at `now`, and saw `before`.
    #[must_use]
    pub(crate) fn seen(&self, before: &StoreView, now: Mono) -> StoreView {
        let moved = before.lease_rev != self.view.lease_rev;
        StoreView { lease_seen: if moved { now } else { before.lease_seen }, ..self.view.clone() }
    }
}
