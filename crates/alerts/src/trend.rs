//! How a quantity that a machine measures has changed, and what follows if it goes on like that. The agent notes what it
//! measures; the rules ask. It believes in no future that is long beside the past that it has seen.

use dauphin_model::{Mono, Span};
use std::collections::VecDeque;

/// How much of the past counts.
const OVER: Span = Span::ms(3_600_000);
/// Before that much of it is there, nothing is said.
const FROM: Span = Span::ms(300_000);
/// How often it is noted; what is measured more often is not.
const NOTED_EVERY: Span = Span::ms(10_000);
/// For how many times as long as it was watched a change is believed to go on.
const FORESIGHT: u64 = 24;

/// A quantity over the last while.
#[derive(Debug, Clone, Default)]
pub struct Trend {
    seen: VecDeque<(Mono, u64)>,
}

impl Trend {
    /// Notes what was measured.
    pub fn note(&mut self, now: Mono, value: u64) {
        while self.seen.front().is_some_and(|(at, _)| now.since(*at) > OVER) {
            self.seen.pop_front();
        }
        if self.seen.back().is_none_or(|(at, _)| now.since(*at) >= NOTED_EVERY) {
            self.seen.push_back((now, value));
        }
    }

    /// From the first to the last: for how long it was watched, and by how much it grew.
    fn change(&self) -> Option<(Span, i128)> {
        let ((from, before), (to, after)) = (self.seen.front()?, self.seen.back()?);
        let watched = Some(to.since(*from)).filter(|watched| *watched >= FROM)?;
        Some((watched, i128::from(*after) - i128::from(*before)))
    }

    /// By how much it grows in an hour; below 0 it shrinks. `None`: not watched for long enough.
    #[must_use]
    pub fn per_hour(&self) -> Option<i64> {
        let (watched, grew) = self.change()?;
        i64::try_from(grew * 3_600_000 / i128::from(watched.as_ms())).ok()
    }

    /// How soon nothing of it is left. `None`: it does not shrink, or that is further ahead than anybody can tell.
    #[must_use]
    pub fn gone_in(&self) -> Option<Span> {
        let (watched, grew) = self.change()?;
        let (_, left) = self.seen.back()?;
        let shrank = Some(-grew).filter(|shrank| *shrank > 0)?;
        let ms = i128::from(*left) * i128::from(watched.as_ms()) / shrank;
        let gone = Span::ms(u64::try_from(ms).ok()?);
        (gone <= watched.times(FORESIGHT)).then_some(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Watched for so many seconds, one look each, from that value, changing by that much with each: how soon it is gone.
    fn gone_in(seconds: u64, from: u64, by: i64) -> Option<u64> {
        let mut trend = Trend::default();
        for second in 0..=seconds {
            let value = from.saturating_add_signed(by * i64::try_from(second).unwrap_or(0));
            trend.note(Mono(1_000_000) + Span::ms(second * 1_000), value);
        }
        assert!(trend.seen.len() <= 362, "{}", trend.seen.len());
        trend.gone_in().map(|span| span.as_ms() / 1_000)
    }

    #[test]
    fn what_shrinks_is_gone_some_day_if_that_can_be_foreseen() {
        assert_eq!(gone_in(600, 100_000, -10), Some(9_400));
        assert_eq!(gone_in(200, 100_000, -10), None, "not watched for long enough");
        assert_eq!(gone_in(600, 100_000, 0), None, "it does not shrink");
        assert_eq!(gone_in(600, 100_000, 10), None);
        assert_eq!(gone_in(600, 1_000_000, -10), None, "ten minutes say nothing of the day after tomorrow");
        assert_eq!(gone_in(7_200, 900_000, -10), Some(82_800), "an hour tells of a day");
        assert_eq!(gone_in(600, 6_000, -10), Some(0), "it is gone");
    }

    #[test]
    fn a_burst_is_measured_by_the_hour_around_it() {
        let mut trend = Trend::default();
        for second in 0..3_600_u64 {
            let left = if second < 3_500 { 10_000_000 } else { 10_000_000 - (second - 3_500) * 1_000 };
            trend.note(Mono(1_000_000) + Span::ms(second * 1_000), left);
        }
        assert_eq!(trend.per_hour().map(|n| n / 1_000), Some(-90));
        assert_eq!(trend.gone_in(), None, "it would take days");
    }
}
