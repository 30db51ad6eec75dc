//! What fake servers of MySQL and MariaDB have that PostgreSQL's do not: a relay log, sources that send whatever is lacking,
//! acknowledgements that are counted and given only for what comes after one counts, writes on replicas that nothing refuses.
//! `dauphin-engine`'s `mysql` says what the real ones do. Part of the world; it decides nothing.

mod steps;
mod streams;
mod waits;

use crate::database::{Database, Record};
use dauphin_model::{Branch, EngineKind, Lsn, Mono, Position, Timeline, Voter};
use std::collections::BTreeSet;

/// The timeline of a log that is no chain of leaderships, and of one that no leadership began.
pub(crate) const NOWHERE: Timeline = Timeline(1);
/// MariaDB logs a group of commits behind one that waits, and nothing behind that.
const WAITING_MAX: usize = 2;

/// What was received and is not applied.
#[derive(Debug, Clone, Default, Hash)]
pub(crate) struct Relay {
    pub(crate) records: Vec<Record>,
    /// So many of them outlive a loss of power.
    pub(crate) safe: usize,
}

/// What a running server of GTIDs knows.
#[derive(Debug, Clone, Default, Hash)]
pub(crate) struct Session {
    /// It follows with its voter's account, and acknowledges what it receives.
    pub(crate) acknowledges: bool,
    /// It begins behind what no source has: on MariaDB, whose place in a log is the last that it logged, whoever wrote that.
    pub(crate) begins_astray: bool,
    /// Which life of its source's server it receives from.
    pub(crate) source_life: u64,
    /// The barrier's row that waits: since when, and how long it is waited for before another is written.
    pub(crate) row: Option<(Mono, dauphin_model::Span)>,
    /// When the leader's heartbeat was written last.
    pub(crate) beaten: Mono,
    /// Who acknowledged then.
    pub(crate) acknowledging: BTreeSet<Voter>,
}

/// What a member said last of its log.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Heard {
    voter: Voter,
    position: Position,
    held: usize,
}

impl Database {
    /// How much of a log it holds, applied or not.
    pub(crate) fn held(&self) -> usize {
        self.log.len() + self.relay.records.len()
    }

    /// Applies a record: where it fits behind what is there, the log goes on as one chain.
    fn apply(&mut self, record: Record) {
        let end = self.log.len() as u64;
        let fits = record.number == end && record.timeline >= self.timeline && record.timeline != NOWHERE;
        self.stray |= !fits;
        if !self.stray && record.timeline != self.timeline {
            self.history.push(Branch { timeline: self.timeline, end: Lsn(end) });
            self.timeline = record.timeline;
        }
        self.log.push(record);
    }

    /// Applies up to so many of the records that it received. MariaDB's applier stops at what its log is beyond already.
    pub(crate) fn apply_some(&mut self, most: usize) {
        if self.stray && self.kind == EngineKind::Mariadb {
            return;
        }
        let count = most.min(self.relay.records.len());
        let records: Vec<Record> = self.relay.records.drain(..count).collect();
        self.relay.safe = self.relay.safe.saturating_sub(count);
        records.into_iter().for_each(|record| self.apply(record));
    }

    /// Where the chain of leaderships ends in it with what it received, where that can be told: not behind the beginning of a
    /// leadership.
    pub(crate) fn held_at(&self) -> Option<Position> {
        let begins = self.relay.records.iter().any(|record| record.timeline > self.timeline);
        let chain = |record: &&Record| record.timeline == self.timeline;
        let end = self.on_disk().rev().find(chain).map_or(0, |last| last.number + 1);
        let lsn = Lsn(if self.stray { end } else { self.held() as u64 });
        (!begins).then(|| Position { history: self.history.clone(), timeline: self.timeline, lsn })
    }

    /// What it lacks of a source's log, and whether the source still has that. `None`: the source refuses.
    pub(crate) fn lacks<'a>(&self, source: &'a Self) -> Option<Vec<&'a Record>> {
        // what somebody wrote beside it is in nobody's way
        let mut chain = self.on_disk().rev().filter(|record| record.timeline != NOWHERE);
        let last = chain.next();
        let held = if self.stray { last.map_or(0, |_| 1 + chain.count()) } else { self.held() };
        let leads = held == 0 || source.log.get(held - 1) == last;
        if leads {
            let all = source.log.get(held..).unwrap_or_default();
            return (held >= source.kept_from).then(|| all.iter().collect());
        }
        if self.kind == EngineKind::Mariadb {
            // the replica's place is not in the source's log
            return None;
        }
        let ours: BTreeSet<&Record> = self.log.iter().chain(&self.relay.records).collect();
        let kept = |(at, _): &(usize, &Record)| *at >= source.kept_from;
        let lacking = source.log.iter().enumerate().filter(|(_, record)| !ours.contains(record));
        let (there, gone): (Vec<_>, Vec<_>) = lacking.partition(kept);
        gone.is_empty().then(|| there.into_iter().map(|(_, record)| record).collect())
    }

    /// What was received and not flushed is gone with the machine's power.
    pub(crate) fn lose_power(&mut self) {
        self.relay.records.truncate(self.relay.safe);
    }

    /// Whether a commit more would not be logged while others wait.
    pub(crate) fn logs_no_more(&self) -> bool {
        let waiting = self.running.as_ref().map_or(0, |running| running.waiting.len());
        self.kind == EngineKind::Mariadb && waiting >= WAITING_MAX
    }
}
