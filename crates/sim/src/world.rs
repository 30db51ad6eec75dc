//! The simulated cluster: virtual time, one queue of things to come, members whose agents run the real decision core.
//! Nothing here decides anything about leadership; faults come from `faults`, checks from `invariants`.

use crate::config::Config;
use crate::invariants::Watch;
use crate::pg::{Postgres, Record};
use crate::rng::Rng;
use crate::store::Store;
use crate::trace::Trace;
use dauphin_ha::{
    Command, Core, Durable, EngineFailure, EngineOutcome, EngineStep, Event, Message, Reason, Role, Step, StoreResult, StoreTxn, StoreView,
};
use dauphin_model::{
    Attached, Branch, Enforced, LeadershipState, Lsn, MemberKind, MemberName, Mono, Position, Run, ServerView, Span,
    SwitchPoint, Timeline, Voter,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// How often an agent looks and thinks when nothing else happens.
const TICK: Span = Span::ms(25);
/// How often a stream carries log and acknowledgements.
const SHIP: Span = Span::ms(4);
/// Most records a stream carries at once.
const SHIP_RECORDS_MAX: usize = 64;

/// Something to come.
#[derive(Debug, Clone)]
pub(crate) enum Coming {
    Tick(usize),
    Deliver { to: usize, from: usize, message: Box<Message> },
    Saved { to: usize, life: u64, durable: Durable },
    StoreResult { to: usize, life: u64, op: dauphin_ha::OpId, result: StoreResult },
    StoreApply { op: dauphin_ha::OpId, from: usize, life: u64, txn: Box<StoreTxn> },
    StoreSeen(usize),
    EngineEnds { at: usize, life: u64, pg_life: u64, step: EngineStep, fails: Fails },
    BarrierEnds { at: usize, life: u64, pg_life: u64, serial: u64 },
    Ship(usize),
    Arrive { at: usize, epoch: u64, pg_life: u64, from: usize, records: Vec<Record>, history: Vec<Branch>, timeline: Timeline },
    Flushed { at: usize, pg_life: u64, voter: Voter, end: usize },
    Deadline { at: usize, seq: u64 },
    AgentReturns(usize),
    NodeThaws(usize),
    Client(usize),
    Fault,
}

/// How a step will go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fails {
    No,
    Before,
    After,
}

/// One member.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: MemberName,
    pub(crate) core: Option<Core>,
    pub(crate) life: u64,
    pub(crate) disk: Durable,
    pub(crate) pg: Postgres,
    pub(crate) witness: bool,
    pub(crate) agent_paused_until: Mono,
    pub(crate) frozen_until: Mono,
    pub(crate) stalled_until: Mono,
    pub(crate) deadline: Option<Mono>,
    deadline_seq: u64,
    pub(crate) seen: StoreView,
    pub(crate) store_cut: bool,
    barrier: Option<u64>,
    pub(crate) server_down_told: bool,
}

/// The world.
pub struct World {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) now: Mono,
    queue: BinaryHeap<Reverse<(Mono, u64)>>,
    coming: BTreeMap<u64, Coming>,
    seq: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) store: Store,
    /// Links that are cut: from, to.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    pub(crate) calm: bool,
    pub(crate) next_value: u64,
    pub(crate) watch: Watch,
    /// What happened.
    pub trace: Trace,
}

impl World {
    /// A cluster whose members all just started, with empty folders.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let nodes = config.spec.members.iter().map(|m| Node {
            name: m.name.clone(),
            core: None,
            life: 0,
            disk: Durable::default(),
            pg: Postgres::default(),
            witness: m.kind == MemberKind::Witness,
            agent_paused_until: Mono(0),
            frozen_until: Mono(0),
            stalled_until: Mono(0),
            deadline: None,
            deadline_seq: 0,
            seen: StoreView::default(),
            store_cut: false,
            barrier: None,
            server_down_told: false,
        });
        let mut world = Self {
            rng: Rng::new(config.seed ^ 0x5EED),
            now: Mono(1_000_000),
            queue: BinaryHeap::new(),
            coming: BTreeMap::new(),
            seq: 0,
            nodes: nodes.collect(),
            store: Store::new(),
            cut: BTreeSet::new(),
            calm: true,
            next_value: 1,
            watch: Watch::default(),
            trace: Trace::new(config.trace),
            config,
        };
        for at in 0..world.nodes.len() {
            let late = Span(world.rng.below(200_000));
            world.later(late, Coming::AgentReturns(at));
            world.later(SHIP, Coming::Ship(at));
        }
        for client in 0..4 {
            world.later(Span::ms(10), Coming::Client(client));
        }
        world
    }

    pub(crate) fn later(&mut self, span: Span, coming: Coming) {
        self.seq += 1;
        self.queue.push(Reverse((self.now + span, self.seq)));
        self.coming.insert(self.seq, coming);
    }

    fn pause(&mut self) -> Span {
        Span(self.rng.between(300, 3_000))
    }

    /// Runs until `end`; stops early at a violation.
    pub fn run_until(&mut self, end: Mono) {
        while let Some(Reverse((at, seq))) = self.queue.pop() {
            if at > end {
                self.queue.push(Reverse((at, seq)));
                break;
            }
            self.now = self.now.max(at);
            if let Some(coming) = self.coming.remove(&seq) {
                self.happen(coming);
            }
            if self.watch.violation.is_some() {
                return;
            }
        }
        self.now = self.now.max(end);
    }

    fn server_runs(&self, at: usize) -> bool {
        self.nodes[at].pg.running.is_some() && self.now >= self.nodes[at].frozen_until
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// Something for a process that stands still waits until it goes on.
    fn postponed(&mut self, at: usize, coming: &Coming, agent: bool) -> bool {
        let mut until = self.nodes[at].frozen_until;
        if agent {
            until = until.max(self.nodes[at].agent_paused_until);
        }
        if self.now < until {
            let span = until.since(self.now) + Span(1 + self.rng.below(2_000));
            self.later(span, coming.clone());
            return true;
        }
        false
    }

    fn happen(&mut self, coming: Coming) {
        match &coming {
            Coming::Tick(at) => {
                let at = *at;
                if self.nodes[at].core.is_none() || self.postponed(at, &coming, true) {
                    return;
                }
                self.look(at);
                self.feed(at, Event::Tick);
                let span = TICK + Span(self.rng.below(4_000));
                self.later(span, Coming::Tick(at));
            }
            Coming::Deliver { to, from, message } => {
                if self.nodes[*to].core.is_none() || self.postponed(*to, &coming, true) {
                    return;
                }
                let from = self.nodes[*from].name.clone();
                self.feed(*to, Event::Message { from, message: message.clone() });
            }
            Coming::Saved { to, life, durable } => {
                if self.nodes[*to].life != *life || self.postponed(*to, &coming, true) {
                    return;
                }
                self.nodes[*to].disk = durable.clone();
                self.feed(*to, Event::Saved);
            }
            Coming::StoreApply { op, from, life, txn } => self.store_applies(*op, *from, *life, txn),
            Coming::StoreResult { to, life, op, result } => {
                if self.nodes[*to].life != *life || self.postponed(*to, &coming, true) {
                    return;
                }
                self.feed(*to, Event::StoreResult { op: *op, result: *result });
            }
            Coming::StoreSeen(at) => {
                if self.nodes[*at].core.is_none() || self.nodes[*at].store_cut || self.postponed(*at, &coming, true) {
                    return;
                }
                let seen = self.store.seen(&self.nodes[*at].seen, self.now);
                self.nodes[*at].seen = seen.clone();
                self.feed(*at, Event::Store(Box::new(seen)));
            }
            Coming::EngineEnds { at, life, pg_life, step, fails } => {
                if self.nodes[*at].life != *life || self.postponed(*at, &coming, true) {
                    return;
                }
                self.engine_ends(*at, *pg_life, step.clone(), *fails);
            }
            Coming::BarrierEnds { at, life, pg_life, serial } => {
                if self.nodes[*at].life != *life || self.nodes[*at].pg.life != *pg_life || self.postponed(*at, &coming, true) {
                    return;
                }
                self.feed(*at, Event::BarrierPassed { serial: *serial, ok: true });
            }
            Coming::Ship(at) => {
                self.ship(*at);
                self.later(SHIP, coming);
            }
            Coming::Arrive { at, epoch, pg_life, from, records, history, timeline } => {
                self.arrive(*at, *epoch, *pg_life, *from, records, history, *timeline);
            }
            Coming::Flushed { at, pg_life, voter, end } => {
                if self.nodes[*at].pg.life != *pg_life || self.postponed(*at, &coming, false) {
                    return;
                }
                if let Some(running) = &mut self.nodes[*at].pg.running {
                    let flushed = running.attached.entry(voter.clone()).or_default();
                    *flushed = (*flushed).max(*end);
                }
                self.release(*at);
            }
            Coming::Deadline { at, seq } => {
                // the guard is a process of its own: it runs while the agent stands still, but not while the node does
                if self.nodes[*at].deadline_seq == *seq && !self.postponed(*at, &coming, false) && self.nodes[*at].deadline.is_some() {
                    self.trace.line(self.now, *at, "guard: the deadline passed, kills the server");
                    self.kill_server(*at);
                }
            }
            Coming::AgentReturns(at) => self.start_agent(*at),
            Coming::NodeThaws(at) => self.trace.line(self.now, *at, "goes on"),
            Coming::Client(client) => self.client(*client),
            Coming::Fault => self.fault(),
        }
    }

    /// Gives an event to a member's core and carries its steps out.
    pub(crate) fn feed(&mut self, at: usize, event: Event) {
        let now = self.now;
        let Some(core) = &mut self.nodes[at].core else { return };
        let before = core.role();
        let steps = core.step(now, event);
        let after = core.role();
        if before != after {
            self.trace.line(now, at, &format!("{before} -> {after}"));
        }
        for step in steps {
            self.carry_out(at, step);
            if self.watch.violation.is_some() {
                return;
            }
        }
    }

    fn carry_out(&mut self, at: usize, step: Step) {
        let life = self.nodes[at].life;
        match step {
            Step::Save(durable) => {
                let span = self.pause();
                self.later(span, Coming::Saved { to: at, life, durable });
            }
            Step::Send { to, message } => {
                let Some(to) = self.nodes.iter().position(|n| n.name == to) else { return };
                let lost = !self.calm && self.rng.chance(self.config.faults.loss);
                if self.reaches(at, to) && !lost {
                    let span = self.pause();
                    self.later(span, Coming::Deliver { to, from: at, message: Box::new(message) });
                } else if self.nodes[to].core.is_none() {
                    self.refused(at, to);
                }
                if self.reaches(at, to) && self.nodes[to].core.is_none() {
                    self.refused(at, to);
                }
            }
            Step::Commit { op, txn } => {
                let span = self.pause();
                if self.nodes[at].store_cut {
                    self.later(Span::ms(400), Coming::StoreResult { to: at, life, op, result: StoreResult::Failed });
                } else {
                    self.later(span, Coming::StoreApply { op, from: at, life, txn });
                }
            }
            Step::Engine(step) => self.engine_begins(at, step),
            Step::Fence => {
                self.trace.line(self.now, at, "fences its server");
                self.kill_server(at);
            }
            Step::Deadline(deadline) => {
                let node = &mut self.nodes[at];
                node.deadline_seq += 1;
                node.deadline = deadline;
                if let Some(deadline) = deadline {
                    let seq = node.deadline_seq;
                    let span = deadline.since(self.now);
                    self.later(span, Coming::Deadline { at, seq });
                }
            }
            Step::Journal(reason) => {
                if let Reason::Quarantined { because } = &reason
                    && because.starts_with("no rule")
                {
                    self.watch.violate(format!("{}: {because}", self.nodes[at].name));
                }
                self.trace.line(self.now, at, &reason.to_string());
            }
            Step::Reply { .. } => {}
            Step::Exit => self.stop_agent(at),
        }
    }

    /// Both ports of a dead member refuse; a silent one's do not.
    fn refused(&mut self, at: usize, to: usize) {
        let dead = self.nodes[to].core.is_none() && self.nodes[to].pg.running.is_none() && self.now >= self.nodes[to].frozen_until;
        if dead && self.reaches(at, to) && self.reaches(to, at) {
            let member = self.nodes[to].name.clone();
            if let Some(core) = &mut self.nodes[at].core
                && core.peers().get(&member).is_none_or(|p| !p.refused)
            {
                self.feed(at, Event::Refused { member });
            }
        }
    }

    fn store_applies(&mut self, op: dauphin_ha::OpId, from: usize, life: u64, txn: &StoreTxn) {
        let unknown = !self.calm && self.rng.chance(self.config.faults.store_unknown);
        if unknown && self.rng.chance(50) {
            // lost on the way: nothing is written, and nobody knows
            let span = Span::ms(500);
            return self.later(span, Coming::StoreResult { to: from, life, op, result: StoreResult::Unknown });
        }
        let before = self.store.view.leadership.clone();
        let result = self.store.commit(txn);
        if matches!(result, StoreResult::Committed(_)) {
            if let Some(after) = &txn.leadership {
                self.trace.line(self.now, from, &format!(
                    "store: term {} {} {:?}, timeline {}, set {} of {} answers",
                    after.term, after.leader, after.state, after.timeline, after.published.voters.len(), after.published.answers
                ));
                self.check_decision(before.as_ref(), after, from);
            }
            for at in 0..self.nodes.len() {
                let span = self.pause() + self.pause();
                self.later(span, Coming::StoreSeen(at));
            }
        }
        let span = if unknown { Span::ms(500) } else { self.pause() };
        let result = if unknown { StoreResult::Unknown } else { result };
        self.later(span, Coming::StoreResult { to: from, life, op, result });
    }

    // --- the server -----------------------------------------------------------------------------------------------

    fn index(&self, name: &MemberName) -> Option<usize> {
        self.nodes.iter().position(|n| n.name == *name)
    }

    fn engine_begins(&mut self, at: usize, step: EngineStep) {
        let ms = match &step {
            EngineStep::Bootstrap { .. } => self.rng.between(300, 900),
            EngineStep::Clone { .. } => self.rng.between(200, 2_000),
            EngineStep::Rewind { .. } => self.rng.between(100, 800),
            EngineStep::StartDetached | EngineStep::Stop => self.rng.between(30, 300),
            EngineStep::Promote { .. } => self.rng.between(40, 400),
            EngineStep::Freeze => self.rng.between(2, 60),
            EngineStep::CloseAccess => self.rng.between(5, 100),
            EngineStep::Follow { .. } | EngineStep::StartBarrier { .. } | EngineStep::SetSync { .. } | EngineStep::OpenAccess => {
                self.rng.between(2, 40)
            }
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

    fn engine_ends(&mut self, at: usize, pg_life: u64, step: EngineStep, fails: Fails) {
        let result = if fails == Fails::Before {
            Err("failed before it was done (simulated)".to_owned())
        } else {
            self.engine_does(at, pg_life, &step)
        };
        let result = if fails == Fails::After { Err("done, but reported failed (simulated)".to_owned()) } else { result };
        self.look(at);
        self.feed(at, Event::Engine(result.map_err(EngineFailure::new)));
    }

    fn engine_does(&mut self, at: usize, pg_life: u64, step: &EngineStep) -> Result<EngineOutcome, String> {
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
            EngineStep::Promote { timeline, enforced } => {
                let running = self.nodes[at].pg.running.as_ref().filter(|_| same).ok_or_else(gone)?;
                if running.in_recovery {
                    self.i4_promoting(at, *timeline);
                    self.nodes[at].pg.promote(*timeline, enforced.clone());
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
            EngineStep::CloseAccess => Ok(EngineOutcome::Done),
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
    fn stop_server(&mut self, at: usize, same: bool) -> Result<EngineOutcome, String> {
        if self.nodes[at].pg.running.is_none() {
            let crashed = !same;
            return Ok(EngineOutcome::Stopped((!crashed).then(|| self.nodes[at].pg.position())));
        }
        let leads = self.nodes[at].pg.running.as_ref().is_some_and(|r| !r.in_recovery);
        if leads {
            let timeline = self.nodes[at].pg.timeline;
            self.nodes[at].pg.log.push(Record { timeline, value: 0 });
            for other in 0..self.nodes.len() {
                let follows = self.nodes[other].pg.running.as_ref().is_some_and(|r| {
                    r.streaming && r.upstream.as_ref().is_some_and(|(u, _)| *u == at)
                });
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
    fn ship(&mut self, at: usize) {
        let Some(running) = &self.nodes[at].pg.running else { return };
        let Some((source, voter)) = running.upstream.clone() else { return };
        let (epoch, pg_life) = (running.epoch, self.nodes[at].pg.life);
        let linked = self.reaches(source, at) && self.reaches(at, source) && self.server_runs(at) && self.server_runs(source);
        let ours = self.nodes[at].pg.position();
        let theirs = self.nodes[source].pg.position();
        let have = self.nodes[at].pg.log.len();
        let fits = linked && have <= self.nodes[source].pg.log.len() && ours.leads_into(&theirs).is_ok();
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
        if self.now < self.nodes[at].stalled_until {
            return;
        }
        let end = self.nodes[source].pg.log.len().min(have + SHIP_RECORDS_MAX);
        let records = self.nodes[source].pg.log[have..end].to_vec();
        let span = self.pause();
        self.later(span, Coming::Arrive {
            at, epoch, pg_life, from: have, records, history: theirs.history, timeline: theirs.timeline,
        });
    }

    #[allow(clippy::too_many_arguments)]
    fn arrive(&mut self, at: usize, epoch: u64, pg_life: u64, from: usize, records: &[Record], history: &[Branch], timeline: Timeline) {
        let fits = self.nodes[at].pg.life == pg_life && self.nodes[at].pg.running.as_ref().is_some_and(|r| r.epoch == epoch && r.streaming);
        if fits && self.server_runs(at) {
            self.nodes[at].pg.receive(records, from, history, timeline);
        }
    }

    /// Commits whose wait is over are acknowledged to clients, or end the barrier.
    pub(crate) fn release(&mut self, at: usize) {
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
    fn look(&mut self, at: usize) {
        if self.nodes[at].core.is_none() || self.nodes[at].witness {
            return;
        }
        let view = self.view_of(at);
        let down = self.nodes[at].pg.running.is_none();
        if down && !self.nodes[at].server_down_told && self.nodes[at].pg.has_data {
            self.nodes[at].server_down_told = true;
            self.feed(at, Event::ServerExited);
        } else if !down {
            self.feed(at, Event::Server(Box::new(view)));
        }
    }

    fn view_of(&self, at: usize) -> ServerView {
        let pg = &self.nodes[at].pg;
        let Some(running) = &pg.running else {
            return ServerView { run: Run::Stopped, disk_ok: true, ..ServerView::default() };
        };
        let position: Position = pg.position();
        ServerView {
            run: Run::Running,
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

    fn streams_from(&self, voter: &Voter, at: usize) -> bool {
        self.index(&voter.name).is_some_and(|i| {
            self.nodes[i].pg.running.as_ref().is_some_and(|r| r.streaming && r.upstream.as_ref().is_some_and(|(u, v)| *u == at && v == voter))
        })
    }

    // --- agents and clients ---------------------------------------------------------------------------------------

    pub(crate) fn stop_agent(&mut self, at: usize) {
        self.nodes[at].core = None;
        self.nodes[at].life += 1;
        // the guard: a leader's server does not outlive its agent
        if self.nodes[at].deadline.is_some() {
            self.kill_server(at);
        }
        self.nodes[at].deadline = None;
        self.nodes[at].deadline_seq += 1;
    }

    pub(crate) fn start_agent(&mut self, at: usize) {
        if self.nodes[at].core.is_some() {
            return;
        }
        self.trace.line(self.now, at, "agent starts");
        let node = &mut self.nodes[at];
        node.life += 1;
        node.agent_paused_until = self.now;
        node.server_down_told = true;
        node.seen = StoreView::default();
        let view = self.view_of(at);
        let node = &mut self.nodes[at];
        let core = Core::new(node.name.clone(), self.config.spec.clone(), node.disk.clone(), node.pg.has_data, view, self.now);
        node.core = Some(core.broken_by(self.config.variant));
        self.later(Span::ms(1), Coming::Tick(at));
        self.later(Span::ms(5), Coming::StoreSeen(at));
    }

    /// A client writes wherever it is let in, as one that was not told yet would.
    fn client(&mut self, client: usize) {
        let span = Span::ms(self.rng.between(5, 40));
        self.later(span, Coming::Client(client));
        let open: Vec<usize> = (0..self.nodes.len())
            .filter(|at| self.server_runs(*at) && self.nodes[*at].pg.running.as_ref().is_some_and(|r| r.access && !r.in_recovery))
            .collect();
        if let Some(at) = self.rng.pick(&open) {
            let value = self.next_value;
            self.next_value += 1;
            self.nodes[at].pg.write(value);
            self.release(at);
        }
    }

    /// Whether some open leader of the newest term serves.
    #[must_use]
    pub fn healthy(&self) -> bool {
        let Some(record) = &self.store.view.leadership else { return false };
        let Some(at) = self.index(&record.leader.name) else { return false };
        let leads = self.nodes[at].core.as_ref().is_some_and(|c| c.role() == Role::Leader);
        leads && record.state == LeadershipState::Open && self.nodes[at].pg.running.as_ref().is_some_and(|r| r.access)
    }

    /// Whether every data member follows or leads.
    #[must_use]
    pub fn whole(&self) -> bool {
        self.healthy()
            && self.nodes.iter().filter(|n| !n.witness).all(|n| {
                n.core.as_ref().is_some_and(|c| match c.role() {
                    Role::Leader => true,
                    Role::Replica => n.pg.running.as_ref().is_some_and(|r| r.streaming),
                    _ => false,
                })
            })
    }

    /// A person's command to a member.
    pub(crate) fn ask(&mut self, at: usize, command: Command) {
        let id = self.rng.next();
        self.trace.line(self.now, at, &format!("operator: {command:?}"));
        self.feed(at, Event::Command { id, command });
    }

    /// Where every member stands, into the trace.
    pub(crate) fn dump(&mut self) {
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            let core = node.core.as_ref().map_or_else(|| "no agent".to_owned(), Core::summary);
            let pg = &node.pg;
            let server = pg.running.as_ref().map(|r| {
                format!("recovery {} upstream {:?} streaming {} enforced {:?} access {} attached {:?} waiting {}", r.in_recovery,
                    r.upstream.as_ref().map(|(u, v)| (*u + 1, v.to_string())), r.streaming, r.enforced, r.access,
                    r.attached.iter().map(|(v, e)| (v.to_string(), *e)).collect::<Vec<_>>(), r.waiting.len())
            });
            let text = format!("{core}\n      pg {} disk pledge {} {server:?}", pg.position(), node.disk.pledge);
            self.trace.line(self.now, at, &text);
        }
    }

    /// What each open leader's server may be enforcing.
    pub(crate) fn enforced_of(&self, at: usize) -> Vec<Enforced> {
        self.nodes[at].pg.running.as_ref().map(|r| r.enforced.clone()).unwrap_or_default()
    }
}
