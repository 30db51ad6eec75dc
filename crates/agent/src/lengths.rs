//! How long something took, many times, as counts in buckets: what a histogram of the metrics is made of. Whoever measures notes;
//! the metrics copy.

use std::time::Duration;

/// Upper bounds of the buckets, in microseconds; one more has no bound.
pub(crate) const BOUNDS_US: [u64; 14] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000,
];

/// Lengths of time, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lengths {
    buckets: [u64; BOUNDS_US.len() + 1],
    sum_us: u64,
}

impl Lengths {
    /// One more.
    pub(crate) fn note(&mut self, length: Duration) {
        let us = u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
        let at = BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(BOUNDS_US.len());
        if let Some(bucket) = self.buckets.get_mut(at) {
            *bucket = bucket.saturating_add(1);
        }
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// How many took no longer than each bound, the last without one; then how long all took together, in seconds.
    pub(crate) fn told(&self) -> (Vec<(String, u64)>, f64) {
        let bounds = BOUNDS_US.iter().map(|us| (*us as f64 / 1e6).to_string()).chain(["+Inf".to_owned()]);
        let mut so_far = 0_u64;
        let counted = bounds.zip(self.buckets).map(|(bound, count)| {
            so_far = so_far.saturating_add(count);
            (bound, so_far)
        });
        (counted.collect(), self.sum_us as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_from_bucket_to_bucket() {
        let mut lengths = Lengths::default();
        for ms in [1, 2, 3, 60_000] {
            lengths.note(Duration::from_millis(ms));
        }
        let (told, sum) = lengths.told();
        assert_eq!(told.first(), Some(&("0.001".to_owned(), 1)));
        assert_eq!(told.get(1), Some(&("0.0025".to_owned(), 2)));
        assert_eq!(told.last(), Some(&("+Inf".to_owned(), 4)));
        assert!((sum - 60.006).abs() < 1e-9, "{sum}");
    }
}
