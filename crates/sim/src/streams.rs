//! The fake servers' streams and what is seen of them: log that is carried, acknowledgements, and what an agent's look at
//! its server shows. Part of the world; it decides nothing.

use crate::coming::Coming;
use crate::database::{Record, Running};
use crate::world::World;
use dauphin_ha::{Core, EngineStep, Event};
use dauphin_model::{Attached, Branch, Lsn, Mono, Position, Run, ServerView, Span, Timeline, Voter};

/// Most records a stream carries at once.
const SHIP_RECORDS_MAX: usize = 64;
/// A disk counts as full when no write has reached it for so long, or for the profile's `suspect`: the agent probes it
/// twice a second and believes three times in a row.
const DISK_PROBED: Span = Span::ms(1_500);

impl World {
    /// A stream carries what its upstream has and it has not.
    pub(crate) fn ship(&mut self, at: usize) {
        if self.nodes[at].db.kind.has_gtids() {
            return self.gtid_ship(at);
        }
        let Some(running) = &self.nodes[at].db.running else { return };
        let Some((source, voter)) = running.upstream.clone() else { return };
        let (epoch, db_life) = (running.epoch, self.nodes[at].db.life);
        let linked =
            self.reaches(source, at) && self.reaches(at, source) && self.server_runs(at) && self.server_runs(source);
        let theirs = self.nodes[source].db.position();
        let have = self.nodes[at].db.log.len();
        let upstream = &self.nodes[source].db;
        let there = have >= upstream.kept_from && have <= upstream.log.len();
        if linked {
            self.nodes[at].db.hear_of(&theirs);
        }
        let asked = self.nodes[at].db.asks_for() == Some(theirs.timeline_from(Lsn(have as u64)));
        let leads = self.nodes[at].db.position().leads_into(&theirs).is_ok();
        let fits = linked && there && asked && leads && !self.nodes[at].disk_is_full(self.now);
        let begins = fits && self.nodes[at].db.running.as_ref().is_some_and(|r| !r.streaming);
        if begins {
            self.i7_streams(at, source);
        }
        if let Some(running) = &mut self.nodes[at].db.running {
            running.streaming = fits;
        }
        if !fits {
            return;
        }
        // what is on the replica's disk is what it tells; what was told already says nothing more
        let told = self.nodes[source].db.running.as_ref().and_then(|r| r.attached.get(&voter)) == Some(&have);
        if !told {
            let (span, source_life) = (self.pause(), self.nodes[source].db.life);
            self.later(span, Coming::Flushed { at: source, db_life: source_life, voter, end: have });
        }
        if self.now < self.nodes[at].stalled_until.max(self.nodes[source].stalled_until) {
            return;
        }
        let end =
            self.nodes[source].db.log.len().min(have + SHIP_RECORDS_MAX).min(self.nodes[at].db.takes_up_to(&theirs));
        if end == have {
            return;
        }
        let records = self.nodes[source].db.log[have..end].to_vec();
        let span = self.pause();
        self.later(
            span,
            Coming::Arrive {
                at,
                epoch,
                db_life,
                from: have,
                records,
                history: theirs.history,
                timeline: theirs.timeline,
            },
        );
    }

    #[allow(clippy::too_many_arguments)]
    pub(crate) fn arrive(
        &mut self,
        at: usize,
        epoch: u64,
        db_life: u64,
        from: usize,
        records: &[Record],
        history: &[Branch],
        timeline: Timeline,
    ) {
        let fits = self.nodes[at].db.life == db_life
            && self.nodes[at].db.running.as_ref().is_some_and(|r| r.epoch == epoch && r.streaming);
        if fits && self.server_runs(at) && !self.nodes[at].disk_is_full(self.now) {
            self.nodes[at].db.receive(records, from, history, timeline);
        }
    }

    /// Commits whose wait is over are acknowledged to clients, or end the barrier.
    pub(crate) fn release(&mut self, at: usize) {
        self.forget_who_left(at);
        self.release_heard(at);
    }

    /// A replica tells what it has on its disk: that counts, even if it was its last word.
    pub(crate) fn hear(&mut self, at: usize, voter: &Voter, end: usize) {
        self.forget_who_left(at);
        let gtids = self.nodes[at].db.kind.has_gtids();
        if let Some(running) = &mut self.nodes[at].db.running {
            if gtids && !running.enforced.iter().any(|e| e.voters.contains(voter)) {
                // its session was ended
                return;
            }
            let flushed = running.attached.entry(voter.clone()).or_default();
            *flushed = (*flushed).max(end);
        }
        self.release_heard(at);
    }

    /// A sender ends when its replica leaves, and what that one said is forgotten. One whose replica was cut off or stands
    /// still lingers.
    fn forget_who_left(&mut self, at: usize) {
        if self.nodes[at].db.kind.has_gtids() {
            return;
        }
        let left = |voter: &&Voter| {
            let there = |i| !self.reaches(i, at) || !self.reaches(at, i) || self.now < self.nodes[i].frozen_until;
            !self.streams_from(voter, at) && !self.index(&voter.name).is_some_and(there)
        };
        let attached = self.nodes[at].db.running.iter().flat_map(|r| r.attached.keys());
        for voter in attached.filter(left).cloned().collect::<Vec<_>>() {
            if let Some(running) = &mut self.nodes[at].db.running {
                running.attached.remove(&voter);
            }
        }
    }

    pub(crate) fn release_heard(&mut self, at: usize) {
        if !self.server_runs(at) {
            return;
        }
        for value in self.nodes[at].db.released() {
            if value != 0 {
                self.acknowledged(at, value);
            } else if let Some(serial) = self.nodes[at].barrier.take() {
                let (life, db_life) = (self.nodes[at].life, self.nodes[at].db.life);
                let span = self.pause();
                self.later(span, Coming::BarrierEnds { at, life, db_life, serial });
            }
        }
    }

    /// What an agent's look at its server shows.
    pub(crate) fn look(&mut self, at: usize) {
        if self.nodes[at].core.is_none() || self.nodes[at].witness {
            return;
        }
        let view = self.view_of(at);
        let down = self.nodes[at].db.running.is_none();
        let untold = !self.nodes[at].server_down_told || self.nodes[at].core.as_ref().is_some_and(Core::believes_up);
        if let (true, Some((_, EngineStep::StartBehind { .. }))) = (down, &self.nodes[at].step) {
            let progress = self.nodes[at].db.needs.as_ref().map(|_| "waits".to_owned());
            let starting = ServerView { run: Run::Starting, disk_ok: view.disk_ok, progress, ..ServerView::default() };
            self.feed(at, Event::Server(Box::new(starting)));
        } else if down && untold && self.nodes[at].db.has_data {
            self.nodes[at].server_down_told = true;
            self.feed(at, Event::ServerExited);
        } else if !down {
            self.feed(at, Event::Server(Box::new(view)));
        }
    }

    pub(crate) fn view_of(&self, at: usize) -> ServerView {
        let (db, series) = (&self.nodes[at].db, self.nodes[at].series);
        let Some(running) = &db.running else {
            return ServerView { run: Run::Stopped, disk_ok: true, series, ..ServerView::default() };
        };
        let position: Position = db.position();
        let (attached, received) = if db.kind.has_gtids() {
            (self.gtid_attached(at), Some(Lsn(db.held() as u64)))
        } else {
            (self.attached_to(at, running), None)
        };
        ServerView {
            run: Run::Running,
            series,
            serves: true,
            in_recovery: Some(running.in_recovery),
            replayed: Some(position.lsn),
            streaming: (running.streaming && running.in_recovery).then_some(db.timeline),
            heard_of: db.heard_of(),
            attached,
            received,
            position: Some(position),
            disk_ok: !self.disk_seems_full(at),
            ..ServerView::default()
        }
    }

    fn attached_to(&self, at: usize, running: &Running) -> Vec<Attached> {
        running
            .attached
            .iter()
            .filter(|(v, _)| self.streams_from(v, at))
            .map(|(v, end)| Attached {
                application_name: v.application_name(),
                voter: Some(v.clone()),
                client_addr: None,
                state: "streaming".to_owned(),
                sync_state: "quorum".to_owned(),
                write: Some(Lsn(*end as u64)),
                flush: Some(Lsn(*end as u64)),
                lag: None,
                replay: Some(Lsn(*end as u64)),
            })
            .collect()
    }

    fn disk_seems_full(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        let probed = self.config.spec.profile.suspect().max(DISK_PROBED);
        let since: Mono = node.disk_full_since;
        node.disk_is_full(self.now) && self.now.since(since) >= probed
    }

    pub(crate) fn streams_from(&self, voter: &Voter, at: usize) -> bool {
        self.index(&voter.name).is_some_and(|i| {
            self.nodes[i]
                .db
                .running
                .as_ref()
                .is_some_and(|r| r.streaming && r.upstream.as_ref().is_some_and(|(u, v)| *u == at && v == voter))
        })
    }
}
