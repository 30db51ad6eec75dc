//! Reads a text byte by byte and remembers where it is, for errors that name the place. The position types use it.
//! It takes what the servers themselves take, blanks and all, and refuses what they refuse.

use super::bad::BadText;
use super::source::{TAG_CHARS_MAX, Tag, Uuid};

/// Longest text that is read, in bytes: a million transactions apart from each other fit in.
pub const TEXT_BYTES_MAX: usize = 32 << 20;

/// Words of errors.
const UUID: &str = "a server UUID, 32 hexadecimal digits as in 3e11fa47-71ca-11e1-9e33-c80aa9429562";
const TOO_LONG: &str = "nothing more: it is longer than 32 MiB";

/// A place in a text.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    kind: &'static str,
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// At the beginning of a text that should be a `kind`.
    pub(super) fn new(kind: &'static str, text: &'a str) -> Result<Self, BadText> {
        let text = text.as_bytes();
        if text.len() > TEXT_BYTES_MAX {
            return Err(BadText::new(kind, text, TEXT_BYTES_MAX, TOO_LONG));
        }
        Ok(Self { kind, text, at: 0 })
    }

    /// An error at this place.
    pub(super) fn bad(&self, allowed: &'static str) -> BadText {
        self.bad_at(self.at, allowed)
    }

    /// An error at an earlier place.
    pub(super) fn bad_at(&self, at: usize, allowed: &'static str) -> BadText {
        BadText::new(self.kind, self.text, at, allowed)
    }

    /// Where it is.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    /// Passes over `byte`, if it stands here.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        self.at += usize::from(here);
        here
    }

    /// Passes over bytes that are wanted; says which they were.
    pub(super) fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let from = self.at;
        while self.peek().is_some_and(&wanted) {
            self.at += 1;
        }
        self.text.get(from..self.at).unwrap_or_default()
    }

    /// Passes over what C's `isspace` means.
    pub(super) fn blanks(&mut self) {
        self.take_while(|b| b.is_ascii_whitespace() || b == 0x0b);
    }

    /// The end of the text, or an error.
    pub(super) fn end(&self, allowed: &'static str) -> Result<(), BadText> {
        if self.is_at_end() { Ok(()) } else { Err(self.bad(allowed)) }
    }

    /// A decimal number up to `most`; leading zeros are fine.
    pub(super) fn number(&mut self, most: u64, allowed: &'static str) -> Result<u64, BadText> {
        let from = self.at;
        let digits = self.take_while(|b| b.is_ascii_digit());
        let mut value: u64 = 0;
        for digit in digits {
            let next = value.checked_mul(10).and_then(|v| v.checked_add(u64::from(digit - b'0')));
            value = next.ok_or_else(|| self.bad_at(from, allowed))?;
        }
        if digits.is_empty() || value > most { Err(self.bad_at(from, allowed)) } else { Ok(value) }
    }

    /// A UUID: with dashes, without, or with dashes in braces.
    pub(super) fn uuid(&mut self) -> Result<Uuid, BadText> {
        let from = self.at;
        let braced = self.take(b'{');
        let mut bytes = [0_u8; 16];
        let mut dashed = braced;
        for (n, byte) in bytes.iter_mut().enumerate() {
            if n == 4 {
                dashed = dashed || self.peek() == Some(b'-');
            }
            if dashed && matches!(n, 4 | 6 | 8 | 10) && !self.take(b'-') {
                return Err(self.bad_at(from, UUID));
            }
            let (high, low) = (self.hex_digit(), self.hex_digit());
            let (Some(high), Some(low)) = (high, low) else { return Err(self.bad_at(from, UUID)) };
            *byte = high << 4 | low;
        }
        if braced && !self.take(b'}') {
            return Err(self.bad_at(from, UUID));
        }
        Ok(Uuid(bytes))
    }

    fn hex_digit(&mut self) -> Option<u8> {
        let digit = char::from(self.peek()?).to_digit(16)?;
        self.at += 1;
        u8::try_from(digit).ok()
    }

    /// A tag, if one begins here.
    pub(super) fn tag(&mut self) -> Result<Option<Tag>, BadText> {
        if !self.peek().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_') {
            return Ok(None);
        }
        let from = self.at;
        let word = self.take_while(|b| b.is_ascii_alphanumeric() || b == b'_');
        let tag = std::str::from_utf8(word).ok().and_then(Tag::new);
        const ALLOWED: &str = "a tag of at most 32 letters, digits and _";
        const { assert!(TAG_CHARS_MAX == 32, "the error names the limit") };
        tag.map(Some).ok_or_else(|| self.bad_at(from, ALLOWED))
    }
}
