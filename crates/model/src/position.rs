//! How far a member's log reaches. Positions are partially ordered: a longer log on a dead branch is not better.
//! The elections and rejoin compare them; this module never decides what to do about it.

use crate::name::Timeline;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A byte position in PostgreSQL's write-ahead log, written `X/Y` in hexadecimal halves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

/// Why a text is not an LSN.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BadLsn {
    /// The text as given.
    pub given: String,
}

impl fmt::Display for BadLsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a log position: two hexadecimal numbers of at most 8 digits, as in 0/5000060",
            self.given
        )
    }
}

impl std::error::Error for BadLsn {}

impl FromStr for Lsn {
    type Err = BadLsn;
    fn from_str(text: &str) -> Result<Self, BadLsn> {
        let half = |part: &str| {
            let fits = !part.is_empty() && part.len() <= 8 && part.bytes().all(|b| b.is_ascii_hexdigit());
            fits.then(|| u64::from_str_radix(part, 16).ok()).flatten()
        };
        text.split_once('/')
            .and_then(|(high, low)| Some(Self(half(high)? << 32 | half(low)?)))
            .ok_or_else(|| BadLsn { given: text.chars().take(40).collect() })
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl Serialize for Lsn {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { s.collect_str(self) } else { s.serialize_u64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Lsn {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
        } else {
            u64::deserialize(d).map(Self)
        }
    }
}

/// A timeline that a history has left, and where it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Branch {
    /// The timeline left.
    pub timeline: Timeline,
    /// The first byte that is no longer of it.
    pub end: Lsn,
}

/// How far a log reaches: the branches it came by, the timeline it is on, and the first byte it does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Timelines left behind, oldest first (PostgreSQL's history file).
    pub history: Vec<Branch>,
    /// The timeline of the last record.
    pub timeline: Timeline,
    /// End of the log that is safely on disk.
    pub lsn: Lsn,
}

/// How one position stands to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// The same log.
    Equal,
    /// Ours is a true prefix of theirs.
    Behind,
    /// Theirs is a true prefix of ours.
    Ahead,
    /// Both hold records that the other does not; they agree up to here.
    Diverged {
        /// The first byte on which they differ.
        at: Lsn,
    },
}

impl Position {
    /// A log that never left its first timeline.
    #[must_use]
    pub fn new(timeline: Timeline, lsn: Lsn) -> Self {
        Self { history: Vec::new(), timeline, lsn }
    }

    /// The same log, as it stands after it was promoted to `timeline` at its end.
    #[must_use]
    pub fn promoted(&self, timeline: Timeline) -> Self {
        let mut history = self.history.clone();
        history.push(Branch { timeline: self.timeline, end: self.lsn });
        Self { history, timeline, lsn: self.lsn }
    }

    /// All branches with the current one last.
    fn branches(&self) -> impl Iterator<Item = Branch> + '_ {
        self.history.iter().copied().chain([Branch { timeline: self.timeline, end: self.lsn }])
    }

    /// Up to where both hold the same records.
    #[must_use]
    pub fn common(&self, other: &Self) -> Lsn {
        let mut agreed = Lsn(0);
        for (a, b) in self.branches().zip(other.branches()) {
            if a.timeline != b.timeline {
                break;
            }
            agreed = a.end.min(b.end);
            if a.end != b.end {
                break;
            }
        }
        agreed
    }

    /// How this log stands to `other`.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Relation {
        let at = self.common(other);
        match (at == self.lsn, at == other.lsn) {
            (true, true) => Relation::Equal,
            (true, false) => Relation::Behind,
            (false, true) => Relation::Ahead,
            (false, false) => Relation::Diverged { at },
        }
    }

    /// The timeline on which this log goes on from there.
    #[must_use]
    pub fn timeline_from(&self, lsn: Lsn) -> Timeline {
        self.history.iter().find(|branch| lsn < branch.end).map_or(self.timeline, |branch| branch.timeline)
    }

    /// Whether this log holds every record of `other`.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        matches!(self.compare(other), Relation::Equal | Relation::Ahead)
    }

    /// Whether a member with this log can go on behind `leader` as it is: everything it holds is part of the leader's
    /// past. The leader's own end is not looked at on its current timeline, since what is known of it may be old.
    ///
    /// # Errors
    /// The first byte on which the logs differ.
    pub fn leads_into(&self, leader: &Self) -> Result<(), Lsn> {
        let agree = self.history.iter().zip(leader.branches()).all(|(ours, theirs)| *ours == theirs);
        let theirs = leader.branches().nth(self.history.len());
        match theirs {
            Some(branch) if agree && branch.timeline == self.timeline => {
                let current = self.history.len() == leader.history.len();
                if current || self.lsn <= branch.end { Ok(()) } else { Err(branch.end) }
            }
            _ => Err(self.common(leader)),
        }
    }

    /// The order in which logs are chosen: the later leadership first, then the longer log. Timelines grow with terms
    /// and are never handed out twice, so the number of the timeline stands for the chain of terms.
    #[must_use]
    pub fn rank(&self, other: &Self) -> Ordering {
        (self.timeline, self.lsn).cmp(&(other.timeline, other.lsn))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on timeline {}", self.lsn, self.timeline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Position {
        // "1:100 3:150": left timeline 1 at 100, now on timeline 3 at 150
        let mut branches: Vec<Branch> = text
            .split(' ')
            .map(|part| {
                let (timeline, end) = part.split_once(':').expect("timeline:end");
                Branch {
                    timeline: Timeline(timeline.parse().expect("a number")),
                    end: Lsn(end.parse().expect("a number")),
                }
            })
            .collect();
        let last = branches.pop().expect("one branch at least");
        Position { history: branches, timeline: last.timeline, lsn: last.end }
    }

    #[track_caller]
    fn check(a: &str, b: &str, expected: Relation) {
        assert_eq!(at(a).compare(&at(b)), expected, "{a} against {b}");
        let mirrored = match expected {
            Relation::Behind => Relation::Ahead,
            Relation::Ahead => Relation::Behind,
            same @ (Relation::Equal | Relation::Diverged { .. }) => same,
        };
        assert_eq!(at(b).compare(&at(a)), mirrored, "{b} against {a}");
    }

    #[test]
    fn positions_are_partially_ordered() {
        check("1:100", "1:100", Relation::Equal);
        check("1:100", "1:120", Relation::Behind);
        check("1:100", "1:100 2:130", Relation::Behind);
        check("1:100", "1:100 2:100", Relation::Equal);
        // the old leader wrote past the switch: longer, and on a dead branch
        check("1:140", "1:100 2:130", Relation::Diverged { at: Lsn(100) });
        check("1:900", "1:100 2:130", Relation::Diverged { at: Lsn(100) });
        // two members promoted themselves from the same history
        check("1:100 2:150", "1:100 3:150", Relation::Diverged { at: Lsn(100) });
        // the same number handed out twice, at different places
        check("1:100 2:150", "1:110 2:150", Relation::Diverged { at: Lsn(100) });
        check("1:100 2:150 4:200", "1:100 2:150", Relation::Ahead);
    }

    #[test]
    fn a_log_that_goes_past_the_switch_cannot_follow() {
        assert_eq!(at("1:90").leads_into(&at("1:100 2:130")), Ok(()));
        assert_eq!(at("1:100").leads_into(&at("1:100 2:130")), Ok(()));
        assert_eq!(at("1:101").leads_into(&at("1:100 2:130")), Err(Lsn(100)));
        // what we know of the leader may be older than what it sent us
        assert_eq!(at("1:100 2:140").leads_into(&at("1:100 2:130")), Ok(()));
        assert_eq!(at("1:100 2:140").leads_into(&at("1:100 3:130")), Err(Lsn(100)));
        assert_eq!(at("1:100 2:140").leads_into(&at("1:90 2:130")), Err(Lsn(90)));
        assert_eq!(at("1:100 2:140").leads_into(&at("1:300")), Err(Lsn(100)));
    }

    #[test]
    fn the_later_leadership_wins_over_the_longer_log() {
        assert_eq!(at("1:900").rank(&at("1:100 2:130")), Ordering::Less);
        assert_eq!(at("1:100 2:140").rank(&at("1:100 2:130")), Ordering::Greater);
    }

    #[test]
    fn an_lsn_is_read_and_written_as_postgresql_does() {
        assert_eq!("0/5000060".parse(), Ok(Lsn(0x500_0060)));
        assert_eq!("A/FF".parse::<Lsn>().map(|l| l.to_string()), Ok("A/FF".to_owned()));
        for bad in ["", "5", "0/", "/0", "0/0/0", "0/x", "123456789/0", "+1/0", "0/-1"] {
            assert!(bad.parse::<Lsn>().is_err(), "{bad}");
        }
    }
}
