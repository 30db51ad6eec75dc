//! Stands in for the crate of this name, for openraft only: it keeps run-time statistics that nothing here reads, and the
//! real crate fills 27 MB of tables for them, more than the rest of an agent. This one counts, and knows no percentiles.
#![forbid(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;

/// Counts what was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    samples: u64,
    of: PhantomData<T>,
}

impl<T> Histogram<T> {
    /// Nothing recorded yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { samples: 0, of: PhantomData }
    }

    /// Counts one value.
    pub fn record(&mut self, _value: u64) {
        self.record_n(0, 1);
    }

    /// Counts `count` values.
    pub fn record_n(&mut self, _value: u64, count: u64) {
        self.samples = self.samples.saturating_add(count);
    }

    /// How many values were recorded.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.samples
    }

    /// The count; every percentile is 0.
    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats { samples: self.samples, ..PercentileStats::default() }
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// What [`Histogram::percentile_stats`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PercentileStats {
    /// Number of samples.
    pub samples: u64,
    /// Not known: 0.
    pub p0_1: u64,
    /// Not known: 0.
    pub p1: u64,
    /// Not known: 0.
    pub p5: u64,
    /// Not known: 0.
    pub p10: u64,
    /// Not known: 0.
    pub p50: u64,
    /// Not known: 0.
    pub p90: u64,
    /// Not known: 0.
    pub p99: u64,
    /// Not known: 0.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[samples: {}]", self.samples)
    }
}

/// Draws nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct AsciiChart(());

impl AsciiChart {
    /// An empty chart.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }

    /// Leaves it empty.
    #[must_use]
    pub fn add(self, _name: &str, _histogram: Histogram) -> Self {
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not kept)")
    }
}
