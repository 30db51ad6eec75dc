//! Why a text or bytes are no position: each names the place, what is there, and what is allowed.
//! The readers beside it return these.

use std::fmt;

/// Most characters of a text that an error quotes.
const QUOTED_CHARS_MAX: usize = 24;

/// A text that is no GTID set, position or state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BadText {
    /// What it should be.
    pub kind: &'static str,
    /// Where it stops making sense, in bytes from its beginning.
    pub at: usize,
    /// What stands there, its beginning; empty at the end of the text.
    pub found: String,
    /// What may stand there.
    pub allowed: &'static str,
}

impl BadText {
    /// An error at a place in a text.
    pub(super) fn new(kind: &'static str, text: &[u8], at: usize, allowed: &'static str) -> Self {
        let rest = text.get(at..).unwrap_or_default();
        let near = rest.get(..rest.len().min(4 * QUOTED_CHARS_MAX)).unwrap_or_default();
        let found = String::from_utf8_lossy(near).chars().take(QUOTED_CHARS_MAX).collect();
        Self { kind, at, found, allowed }
    }
}

impl fmt::Display for BadText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, at, found, allowed } = self;
        if found.is_empty() {
            write!(f, "not a {kind}: it ends after {at} bytes; allowed there: {allowed}")
        } else {
            write!(f, "not a {kind}: {found:?} after {at} bytes; allowed there: {allowed}")
        }
    }
}

impl std::error::Error for BadText {}

/// A size that bytes may not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limit {
    /// Of what.
    pub of: &'static str,
    /// The most.
    pub most: usize,
}

/// Bytes that are no GTID set or GTID.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BadBytes {
    /// They end too early.
    Short {
        /// What was being read.
        reading: &'static str,
        /// Where, in bytes from the beginning.
        at: usize,
        /// How many more bytes it takes.
        missing: usize,
    },
    /// A value that cannot stand there.
    Value {
        /// What was being read.
        reading: &'static str,
        /// Where, in bytes from the beginning.
        at: usize,
        /// The value.
        found: u64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// More than anything real.
    TooLarge {
        /// The limit passed.
        limit: Limit,
        /// What was found.
        found: usize,
    },
}

impl fmt::Display for BadBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { reading, at, missing } => {
                write!(f, "not a GTID set: {missing} bytes are missing at byte {at}, in {reading}")
            }
            Self::Value { reading, at, found, allowed } => {
                write!(f, "not a GTID set: {found} at byte {at}, in {reading}; allowed there: {allowed}")
            }
            Self::TooLarge { limit, found } => {
                write!(f, "a GTID set with {found} {}; at most {} are read", limit.of, limit.most)
            }
        }
    }
}

impl std::error::Error for BadBytes {}
