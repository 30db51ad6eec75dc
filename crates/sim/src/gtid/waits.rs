//! A leader of GTIDs and its commits that wait: the barrier's row, and rows without which a voter that came late would never
//! acknowledge what it had received before it counted. And who writes where nobody may.

use crate::coming::Coming;
use crate::database::{Record, Waiting};
use crate::gtid::NOWHERE;
use crate::world::World;
use dauphin_model::{EngineKind, Span, Voter};
use std::collections::BTreeSet;

/// How often an open leader writes its heartbeat.
const BEAT: Span = Span::ms(1_000);
/// How long the barrier's first row waits before another one is written; twice as long each time.
const PATIENCE: Span = Span::ms(2_000);

impl World {
    pub(super) fn gtid_sees_to_waits(&mut self, at: usize) {
        if self.nodes[at].disk_is_full(self.now) {
            return;
        }
        let acknowledging = self.gtid_acknowledging(at);
        let Some(running) = &self.nodes[at].db.running else { return };
        let required = running.enforced.iter().map(|e| e.required as usize).max().unwrap_or(0);
        let enough = acknowledging.len() >= required;
        if self.nodes[at].barrier.is_some() {
            self.gtid_raises(at, required, enough);
        } else if running.access && enough && !self.bare {
            let more = !acknowledging.is_subset(&running.gtid.acknowledging);
            let due = more || self.now.since(running.gtid.beaten) >= BEAT;
            if due {
                self.gtid_beats(at);
            }
        }
        if let Some(running) = &mut self.nodes[at].db.running {
            running.gtid.acknowledging = acknowledging;
        }
        self.release_heard(at);
    }

    /// Voters that stream from it and acknowledge.
    fn gtid_acknowledging(&self, at: usize) -> BTreeSet<Voter> {
        let enforced = self.enforced_of(at);
        let streams = |n: &crate::coming::Node| {
            let running = n.db.running.as_ref().filter(|r| r.streaming && r.gtid.acknowledges)?;
            let (_, voter) = running.upstream.clone().filter(|(upstream, _)| *upstream == at)?;
            enforced.iter().any(|e| e.voters.contains(&voter)).then_some(voter)
        };
        self.nodes.iter().filter_map(streams).collect()
    }

    /// The barrier's row is written once enough voters are attached, and again where the one before is not acknowledged.
    fn gtid_raises(&mut self, at: usize, required: usize, enough: bool) {
        let (now, db) = (self.now, &mut self.nodes[at].db);
        let Some(running) = &mut db.running else { return };
        if required == 0 {
            let Some(serial) = self.nodes[at].barrier.take() else { return };
            let (life, db_life, span) = (self.nodes[at].life, self.nodes[at].db.life, self.pause());
            return self.later(span, Coming::BarrierEnds { at, life, db_life, serial });
        }
        let waits = running.gtid.row.is_some_and(|(since, patience)| now.since(since) < patience);
        if !enough || waits {
            return;
        }
        let patience = running.gtid.row.map_or(PATIENCE, |(_, before)| before.times(2));
        running.gtid.row = Some((now, patience));
        running.waiting.retain(|waiting| waiting.value != 0);
        db.log_own(0);
        let end = db.log.len();
        db.running.iter_mut().for_each(|running| running.waiting.push(Waiting { value: 0, end }));
    }

    /// The heartbeat is a commit: the next one that a voter acknowledges releases all before it. Where MariaDB logs nothing any
    /// more, its waits are ended if a voter that acknowledges has applied everything.
    pub(crate) fn gtid_beats(&mut self, at: usize) {
        let now = self.now;
        if self.nodes[at].db.kind == EngineKind::Mariadb && self.gtid_is_held(at) {
            let waiting = self.nodes[at].db.running.as_mut().map(|r| std::mem::take(&mut r.waiting));
            for waiting in waiting.unwrap_or_default() {
                self.acknowledged(at, waiting.value);
            }
        }
        let db = &mut self.nodes[at].db;
        if !db.logs_no_more() {
            db.log_own(0);
        }
        if let Some(running) = &mut db.running {
            running.gtid.beaten = now;
        }
    }

    /// Whether commits wait, and a voter that counts and acknowledges has applied the log to its end, by its own agent's word.
    fn gtid_is_held(&self, at: usize) -> bool {
        let ours = self.nodes[at].db.position();
        let waits = self.nodes[at].db.running.as_ref().is_some_and(|r| !r.waiting.is_empty());
        let counting = self.gtid_acknowledging(at);
        let all = |attached: &dauphin_model::Attached| {
            attached.voter.as_ref().is_some_and(|v| counting.contains(v)) && attached.replay >= Some(ours.lsn)
        };
        waits && self.gtid_attached(at).iter().any(all)
    }

    /// Somebody writes on a replica: it takes that, and its log is no chain any more.
    pub(crate) fn writes_errant(&mut self, at: usize, value: u64) {
        let follows = self.nodes[at].db.running.as_ref().is_some_and(|r| r.in_recovery);
        if !self.nodes[at].db.kind.has_gtids() || !follows || !self.server_runs(at) {
            return;
        }
        let number = self.next_value;
        self.next_value += 1;
        self.nodes[at].db.apply(Record { timeline: NOWHERE, number, value });
    }
}
