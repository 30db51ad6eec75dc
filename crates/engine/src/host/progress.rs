//! How far a copy has come: whoever copies counts, whoever shows it reads, both at once.
//! It knows nothing of what is copied.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// How far a copy has come. Shared with whoever shows it.
#[derive(Debug)]
pub struct Progress {
    begun: Instant,
    done: AtomicU64,
    total: AtomicU64,
}

impl Default for Progress {
    fn default() -> Self {
        Self { begun: Instant::now(), done: AtomicU64::new(0), total: AtomicU64::new(0) }
    }
}

impl Progress {
    /// Bytes copied.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Bytes there are to copy, as the source estimates; 0 while unknown.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Bytes a second since the beginning.
    #[must_use]
    pub fn rate(&self) -> u64 {
        let ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        self.done().saturating_mul(1_000) / ms
    }

    /// So many bytes are copied, of so many.
    pub(crate) fn set(&self, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// So many bytes more are copied.
    pub(crate) fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }
}
