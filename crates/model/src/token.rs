//! A position in the log that one session hands to another: "read nothing older than this". The proxy gives it out and
//! keeps to it; clients only carry it. It says nothing of what became of the log after a failover: the route does.

use crate::name::{Term, Timeline};
use crate::position::Lsn;
use crate::route::Fence;
use std::fmt;
use std::str::FromStr;

/// Digits of a timeline, as file names of the log have it.
const TIMELINE_DIGITS: usize = 8;

/// What was committed up to here, written as `TIMELINE/X/Y` in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CommitToken {
    /// The timeline that the leader wrote.
    pub timeline: Timeline,
    /// How far.
    pub lsn: Lsn,
}

/// What became of a token's part of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// The leader's log holds all of it.
    Kept,
    /// The log of that timeline ended before it: what was committed last before it may be lost.
    Beyond {
        /// Where it ended.
        end: Lsn,
    },
    /// That timeline is none of the last leaders', or how this one began is not known yet.
    Unknown,
}

impl CommitToken {
    /// How it stands to the log of the leader of this term, by the last leaderships.
    #[must_use]
    pub fn standing(&self, term: Term, fences: &[Fence]) -> Standing {
        let Some(last) = fences.last().filter(|last| last.term == term) else { return Standing::Unknown };
        if last.timeline == self.timeline {
            return Standing::Kept;
        }
        let left = fences.iter().filter(|fence| fence.from == self.timeline && fence.timeline != self.timeline);
        match left.map(|fence| fence.begins).min() {
            Some(end) if self.lsn > end => Standing::Beyond { end },
            Some(_) => Standing::Kept,
            None => Standing::Unknown,
        }
    }
}

impl fmt::Display for CommitToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}/{}", self.timeline.0, self.lsn)
    }
}

impl FromStr for CommitToken {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (timeline, lsn) = text.trim().split_once('/')?;
            let digits = timeline.len() == TIMELINE_DIGITS && timeline.bytes().all(|b| b.is_ascii_hexdigit());
            let timeline = u32::from_str_radix(timeline, 16).ok().filter(|number| digits && *number > 0)?;
            Some(Self { timeline: Timeline(timeline), lsn: lsn.parse().ok()? })
        };
        read().ok_or_else(|| {
            format!("{text:?} is no token; it is what SHOW dauphin.commit_token gave, such as 00000001/0/16B3740")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(timeline: u32, lsn: u64) -> CommitToken {
        CommitToken { timeline: Timeline(timeline), lsn: Lsn(lsn) }
    }

    #[test]
    fn what_is_shown_is_read() {
        for given in [token(1, 0x16B_3740), token(0xAB, 0x12_3456_789A)] {
            assert_eq!(given.to_string().parse(), Ok(given));
        }
        assert_eq!(token(1, 0x16B_3740).to_string(), "00000001/0/16B3740");
        for text in
            ["", "1/0/0", "00000000/0/0", "00000001", "00000001/0", "0000000g/0/0", "00000001/0/0/0", "+0000001/0/0"]
        {
            let error = text.parse::<CommitToken>().expect_err(text);
            assert!(error.contains("SHOW dauphin.commit_token"), "{error}");
        }
    }

    #[test]
    fn a_token_stands_as_the_log_went_on() {
        let fence = |term, timeline, from, begins| Fence {
            term: Term(term),
            next_xid: 0,
            timeline: Timeline(timeline),
            from: Timeline(from),
            begins: Lsn(begins),
        };
        // The second leader went on without a promotion; the third was promoted at 100, the fourth at 300.
        let fences = [fence(1, 1, 1, 0), fence(2, 1, 1, 0), fence(3, 2, 1, 100), fence(5, 4, 2, 300)];
        for (given, standing) in [
            (token(4, 400), Standing::Kept),
            (token(1, 100), Standing::Kept),
            (token(1, 101), Standing::Beyond { end: Lsn(100) }),
            (token(2, 300), Standing::Kept),
            (token(2, 301), Standing::Beyond { end: Lsn(300) }),
            (token(3, 200), Standing::Unknown),
        ] {
            assert_eq!(given.standing(Term(5), &fences), standing, "{given}");
            assert_eq!(given.standing(Term(6), &fences), Standing::Unknown, "how term 6 began is not known yet");
        }
        assert_eq!(token(1, 1).standing(Term(5), &[]), Standing::Unknown);
    }
}
