//! How many lines may be written to the log about clients' statements: a bounded number each second, and those left out are counted.
//! Sessions ask before they write one. It writes nothing itself.

use std::time::{Duration, Instant};

/// Most lines in each second.
const LINES_MAX: u32 = 10;
const SECOND: Duration = Duration::from_secs(1);

/// What is left of a second's lines.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    since: Option<Instant>,
    used: u32,
    left_out: u64,
}

impl Allowance {
    /// Whether a line may be written, and how many were left out since the last one.
    pub(crate) fn ask(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= SECOND) {
            (self.since, self.used) = (Some(now), 0);
        }
        if self.used >= LINES_MAX {
            self.left_out += 1;
            return None;
        }
        self.used += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_so_many_each_second_and_the_rest_is_counted() {
        let (mut allowance, now) = (Allowance::default(), Instant::now());
        let asked: Vec<_> = (0..13).map(|_| allowance.ask(now)).collect();
        assert_eq!(asked.iter().flatten().count(), 10);
        assert_eq!(allowance.ask(now + SECOND / 2), None);
        assert_eq!(allowance.ask(now + SECOND), Some(4));
        assert_eq!(allowance.ask(now + SECOND), Some(0));
    }
}
