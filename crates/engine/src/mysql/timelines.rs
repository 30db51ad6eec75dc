//! Timelines of MySQL and MariaDB, which know none: a table has a row for each leadership, and with it a log of GTIDs is a
//! position that the core compares as it does PostgreSQL's. Pure: from a log and the rows to a position; asking is in
//! [`super::standing`], writing a row in [`super::begin`].
//!
//! A row is the first transaction of its leadership. A log is one chain: for each row, who wrote from there on. What is in a
//! log and not in the chain is stray, and puts the member on [`NOWHERE`].

use crate::mysql::Reached;
use crate::mysql::client::{Row, literal};
use crate::mysql::errant::log_all;
use dauphin_model::gtid::{MariaGtid, Uuid};
use dauphin_model::{BinlogState, Branch, GtidSet, Lsn, MariaPosition, Position, Timeline};
use std::collections::BTreeMap;
use std::fmt;

/// The timeline of a log that no leadership began: of a server just made, and of one whose log is no part of any chain. It
/// ranks lowest; bootstraps begin above it.
pub const NOWHERE: Timeline = Timeline(1);

// The character set is written out: versions differ in theirs, and rows would not fit from one to the other.
pub(crate) const TABLE: &str = "CREATE TABLE IF NOT EXISTS dauphin.timelines (timeline int unsigned PRIMARY KEY, \
     parent int unsigned NOT NULL, end_ordinal bigint unsigned NOT NULL, writer varchar(36) NOT NULL, \
     identity bigint unsigned NOT NULL) ENGINE = InnoDB DEFAULT CHARACTER SET ascii";
pub(crate) const READ: &str =
    "SELECT timeline, parent, end_ordinal, writer, identity FROM dauphin.timelines ORDER BY timeline";

/// Who writes a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Writer {
    /// A server of MySQL.
    Mysql(Uuid),
    /// A server of MariaDB, by its number.
    Mariadb(u32),
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mysql(uuid) => uuid.fmt(f),
            Self::Mariadb(id) => id.fmt(f),
        }
    }
}

/// A leadership, as its leader wrote it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Began {
    /// Its timeline.
    pub timeline: Timeline,
    /// The timeline that it left.
    pub parent: Timeline,
    /// How many transactions the log held then. This row is the next one.
    pub end: Lsn,
    /// Who writes from there on.
    pub writer: Writer,
    /// The cluster's, since its first leader.
    pub identity: u64,
}

impl Began {
    pub(crate) fn read(row: &Row) -> Option<Self> {
        let writer = row.get("writer")?;
        let uuid = writer.parse().map(Writer::Mysql).ok();
        Some(Self {
            timeline: Timeline(row.parse("timeline")?),
            parent: Timeline(row.parse("parent")?),
            end: Lsn(row.parse("end_ordinal")?),
            writer: uuid.or_else(|| writer.parse().map(Writer::Mariadb).ok())?,
            identity: row.parse("identity")?,
        })
    }

    /// The statement that writes it. Written again it fails.
    pub(crate) fn insert(&self) -> String {
        let Self { timeline, parent, end: Lsn(end), writer, identity } = self;
        let writer = literal(&writer.to_string());
        format!("INSERT INTO dauphin.timelines VALUES ({timeline}, {parent}, {end}, {writer}, {identity})")
    }
}

/// What a log holds and every session sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Log {
    /// Every transaction.
    Mysql(GtidSet),
    /// How far it reaches, and each server's last one in the binary log, which may be a moment ahead.
    Mariadb {
        /// How far.
        reached: MariaPosition,
        /// Of each server.
        state: BinlogState,
    },
}

/// Where a log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// In the order of leaderships.
    pub position: Position,
    /// What of it is in no chain, for people; it is nowhere then.
    pub stray: Option<String>,
}

impl Log {
    /// MariaDB's domain in which everything is logged.
    pub(crate) const DOMAIN: u32 = 0;

    /// The log that reaches this far instead. `None`: that is the other family's.
    pub(crate) fn reaching(self, reached: Reached) -> Option<Self> {
        match (self, reached) {
            (Self::Mysql(_), Reached::Mysql(set)) => Some(Self::Mysql(set)),
            (Self::Mariadb { mut state, .. }, Reached::Mariadb(reached)) => {
                log_all(&mut state, reached.gtids());
                Some(Self::Mariadb { reached, state })
            }
            (Self::Mysql(_), Reached::Mariadb(_)) | (Self::Mariadb { .. }, Reached::Mysql(_)) => None,
        }
    }

    /// That was received as well, whether or not it fits behind what is there.
    pub(crate) fn received(&mut self, part: &Reached) {
        match (self, part) {
            (Self::Mysql(set), Reached::Mysql(part)) => *set = set.union(part),
            (Self::Mariadb { state, .. }, Reached::Mariadb(part)) => log_all(state, part.gtids()),
            (Self::Mysql(_), Reached::Mariadb(_)) | (Self::Mariadb { .. }, Reached::Mysql(_)) => {}
        }
    }

    /// How many transactions it holds.
    pub(crate) fn ordinal(&self) -> u64 {
        match self {
            Self::Mysql(set) => set.count(),
            Self::Mariadb { reached, .. } => reached.of(Self::DOMAIN).map_or(0, |last| last.sequence),
        }
    }

    /// Its place by the rows that the member has applied, read after the log was. A row that the log does not reach counts for
    /// nothing.
    #[must_use]
    pub fn place(&self, rows: &[Began]) -> Place {
        let end = self.ordinal();
        let held: Vec<&Began> = rows.iter().filter(|row| row.end.0 < end).collect();
        match self.stray(&held, end) {
            Some(stray) => Place { position: Position::new(NOWHERE, Lsn(end)), stray: Some(stray) },
            None => {
                let history = held.iter().map(|row| Branch { timeline: row.parent, end: row.end }).collect();
                let timeline = held.last().map_or(NOWHERE, |row| row.timeline);
                Place { position: Position { history, timeline, lsn: Lsn(end) }, stray: None }
            }
        }
    }

    /// The first of these leaderships that does not go on where the one before was left.
    pub(crate) fn broken_chain<'a>(held: &[&'a Began]) -> Option<&'a Began> {
        let mut left = NOWHERE;
        let mut from = 0;
        held.iter().copied().find(|row| {
            let fits = row.parent == left && row.end.0 >= from;
            (left, from) = (row.timeline, row.end.0 + 1);
            !fits
        })
    }

    /// What of it is not in the chain of these leaderships.
    fn stray(&self, held: &[&Began], end: u64) -> Option<String> {
        if let Some(row) = Self::broken_chain(held) {
            return Some(format!("leadership {} leaves {} at {}", row.timeline, row.parent, row.end.0));
        }
        if held.first().map_or(end, |first| first.end.0) > 0 {
            return Some(format!("{self} before the first leadership"));
        }
        // where each branch ends
        let ends = held.iter().skip(1).map(|row| row.end.0).chain([end]);
        let branches = held.iter().zip(ends).map(|(row, end)| (row.writer, row.end.0, end));
        match self {
            Self::Mysql(set) => stray_in_set(set, branches),
            Self::Mariadb { reached, state } => stray_in_state(reached, state, branches, end),
        }
    }
}

/// Each server must have logged as many as its leaderships were long.
fn stray_in_set(set: &GtidSet, branches: impl Iterator<Item = (Writer, u64, u64)>) -> Option<String> {
    let mut due: BTreeMap<Uuid, u64> = BTreeMap::new();
    for (writer, begin, end) in branches {
        match writer {
            Writer::Mysql(uuid) => *due.entry(uuid).or_default() += end - begin,
            Writer::Mariadb(id) => return Some(format!("a leadership of server {id}, which is no UUID")),
        }
    }
    let mut logged: BTreeMap<Uuid, u64> = BTreeMap::new();
    for (source, runs) in set.sources() {
        *logged.entry(source.uuid).or_default() += runs.count();
    }
    let known = |uuid: &Uuid| due.get(uuid).copied().unwrap_or(0);
    // one that nobody knows, before one of which there are too many
    let stranger = logged.iter().find(|(uuid, count)| known(uuid) == 0 && **count > 0);
    let other = || logged.iter().find(|(uuid, count)| known(uuid) != **count);
    let (uuid, count) = stranger.or_else(other)?;
    Some(format!("{count} transactions of {uuid}, of which {} are in the chain", known(uuid)))
}

/// Each server's last one must be where its last leadership ended.
fn stray_in_state(
    reached: &MariaPosition,
    state: &BinlogState,
    branches: impl Iterator<Item = (Writer, u64, u64)>,
    end: u64,
) -> Option<String> {
    let mut due: BTreeMap<u32, u64> = BTreeMap::new();
    let mut last = None;
    for (writer, _, end) in branches {
        match writer {
            Writer::Mariadb(id) => drop(due.insert(id, end)),
            Writer::Mysql(uuid) => return Some(format!("a leadership of {uuid}, which is no server's number")),
        }
        last = Some(writer);
    }
    let gtid = |gtid: MariaGtid| format!("{}-{}-{}", gtid.domain, gtid.server, gtid.sequence);
    let in_chain =
        |g: &MariaGtid| g.domain == Log::DOMAIN && due.get(&g.server).is_some_and(|last| g.sequence <= *last);
    // what lies beyond is on its way into the tables
    let logged = state.gtids().filter(|g| g.domain != Log::DOMAIN || g.sequence <= end);
    let mut strays = logged.chain(reached.gtids().filter(|g| g.domain != Log::DOMAIN));
    if let Some(stray) = strays.find(|g| !in_chain(g)) {
        return Some(gtid(stray));
    }
    let at_end = reached.of(Log::DOMAIN)?;
    (last != Some(Writer::Mariadb(at_end.server))).then(|| gtid(at_end))
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mysql(set) => f.write_str(&set.on_one_line()),
            Self::Mariadb { reached, .. } => reached.fmt(f),
        }
    }
}

/// What a MySQL server is about to log: transactions that have a GTID and are not executed yet, those that wait for an
/// acknowledgement among them. The server writes `uuid:5#12:6#13`, with the sessions that own them; those of `own` are told.
pub(crate) fn owned(text: &str, own: &str) -> Option<GtidSet> {
    let numbers = text.split_once(own).map_or("", |(_, rest)| rest);
    let mut set = String::new();
    for word in numbers.split([':', ',']).skip(1) {
        let number: u64 = word.split_once('#')?.0.parse().ok()?;
        set = format!("{set}:{number}");
    }
    if set.is_empty() { Some(GtidSet::default()) } else { format!("{own}{set}").parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_model::{Held, Relation};

    const A: &str = "aaaaaaaa-0000-0000-0000-000000000001";
    const B: &str = "bbbbbbbb-0000-0000-0000-000000000002";
    const C: &str = "cccccccc-0000-0000-0000-000000000003";

    /// `2:A@0 3:B@100`: timelines with who began them and where.
    fn rows(text: &str) -> Vec<Began> {
        let mut parent = NOWHERE;
        let mut row = |word: &str| {
            let (timeline, rest) = word.split_once(':').expect("a timeline");
            let (writer, end) = rest.split_once('@').expect("a place");
            let uuid = |text: &str| Writer::Mysql(text.parse().expect("a UUID"));
            let writer = match writer {
                "A" => uuid(A),
                "B" => uuid(B),
                "C" => uuid(C),
                id => Writer::Mariadb(id.parse().expect("a number")),
            };
            let timeline = Timeline(timeline.parse().expect("a number"));
            let began = Began { timeline, parent, end: Lsn(end.parse().expect("a number")), writer, identity: 7 };
            parent = timeline;
            began
        };
        text.split_whitespace().map(&mut row).collect()
    }

    fn mysql(text: &str) -> Log {
        let text = text.replace('A', A).replace('B', B).replace('C', C);
        Log::Mysql(text.parse().expect("a set"))
    }

    /// The state of a log that reaches up to its last one.
    fn mariadb(state: &str) -> Log {
        let state: BinlogState = state.parse().expect("a state");
        Log::Mariadb { reached: state.position(), state }
    }

    fn position(text: &str) -> Position {
        let mut all: Vec<Branch> = text
            .split_whitespace()
            .map(|word| {
                let (timeline, end) = word.split_once(':').expect("a branch");
                let number = |text: &str| text.parse::<u32>().expect("a number");
                Branch { timeline: Timeline(number(timeline)), end: Lsn(u64::from(number(end))) }
            })
            .collect();
        let last = all.pop().expect("at least one");
        Position { history: all, timeline: last.timeline, lsn: last.end }
    }

    fn check(log: &Log, leaderships: &str, expected: &str) {
        let place = log.place(&rows(leaderships));
        assert_eq!(place.position, position(expected), "{log} {leaderships} {place:?}");
        assert_eq!(place.stray, None, "{log} {leaderships}");
    }

    fn stray(log: &Log, leaderships: &str, why: &str) {
        let place = log.place(&rows(leaderships));
        assert_eq!(place.position, Position::new(NOWHERE, Lsn(log.ordinal())), "{log} {leaderships}");
        assert!(place.stray.as_deref().is_some_and(|said| said.contains(why)), "{place:?} {why}");
    }

    #[test]
    fn a_log_of_one_chain_is_where_its_last_leadership_is() {
        check(&mysql(""), "", "1:0");
        check(&mysql("A:1-100"), "2:A@0", "1:0 2:100");
        check(&mysql("A:1-100,B:1-5"), "2:A@0 3:B@100", "1:0 2:100 3:105");
        // the first one led again, and numbers go on
        check(&mysql("A:1-130,B:1-5"), "2:A@0 3:B@100 7:A@105", "1:0 2:100 3:105 7:135");
        // it led twice in a row
        check(&mysql("A:1-130"), "2:A@0 3:A@100", "1:0 2:100 3:130");
        // tags are numbered apart
        check(&mysql("A:1-60:tagged:1-40"), "2:A@0", "1:0 2:100");
        check(&mariadb(""), "", "1:0");
        check(&mariadb("0-1-100"), "2:1@0", "1:0 2:100");
        check(&mariadb("0-1-100,0-2-105"), "2:1@0 3:2@100", "1:0 2:100 3:105");
        check(&mariadb("0-2-105,0-1-135"), "2:1@0 3:2@100 7:1@105", "1:0 2:100 3:105 7:135");
        check(&mariadb("0-1-130"), "2:1@0 3:1@100", "1:0 2:100 3:130");
    }

    #[test]
    fn a_row_that_the_log_does_not_reach_yet_is_none() {
        check(&mysql("A:1-100"), "2:A@0 3:B@100", "1:0 2:100");
        check(&mysql("A:1-99"), "2:A@0 3:B@100", "1:0 2:99");
        check(&mysql("A:1-100,B:1"), "2:A@0 3:B@100", "1:0 2:100 3:101");
        check(&mariadb("0-1-100"), "2:1@0 3:2@100", "1:0 2:100");
        check(&mariadb("0-1-100,0-2-101"), "2:1@0 3:2@100", "1:0 2:100 3:101");
    }

    #[test]
    fn a_deposed_leaders_tail_diverges_where_it_was_left() {
        for (leader, old, lagging) in [
            (mysql("A:1-100,B:1-5"), mysql("A:1-103"), mysql("A:1-90")),
            (mariadb("0-1-100,0-2-105"), mariadb("0-1-103"), mariadb("0-1-90")),
        ] {
            let (first, both) = match &leader {
                Log::Mysql(_) => ("2:A@0", "2:A@0 3:B@100"),
                Log::Mariadb { .. } => ("2:1@0", "2:1@0 3:2@100"),
            };
            let leader = leader.place(&rows(both)).position;
            let old = old.place(&rows(first)).position;
            assert_eq!(old, position("1:0 2:103"));
            assert_eq!(old.compare(&leader), Relation::Diverged { at: Lsn(100) });
            assert_eq!(old.leads_into(&leader), Err(Lsn(100)));
            assert_eq!(lagging.place(&rows(first)).position.compare(&leader), Relation::Behind);
            assert_eq!(Position::new(NOWHERE, Lsn(0)).leads_into(&leader), Ok(()), "one just made follows");
        }
    }

    #[test]
    fn what_is_in_no_chain_is_stray_and_nowhere() {
        // errant, of a server that led never and of one that did
        stray(&mysql("A:1-100,C:1"), "2:A@0", "1 transactions of cccccccc");
        stray(&mysql("A:1-103,B:1-5"), "2:A@0 3:B@100", "103 transactions of aaaaaaaa");
        stray(&mariadb("0-1-100,0-3-101"), "2:1@0", "0-3-101");
        stray(&mariadb("0-3-50,0-1-100"), "2:1@0", "0-3-50");
        stray(&mariadb("0-1-103,0-2-105"), "2:1@0 3:2@100", "0-1-103");
        // rows of a timeline that it does not know
        stray(&mysql("A:1-100,B:1-5"), "2:A@0", "5 transactions of bbbbbbbb");
        stray(&mysql("A:1-5"), "", "before the first leadership");
        stray(&mariadb("0-1-5"), "", "before the first leadership");
        stray(&mysql("A:1-9"), "2:A@5", "before the first leadership");
        // another domain of MariaDB's
        stray(&mariadb("0-1-100,5-1-1"), "2:1@0", "5-1-1");
        // a chain with a link missing
        let mut broken = rows("2:A@0 3:A@50 4:A@60");
        broken.remove(1);
        assert!(mysql("A:1-100").place(&broken).stray.is_some_and(|said| said.contains("leadership 4 leaves 3")));
        // wherever it is, it leads into no leader's log
        let leader = mysql("A:1-100,B:1-5").place(&rows("2:A@0 3:B@100")).position;
        let lost = mysql("A:1-100,C:1").place(&rows("2:A@0")).position;
        assert!(lost.leads_into(&leader).is_err() && !leader.holds(&lost));
        assert!(matches!(lost.compare(&leader), Relation::Diverged { .. }));
    }

    #[test]
    fn a_stray_log_vouches_for_the_chain_it_holds() {
        let chain = |log: &Log, leaderships: &str| log.chain_end(&rows(leaderships));
        for (log, leaderships, expected) in [
            (mysql("A:1-100,C:1"), "2:A@0", "1:0 2:100"),
            // received behind it
            (mysql("A:1-150,C:1-7"), "2:A@0", "1:0 2:150"),
            // a former leader wrote once more, and is counted up to where it was left
            (mysql("A:1-103,B:1-5"), "2:A@0 3:B@100", "1:0 2:100 3:105"),
            (mysql("A:1-130,B:1-5,C:1"), "2:A@0 3:B@100 7:A@105", "1:0 2:100 3:105 7:135"),
            (mysql("A:1-130,C:1:tagged:1"), "2:A@0 3:A@100", "1:0 2:100 3:130"),
            (mariadb("0-1-100,0-3-101"), "2:1@0", "1:0 2:100"),
            (mariadb("0-3-101,0-1-150"), "2:1@0", "1:0 2:150"),
            (mariadb("0-1-103,0-2-105"), "2:1@0 3:2@100", "1:0 2:100 3:105"),
            (mariadb("0-1-100,5-1-1"), "2:1@0", "1:0 2:100"),
        ] {
            assert!(log.place(&rows(leaderships)).stray.is_some(), "{log}");
            assert_eq!(chain(&log, leaderships), Some(position(expected)), "{log} {leaderships}");
        }
        for (log, leaderships) in [
            // no leadership, one that is not whole, one without its beginning, numbers that are missing, or counted apart
            (mysql("A:1-5"), ""),
            (mysql("A:1-99,B:1-5"), "2:A@0 3:B@100"),
            (mysql("A:1-9"), "2:A@5"),
            (mysql("A:1-50:52-100,C:1"), "2:A@0"),
            (mysql("A:2-100,C:1"), "2:A@0"),
            (mysql("A:1-60:tagged:1-40,C:1"), "2:A@0"),
            (mariadb("0-3-5"), ""),
            (mariadb("0-1-90,0-3-91"), "2:1@0 3:2@90"),
        ] {
            assert_eq!(chain(&log, leaderships), None, "{log} {leaderships}");
        }
    }

    #[test]
    fn what_mariadb_logs_a_moment_early_is_no_stray() {
        let state: BinlogState = "0-1-100,0-2-103".parse().expect("a state");
        let reached: MariaPosition = "0-1-100".parse().expect("a position");
        check(&Log::Mariadb { reached, state }, "2:1@0", "1:0 2:100");
    }

    #[test]
    fn what_is_about_to_be_logged_is_read_from_the_servers_own_form() {
        let set = |text: &str| owned(text, A).expect("a set").on_one_line();
        assert_eq!(set(""), "");
        assert_eq!(set(&format!("{A}:5#12:6#13")), format!("{A}:5-6"));
        assert_eq!(set(&format!("{B}:5#12")), "");
        assert!(owned(&format!("{A}:nonsense"), A).is_none());
        let executed: GtidSet = format!("{A}:1-5").parse().expect("a set");
        assert_eq!(executed.join(&owned(&format!("{A}:5#12:6#13"), A).expect("a set")).expect("both").count(), 6);
    }
}
