//! MariaDB's GTIDs and GTID positions: `domain-server-sequence`, the last one of each domain, holes not expressible.
//! Elections compare them by domain. What a server has logged of each server's transactions is in `mariadb_state.rs`.
//!
//! A position says how far a log reaches, not which way it came: a log that was cut off and went on elsewhere compares as
//! the servers compare, by sequence. Who needs more asks for the term, or for the state.

use super::bad::BadText;
use super::reader::Reader;
use super::standing::{Held, Standing};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Words of errors.
const DOMAIN: &str = "a domain number, 0 to 4294967295";
const SERVER: &str = "a server number, 0 to 4294967295";
const SEQUENCE: &str = "a sequence number, 0 to 18446744073709551615";
const DASH: &str = "a dash: domain-server-sequence, as in 0-1-42";
const ONE_A_DOMAIN: &str = "one GTID for each domain";
const COMMA: &str = "a comma, or the end";

/// One of MariaDB's transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MariaGtid {
    /// The replication domain: a log of its own.
    pub domain: u32,
    /// The server that wrote it first.
    pub server: u32,
    /// Its place in the domain.
    pub sequence: u64,
}

impl MariaGtid {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, BadText> {
        let domain = small(reader, DOMAIN)?;
        dash(reader)?;
        let server = small(reader, SERVER)?;
        dash(reader)?;
        let sequence = number(reader, u64::MAX, SEQUENCE)?;
        Ok(Self { domain, server, sequence })
    }
}

/// As the server reads numbers: blanks and a plus before them are nothing.
fn number(reader: &mut Reader<'_>, most: u64, allowed: &'static str) -> Result<u64, BadText> {
    reader.take_while(|b| b == b' ' || b == b'\t');
    reader.take(b'+');
    reader.number(most, allowed)
}

fn small(reader: &mut Reader<'_>, allowed: &'static str) -> Result<u32, BadText> {
    let value = number(reader, u64::from(u32::MAX), allowed)?;
    u32::try_from(value).map_err(|_| reader.bad(allowed))
}

fn dash(reader: &mut Reader<'_>) -> Result<(), BadText> {
    if reader.take(b'-') { Ok(()) } else { Err(reader.bad(DASH)) }
}

/// A list of GTIDs with commas between them; `keep` says why one may not be there.
pub(super) fn read_list(
    kind: &'static str,
    text: &str,
    mut keep: impl FnMut(MariaGtid) -> Result<(), &'static str>,
) -> Result<(), BadText> {
    let mut reader = Reader::new(kind, text)?;
    if reader.is_at_end() {
        return Ok(());
    }
    loop {
        let at = reader.at();
        let gtid = MariaGtid::read(&mut reader)?;
        keep(gtid).map_err(|allowed| reader.bad_at(at, allowed))?;
        if !reader.take(b',') {
            return reader.end(COMMA);
        }
        // the server takes a comma at the end
        if reader.is_at_end() {
            return Ok(());
        }
    }
}

impl fmt::Display for MariaGtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.domain, self.server, self.sequence)
    }
}

impl FromStr for MariaGtid {
    type Err = BadText;
    fn from_str(text: &str) -> Result<Self, BadText> {
        let mut reader = Reader::new("MariaDB GTID", text)?;
        let gtid = Self::read(&mut reader)?;
        reader.end("nothing more")?;
        Ok(gtid)
    }
}

/// How far a log reaches in each domain: `gtid_slave_pos`, `gtid_binlog_pos`, `gtid_current_pos`, `Gtid_IO_Pos`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct MariaPosition(BTreeMap<u32, (u32, u64)>);

impl MariaPosition {
    /// Whether nothing was logged in any domain.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its GTIDs, by domain.
    pub fn gtids(&self) -> impl Iterator<Item = MariaGtid> {
        self.0.iter().map(|(domain, (server, sequence))| MariaGtid {
            domain: *domain,
            server: *server,
            sequence: *sequence,
        })
    }

    /// The last GTID of a domain.
    #[must_use]
    pub fn of(&self, domain: u32) -> Option<MariaGtid> {
        self.0.get(&domain).map(|(server, sequence)| MariaGtid { domain, server: *server, sequence: *sequence })
    }

    /// Moves on to this GTID in its domain, whatever stood there.
    pub fn set(&mut self, gtid: MariaGtid) {
        self.0.insert(gtid.domain, (gtid.server, gtid.sequence));
    }

    /// How it stands to `other`, over all domains.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Standing {
        Standing::from_holding(self.holds(other), other.holds(self))
    }

    /// How it stands to `other` in one domain. The same sequence from two servers is a divergence.
    #[must_use]
    pub fn compare_in(&self, domain: u32, other: &Self) -> Standing {
        let only = |all: &Self| Self(all.0.get(&domain).map(|at| (domain, *at)).into_iter().collect());
        only(self).compare(&only(other))
    }
}

impl Held for MariaPosition {
    fn holds(&self, other: &Self) -> bool {
        other.0.iter().all(|(domain, (server, sequence))| {
            let reaches = |(own_server, own): &(u32, u64)| own > sequence || (own == sequence && own_server == server);
            self.0.get(domain).is_some_and(reaches)
        })
    }

    fn join(&self, other: &Self) -> Option<Self> {
        let mut joined = self.clone();
        for gtid in other.gtids() {
            match self.of(gtid.domain) {
                Some(own) if own.sequence == gtid.sequence && own.server != gtid.server => return None,
                Some(own) if own.sequence >= gtid.sequence => {}
                Some(_) | None => joined.set(gtid),
            }
        }
        Some(joined)
    }
}

impl fmt::Display for MariaPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, gtid) in self.gtids().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{gtid}")?;
        }
        Ok(())
    }
}

impl FromStr for MariaPosition {
    type Err = BadText;
    fn from_str(text: &str) -> Result<Self, BadText> {
        let mut found = BTreeMap::new();
        read_list("MariaDB GTID position", text, |gtid| {
            let before = found.insert(gtid.domain, (gtid.server, gtid.sequence));
            if before.is_none() { Ok(()) } else { Err(ONE_A_DOMAIN) }
        })?;
        Ok(Self(found))
    }
}

impl Serialize for MariaPosition {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MariaPosition {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
