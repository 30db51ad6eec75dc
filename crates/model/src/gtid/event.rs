//! One transaction's identifier, as text and as the head of its binary log events: GTID_LOG, and GTID_TAGGED_LOG of
//! MySQL 8.3 and later. Who reads a binary or relay log uses it; it looks at no other field of those events.

use super::bad::{BadBytes, BadText};
use super::bytes::Bytes;
use super::intervals::{Interval, Intervals, NUMBER_MAX};
use super::reader::Reader;
use super::set::GtidSet;
use super::source::{Source, Tag, Uuid};
use std::fmt;
use std::str::FromStr;

/// Fields of the tagged event that are read; they come in this order, and what follows them is left alone.
const FIELD_FLAGS: u64 = 0;
const FIELD_UUID: u64 = 1;
const FIELD_NUMBER: u64 = 2;
const FIELD_TAG: u64 = 3;

/// One of MySQL's transactions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gtid {
    /// Who numbered it.
    pub source: Source,
    number: u64,
}

impl Gtid {
    /// A transaction; `None` unless its number is from 1 to [`NUMBER_MAX`].
    #[must_use]
    pub fn new(source: Source, number: u64) -> Option<Self> {
        Interval::new(number, number).map(|_| Self { source, number })
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The set of it alone.
    #[must_use]
    pub fn alone(&self) -> GtidSet {
        let mut set = GtidSet::default();
        let runs: Intervals = Interval::new(self.number, self.number).into_iter().collect();
        set.add(self.source.clone(), &runs);
        set
    }

    /// From the body of a GTID_LOG event (type 33), which begins behind the event's common header.
    ///
    /// # Errors
    /// [`BadBytes`].
    pub fn from_event(body: &[u8]) -> Result<Self, BadBytes> {
        let mut bytes = Bytes::new(body);
        bytes.slice(1, "the event's flags")?;
        let uuid = Uuid(bytes.array("a UUID")?);
        let number = bytes.number("a transaction's number")?;
        Self::checked(uuid.into(), number, &bytes)
    }

    /// From the body of a GTID_TAGGED_LOG event (type 42).
    ///
    /// # Errors
    /// [`BadBytes`].
    pub fn from_tagged_event(body: &[u8]) -> Result<Self, BadBytes> {
        let mut bytes = Bytes::new(body);
        for envelope in ["the form's version", "the event's length", "the last field that must be known"] {
            bytes.variable(envelope)?;
        }
        bytes.field(FIELD_FLAGS, "the field of the flags")?;
        bytes.variable("the event's flags")?;
        bytes.field(FIELD_UUID, "the field of the UUID")?;
        let mut uuid = [0_u8; 16];
        for byte in &mut uuid {
            let at = bytes.at;
            let found = bytes.variable("a UUID")?;
            let bad = BadBytes::Value { reading: "a UUID", at, found, allowed: "0 to 255" };
            *byte = u8::try_from(found).map_err(|_| bad)?;
        }
        bytes.field(FIELD_NUMBER, "the field of the number")?;
        // signed: the lowest bit is the sign, and no number is negative
        let number = bytes.variable("a transaction's number")?;
        bytes.field(FIELD_TAG, "the field of the tag")?;
        let tag: Option<Tag> = bytes.tag()?;
        let number = if number & 1 == 0 { number >> 1 } else { 0 };
        Self::checked(Source { uuid: Uuid(uuid), tag }, number, &bytes)
    }

    fn checked(source: Source, number: u64, bytes: &Bytes<'_>) -> Result<Self, BadBytes> {
        let allowed = "1 to 9223372036854775806";
        let bad = BadBytes::Value { reading: "a transaction's number", at: bytes.at, found: number, allowed };
        Self::new(source, number).ok_or(bad)
    }
}

impl Bytes<'_> {
    fn field(&mut self, wanted: u64, reading: &'static str) -> Result<(), BadBytes> {
        let at = self.at;
        let found = self.variable(reading)?;
        let allowed = "flags, UUID, number and tag, in this order";
        if found == wanted { Ok(()) } else { Err(BadBytes::Value { reading, at, found, allowed }) }
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.number)
    }
}

impl FromStr for Gtid {
    type Err = BadText;
    fn from_str(text: &str) -> Result<Self, BadText> {
        const NUMBER: &str = "a transaction number from 1 to 9223372036854775806";
        let mut reader = Reader::new("GTID", text)?;
        let uuid = reader.uuid()?;
        let colon = |reader: &mut Reader<'_>| if reader.take(b':') { Ok(()) } else { Err(reader.bad("a colon")) };
        colon(&mut reader)?;
        let tag = reader.tag()?;
        if tag.is_some() {
            colon(&mut reader)?;
        }
        let at = reader.at();
        let number = reader.number(NUMBER_MAX, NUMBER)?;
        reader.end("nothing more")?;
        Self::new(Source { uuid, tag }, number).ok_or_else(|| reader.bad_at(at, NUMBER))
    }
}
