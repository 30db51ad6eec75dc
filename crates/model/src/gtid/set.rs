//! MySQL's GTID sets: which transactions of which servers. Text as the server reads and prints it, and the algebra that
//! elections, errant checks and rejoin use. Its binary forms are in `bytes.rs`.

use super::bad::BadText;
use super::bytes::INTERVALS_MAX;
use super::intervals::{Interval, Intervals, NUMBER_MAX};
use super::reader::Reader;
use super::source::{Source, Tag, Uuid};
use super::standing::{Held, Standing};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Words of errors.
const NUMBER: &str = "a transaction number from 1 to 9223372036854775806, or a tag";
const LAST: &str = "the interval's last number, at most 9223372036854775806";
const SEPARATOR: &str = "a colon, a comma or the end";
const TOO_MANY: &str = "nothing more: more than a million intervals are not read";

/// A set of MySQL's global transaction identifiers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct GtidSet(BTreeMap<Source, Intervals>);

impl GtidSet {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many transactions it holds.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.values().fold(0, |sum, runs| sum.saturating_add(runs.count()))
    }

    /// Its sources with their transactions, in the order in which the server prints them.
    pub fn sources(&self) -> impl Iterator<Item = (&Source, &Intervals)> {
        self.0.iter()
    }

    /// Whether it holds this transaction.
    #[must_use]
    pub fn has(&self, source: &Source, number: u64) -> bool {
        self.0.get(source).is_some_and(|runs| runs.has(number))
    }

    /// Adds transactions.
    pub fn add(&mut self, source: Source, runs: &Intervals) {
        if !runs.is_empty() {
            let held = self.0.entry(source).or_default();
            *held = held.union(runs);
        }
    }

    /// The transactions of either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for (source, runs) in &other.0 {
            all.add(source.clone(), runs);
        }
        all
    }

    /// The transactions of both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let both = self.0.iter().filter_map(|(source, runs)| {
            let shared = runs.intersect(other.0.get(source)?);
            (!shared.is_empty()).then(|| (source.clone(), shared))
        });
        Self(both.collect())
    }

    /// The transactions of this one that `other` does not hold: the server's `GTID_SUBTRACT`.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let left = self.0.iter().filter_map(|(source, runs)| {
            let kept = other.0.get(source).map_or_else(|| runs.clone(), |theirs| runs.subtract(theirs));
            (!kept.is_empty()).then(|| (source.clone(), kept))
        });
        Self(left.collect())
    }

    /// How it stands to `other`.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Standing {
        Standing::from_holding(self.holds(other), other.holds(self))
    }

    /// What a replica with these transactions has that its leader has not. Read the replica first, then the leader: then
    /// nothing here is merely newer than the look at the leader. Where that cannot be, name the servers that write now in
    /// `writers`: what they numbered is not counted.
    #[must_use]
    pub fn errant(&self, leader: &Self, writers: &[Uuid]) -> Self {
        let mut errant = self.subtract(leader);
        errant.0.retain(|source, _| !writers.contains(&source.uuid));
        errant
    }

    /// The whole set on one line, for people and journals; the server's own form has a line for each UUID.
    #[must_use]
    pub fn on_one_line(&self) -> String {
        self.to_string().replace('\n', "")
    }
}

impl Held for GtidSet {
    fn holds(&self, other: &Self) -> bool {
        let has_all = |(source, runs): (&Source, &Intervals)| self.0.get(source).is_some_and(|own| own.holds(runs));
        other.0.iter().all(has_all)
    }

    fn join(&self, other: &Self) -> Option<Self> {
        Some(self.union(other))
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before: Option<Uuid> = None;
        for (source, runs) in &self.0 {
            match before {
                Some(uuid) if uuid == source.uuid => {}
                Some(_) => write!(f, ",\n{}", source.uuid)?,
                None => write!(f, "{}", source.uuid)?,
            }
            before = Some(source.uuid);
            match &source.tag {
                Some(tag) => write!(f, ":{tag}:{runs}")?,
                None => write!(f, ":{runs}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for GtidSet {
    type Err = BadText;

    /// Reads what the server reads: blanks around every word, empty parts, intervals that end before they begin (nothing is
    /// in those), a UUID more than once, tags in any case.
    fn from_str(text: &str) -> Result<Self, BadText> {
        let mut reader = Reader::new("GTID set", text)?;
        let mut runs: BTreeMap<Source, Vec<Interval>> = BTreeMap::new();
        let mut count = 0_usize;
        loop {
            reader.blanks();
            while reader.take(b',') {
                reader.blanks();
            }
            if reader.is_at_end() {
                break;
            }
            let uuid = reader.uuid()?;
            let mut tag: Option<Tag> = None;
            reader.blanks();
            while reader.take(b':') {
                reader.blanks();
                if let Some(next) = reader.tag()? {
                    tag = Some(next);
                } else {
                    let found = interval(&mut reader)?;
                    count += 1;
                    if count > INTERVALS_MAX {
                        return Err(reader.bad(TOO_MANY));
                    }
                    if let Some(run) = found {
                        runs.entry(Source { uuid, tag: tag.clone() }).or_default().push(run);
                    }
                }
                reader.blanks();
            }
            if !reader.is_at_end() && reader.peek() != Some(b',') {
                return Err(reader.bad(SEPARATOR));
            }
        }
        Ok(Self(runs.into_iter().map(|(source, list)| (source, list.into_iter().collect())).collect()))
    }
}

/// `5` or `1-3`; `None` for one that ends before it begins.
fn interval(reader: &mut Reader<'_>) -> Result<Option<Interval>, BadText> {
    let from = reader.at();
    let first = reader.number(NUMBER_MAX, NUMBER)?;
    if first == 0 {
        return Err(reader.bad_at(from, NUMBER));
    }
    reader.blanks();
    if !reader.take(b'-') {
        return Ok(Interval::new(first, first));
    }
    reader.blanks();
    let last = reader.number(NUMBER_MAX, LAST)?;
    Ok(Interval::new(first, last))
}

impl Serialize for GtidSet {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GtidSet {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
