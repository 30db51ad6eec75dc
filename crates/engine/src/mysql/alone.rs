//! Commits that came through without the acknowledgements that they were to wait for: somebody ended their wait, or the server fell
//! back. The server counts them; here is how many of them there were since it was last told what to wait for.

use crate::mysql::Mysql;
use std::sync::atomic::{AtomicU64, Ordering};

/// The server's count, when it was told what to wait for, and at the last look.
#[derive(Debug, Default)]
pub(crate) struct Alone {
    begun: AtomicU64,
    seen: AtomicU64,
}

impl Alone {
    /// Commits wait as they should from here on.
    pub(crate) fn begin(&self, count: u64) {
        self.begun.store(count, Ordering::Release);
        self.seen.store(count, Ordering::Release);
    }

    /// A look found this count.
    pub(crate) fn see(&self, count: u64) {
        self.seen.store(count, Ordering::Release);
    }

    /// The server counts anew after a start.
    pub(crate) fn forget(&self) {
        self.begin(0);
    }
}

impl Mysql {
    /// How many commits came through alone since [`Mysql::set_sync`], as of the last look. It says something only where commits
    /// are to wait.
    #[must_use]
    pub fn alone(&self) -> u64 {
        self.alone.seen.load(Ordering::Acquire).saturating_sub(self.alone.begun.load(Ordering::Acquire))
    }
}
