//! Streams between servers of GTIDs: what a source sends, what a replica makes of it, who acknowledges, and what the leader's
//! agent knows of who is attached.

use crate::coming::Coming;
use crate::database::Record;
use crate::gtid::Heard;
use crate::world::World;
use dauphin_ha::Role;
use dauphin_model::{Attached, EngineKind, Lsn, Voter};

/// Most records that are sent, and applied, at once.
const AT_ONCE: usize = 64;
/// How often an applier gets to it, of a hundred times that log is carried.
const APPLIES_PERCENT: u64 = 60;
/// How often a replica gets to changing over, of a hundred times.
const CHANGES_OVER_PERCENT: u64 = 20;

impl World {
    /// A replica applies what it has and receives what it has not; a leader sees to its commits that wait.
    pub(crate) fn gtid_ship(&mut self, at: usize) {
        if !self.server_runs(at) {
            return;
        }
        self.gtid_tells(at);
        let Some(running) = &self.nodes[at].db.running else { return };
        if !running.in_recovery {
            return self.gtid_sees_to_waits(at);
        }
        let Some((source, voter)) = running.upstream.clone() else { return };
        let applies = self.rng.chance(APPLIES_PERCENT) || self.config.pace.steady;
        if applies && self.now >= self.nodes[at].applier_stands_until && !self.nodes[at].disk_is_full(self.now) {
            self.nodes[at].db.apply_some(AT_ONCE);
        }
        if self.gtid_changes_over(at, source, &voter) {
            return;
        }
        let lacking = self.gtid_lacks(at, source);
        let Some(running) = &mut self.nodes[at].db.running else { return };
        let begins = lacking.is_some() && !running.streaming;
        running.streaming = lacking.is_some();
        let (epoch, db_life) = (running.epoch, self.nodes[at].db.life);
        if begins {
            self.gtid_begins(at, source);
        }
        if self.now < self.nodes[at].stalled_until.max(self.nodes[source].stalled_until) {
            return;
        }
        let Some((records, end)) = lacking.filter(|(records, _)| !records.is_empty()) else { return };
        let (from, span) = (self.nodes[at].db.held(), self.pause());
        self.later(span, Coming::Received { at, epoch, db_life, from, records, end });
    }

    /// What comes next of a source's log, and where that ends there. `None`: no stream stands.
    fn gtid_lacks(&self, at: usize, source: usize) -> Option<(Vec<Record>, usize)> {
        let linked =
            self.reaches(source, at) && self.reaches(at, source) && self.server_runs(at) && self.server_runs(source);
        let running = self.nodes[at].db.running.as_ref()?;
        let (_, voter) = running.upstream.as_ref()?;
        let theirs = &self.nodes[source].db;
        let open = theirs.running.as_ref().is_some_and(|r| r.enforced.iter().any(|e| e.voters.contains(voter)));
        let let_in = !running.gtid.acknowledges || open;
        if !linked || !let_in || running.gtid.begins_astray || self.nodes[at].disk_is_full(self.now) {
            return None;
        }
        let mut lacking = self.nodes[at].db.lacks(theirs)?;
        lacking.truncate(AT_ONCE);
        // records are told apart by where they were written, and a source's log is a chain
        let end =
            lacking.last().map_or(theirs.log.len(), |last| usize::try_from(last.number + 1).unwrap_or(usize::MAX));
        Some((lacking.into_iter().copied().collect(), end))
    }

    /// A stream begins.
    fn gtid_begins(&mut self, at: usize, source: usize) {
        let source_life = self.nodes[source].db.life;
        if let Some(running) = &mut self.nodes[at].db.running {
            running.gtid.source_life = source_life;
        }
        let (ours, theirs) = (self.nodes[at].db.position(), self.nodes[source].db.position());
        if ours.leads_into(&theirs).is_ok() {
            self.i7_streams(at, source);
        }
    }

    pub(crate) fn gtid_received(
        &mut self,
        at: usize,
        (epoch, db_life): (u64, u64),
        from: usize,
        records: &[Record],
        end: usize,
    ) {
        let running = self.nodes[at].db.running.as_ref().filter(|r| r.epoch == epoch && r.streaming);
        let Some(running) = running.filter(|_| self.nodes[at].db.life == db_life) else { return };
        let Some((source, voter)) = running.upstream.clone() else { return };
        let (acknowledges, source_life) = (running.gtid.acknowledges, running.gtid.source_life);
        if !self.server_runs(at) || self.nodes[at].disk_is_full(self.now) || self.nodes[at].db.held() != from {
            return;
        }
        let db = &mut self.nodes[at].db;
        db.relay.records.extend_from_slice(records);
        if acknowledges {
            db.relay.safe = db.relay.records.len();
            let span = self.pause();
            self.later(span, Coming::Flushed { at: source, db_life: source_life, voter, end });
        }
    }

    /// Everything goes to a replica before its leader stops in order; what it acknowledges counts.
    pub(super) fn gtid_sends_all(&mut self, source: usize, at: usize) {
        let Some(running) = self.nodes[at].db.running.as_ref().filter(|r| r.streaming) else { return };
        let Some((_, voter)) = running.upstream.clone().filter(|(upstream, _)| *upstream == source) else { return };
        let acknowledges = running.gtid.acknowledges;
        while let Some((records, end)) = self.gtid_lacks(at, source) {
            let db = &mut self.nodes[at].db;
            db.relay.records.extend(&records);
            if records.is_empty() {
                return;
            }
            if acknowledges {
                db.relay.safe = db.relay.records.len();
                self.hear(source, &voter, end);
            }
        }
    }

    /// Whether the leader's agent says that it waits for this copy. `None`: it does not say.
    pub(super) fn gtid_counted(&self, at: usize, source: usize, voter: &Voter) -> Option<bool> {
        let enforces = self.nodes[source].db.running.as_ref().and_then(|r| r.enforced.first());
        let counted = enforces.is_some_and(|enforced| enforced.voters.contains(voter));
        if self.bare {
            return Some(counted);
        }
        let named = self.nodes[at].seen.leadership.as_ref().map(|record| &record.leader.name);
        if named != Some(&self.nodes[source].name) {
            return Some(false);
        }
        let up = |i: usize| {
            let node = &self.nodes[i];
            node.core.is_some() && self.now >= node.frozen_until.max(node.agent_paused_until)
        };
        let there = up(source) && up(at) && self.reaches(at, source) && self.reaches(source, at);
        there.then_some(counted)
    }

    /// A replica follows with another account once its leader counts it, or no more. It stops receiving for it; on MariaDB
    /// everything received is applied before.
    fn gtid_changes_over(&mut self, at: usize, source: usize, voter: &Voter) -> bool {
        let acknowledges = self.nodes[at].db.running.as_ref().is_some_and(|r| r.gtid.acknowledges);
        let counted = self.gtid_counted(at, source, voter);
        let replica = self.bare || self.nodes[at].core.as_ref().is_some_and(|c| c.role() == Role::Replica);
        let Some(counted) = counted.filter(|counted| replica && *counted != acknowledges) else { return false };
        let db = &mut self.nodes[at].db;
        let drained = db.kind == EngineKind::Mysql || db.relay.records.is_empty();
        if !drained || !(self.bare || self.rng.chance(CHANGES_OVER_PERCENT)) {
            return false;
        }
        if counted {
            // all of it is flushed first
            db.relay.safe = db.relay.records.len();
        }
        let astray = db.kind == EngineKind::Mariadb && db.stray;
        if let Some(running) = &mut db.running {
            running.gtid.begins_astray = astray;
            running.gtid.acknowledges = counted;
            running.streaming = false;
            running.epoch += 1;
        }
        true
    }

    /// What it says of itself reaches the other agents, where its own is up and they can be reached.
    fn gtid_tells(&mut self, at: usize) {
        let node = &self.nodes[at];
        let up = self.bare || (node.core.is_some() && self.now >= node.agent_paused_until);
        let upstream = node.db.running.as_ref().and_then(|r| r.upstream.clone());
        let Some((source, voter)) = upstream.filter(|_| up) else { return };
        if self.reaches(at, source) {
            let heard = Heard { voter, position: node.db.position(), held: node.db.held() };
            self.nodes[source].heard.insert(at, heard);
        }
    }

    /// Who is attached, and how far each is by its own agent's word.
    pub(crate) fn gtid_attached(&self, at: usize) -> Vec<Attached> {
        let ours = self.nodes[at].db.position();
        let enforced = self.enforced_of(at);
        let mut all = Vec::new();
        for other in 0..self.nodes.len() {
            let Some(running) = self.nodes[other].db.running.as_ref().filter(|r| r.streaming) else { continue };
            let Some((_, voter)) = running.upstream.clone().filter(|(upstream, _)| *upstream == at) else { continue };
            let heard = self.nodes[at].heard.get(&other).filter(|heard| heard.voter == voter);
            let ends = heard.and_then(|heard| {
                heard.position.leads_into(&ours).ok()?;
                let applied = heard.position.lsn;
                let received = if heard.position.timeline == ours.timeline { Lsn(heard.held as u64) } else { applied };
                Some((received.max(applied), applied))
            });
            let acknowledges = running.gtid.acknowledges;
            let (held, applied) = (ends.map(|ends| ends.0), ends.map(|ends| ends.1));
            let counted = enforced.iter().any(|e| e.voters.contains(&voter));
            let behind = held.is_some_and(|held| held.0 + (AT_ONCE as u64) < ours.lsn.0);
            let attached = Attached {
                application_name: voter.application_name(),
                client_addr: None,
                state: if behind && !counted { "catchup" } else { "streaming" }.to_owned(),
                sync_state: if acknowledges { "quorum" } else { "async" }.to_owned(),
                write: held,
                flush: if acknowledges { held } else { applied },
                replay: applied,
                lag: None,
                voter: Some(voter),
            };
            all.push(attached);
        }
        all
    }
}
