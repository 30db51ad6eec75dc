//! What the fake servers do when they are asked, and by themselves: steps, streams, acknowledgements, and what a look at
//! them shows. Part of the world; it decides nothing.

use crate::pg::{Postgres, Record};
use crate::world::{Coming, Fails, World};
use dauphin_ha::{Core, EngineFailure, EngineOutcome, EngineStep, Event};
use dauphin_model::{Attached, Branch, Lsn, Position, Run, ServerView, Span, SwitchPoint, Timeline, Voter};

/// Most records a stream carries at once.
const SHIP_RECORDS_MAX: usize = 64;

impl World {
    pub(crate) fn engine_begins(&mut self, at: usize, step: EngineStep) {
        let ms = match &step {
            EngineStep::Bootstrap { .. } => self.rng.between(300, 900),
            EngineStep::Clone { .. } => self.rng.between(200, 2_000),
            EngineStep::Rewind { .. } => self.rng.between(100, 800),
            EngineStep::StartDetached | EngineStep::Stop => self.rng.between(30, 300),
            EngineStep::Promote { .. } => self.rng.between(40, 400),
            EngineStep::Freeze => self.rng.between(2, 60),
            EngineStep::CloseAccess => self.rng.between(5, 100),
            EngineStep::Follow { .. }
            | EngineStep::StartBarrier { .. }
            | EngineStep::SetSync { .. }
            | EngineStep::OpenAccess => self.rng.between(2, 40),
        };
        let fails = if !self.calm && self.rng.chance(self.config.faults.step_fails) {
            if self.rng.chance(50) { Fails::Before } else { Fails::After }
        } else {
            Fails::No
        };
        if let (EngineStep::SetSync { enforced }, Some(running)) = (&step, &mut self.nodes[at].pg.running) {
            // from now on any backend or sender may use either setting
            running.enforced.push(enforced.clone());
        }
        if let (EngineStep::CloseAccess, Some(running)) = (&step, &mut self.nodes[at].pg.running) {
            running.access = false;
        }
        self.trace.line(self.now, at, &format!("engine: {} ({ms} ms)", step.name()));
        let (life, pg_life) = (self.nodes[at].life, self.nodes[at].pg.life);
        self.later(Span::ms(ms), Coming::EngineEnds { at, life, pg_life, step, fails });
    }

    pub(crate) fn engine_ends(&mut self, at: usize, pg_life: u64, step: EngineStep, fails: Fails) {
        let result = if fails == Fails::Before {
            Err("failed before it was done (simulated)".to_owned())
        } else {
            self.engine_does(at, pg_life, &step)
        };
        let result =
            if fails == Fails::After { Err("done, but reported failed (simulated)".to_owned()) } else { result };
        let hopeless = fails == Fails::Before && matches!(step, EngineStep::Rewind { .. }) && self.rng.chance(50);
        self.look(at);
        let failure = |because| EngineFailure { because, bad_data: hopeless };
        self.feed(at, Event::Engine(result.map_err(failure)));
    }

    pub(crate) fn engine_does(&mut self, at: usize, pg_life: u64, step: &EngineStep) -> Result<EngineOutcome, String> {
        let same = self.nodes[at].pg.life == pg_life;
        let gone = || "the server is gone".to_owned();
        match step {
            EngineStep::Bootstrap { timeline } => {
                let pg = &mut self.nodes[at].pg;
                *pg = Postgres { has_data: true, timeline: *timeline, life: pg.life, ..Postgres::default() };
                pg.log.push(Record { timeline: *timeline, value: 0 });
                pg.start();
                if let Some(running) = &mut pg.running {
                    running.in_recovery = false;
                }
                Ok(EngineOutcome::Done)
            }
            EngineStep::StartDetached => {
                if self.nodes[at].pg.running.is_none() {
                    self.nodes[at].pg.start();
                    self.nodes[at].server_down_told = false;
                }
                Ok(EngineOutcome::Done)
            }
            EngineStep::Stop => self.stop_server(at, same),
            EngineStep::Freeze => {
                let running = self.nodes[at].pg.running.as_mut().filter(|r| same && r.in_recovery).ok_or_else(gone)?;
                running.upstream = None;
                running.streaming = false;
                running.epoch += 1;
                Ok(EngineOutcome::Frozen(self.nodes[at].pg.position()))
            }
            EngineStep::Follow { upstream, voter } => {
                let upstream = self.index(upstream).ok_or_else(gone)?;
                let running = self.nodes[at].pg.running.as_mut().filter(|r| same && r.in_recovery).ok_or_else(gone)?;
                running.upstream = Some((upstream, voter.clone()));
                running.streaming = false;
                running.epoch += 1;
                Ok(EngineOutcome::Done)
            }
            EngineStep::Promote { timeline, .. } => {
                let running = self.nodes[at].pg.running.as_ref().filter(|_| same).ok_or_else(gone)?;
                if running.in_recovery {
                    self.i4_promoting(at, *timeline);
                    self.nodes[at].pg.promote(*timeline);
                }
                let switch = self.nodes[at].pg.history.last().copied().ok_or_else(gone)?;
                Ok(EngineOutcome::Promoted(SwitchPoint { from: switch.timeline, lsn: switch.end, next_xid: 0 }))
            }
            EngineStep::StartBarrier { serial, enforced, .. } => {
                let leads = self.nodes[at].pg.running.as_ref().is_some_and(|r| same && !r.in_recovery);
                if !leads {
                    return Err(gone());
                }
                if let Some(running) = &mut self.nodes[at].pg.running {
                    running.enforced = vec![enforced.clone()];
                }
                self.nodes[at].barrier = Some(*serial);
                self.nodes[at].pg.write(0);
                self.release(at);
                Ok(EngineOutcome::Done)
            }
            EngineStep::SetSync { enforced } => {
                let running = self.nodes[at].pg.running.as_mut().filter(|r| same && !r.in_recovery).ok_or_else(gone)?;
                running.enforced = vec![enforced.clone()];
                let end = Lsn(self.nodes[at].pg.log.len() as u64);
                self.release(at);
                Ok(EngineOutcome::SyncSet(end))
            }
            EngineStep::OpenAccess => {
                if !self.nodes[at].pg.running.as_ref().is_some_and(|r| same && !r.in_recovery) {
                    return Err(gone());
                }
                self.check_opening(at);
                if let Some(running) = &mut self.nodes[at].pg.running {
                    running.access = true;
                }
                Ok(EngineOutcome::Done)
            }
            EngineStep::CloseAccess => {
                if let Some(running) = self.nodes[at].pg.running.as_mut().filter(|_| same) {
                    // clients' sessions end; the barrier's is ours
                    running.waiting.retain(|w| w.value == 0);
                }
                Ok(EngineOutcome::Done)
            }
            EngineStep::Clone { from, .. } => {
                let source = self.index(from).ok_or_else(gone)?;
                let there = self.server_runs(source) && self.reaches(at, source) && self.reaches(source, at);
                if !there {
                    return Err("the source does not answer".to_owned());
                }
                let copy = self.nodes[source].pg.clone();
                self.nodes[at].pg.clone_from(&copy);
                Ok(EngineOutcome::Done)
            }
            EngineStep::Rewind { from } => {
                let source = self.index(from).ok_or_else(gone)?;
                let there = self.server_runs(source) && self.reaches(at, source) && self.reaches(source, at);
                if !there || self.nodes[at].pg.running.is_some() {
                    return Err("the source does not answer".to_owned());
                }
                let copy = self.nodes[source].pg.clone();
                self.nodes[at].pg.rewind(&copy);
                Ok(EngineOutcome::Done)
            }
        }
    }

    /// An orderly stop of a leader ends only when its replicas have everything (a fast shutdown waits for the senders).
    pub(crate) fn stop_server(&mut self, at: usize, same: bool) -> Result<EngineOutcome, String> {
        if self.nodes[at].pg.running.is_none() {
            let crashed = !same;
            return Ok(EngineOutcome::Stopped((!crashed).then(|| self.nodes[at].pg.position())));
        }
        let leads = self.nodes[at].pg.running.as_ref().is_some_and(|r| !r.in_recovery);
        if leads {
            let timeline = self.nodes[at].pg.timeline;
            self.nodes[at].pg.log.push(Record { timeline, value: 0 });
            for other in 0..self.nodes.len() {
                let follows = self.nodes[other]
                    .pg
                    .running
                    .as_ref()
                    .is_some_and(|r| r.streaming && r.upstream.as_ref().is_some_and(|(u, _)| *u == at));
                if follows && self.server_runs(other) && self.reaches(at, other) && self.reaches(other, at) {
                    let (have, source) = (self.nodes[other].pg.log.len(), self.nodes[at].pg.clone());
                    if have <= source.log.len() {
                        self.nodes[other].pg.receive(&source.log[have..], have, &source.history, source.timeline);
                    }
                }
            }
        }
        let position = self.nodes[at].pg.position();
        self.nodes[at].pg.kill();
        self.nodes[at].server_down_told = true;
        Ok(EngineOutcome::Stopped(Some(position)))
    }

    pub(crate) fn kill_server(&mut self, at: usize) {
        self.nodes[at].barrier = None;
        if self.nodes[at].pg.running.is_some() {
            self.nodes[at].pg.kill();
        }
        self.nodes[at].server_down_told = false;
    }

    /// A stream carries what its upstream has and it has not.
    pub(crate) fn ship(&mut self, at: usize) {
        let Some(running) = &self.nodes[at].pg.running else { return };
        let Some((source, voter)) = running.upstream.clone() else { return };
        let (epoch, pg_life) = (running.epoch, self.nodes[at].pg.life);
        let linked =
            self.reaches(source, at) && self.reaches(at, source) && self.server_runs(at) && self.server_runs(source);
        let ours = self.nodes[at].pg.position();
        let theirs = self.nodes[source].pg.position();
        let have = self.nodes[at].pg.log.len();
        let upstream = &self.nodes[source].pg;
        let kept = (upstream.kept_from..=upstream.log.len()).contains(&have);
        let fits = linked && kept && ours.leads_into(&theirs).is_ok();
        if let Some(running) = &mut self.nodes[at].pg.running {
            running.streaming = fits;
        }
        if !fits {
            return;
        }
        let source_life = self.nodes[source].pg.life;
        let span = self.pause();
        // what is on the replica's disk is what it tells
        self.later(span, Coming::Flushed { at: source, pg_life: source_life, voter, end: have });
        if self.now < self.nodes[at].stalled_until.max(self.nodes[source].stalled_until) {
            return;
        }
        let end = self.nodes[source].pg.log.len().min(have + SHIP_RECORDS_MAX);
        let records = self.nodes[source].pg.log[have..end].to_vec();
        let span = self.pause();
        self.later(
            span,
            Coming::Arrive {
                at,
                epoch,
                pg_life,
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
        pg_life: u64,
        from: usize,
        records: &[Record],
        history: &[Branch],
        timeline: Timeline,
    ) {
        let fits = self.nodes[at].pg.life == pg_life
            && self.nodes[at].pg.running.as_ref().is_some_and(|r| r.epoch == epoch && r.streaming);
        if fits && self.server_runs(at) {
            self.nodes[at].pg.receive(records, from, history, timeline);
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
        if let Some(running) = &mut self.nodes[at].pg.running {
            let flushed = running.attached.entry(voter.clone()).or_default();
            *flushed = (*flushed).max(end);
        }
        self.release_heard(at);
    }

    /// A sender ends when its replica leaves, and what that one said is forgotten. One whose replica was cut off or stands
    /// still lingers.
    fn forget_who_left(&mut self, at: usize) {
        let left = |voter: &&Voter| {
            let there = |i| !self.reaches(i, at) || !self.reaches(at, i) || self.now < self.nodes[i].frozen_until;
            !self.streams_from(voter, at) && !self.index(&voter.name).is_some_and(there)
        };
        let attached = self.nodes[at].pg.running.iter().flat_map(|r| r.attached.keys());
        for voter in attached.filter(left).cloned().collect::<Vec<_>>() {
            if let Some(running) = &mut self.nodes[at].pg.running {
                running.attached.remove(&voter);
            }
        }
    }

    fn release_heard(&mut self, at: usize) {
        if !self.server_runs(at) {
            return;
        }
        for value in self.nodes[at].pg.released() {
            if value != 0 {
                self.acknowledged(at, value);
            } else if let Some(serial) = self.nodes[at].barrier.take() {
                let (life, pg_life) = (self.nodes[at].life, self.nodes[at].pg.life);
                let span = self.pause();
                self.later(span, Coming::BarrierEnds { at, life, pg_life, serial });
            }
        }
    }

    /// What an agent's look at its server shows.
    pub(crate) fn look(&mut self, at: usize) {
        if self.nodes[at].core.is_none() || self.nodes[at].witness {
            return;
        }
        let view = self.view_of(at);
        let down = self.nodes[at].pg.running.is_none();
        let untold = !self.nodes[at].server_down_told || self.nodes[at].core.as_ref().is_some_and(Core::believes_up);
        if down && untold && self.nodes[at].pg.has_data {
            self.nodes[at].server_down_told = true;
            self.feed(at, Event::ServerExited);
        } else if !down {
            self.feed(at, Event::Server(Box::new(view)));
        }
    }

    pub(crate) fn view_of(&self, at: usize) -> ServerView {
        let pg = &self.nodes[at].pg;
        let Some(running) = &pg.running else {
            return ServerView { run: Run::Stopped, disk_ok: true, ..ServerView::default() };
        };
        let position: Position = pg.position();
        ServerView {
            run: Run::Running,
            serves: true,
            in_recovery: Some(running.in_recovery),
            replayed: Some(position.lsn),
            streaming: (running.streaming && running.in_recovery).then_some(pg.timeline),
            attached: running
                .attached
                .iter()
                .filter(|(v, _)| self.streams_from(v, at))
                .map(|(v, end)| Attached {
                    application_name: v.application_name(),
                    voter: Some(v.clone()),
                    client_addr: None,
                    state: "streaming".to_owned(),
                    sync_state: "quorum".to_owned(),
                    flush: Some(Lsn(*end as u64)),
                    replay: Some(Lsn(*end as u64)),
                })
                .collect(),
            position: Some(position),
            disk_ok: true,
            ..ServerView::default()
        }
    }

    pub(crate) fn streams_from(&self, voter: &Voter, at: usize) -> bool {
        self.index(&voter.name).is_some_and(|i| {
            self.nodes[i]
                .pg
                .running
                .as_ref()
                .is_some_and(|r| r.streaming && r.upstream.as_ref().is_some_and(|(u, v)| *u == at && v == voter))
        })
    }
}
