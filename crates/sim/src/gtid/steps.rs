//! The engine's steps on servers of GTIDs, where they are not as on PostgreSQL.

use crate::servers::Ends;
use crate::world::World;
use dauphin_ha::{EngineFailure, EngineOutcome, EngineStep};
use dauphin_model::{EngineKind, MemberName, SwitchPoint, Timeline, Voter};

fn gone() -> EngineFailure {
    EngineFailure::new("the server is gone")
}

impl World {
    /// `None`: as on PostgreSQL.
    pub(crate) fn gtid_does(&mut self, at: usize, same: bool, step: &EngineStep) -> Option<Ends> {
        Some(match step {
            EngineStep::StartBehind { upstream, voter } => self.gtid_starts_behind(at, upstream, voter),
            EngineStep::Stop => self.gtid_stops(at, same),
            EngineStep::Freeze => self.gtid_freezes(at, same),
            EngineStep::Follow { upstream, voter } => self.gtid_follows(at, same, upstream, voter),
            EngineStep::Promote { timeline, .. } => self.gtid_leads(at, same, *timeline),
            EngineStep::StartBarrier { serial, enforced, .. } => {
                let running = self.nodes[at].db.running.as_mut().filter(|r| same && !r.in_recovery);
                let Some(running) = running else { return Some(Err(gone())) };
                running.enforced = vec![enforced.clone()];
                running.gtid.row = None;
                running.waiting.retain(|waiting| waiting.value != 0);
                self.nodes[at].barrier = Some(*serial);
                Ok(EngineOutcome::Done)
            }
            EngineStep::SetSync { enforced }
                if enforced.required > 1 && self.nodes[at].db.kind == EngineKind::Mariadb =>
            {
                Err(EngineFailure::new("MariaDB waits for one acknowledgement (simulated)"))
            }
            EngineStep::Rewind { .. } => {
                let because = "it does not go back in place (simulated)".to_owned();
                Err(EngineFailure { because, bad_data: true })
            }
            EngineStep::Bootstrap { .. }
            | EngineStep::StartDetached
            | EngineStep::SetSync { .. }
            | EngineStep::OpenAccess
            | EngineStep::CloseAccess => return None,
            EngineStep::Clone { from, .. } => return self.gtid_copies(at, from).err().map(Err),
        })
    }

    /// Applies what was received. `false`: that stands.
    pub(crate) fn drains(&mut self, at: usize) -> bool {
        if self.now >= self.nodes[at].applier_stands_until {
            self.nodes[at].db.apply_some(usize::MAX);
        }
        self.nodes[at].db.relay.records.is_empty()
    }

    fn receives_no_more(&mut self, at: usize, same: bool) -> bool {
        let Some(running) = self.nodes[at].db.running.as_mut().filter(|r| same && r.in_recovery) else { return false };
        running.upstream = None;
        running.streaming = false;
        running.epoch += 1;
        true
    }

    /// Whether there is nothing against a copy from there: files go between servers of one series alone.
    pub(crate) fn gtid_copies(&self, at: usize, from: &MemberName) -> Result<(), EngineFailure> {
        let theirs = self.index(from).map(|source| self.nodes[source].series);
        if theirs.is_none_or(|theirs| theirs == self.nodes[at].series) {
            return Ok(());
        }
        Err(EngineFailure { because: "files are copied within one series (simulated)".to_owned(), bad_data: false })
    }

    fn gtid_starts_behind(&mut self, at: usize, upstream: &MemberName, voter: &Voter) -> Ends {
        if self.nodes[at].db.torn {
            let because = "its data is the rest of a copy".to_owned();
            return Err(EngineFailure { because, bad_data: true });
        }
        if self.nodes[at].db.running.is_none() {
            self.nodes[at].db.start();
            self.nodes[at].server_down_told = false;
        }
        self.gtid_follows(at, true, upstream, voter)
    }

    fn gtid_freezes(&mut self, at: usize, same: bool) -> Ends {
        if !self.receives_no_more(at, same) {
            return Err(gone());
        }
        self.drains(at);
        let db = &self.nodes[at].db;
        let unclear = || EngineFailure::new("nobody can say where its log ends (simulated)");
        Ok(EngineOutcome::Frozen { position: db.held_at().ok_or_else(unclear)?, stray: db.stray })
    }

    fn gtid_follows(&mut self, at: usize, same: bool, upstream: &MemberName, voter: &Voter) -> Ends {
        let source = self.index(upstream).ok_or_else(gone)?;
        if self.nodes[at].series < self.nodes[source].series {
            let because = "an older server does not read what a newer one logs (simulated)".to_owned();
            return Err(EngineFailure { because, bad_data: true });
        }
        if !self.receives_no_more(at, same) {
            return Err(gone());
        }
        if !self.drains(at) {
            return Err(EngineFailure::new("what was received cannot be applied (simulated)"));
        }
        let acknowledges = self.gtid_counted(at, source, voter).unwrap_or(false);
        let db = &mut self.nodes[at].db;
        if let Some(running) = &mut db.running {
            running.upstream = Some((source, voter.clone()));
            running.gtid.acknowledges = acknowledges;
            running.gtid.begins_astray = db.kind == EngineKind::Mariadb && db.stray;
        }
        Ok(EngineOutcome::Done)
    }

    fn gtid_leads(&mut self, at: usize, same: bool, timeline: Timeline) -> Ends {
        let running = self.nodes[at].db.running.as_ref().filter(|_| same).ok_or_else(gone)?;
        if running.in_recovery {
            self.receives_no_more(at, same);
            if !self.drains(at) {
                return Err(EngineFailure::new("what was received cannot be applied (simulated)"));
            }
            let db = &self.nodes[at].db;
            if db.stray {
                let because = "its log is no chain of leaderships (simulated)".to_owned();
                return Err(EngineFailure { because, bad_data: true });
            }
            // it may have begun that leadership itself, before it fell
            let began = timeline == db.timeline && self.watch.decided.get(&timeline) == Some(&self.nodes[at].name);
            if timeline <= db.timeline && !began {
                return Err(EngineFailure::new("the log is on that leadership already (simulated)"));
            }
            self.i4_promoting(at, timeline);
            if began {
                self.nodes[at].db.lead();
            } else {
                self.nodes[at].db.promote(timeline);
            }
        }
        let switch = self.nodes[at].db.history.last().copied().ok_or_else(gone)?;
        Ok(EngineOutcome::Promoted(SwitchPoint { from: switch.timeline, lsn: switch.end, next_xid: 0 }))
    }

    /// A leader that stops in order sends everything to whoever is attached. One whose commits wait all the same is killed.
    fn gtid_stops(&mut self, at: usize, same: bool) -> Ends {
        if self.nodes[at].db.running.is_none() {
            return Ok(EngineOutcome::Stopped(same.then(|| self.nodes[at].db.position())));
        }
        if self.nodes[at].disk_is_full(self.now) {
            return Ok(self.stop_by_force(at));
        }
        let leads = self.nodes[at].db.running.as_ref().is_some_and(|r| !r.in_recovery);
        if leads {
            if let Some(running) = &mut self.nodes[at].db.running {
                running.access = false;
                running.waiting.retain(|waiting| waiting.value == 0);
            }
            for other in 0..self.nodes.len() {
                self.gtid_sends_all(at, other);
            }
            self.release_heard(at);
            if self.nodes[at].db.running.as_ref().is_some_and(|r| !r.waiting.is_empty()) {
                return Ok(self.stop_by_force(at));
            }
        }
        let position = self.nodes[at].db.position();
        self.nodes[at].db.kill();
        self.nodes[at].server_down_told = true;
        Ok(EngineOutcome::Stopped(Some(position)))
    }
}
