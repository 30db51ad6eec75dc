//! What is stored and how it is changed: keys, revisions, transactions, and the snapshot that observers see.
//! Every backend and every caller speaks in these; nothing here does I/O.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 128;
/// Longest value, in bytes: the largest value is a specification or a page of history.
pub const VALUE_BYTES_MAX: usize = 256 * 1024;
/// Most expectations, puts and deletes of one transaction together.
pub const TXN_ITEMS_MAX: usize = 64;

/// A short path-like text: `leadership`, `lease`, `members/m1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(String);

/// Why a text is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a key: 1 to {KEY_BYTES_MAX} characters of a-z, 0-9, _, -, . and /")]
pub struct BadKey {
    /// The text as given, cut.
    pub given: String,
}

impl Key {
    /// Parses a key.
    ///
    /// # Errors
    /// [`BadKey`] when the text is empty, too long or holds another character.
    pub fn new(text: impl Into<String>) -> Result<Self, BadKey> {
        let text = text.into();
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.' | b'/');
        if !text.is_empty() && text.len() <= KEY_BYTES_MAX && text.bytes().all(plain) {
            Ok(Self(text))
        } else {
            Err(BadKey { given: text.chars().take(80).collect() })
        }
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for Key {
    type Error = BadKey;
    fn try_from(text: String) -> Result<Self, BadKey> {
        Self::new(text)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0
    }
}

/// The revision of a key: the number of the change that wrote it last. One sequence for the whole store; only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rev(pub u64);

impl fmt::Display for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A value and the revision that wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The change that wrote it.
    pub rev: Rev,
    /// What was written.
    pub value: Vec<u8>,
}

/// A compare-and-set of several keys: all of it happens, or nothing does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Txn {
    /// What must hold: the key's revision, or `None`: the key must not exist.
    pub expect: Vec<(Key, Option<Rev>)>,
    /// What is written then.
    pub put: Vec<(Key, Vec<u8>)>,
    /// What is removed then. Removing an absent key is no conflict.
    pub delete: Vec<Key>,
}

/// How a transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TxnOutcome {
    /// It happened; every key it put has this revision.
    Committed {
        /// The change's number.
        rev: Rev,
    },
    /// An expectation did not hold; nothing changed. Every expected key is listed with what it held at that moment.
    Conflict {
        /// The expected keys as they were.
        current: Vec<(Key, Option<Entry>)>,
    },
}

/// Which cluster this is. Made once, at bootstrap, and written through the log: a restored or foreign store cannot
/// carry it by accident.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClusterIdentity {
    /// 128 random bits, as 32 hexadecimal digits.
    pub id: String,
    /// Grows when the cluster is founded anew from a copy of its state.
    pub generation: u64,
}

impl fmt::Display for ClusterIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} generation {}", self.id, self.generation)
    }
}

/// The state as this member has applied it. It may trail the truth; it never goes back while the process lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// `None` until the cluster is founded and this member has heard of it.
    pub identity: Option<ClusterIdentity>,
    /// The last change applied.
    pub applied: Rev,
    /// Every key, with the moment at which *this process* applied its last change. After a restart that moment is the
    /// restart's, so a lease is never thought shorter than it is.
    pub entries: BTreeMap<Key, (Entry, Instant)>,
}

impl Snapshot {
    /// What a key holds.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key).map(|(entry, _)| entry)
    }

    /// A key's revision; `None` when it does not exist: what [`Txn::expect`] takes.
    #[must_use]
    pub fn rev(&self, key: &Key) -> Option<Rev> {
        self.get(key).map(|entry| entry.rev)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_short_plain_paths() {
        for good in ["leadership", "members/m1", "history/0000-1.a"] {
            assert!(Key::new(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "a b", "ä", &"k".repeat(KEY_BYTES_MAX + 1)] {
            assert!(Key::new(bad).is_err(), "{bad}");
        }
    }
}
