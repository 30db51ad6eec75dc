//! A place in a binary or relay log by file and offset: for sources without GTIDs, and for what lies in a relay log.
//! Comparable only on one server's log.

use super::bad::BadText;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Longest name of a binary log file, in bytes.
const NAME_BYTES_MAX: usize = 512;
const KIND: &str = "place in a binary log";
const FORM: &str = "a file's name with its number and an offset, as in binlog.000042:1234";

/// `binlog.000042:1234`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FilePosition {
    base: String,
    number: u64,
    digits: usize,
    offset: u64,
}

impl FilePosition {
    /// From what the server names: the file and the offset in it.
    ///
    /// # Errors
    /// [`BadText`] for a name without a number at its end.
    pub fn new(file: &str, offset: u64) -> Result<Self, BadText> {
        let bad = |at| BadText::new(KIND, file.as_bytes(), at, FORM);
        let plain = |b: u8| !b.is_ascii_control() && b != b':';
        if file.len() > NAME_BYTES_MAX || !file.bytes().all(plain) {
            return Err(bad(0));
        }
        let (base, number) = file.rsplit_once('.').ok_or_else(|| bad(file.len()))?;
        let at = base.len() + 1;
        let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let parsed = number.parse().ok().filter(|_| digits && !base.is_empty());
        Ok(Self { base: base.to_owned(), number: parsed.ok_or_else(|| bad(at))?, digits: number.len(), offset })
    }

    /// The file's name.
    #[must_use]
    pub fn file(&self) -> String {
        format!("{}.{:0width$}", self.base, self.number, width = self.digits)
    }

    /// The log's name: that of its files without their numbers.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The offset in the file.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }
}

impl PartialOrd for FilePosition {
    /// `None` between logs of different names: they are different logs.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.base == other.base)
            .then(|| (self.number, self.offset).cmp(&(other.number, other.offset)))
            // equal places with numbers written differently are not the same file
            .filter(|order| order.is_ne() || self.digits == other.digits)
    }
}

impl fmt::Display for FilePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file(), self.offset)
    }
}

impl FromStr for FilePosition {
    type Err = BadText;
    fn from_str(text: &str) -> Result<Self, BadText> {
        let bad = |at| BadText::new(KIND, text.as_bytes(), at, FORM);
        let (file, offset) = text.rsplit_once(':').ok_or_else(|| bad(text.len()))?;
        let at = file.len() + 1;
        let digits = !offset.is_empty() && offset.bytes().all(|b| b.is_ascii_digit());
        Self::new(file, offset.parse().ok().filter(|_| digits).ok_or_else(|| bad(at))?)
    }
}

impl Serialize for FilePosition {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FilePosition {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
