//! The key with which a session's statements can be cancelled: a process number and a secret, four bytes long in protocol
//! 3.0 and up to 256 since 3.2. The proxy hands out keys of its own and keeps those of servers. Secrets are compared in
//! constant time and never shown.

use super::message;
use super::scram;
use std::fmt;

/// Length of a secret in protocol 3.0, in bytes.
pub const SHORT_BYTES: usize = 4;

/// Longest secret, in bytes (PostgreSQL's own limit).
pub const SECRET_BYTES_MAX: usize = 256;

/// The number that a cancel request has in place of a protocol version.
pub(super) const CODE: u32 = 80_877_102;

/// A key.
#[derive(Clone)]
pub struct CancelKey {
    /// The process number.
    pub pid: u32,
    secret: Box<[u8]>,
}

impl fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CancelKey({}, …)", self.pid)
    }
}

impl PartialEq for CancelKey {
    /// In constant time, but for the length of the secret.
    fn eq(&self, other: &Self) -> bool {
        self.pid == other.pid && scram::equal(&self.secret, &other.secret)
    }
}

impl Eq for CancelKey {}

impl CancelKey {
    /// A key with this secret; none when no secret has its length.
    #[must_use]
    pub fn new(pid: u32, secret: &[u8]) -> Option<Self> {
        let fits = (1..=SECRET_BYTES_MAX).contains(&secret.len());
        fits.then(|| Self { pid, secret: secret.into() })
    }

    /// From a process number with a secret behind it, as BackendKeyData and cancel requests have them.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (pid, secret) = bytes.split_first_chunk()?;
        Self::new(u32::from_be_bytes(*pid), secret)
    }

    /// Appends the BackendKeyData that gives a client this key.
    pub fn put(&self, out: &mut Vec<u8>) {
        message::put(out, b'K', &[&self.pid.to_be_bytes(), &*self.secret].concat());
    }

    /// The packet that asks a server to cancel.
    #[must_use]
    pub fn request(&self) -> Vec<u8> {
        let length = 12 + self.secret.len();
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        [&length[..], &CODE.to_be_bytes(), &self.pid.to_be_bytes(), &self.secret].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_whatever_its_length() {
        for length in [1, SHORT_BYTES, 32, SECRET_BYTES_MAX] {
            let key = CancelKey::new(7, &vec![9; length]).expect("a length that can be");
            let mut message = Vec::new();
            key.put(&mut message);
            assert_eq!((message[0], message.len()), (b'K', 9 + length));
            assert_eq!(CancelKey::parse(&message[5..]), Some(key.clone()));
            assert_eq!(CancelKey::parse(&key.request()[8..]), Some(key));
        }
        assert_eq!(CancelKey::new(7, &[]), None);
        assert_eq!(CancelKey::new(7, &[9; SECRET_BYTES_MAX + 1]), None);
        assert_eq!(CancelKey::parse(&[0; 3]), None);
    }

    #[test]
    fn only_the_whole_key_is_the_key_and_none_is_shown() {
        let key = |pid, secret: &[u8]| CancelKey::new(pid, secret).expect("a length that can be");
        assert_eq!(key(7, b"secret"), key(7, b"secret"));
        for other in [key(8, b"secret"), key(7, b"secreu"), key(7, b"secre"), key(7, b"secret1"), key(7, b"Tecret")] {
            assert_ne!(key(7, b"secret"), other);
        }
        assert_eq!(format!("{:?}", key(7, b"secret")), "CancelKey(7, …)");
    }
}
