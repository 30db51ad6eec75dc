//! Who numbered a transaction: MySQL's server UUID, and since 8.3 a tag beside it. The keys of a GTID set.
//! Texts are read by `reader.rs`; nothing here looks at transaction numbers.

use super::bad::BadText;
use super::reader::Reader;
use std::fmt;
use std::str::FromStr;

/// Longest tag, in characters.
pub(super) const TAG_CHARS_MAX: usize = 32;

/// A server's UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, byte) in self.0.iter().enumerate() {
            let dash = if matches!(n, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Uuid {
    type Err = BadText;
    fn from_str(text: &str) -> Result<Self, BadText> {
        let mut reader = Reader::new("server UUID", text)?;
        let uuid = reader.uuid()?;
        reader.end("nothing more")?;
        Ok(uuid)
    }
}

/// A tag: one to 32 of a-z, 0-9 and _, no digit first. Upper case is read as lower.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl Tag {
    /// From its characters; `None` if they are no tag.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let named = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let begins = text.bytes().next().is_some_and(|b| !b.is_ascii_digit());
        (named && begins && text.len() <= TAG_CHARS_MAX).then(|| Self(text.to_ascii_lowercase()))
    }

    /// Its characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A UUID with or without a tag: what transactions are numbered under. Untagged comes first, as the server prints it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The server, or the group.
    pub uuid: Uuid,
    /// Its tag.
    pub tag: Option<Tag>,
}

impl From<Uuid> for Source {
    fn from(uuid: Uuid) -> Self {
        Self { uuid, tag: None }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tag {
            Some(tag) => write!(f, "{}:{tag}", self.uuid),
            None => write!(f, "{}", self.uuid),
        }
    }
}
