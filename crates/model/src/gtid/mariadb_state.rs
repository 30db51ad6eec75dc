//! MariaDB's `gtid_binlog_state`: the last sequence of every server in every domain of a binary log. The only place where
//! a write on a replica shows. Errant checks read it; it is no position to replicate from.

use super::bad::BadText;
use super::mariadb::{MariaGtid, MariaPosition, read_list};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What one domain's log holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Domain {
    /// The server of the last transaction in it.
    last: u32,
    /// Each server's last sequence.
    servers: BTreeMap<u32, u64>,
}

/// What a binary log holds of every server in every domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct BinlogState(BTreeMap<u32, Domain>);

impl BinlogState {
    /// Every server's last transaction, domain by domain; the domain's last one stands at its end.
    pub fn gtids(&self) -> impl Iterator<Item = MariaGtid> {
        self.0.iter().flat_map(|(domain, log)| {
            let gtid =
                |(server, sequence): (&u32, &u64)| MariaGtid { domain: *domain, server: *server, sequence: *sequence };
            let others = log.servers.iter().filter(|(server, _)| **server != log.last).map(gtid);
            others.chain(log.servers.get_key_value(&log.last).map(gtid))
        })
    }

    /// Logs a transaction: the last of its server and of its domain.
    pub fn log(&mut self, gtid: MariaGtid) {
        let domain = self.0.entry(gtid.domain).or_default();
        domain.last = gtid.server;
        domain.servers.insert(gtid.server, gtid.sequence);
    }

    /// Where the log ends: the last transaction of each domain (`gtid_binlog_pos`).
    #[must_use]
    pub fn position(&self) -> MariaPosition {
        let mut position = MariaPosition::default();
        // the domain's last one comes last
        self.gtids().for_each(|gtid| position.set(gtid));
        position
    }

    /// A server's last sequence in a domain.
    #[must_use]
    pub fn last_of(&self, domain: u32, server: u32) -> Option<u64> {
        self.0.get(&domain)?.servers.get(&server).copied()
    }

    /// Transactions of a replica that its leader's log does not have: the last of each server beyond the leader's. What
    /// `writer`, the leader itself, wrote is not counted: the look at it may be the older one.
    #[must_use]
    pub fn errant(&self, leader: &Self, writer: u32) -> Vec<MariaGtid> {
        let beyond = |gtid: &MariaGtid| {
            gtid.server != writer && leader.last_of(gtid.domain, gtid.server).is_none_or(|known| gtid.sequence > known)
        };
        self.gtids().filter(beyond).collect()
    }
}

impl fmt::Display for BinlogState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, gtid) in self.gtids().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{gtid}")?;
        }
        Ok(())
    }
}

impl FromStr for BinlogState {
    type Err = BadText;

    /// The last GTID of a domain in the text is the last in that domain's log; of a server named twice, the later counts.
    fn from_str(text: &str) -> Result<Self, BadText> {
        let mut state = Self::default();
        read_list("MariaDB binary log state", text, |gtid| {
            state.log(gtid);
            Ok(())
        })?;
        Ok(state)
    }
}

impl Serialize for BinlogState {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BinlogState {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
