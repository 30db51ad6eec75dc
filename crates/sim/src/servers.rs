//! What the fake servers do when an engine step asks them to, how long that takes, and what it leaves behind when it goes
//! wrong. Part of the world; it decides nothing.

use crate::coming::{Coming, Fails};
use crate::database::{Database, Needs};
use crate::gtid::NOWHERE;
use crate::struck::{How, Work};
use crate::world::World;
use dauphin_ha::{EngineFailure, EngineOutcome, EngineStep, Event};
use dauphin_model::{Branch, Lsn, Position, Span, SwitchPoint, Timeline};

/// How a step ends.
pub(crate) type Ends = Result<EngineOutcome, EngineFailure>;

/// How long a promotion that the agent gave up may still take to come about.
const PROMOTES_LATE_MS: (u64, u64) = (50, 3_000);

/// The agent's own limits: a step that does not answer is given up after this. Those that have none take as long as they
/// take.
fn limit_of(step: &EngineStep) -> Option<Span> {
    match step {
        EngineStep::Freeze | EngineStep::Follow { .. } => Some(Span::ms(5_000)),
        EngineStep::StartBarrier { .. } | EngineStep::SetSync { .. } => Some(Span::ms(8_000)),
        EngineStep::Promote { .. } | EngineStep::Stop | EngineStep::OpenAccess | EngineStep::CloseAccess => {
            Some(Span::ms(10_000))
        }
        EngineStep::Bootstrap { .. }
        | EngineStep::StartDetached
        | EngineStep::StartBehind { .. }
        | EngineStep::Clone { .. }
        | EngineStep::Rewind { .. } => None,
    }
}

impl World {
    /// How long the step takes when nothing is wrong.
    fn takes(&mut self, step: &EngineStep) -> Span {
        let (from, to) = match step {
            EngineStep::Bootstrap { .. } => (300, 900),
            EngineStep::Clone { .. } => (200, 2_000),
            EngineStep::Rewind { .. } => (100, 800),
            EngineStep::StartDetached | EngineStep::StartBehind { .. } | EngineStep::Stop => (30, 300),
            EngineStep::Promote { .. } => (40, 400),
            EngineStep::Freeze => (2, 60),
            EngineStep::CloseAccess => (5, 100),
            EngineStep::Follow { .. }
            | EngineStep::StartBarrier { .. }
            | EngineStep::SetSync { .. }
            | EngineStep::OpenAccess => (2, 40),
        };
        Span::ms(self.rng.between(from, to))
    }

    pub(crate) fn engine_begins(&mut self, at: usize, step: EngineStep) {
        let mut span = self.takes(&step);
        let fails = match self.bent(at, Work::Step) {
            Some((How::FailsBefore, _)) => Fails::Before,
            Some((How::Hopeless, _)) => Fails::Hopeless,
            Some((How::FailsAfter, _)) => Fails::After,
            Some((How::Late, late)) => {
                span = limit_of(&step).map_or(span + late, |limit| limit.min(span + late));
                Fails::No
            }
            Some((How::Never, long)) => {
                span = limit_of(&step).unwrap_or(long);
                // what does not stop in order is stopped by force
                if matches!(step, EngineStep::Stop) { Fails::Hopeless } else { Fails::Before }
            }
            Some((How::Twice, _)) | None => Fails::No,
        };
        let given_up = fails == Fails::Before && limit_of(&step) == Some(span);
        if let (EngineStep::Promote { timeline, .. }, true) = (&step, given_up) {
            // the server was asked all the same, and does it when it comes to it
            let late = Span::ms(self.rng.between(PROMOTES_LATE_MS.0, PROMOTES_LATE_MS.1));
            let (db_life, timeline) = (self.nodes[at].db.life, *timeline);
            self.later(span + late, Coming::PromotesLate { at, db_life, timeline });
        }
        let copies = matches!(&step, EngineStep::Clone { from, .. } if self.gtid_copies(at, from).is_ok());
        let db = &mut self.nodes[at].db;
        match (&step, db.running.is_some()) {
            (EngineStep::Clone { .. }, false) if copies => db.tear(true),
            // servers of GTIDs do not go back: nothing is begun
            (EngineStep::Rewind { .. }, false) if !db.kind.has_gtids() => db.tear(false),
            _ => {}
        }
        match (&step, &mut db.running) {
            // from now on any backend or sender may use either setting
            (EngineStep::SetSync { enforced }, Some(running)) => running.enforced.push(enforced.clone()),
            (EngineStep::CloseAccess, Some(running)) => running.access = false,
            _ => {}
        }
        if matches!(step, EngineStep::SetSync { .. }) {
            // a sender that takes the new setting up releases by it at once
            self.release(at);
        }
        self.trace.line(self.now, at, &format!("engine: {} ({} ms)", step.name(), span.as_ms()));
        let node = &mut self.nodes[at];
        node.step_seq += 1;
        let seq = node.step_seq;
        node.step = Some((seq, step.clone()));
        let (life, db_life) = (node.life, node.db.life);
        self.later(span, Coming::EngineEnds { at, life, db_life, seq, step, fails });
    }

    pub(crate) fn engine_ends(&mut self, at: usize, db_life: u64, step: &EngineStep, fails: Fails) {
        let full = self.nodes[at].disk_is_full(self.now) && !matches!(step, EngineStep::Stop);
        let result = match fails {
            _ if full => Err(self.no_space(at, step)),
            Fails::Before => {
                if matches!(step, EngineStep::Rewind { .. }) {
                    self.nodes[at].db.torn = false;
                }
                Err(EngineFailure::new("failed before it was done (simulated)"))
            }
            Fails::Hopeless if matches!(step, EngineStep::Stop) => Ok(self.stop_by_force(at)),
            // a server that does not start is blamed on its data, a copy that cannot be made on its source
            Fails::Hopeless => Err(EngineFailure {
                because: "failed for good (simulated)".to_owned(),
                bad_data: matches!(
                    step,
                    EngineStep::Rewind { .. } | EngineStep::StartDetached | EngineStep::StartBehind { .. }
                ),
            }),
            Fails::No | Fails::Twice => self.engine_does(at, db_life, step),
            Fails::After => {
                let done = self.engine_does(at, db_life, step);
                done.and_then(|_| Err(EngineFailure::new("done, but reported failed (simulated)")))
            }
        };
        self.look(at);
        self.feed(at, Event::Engine(result));
    }

    /// A server that ends while it starts is blamed on its data, and a rewind that stops half-way cannot be gone on with.
    fn no_space(&self, at: usize, step: &EngineStep) -> EngineFailure {
        let bad_data = match step {
            EngineStep::StartDetached | EngineStep::StartBehind { .. } => true,
            EngineStep::Rewind { .. } => self.nodes[at].db.torn,
            _ => false,
        };
        EngineFailure { because: "no space left on device (simulated)".to_owned(), bad_data }
    }

    /// pg_rewind copies files while the source goes on: they fit together from the end of the source's log on.
    fn note_needs(&mut self, at: usize, source: usize) -> Option<Position> {
        if !self.config.faults.rewind_waits {
            return None;
        }
        let (end, last) = (self.nodes[source].db.log.len(), self.nodes[source].db.log.last().copied());
        self.nodes[at].db.needs = last.map(|last| Needs { end, last });
        Some(self.nodes[source].db.position())
    }

    /// Whether a start goes on because a rewound copy still lacks log. It receives it as soon as it can.
    pub(crate) fn start_waits(&mut self, at: usize, step: &EngineStep) -> bool {
        let Some(needs) = self.nodes[at].db.needs.clone() else { return false };
        let source = match step {
            EngineStep::StartBehind { upstream, .. } => self.index(upstream),
            // it would go on for as long as nobody kills it
            EngineStep::StartDetached => return true,
            _ => return false,
        };
        let Some(at_source) = source else { return true };
        let source = &self.nodes[at_source].db;
        let has = source.log.get(needs.end - 1) == Some(&needs.last);
        let have = self.nodes[at].db.log.len();
        let there = self.reaches(at, at_source) && self.reaches(at_source, at) && self.server_runs(at_source);
        if !has || !there || have < source.kept_from {
            return true;
        }
        let source = source.clone();
        let db = &mut self.nodes[at].db;
        db.receive(source.log.get(have..needs.end).unwrap_or_default(), have, &source.history, source.timeline);
        db.needs = None;
        false
    }

    /// A promotion that was given up comes about after all.
    pub(crate) fn promotes_late(&mut self, at: usize, db_life: u64, timeline: Timeline) {
        if self.nodes[at].db.kind.has_gtids() && (!self.drains(at) || self.nodes[at].db.stray) {
            return;
        }
        let db = &self.nodes[at].db;
        if db.life == db_life && db.running.as_ref().is_some_and(|r| r.in_recovery) {
            self.trace.line(self.now, at, "the promotion that was given up comes about");
            self.i4_promoting(at, timeline);
            self.nodes[at].db.promote(timeline);
        }
    }

    pub(crate) fn engine_does(&mut self, at: usize, db_life: u64, step: &EngineStep) -> Ends {
        let same = self.nodes[at].db.life == db_life;
        if self.nodes[at].db.kind.has_gtids()
            && let Some(ends) = self.gtid_does(at, same, step)
        {
            return ends;
        }
        let gone = || EngineFailure::new("the server is gone");
        let silent = || EngineFailure::new("the source does not answer");
        match step {
            EngineStep::Bootstrap { timeline } => {
                let db = &mut self.nodes[at].db;
                *db = Database {
                    has_data: true,
                    timeline: *timeline,
                    life: db.life,
                    kind: db.kind,
                    ..Database::default()
                };
                if db.kind.has_gtids() {
                    db.history.push(Branch { timeline: NOWHERE, end: Lsn(0) });
                }
                db.log_own(0);
                db.start();
                if let Some(running) = &mut db.running {
                    running.in_recovery = false;
                }
                Ok(EngineOutcome::Done)
            }
            EngineStep::StartDetached | EngineStep::StartBehind { .. } => {
                if self.nodes[at].db.torn {
                    let because = "its data is the rest of a copy or a rewind".to_owned();
                    return Err(EngineFailure { because, bad_data: true });
                }
                if self.nodes[at].db.running.is_none() {
                    self.nodes[at].db.start();
                    self.nodes[at].server_down_told = false;
                }
                Ok(EngineOutcome::Done)
            }
            EngineStep::Stop => self.stop_server(at, same),
            EngineStep::Freeze => {
                let running = self.nodes[at].db.running.as_mut().filter(|r| same && r.in_recovery).ok_or_else(gone)?;
                running.upstream = None;
                running.streaming = false;
                running.epoch += 1;
                Ok(EngineOutcome::Frozen { position: self.nodes[at].db.position(), stray: false })
            }
            EngineStep::Follow { upstream, voter } => {
                let upstream = self.index(upstream).ok_or_else(gone)?;
                let running = self.nodes[at].db.running.as_mut().filter(|r| same && r.in_recovery).ok_or_else(gone)?;
                running.upstream = Some((upstream, voter.clone()));
                running.streaming = false;
                running.epoch += 1;
                Ok(EngineOutcome::Done)
            }
            EngineStep::Promote { timeline, .. } => {
                let running = self.nodes[at].db.running.as_ref().filter(|_| same).ok_or_else(gone)?;
                if running.in_recovery {
                    self.i4_promoting(at, *timeline);
                    self.nodes[at].db.promote(*timeline);
                }
                let switch = self.nodes[at].db.history.last().copied().ok_or_else(gone)?;
                Ok(EngineOutcome::Promoted(SwitchPoint { from: switch.timeline, lsn: switch.end, next_xid: 0 }))
            }
            EngineStep::StartBarrier { serial, enforced, .. } => {
                let leads = self.nodes[at].db.running.as_ref().is_some_and(|r| same && !r.in_recovery);
                if !leads {
                    return Err(gone());
                }
                if let Some(running) = &mut self.nodes[at].db.running {
                    running.enforced = vec![enforced.clone()];
                }
                self.nodes[at].barrier = Some(*serial);
                self.nodes[at].db.write(0);
                self.release(at);
                Ok(EngineOutcome::Done)
            }
            EngineStep::SetSync { enforced } => {
                let running = self.nodes[at].db.running.as_mut().filter(|r| same && !r.in_recovery).ok_or_else(gone)?;
                running.enforced = vec![enforced.clone()];
                let end = Lsn(self.nodes[at].db.log.len() as u64);
                self.release(at);
                Ok(EngineOutcome::SyncSet(end))
            }
            EngineStep::OpenAccess => {
                if !self.nodes[at].db.running.as_ref().is_some_and(|r| same && !r.in_recovery) {
                    return Err(gone());
                }
                self.check_opening(at);
                if let Some(running) = &mut self.nodes[at].db.running {
                    running.access = true;
                }
                Ok(EngineOutcome::Done)
            }
            EngineStep::CloseAccess => {
                if let Some(running) = self.nodes[at].db.running.as_mut().filter(|_| same) {
                    // clients' sessions end; the barrier's is ours
                    running.waiting.retain(|w| w.value == 0);
                }
                Ok(EngineOutcome::Done)
            }
            EngineStep::Clone { from, .. } => {
                let source = self.index(from).ok_or_else(gone)?;
                let there = self.server_runs(source) && self.reaches(at, source) && self.reaches(source, at);
                if !there {
                    return Err(silent());
                }
                let copy = self.nodes[source].db.clone();
                self.nodes[at].db.clone_from(&copy);
                Ok(EngineOutcome::Copied { needs: None })
            }
            EngineStep::Rewind { from } => {
                let source = self.index(from).ok_or_else(gone)?;
                let there = self.server_runs(source) && self.reaches(at, source) && self.reaches(source, at);
                if !there || self.nodes[at].db.running.is_some() {
                    self.nodes[at].db.torn = false;
                    return Err(silent());
                }
                let copy = self.nodes[source].db.clone();
                if self.nodes[at].db.rewind(&copy) {
                    return Ok(EngineOutcome::Copied { needs: self.note_needs(at, source) });
                }
                // it would wait for log that nobody has
                let because = "the source has not the log any more that this takes".to_owned();
                Err(EngineFailure { because, bad_data: true })
            }
        }
    }

    /// An orderly stop of a leader ends only when its replicas have everything (a fast shutdown waits for the senders).
    pub(crate) fn stop_server(&mut self, at: usize, same: bool) -> Ends {
        if self.nodes[at].db.running.is_none() {
            let crashed = !same;
            return Ok(EngineOutcome::Stopped((!crashed).then(|| self.nodes[at].db.position())));
        }
        let leads = self.nodes[at].db.running.as_ref().is_some_and(|r| !r.in_recovery);
        if self.nodes[at].disk_is_full(self.now) {
            // it cannot write its last checkpoint
            return Ok(self.stop_by_force(at));
        }
        if leads {
            self.nodes[at].db.log_own(0);
            for other in 0..self.nodes.len() {
                let follows = self.nodes[other]
                    .db
                    .running
                    .as_ref()
                    .is_some_and(|r| r.streaming && r.upstream.as_ref().is_some_and(|(u, _)| *u == at));
                if follows && self.server_runs(other) && self.reaches(at, other) && self.reaches(other, at) {
                    let (have, source) = (self.nodes[other].db.log.len(), self.nodes[at].db.clone());
                    if (source.kept_from..=source.log.len()).contains(&have) {
                        self.nodes[other].db.receive(&source.log[have..], have, &source.history, source.timeline);
                    }
                }
            }
        }
        let position = self.nodes[at].db.position();
        self.nodes[at].db.kill();
        self.nodes[at].server_down_told = true;
        Ok(EngineOutcome::Stopped(Some(position)))
    }

    /// Nobody knows what it held in the end.
    pub(crate) fn stop_by_force(&mut self, at: usize) -> EngineOutcome {
        self.kill_server(at);
        self.nodes[at].server_down_told = true;
        EngineOutcome::Stopped(None)
    }

    pub(crate) fn kill_server(&mut self, at: usize) {
        self.nodes[at].barrier = None;
        if self.nodes[at].db.running.is_some() {
            self.nodes[at].db.kill();
        }
        self.nodes[at].server_down_told = false;
    }
}
