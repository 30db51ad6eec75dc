//! How fresh what a session reads must be. The configuration and sessions choose it; the proxy keeps it.

use crate::time::Span;
use std::fmt;
use std::str::FromStr;

/// Most milliseconds that `bounded(…)` takes: an hour.
const BOUND_MS_MAX: u64 = 3_600_000;

/// From where a session that writes may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ReadLevel {
    /// From the leader, once its replicas have confirmed that it still was the leader when it had answered.
    Strict,
    /// From the leader only.
    #[default]
    Leader,
    /// From any replica that has what the session itself has written.
    Session,
    /// The same, and never something older than what it has read.
    Monotonic,
    /// From any replica that has all that was committed so long ago.
    Bounded(Span),
    /// From any replica that is not further behind than the configuration allows.
    Any,
}

impl ReadLevel {
    /// Whether replicas may answer.
    #[must_use]
    pub fn is_routed(self) -> bool {
        !matches!(self, Self::Strict | Self::Leader)
    }

    /// What may be written.
    pub const FORMS: &'static str = "strict, leader, session, monotonic, bounded(MILLISECONDS) or any";
}

impl fmt::Display for ReadLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strict => f.pad("strict"),
            Self::Leader => f.pad("leader"),
            Self::Session => f.pad("session"),
            Self::Monotonic => f.pad("monotonic"),
            Self::Bounded(span) => write!(f, "bounded({})", span.0 / 1_000),
            Self::Any => f.pad("any"),
        }
    }
}

impl FromStr for ReadLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word = text.trim().to_ascii_lowercase();
        let bound = word.strip_prefix("bounded").and_then(|rest| rest.trim().strip_prefix('(')?.strip_suffix(')'));
        match word.as_str() {
            "strict" => Ok(Self::Strict),
            "leader" => Ok(Self::Leader),
            "session" => Ok(Self::Session),
            "monotonic" => Ok(Self::Monotonic),
            "any" => Ok(Self::Any),
            _ => {
                let ms = bound.and_then(|ms| ms.trim().parse().ok()).filter(|ms| (1..=BOUND_MS_MAX).contains(ms));
                let wrong = || format!("{text:?} is no read level; allowed: {}", Self::FORMS);
                ms.map(|ms| Self::Bounded(Span::ms(ms))).ok_or_else(wrong)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read() {
        let bounded = ReadLevel::Bounded(Span::ms(250));
        for level in
            [ReadLevel::Strict, ReadLevel::Leader, ReadLevel::Session, ReadLevel::Monotonic, bounded, ReadLevel::Any]
        {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        assert_eq!(" Bounded ( 250 ) ".parse(), Ok(bounded));
        for text in ["", "stricter", "bounded", "bounded()", "bounded(0)", "bounded(3600001)", "bounded(-1)", "replica"]
        {
            let error = text.parse::<ReadLevel>().expect_err(text);
            assert!(error.contains("leader"), "{error}");
        }
    }
}
