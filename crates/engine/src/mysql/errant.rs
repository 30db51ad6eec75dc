//! What a member holds that its leader does not: errant transactions, which replication would leave there for ever or trip
//! over. Pure: from what two logs hold to what is errant; the algebra is the model's.

use crate::mysql::{Reached, View};
use dauphin_model::gtid::MariaGtid;
use dauphin_model::{BinlogState, GtidSet};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a member's logs hold; goes between agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Logged {
    /// Every transaction.
    Mysql(GtidSet),
    /// Each server's last one in each domain.
    Mariadb(BinlogState),
}

/// Transactions of one server in one domain of MariaDB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// The domain.
    pub domain: u32,
    /// Who wrote them.
    pub server: u32,
    /// The last one that the leader has too.
    pub after: Option<u64>,
    /// The last one.
    pub last: u64,
}

/// What a member holds and its leader does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Errant {
    /// MySQL's: exactly these.
    Mysql(GtidSet),
    /// MariaDB's: the ends of servers' logs, in each domain.
    Mariadb(Vec<Tail>),
}

impl View {
    /// All that this server holds: logged, or received and not applied.
    #[must_use]
    pub fn logged(&self) -> Logged {
        let received = self.channels.iter().map(|channel| &channel.retrieved);
        let all = received.chain([&self.executed]);
        match &self.state {
            None => Logged::Mysql(all.fold(GtidSet::default(), |held, more| match more {
                Reached::Mysql(set) => held.union(set),
                Reached::Mariadb(_) => held,
            })),
            Some(state) => {
                let mut held = state.clone();
                for more in all {
                    if let Reached::Mariadb(position) = more {
                        log_all(&mut held, position.gtids());
                    }
                }
                Logged::Mariadb(held)
            }
        }
    }
}

impl Logged {
    /// What either holds; `self` where they are of two families.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Mysql(one), Self::Mysql(two)) => Self::Mysql(one.union(two)),
            (Self::Mariadb(one), Self::Mariadb(two)) => {
                let mut both = one.clone();
                log_all(&mut both, two.gtids());
                Self::Mariadb(both)
            }
            (one, _) => one.clone(),
        }
    }

    /// What of it the leader's log does not hold. The look at the leader must be the later one: what it wrote in between
    /// would pass for errant otherwise.
    #[must_use]
    pub fn errant(&self, leader: &Self) -> Errant {
        match (self, leader) {
            (Self::Mysql(ours), Self::Mysql(theirs)) => Errant::Mysql(ours.errant(theirs, &[])),
            (Self::Mariadb(ours), Self::Mariadb(theirs)) => {
                let tail = |gtid: MariaGtid| Tail {
                    domain: gtid.domain,
                    server: gtid.server,
                    after: theirs.last_of(gtid.domain, gtid.server),
                    last: gtid.sequence,
                };
                // no server has the number 0: nobody's are left out
                Errant::Mariadb(ours.errant(theirs, 0).into_iter().map(tail).collect())
            }
            // families do not mix in one cluster: nothing of ours is known there
            (Self::Mysql(ours), Self::Mariadb(_)) => Errant::Mysql(ours.clone()),
            (Self::Mariadb(_), Self::Mysql(_)) => self.errant(&Self::Mariadb(BinlogState::default())),
        }
    }

    /// Between how many transactions of this log, from its beginning, these lie: those before them, and those up to the last of
    /// them. Both logs are chains, of one domain on MariaDB.
    #[must_use]
    pub fn span(&self, errant: &Errant) -> (u64, u64) {
        match (self, errant) {
            (Self::Mysql(all), Errant::Mysql(errant)) => {
                let end = all.count();
                (end.saturating_sub(errant.count()), end)
            }
            (Self::Mariadb(state), Errant::Mariadb(tails)) => {
                let is_errant =
                    |gtid: &MariaGtid| tails.iter().any(|t| (t.domain, t.server) == (gtid.domain, gtid.server));
                // behind what others wrote, too, that the leader holds
                let before = |tail: &Tail| {
                    let others = state.gtids().filter(|g| g.domain == tail.domain && !is_errant(g));
                    others.map(|g| g.sequence).filter(|at| *at < tail.last).chain(tail.after).max().unwrap_or(0)
                };
                let end = tails.iter().map(|tail| tail.last).max().unwrap_or(0);
                (tails.iter().map(before).min().unwrap_or(0), end)
            }
            (Self::Mysql(_), Errant::Mariadb(_)) | (Self::Mariadb(_), Errant::Mysql(_)) => (0, 0),
        }
    }
}

/// Logs what is later than what stands there.
pub(crate) fn log_all(state: &mut BinlogState, gtids: impl Iterator<Item = MariaGtid>) {
    for gtid in gtids {
        if state.last_of(gtid.domain, gtid.server).is_none_or(|known| known < gtid.sequence) {
            state.log(gtid);
        }
    }
}

impl Errant {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Mysql(set) => set.is_empty(),
            Self::Mariadb(tails) => tails.is_empty(),
        }
    }

    /// A name for a folder: that of the first one.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Mysql(set) => set.sources().next().map_or_else(String::new, |(source, runs)| {
                let first = runs.runs().first().map_or(0, |run| run.first());
                let source: String = source.to_string().chars().take(8).collect();
                format!("{source}-{first}")
            }),
            Self::Mariadb(tails) => tails.first().map_or_else(String::new, |tail| {
                format!("{}-{}-{}", tail.domain, tail.server, tail.after.unwrap_or(0) + 1)
            }),
        }
    }
}

impl fmt::Display for Errant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tails = match self {
            Self::Mysql(set) => return f.write_str(&set.on_one_line()),
            Self::Mariadb(tails) => tails,
        };
        for (n, Tail { domain, server, after, last }) in tails.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            match after {
                Some(after) if after + 1 == *last => write!(f, "{comma}{domain}-{server}-{last}")?,
                Some(after) => write!(f, "{comma}{domain}-{server}-{} to {last}", after + 1)?,
                None => write!(f, "{comma}{domain}-{server}- up to {last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mysql(text: &str) -> Logged {
        Logged::Mysql(text.parse().expect("a set"))
    }

    fn mariadb(text: &str) -> Logged {
        Logged::Mariadb(text.parse().expect("a state"))
    }

    #[test]
    fn what_the_leader_has_not_is_errant_and_nothing_else() {
        let (a, b) = ("3e11fa47-71ca-11e1-9e33-c80aa9429562", "3e11fa47-71ca-11e1-9e33-c80aa9429563");
        let check = |ours: Logged, theirs: Logged, expected: &str| {
            let errant = ours.errant(&theirs);
            assert_eq!(errant.to_string(), expected, "{ours:?} {theirs:?}");
            assert_eq!(errant.is_empty(), expected.is_empty());
            let json = serde_json::to_string(&errant).expect("text");
            assert_eq!(serde_json::from_str::<Errant>(&json).expect("read back"), errant);
        };
        check(mysql(&format!("{a}:1-5")), mysql(&format!("{a}:1-9")), "");
        check(mysql(&format!("{a}:1-9,{b}:1-2")), mysql(&format!("{a}:1-5:7-9")), &format!("{a}:6,{b}:1-2"));
        // a former leader wrote on after the switch; the new one is server 2
        check(mariadb("0-1-105"), mariadb("0-1-100,0-2-101"), "0-1-101 to 105");
        check(mariadb("0-1-101"), mariadb("0-1-100,0-2-101"), "0-1-101");
        check(mariadb("0-1-100"), mariadb("0-1-100,0-2-101"), "");
        check(mariadb("0-1-100,0-3-101"), mariadb("0-1-100,0-2-101"), "0-3- up to 101");
        check(mariadb("0-1-100,0-2-101,5-3-7"), mariadb("0-1-100,0-2-101,5-3-5"), "5-3-6 to 7");
    }

    #[test]
    fn what_is_errant_lies_between_two_places_of_the_log() {
        let a = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let check = |ours: Logged, theirs: Logged, expected: (u64, u64)| {
            let span = ours.span(&ours.errant(&theirs));
            assert_eq!(span, expected, "{ours:?} {theirs:?}");
        };
        check(mysql(&format!("{a}:1-105")), mysql(&format!("{a}:1-100")), (100, 105));
        check(mariadb("0-1-105"), mariadb("0-1-100,0-2-101"), (100, 105));
        // by hand on a replica that led before, and on one that never did
        check(mariadb("0-1-101,0-2-100"), mariadb("0-1-50,0-2-110"), (100, 101));
        check(mariadb("0-1-100,0-3-102"), mariadb("0-1-110"), (100, 102));
        check(mariadb("0-3-2"), mariadb(""), (0, 2));
    }

    #[test]
    fn what_two_logs_hold_is_what_either_holds() {
        assert_eq!(mariadb("0-1-100").with(&mariadb("0-1-90,0-2-80")), mariadb("0-1-100,0-2-80").with(&mariadb("")));
        assert_eq!(mariadb("0-1-100").errant(&mariadb("0-1-100")).name(), "");
        assert_eq!(mariadb("0-1-105").errant(&mariadb("0-1-100")).name(), "0-1-101");
    }
}
