//! The untyped first packet of a connection: TLS and GSS requests, cancel requests, startup with its parameters.
//! The proxy reads clients' packets with it and writes its own. It accepts what PostgreSQL accepts and no more.

use super::cancel::{self, CancelKey};
use thiserror::Error;

/// Longest first packet, in bytes (PostgreSQL's own limit).
pub const STARTUP_BYTES_MAX: usize = 10_000;

const TLS: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// The newest minor version that is spoken, to clients and to servers.
pub const MINOR_MAX: u16 = 2;

/// Protocol 3 with this minor version, as it is written.
pub(super) fn version(minor: u16) -> u32 {
    3 << 16 | u32::from(minor)
}

/// Why a first packet is refused. The connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadStartup {
    /// Too short, too long, or its parts do not fit together.
    #[error("the first packet is malformed")]
    Malformed,
    /// Another protocol version than 3.
    #[error("protocol {0}.{1} is not spoken here; use 3.0 or 3.2")]
    Version(u16, u16),
    /// No user was named.
    #[error("no user name in the startup packet")]
    NoUser,
}

/// A client's parameters, in order, as it sent them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// Minor version asked for.
    pub minor: u16,
    /// Name and value, without protocol options.
    pub parameters: Vec<(String, String)>,
    /// Names of protocol options (`_pq_.`), none of which is supported.
    pub options: Vec<String>,
}

impl Startup {
    /// The last value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The minor version that is spoken to who asks so. There is no 3.1: an old PgBouncer claimed to speak it, so it was skipped.
    #[must_use]
    pub fn spoken(&self) -> u16 {
        if self.minor >= MINOR_MAX { MINOR_MAX } else { 0 }
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> &str {
        self.get("user").unwrap_or_default()
    }

    /// The database; the user's name when none was given.
    #[must_use]
    pub fn database(&self) -> &str {
        self.get("database").filter(|name| !name.is_empty()).unwrap_or_else(|| self.user())
    }

    /// Whether the client wants to replicate: such a session is forwarded but never moved.
    #[must_use]
    pub fn is_replication(&self) -> bool {
        self.get("replication").is_some_and(|value| !matches!(value, "false" | "off" | "no" | "0" | "f" | "n"))
    }

    /// The packet that opens a connection with these parameters in this version.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 4];
        out.extend_from_slice(&version(self.minor).to_be_bytes());
        for (name, value) in &self.parameters {
            for text in [name, value] {
                out.extend_from_slice(text.as_bytes());
                out.push(0);
            }
        }
        out.push(0);
        let length = u32::try_from(out.len()).unwrap_or(u32::MAX);
        out[..4].copy_from_slice(&length.to_be_bytes());
        out
    }
}

/// A client's first packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum First {
    /// Asks for TLS.
    Tls,
    /// Asks for GSS encryption.
    Gss,
    /// Asks to cancel what the session with this key runs.
    Cancel(CancelKey),
    /// Opens a session.
    Startup(Startup),
}

/// Length of a first packet from its first four bytes.
///
/// # Errors
/// [`BadStartup::Malformed`] when no first packet has this length.
pub fn length(head: [u8; 4]) -> Result<usize, BadStartup> {
    let length = u32::from_be_bytes(head) as usize;
    if (8..=STARTUP_BYTES_MAX).contains(&length) { Ok(length) } else { Err(BadStartup::Malformed) }
}

/// Parses a whole first packet, its length included.
///
/// # Errors
/// [`BadStartup`] when it is not one that PostgreSQL would accept.
pub fn parse(packet: &[u8]) -> Result<First, BadStartup> {
    let (Some(head), Some(code)) = (word(packet, 0), word(packet, 4)) else { return Err(BadStartup::Malformed) };
    if length(head.to_be_bytes())? != packet.len() {
        return Err(BadStartup::Malformed);
    }
    match code {
        TLS if packet.len() == 8 => Ok(First::Tls),
        GSS if packet.len() == 8 => Ok(First::Gss),
        cancel::CODE => CancelKey::parse(&packet[8..]).map(First::Cancel).ok_or(BadStartup::Malformed),
        TLS | GSS => Err(BadStartup::Malformed),
        version => {
            let (major, minor) = ((version >> 16) as u16, (version & 0xffff) as u16);
            if major != 3 {
                return Err(BadStartup::Version(major, minor));
            }
            parameters(minor, &packet[8..]).map(First::Startup)
        }
    }
}

fn parameters(minor: u16, body: &[u8]) -> Result<Startup, BadStartup> {
    let mut startup = Startup { minor, parameters: Vec::new(), options: Vec::new() };
    let mut rest = body;
    loop {
        let (name, after) = text(rest)?;
        if name.is_empty() {
            // Nothing may follow the terminator.
            if !after.is_empty() {
                return Err(BadStartup::Malformed);
            }
            break;
        }
        let (value, after) = text(after)?;
        rest = after;
        if name.starts_with("_pq_.") {
            startup.options.push(name);
        } else {
            startup.parameters.push((name, value));
        }
    }
    if startup.user().is_empty() { Err(BadStartup::NoUser) } else { Ok(startup) }
}

fn text(bytes: &[u8]) -> Result<(String, &[u8]), BadStartup> {
    let end = bytes.iter().position(|byte| *byte == 0).ok_or(BadStartup::Malformed)?;
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| BadStartup::Malformed)?;
    Ok((text.to_owned(), &bytes[end + 1..]))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn startup(parameters: &[(&str, &str)]) -> Startup {
        let parameters = parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Startup { minor: 0, parameters, options: Vec::new() }
    }

    #[test]
    fn a_startup_is_read_back() {
        let sent = startup(&[("user", "app"), ("database", "shop"), ("options", "-c work_mem=1MB")]);
        let First::Startup(read) = parse(&sent.encode()).expect("valid") else { panic!("a startup") };
        assert_eq!(read, sent);
        assert_eq!((read.user(), read.database(), read.is_replication()), ("app", "shop", false));
        assert_eq!(startup(&[("user", "app")]).database(), "app");
        assert!(startup(&[("user", "app"), ("replication", "database")]).is_replication());
    }

    #[test]
    fn what_postgresql_refuses_is_refused() {
        assert_eq!(parse(&startup(&[("database", "x")]).encode()), Err(BadStartup::NoUser));
        let mut trailing = startup(&[("user", "app")]).encode();
        trailing.push(b'x');
        let bytes = u32::try_from(trailing.len()).expect("short");
        trailing[..4].copy_from_slice(&bytes.to_be_bytes());
        assert_eq!(parse(&trailing), Err(BadStartup::Malformed));
        assert_eq!(parse(&[0, 0, 0, 8, 0, 2, 0, 0]), Err(BadStartup::Version(2, 0)));
        assert_eq!(length([0, 0, 0, 7]), Err(BadStartup::Malformed));
        assert_eq!(length([0x7f, 0xff, 0xff, 0xff]), Err(BadStartup::Malformed));
    }

    #[test]
    fn requests_and_cancels_are_told_apart() {
        assert_eq!(parse(&[0, 0, 0, 8, 4, 210, 22, 47]), Ok(First::Tls));
        assert_eq!(parse(&[0, 0, 0, 8, 4, 210, 22, 48]), Ok(First::Gss));
        for length in [1, 4, 32, 256] {
            let key = CancelKey::new(7, &vec![9; length]).expect("a length that can be");
            assert_eq!(parse(&key.request()), Ok(First::Cancel(key)));
        }
        for length in [0_u8, 1] {
            let bytes = [
                &[0, 0, length, 12 + length][..],
                &cancel::CODE.to_be_bytes(),
                &[7; 4],
                &vec![9; usize::from(length) * 257],
            ];
            assert_eq!(parse(&bytes.concat()), Err(BadStartup::Malformed));
        }
    }

    #[test]
    fn protocol_options_are_kept_apart() {
        let sent = Startup { minor: 2, ..startup(&[("user", "app"), ("_pq_.test", "1")]) };
        let First::Startup(read) = parse(&sent.encode()).expect("valid") else { panic!("a startup") };
        assert_eq!((read.minor, read.options.as_slice()), (2, &["_pq_.test".to_owned()][..]));
        assert_eq!(read.get("_pq_.test"), None);
    }

    #[test]
    fn what_is_spoken_is_never_more_than_was_asked_for_and_never_3_1() {
        for (asked, spoken) in [(0, 0), (1, 0), (2, 2), (3, 2), (9_999, 2)] {
            assert_eq!(Startup { minor: asked, ..startup(&[]) }.spoken(), spoken, "3.{asked}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut packet in prop::collection::vec(any::<u8>(), 0..200), code in prop::sample::select(vec![cancel::CODE, TLS, GSS, version(0), 0])) {
            let _ = parse(&packet);
            if packet.len() >= 8 {
                let length = u32::try_from(packet.len()).expect("short");
                packet[..4].copy_from_slice(&length.to_be_bytes());
                packet[4..8].copy_from_slice(&code.to_be_bytes());
                let _ = parse(&packet);
            }
        }
    }
}
