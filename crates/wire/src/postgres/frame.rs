//! Walks a stream of typed messages in place: type and length only, so that ranges are forwarded, never rebuilt.
//! The proxy's relay calls it on every read. It never allocates.

use thiserror::Error;

/// Bytes of a message's type and length.
pub const HEADER_BYTES: usize = 5;

/// Largest message that a client may announce, in bytes with its type (PostgreSQL's own limit, `PQ_LARGE_MESSAGE_LIMIT`).
pub const CLIENT_BYTES_MAX: usize = 0x3fff_ffff;

/// The same for a server: the body alone may be as long as a string of PostgreSQL's (`MaxAllocSize`) less its end.
pub const SERVER_BYTES_MAX: usize = 0x3fff_fffe + HEADER_BYTES;

/// Largest message that is held until it is whole, in bytes; longer ones pass through in parts.
pub const WHOLE_BYTES_MAX: usize = 64 * 1024;

/// A length that no message can have. The connection cannot be understood from here on and must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a message of type {tag:#04x} announces {length} bytes; close the connection")]
pub struct BadFrame {
    /// Type of the message.
    pub tag: u8,
    /// Announced length.
    pub length: u32,
}

/// What stands at the start of the bytes given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A whole message, header included.
    Whole {
        /// Its type.
        tag: u8,
        /// Its length with the header.
        len: usize,
    },
    /// Part of a message that is not looked into.
    Part {
        /// Its type.
        tag: u8,
        /// Bytes of it that are here, with the header if `first`.
        len: usize,
        /// The header is in this part.
        first: bool,
        /// The message ends with this part.
        last: bool,
    },
    /// Not enough bytes to say: keep them and come back with more.
    More,
}

/// Whose messages they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sender {
    /// A client's.
    #[default]
    Client,
    /// A server's.
    Server,
}

impl Sender {
    /// Its largest message, in bytes with its type.
    fn bytes_max(self) -> usize {
        match self {
            Self::Client => CLIENT_BYTES_MAX,
            Self::Server => SERVER_BYTES_MAX,
        }
    }
}

/// Position in a stream of messages.
#[derive(Debug, Clone, Copy, Default)]
pub struct Frames {
    sender: Sender,
    tag: u8,
    left: usize,
}

impl Frames {
    /// The beginning of a stream of messages.
    #[must_use]
    pub fn of(sender: Sender) -> Self {
        Self { sender, ..Self::default() }
    }

    /// Whether no message is half through.
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        self.left == 0
    }

    /// The type of the message that `data` goes on with, or begins.
    #[must_use]
    pub fn tag(&self, data: &[u8]) -> Option<u8> {
        if self.at_boundary() { data.first().copied() } else { Some(self.tag) }
    }

    /// What stands at the start of `data`; messages for whose type `whole` says so are given whole, unless longer than
    /// [`WHOLE_BYTES_MAX`]. The caller goes on behind the length returned.
    ///
    /// # Errors
    /// [`BadFrame`] for a length below 4 or above what the sender may announce.
    pub fn next(&mut self, data: &[u8], whole: fn(u8) -> bool) -> Result<Next, BadFrame> {
        if self.left > 0 {
            if data.is_empty() {
                return Ok(Next::More);
            }
            let len = data.len().min(self.left);
            self.left -= len;
            return Ok(Next::Part { tag: self.tag, len, first: false, last: self.left == 0 });
        }
        let [tag, a, b, c, d, ..] = *data else { return Ok(Next::More) };
        let length = u32::from_be_bytes([a, b, c, d]);
        let total = length as usize + 1;
        if length < 4 || total > self.sender.bytes_max() {
            return Err(BadFrame { tag, length });
        }
        if whole(tag) && total <= WHOLE_BYTES_MAX {
            return Ok(if data.len() >= total { Next::Whole { tag, len: total } } else { Next::More });
        }
        let len = data.len().min(total);
        self.tag = tag;
        self.left = total - len;
        Ok(Next::Part { tag, len, first: true, last: self.left == 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        out.extend_from_slice(&u32::try_from(body.len() + 4).expect("small").to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    fn whole(tag: u8) -> bool {
        tag == b'Z' || tag == b'C'
    }

    /// Feeds `stream` in chunks cut at `cuts`, as the relay does, and returns types with lengths.
    fn walk(stream: &[u8], cuts: &[usize]) -> Result<Vec<(u8, usize)>, BadFrame> {
        let (mut frames, mut carry, mut seen, mut from) = (Frames::default(), Vec::new(), Vec::new(), 0);
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
        ends.push(stream.len());
        ends.sort_unstable();
        for end in ends {
            carry.extend_from_slice(&stream[from..end]);
            from = end;
            let mut at = 0;
            loop {
                match frames.next(&carry[at..], whole)? {
                    Next::Whole { tag, len } => {
                        seen.push((tag, len));
                        at += len;
                    }
                    Next::Part { tag, len, first, .. } => {
                        if first {
                            seen.push((tag, 0));
                        }
                        seen.last_mut().expect("a first part came before").1 += len;
                        at += len;
                    }
                    Next::More => break,
                }
            }
            carry.drain(..at);
        }
        Ok(seen)
    }

    proptest! {
        #[test]
        fn cut_anywhere_the_messages_are_the_same(
            bodies in prop::collection::vec((prop::sample::select(b"ZCDQS".to_vec()), prop::collection::vec(any::<u8>(), 0..40)), 0..12),
            cuts in prop::collection::vec(any::<usize>(), 0..20),
        ) {
            let stream: Vec<u8> = bodies.iter().flat_map(|(tag, body)| frame(*tag, body)).collect();
            let expected: Vec<(u8, usize)> = bodies.iter().map(|(tag, body)| (*tag, body.len() + 5)).collect();
            prop_assert_eq!(walk(&stream, &cuts), Ok(expected));
        }

        #[test]
        fn no_bytes_panic(stream in prop::collection::vec(any::<u8>(), 0..200), cuts in prop::collection::vec(any::<usize>(), 0..8)) {
            let _ = walk(&stream, &cuts);
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_and_never_loops() {
        let next = |sender, length: u32| {
            let data = [&b"D"[..], &length.to_be_bytes()].concat();
            Frames::of(sender).next(&data, whole)
        };
        for sender in [Sender::Client, Sender::Server] {
            for length in [0_u32, 3, 0x4000_0003, 0x7fff_ffff, u32::MAX] {
                assert_eq!(next(sender, length), Err(BadFrame { tag: b'D', length }));
            }
            assert!(next(sender, 0x3fff_fffe).is_ok());
        }
        // PostgreSQL sends what it would not take.
        assert!(next(Sender::Client, 0x3fff_ffff).is_err());
        assert!(next(Sender::Server, 0x4000_0002).is_ok());
    }

    #[test]
    fn a_long_message_passes_in_parts_even_if_wanted_whole() {
        let long = frame(b'C', &vec![0; WHOLE_BYTES_MAX]);
        let next = Frames::default().next(&long[..100], whole).expect("a header");
        assert_eq!(next, Next::Part { tag: b'C', len: 100, first: true, last: false });
    }
}
