//! GTID sets as bytes: in Previous_gtids events and in what a replica sends with COM_BINLOG_DUMP_GTID. Two forms: the old
//! one, and the one with tags (MySQL 8.3 and later), which servers write only where a tag is in the set.
//! Nothing is believed: every count is held against the bytes that are there before anything is made.

use super::bad::{BadBytes, Limit};
use super::intervals::{Interval, Intervals, NUMBER_MAX};
use super::set::GtidSet;
use super::source::{Source, TAG_CHARS_MAX, Tag, Uuid};

/// Most intervals that are read, of all sources together.
pub const INTERVALS_MAX: usize = 1 << 20;
/// Most bytes that are read.
pub const BYTES_MAX: usize = 32 << 20;

/// The byte that says which form it is, at both ends of the first eight in the tagged form.
const TAGGED: u64 = 1;
/// Bytes of an interval.
const INTERVAL_BYTES: usize = 16;

/// Words of errors.
const NUMBERS: &str = "1 to 9223372036854775806, each interval after the one before and apart from it";

impl GtidSet {
    /// The set as a server writes it: the tagged form if there is a tag in it, else the old one.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let tagged = self.sources().any(|(source, _)| source.tag.is_some());
        let count = self.sources().count() as u64;
        let mut out = Vec::new();
        let head = if tagged { TAGGED << 56 | count << 8 | TAGGED } else { count };
        out.extend_from_slice(&head.to_le_bytes());
        for (source, runs) in self.sources() {
            out.extend_from_slice(&source.uuid.0);
            if tagged {
                let tag = source.tag.as_ref().map_or("", Tag::as_str);
                // at most 32 characters: the length's variable form is one byte
                out.push((tag.len() as u8) << 1);
                out.extend_from_slice(tag.as_bytes());
            }
            out.extend_from_slice(&(runs.runs().len() as u64).to_le_bytes());
            for run in runs.runs() {
                out.extend_from_slice(&run.first().to_le_bytes());
                out.extend_from_slice(&(run.last() + 1).to_le_bytes());
            }
        }
        out
    }

    /// Reads either form, to the last byte.
    ///
    /// # Errors
    /// [`BadBytes`] with the place and what is allowed there.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadBytes> {
        if bytes.len() > BYTES_MAX {
            return Err(BadBytes::TooLarge { limit: Limit { of: "bytes", most: BYTES_MAX }, found: bytes.len() });
        }
        let mut bytes = Bytes::new(bytes);
        let head = bytes.number("the number of sources")?;
        let (count, tagged) = match head >> 56 {
            0 => (head, false),
            TAGGED if head & 0xFF == TAGGED => (head << 8 >> 16, true),
            found => {
                let allowed = "0 (without tags) or 1 (with them)";
                return Err(BadBytes::Value { reading: "the form", at: 7, found, allowed });
            }
        };
        let mut set = Self::default();
        let mut intervals = 0;
        for _ in 0..count {
            let uuid = Uuid(bytes.array("a UUID")?);
            let tag = if tagged { bytes.tag()? } else { None };
            let runs = bytes.intervals(&mut intervals)?;
            set.add(Source { uuid, tag }, &runs);
        }
        bytes.end()?;
        Ok(set)
    }
}

/// Bytes being read.
pub(super) struct Bytes<'a> {
    all: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(all: &'a [u8]) -> Self {
        Self { all, at: 0 }
    }

    fn left(&self) -> usize {
        self.all.len().saturating_sub(self.at)
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.left() == 0
    }

    pub(super) fn slice(&mut self, count: usize, reading: &'static str) -> Result<&'a [u8], BadBytes> {
        let short = BadBytes::Short { reading, at: self.at, missing: count.saturating_sub(self.left()) };
        let end = self.at.checked_add(count).ok_or_else(|| short.clone())?;
        let found = self.all.get(self.at..end).ok_or(short)?;
        self.at = end;
        Ok(found)
    }

    pub(super) fn array<const N: usize>(&mut self, reading: &'static str) -> Result<[u8; N], BadBytes> {
        let short = BadBytes::Short { reading, at: self.at, missing: N.saturating_sub(self.left()) };
        self.slice(N, reading)?.first_chunk().copied().ok_or(short)
    }

    /// Eight bytes, the lowest first.
    pub(super) fn number(&mut self, reading: &'static str) -> Result<u64, BadBytes> {
        self.array(reading).map(u64::from_le_bytes)
    }

    /// A number of variable length: as many of the lowest bits are ones as there are bytes after the first.
    pub(super) fn variable(&mut self, reading: &'static str) -> Result<u64, BadBytes> {
        let [first] = self.array(reading)?;
        let more = first.trailing_ones() as usize;
        let rest = self.slice(more, reading)?;
        let mut wide = [0_u8; 16];
        for (to, from) in wide.iter_mut().zip([first].iter().chain(rest)) {
            *to = *from;
        }
        // nine bytes at most: with eight ones there is no zero bit between them and the number
        let shift = if more == 8 { 8 } else { more + 1 };
        Ok((u128::from_le_bytes(wide) >> shift) as u64)
    }

    /// A tag behind its length; none where that is 0.
    pub(super) fn tag(&mut self) -> Result<Option<Tag>, BadBytes> {
        let at = self.at;
        let length = self.variable("a tag's length")?;
        if length > TAG_CHARS_MAX as u64 {
            return Err(BadBytes::Value { reading: "a tag's length", at, found: length, allowed: "0 to 32" });
        }
        if length == 0 {
            return Ok(None);
        }
        let at = self.at;
        let word = self.slice(length as usize, "a tag")?;
        let tag = std::str::from_utf8(word).ok().and_then(Tag::new).filter(|tag| tag.as_str().as_bytes() == word);
        let found = u64::from(word.first().copied().unwrap_or_default());
        let allowed = "a-z, 0-9 and _, no digit first";
        tag.map(Some).ok_or(BadBytes::Value { reading: "a tag", at, found, allowed })
    }

    fn intervals(&mut self, before: &mut usize) -> Result<Intervals, BadBytes> {
        let at = self.at;
        let found = self.number("the number of intervals")?;
        let there = self.left() / INTERVAL_BYTES;
        let count = usize::try_from(found).ok().filter(|count| *count <= there);
        let Some(count) = count else {
            let allowed = "as many as bytes follow for";
            return Err(BadBytes::Value { reading: "the number of intervals", at, found, allowed });
        };
        *before += count;
        if *before > INTERVALS_MAX {
            let limit = Limit { of: "intervals", most: INTERVALS_MAX };
            return Err(BadBytes::TooLarge { limit, found: *before });
        }
        let mut runs: Vec<Interval> = Vec::with_capacity(count);
        for _ in 0..count {
            let at = self.at;
            let (first, end) = (self.number("an interval's begin")?, self.number("an interval's end")?);
            let apart = runs.last().is_none_or(|run| first > run.last() + 1);
            let run = Interval::new(first, end.saturating_sub(1)).filter(|run| apart && run.last() <= NUMBER_MAX);
            let bad = BadBytes::Value { reading: "an interval", at, found: first, allowed: NUMBERS };
            runs.push(run.ok_or(bad)?);
        }
        Ok(runs.into_iter().collect())
    }

    fn end(&self) -> Result<(), BadBytes> {
        if self.is_at_end() {
            return Ok(());
        }
        let found = self.left() as u64;
        Err(BadBytes::Value { reading: "what follows the last source", at: self.at, found, allowed: "no more bytes" })
    }
}
