//! The simulated cluster: virtual time, one queue of things to come, members whose agents run the real decision core.
//! Nothing here decides anything about leadership; faults come from `faults`, checks from `invariants`.

use crate::config::Config;
use crate::invariants::Watch;
use crate::pg::{Postgres, Record};
use crate::rng::Rng;
use crate::store::Store;
use crate::trace::Trace;
use dauphin_ha::{Core, Durable, EngineStep, Event, Message, Reason, Step, StoreResult, StoreTxn, StoreView};
use dauphin_model::{Branch, MemberKind, MemberName, Mono, Span, Timeline, Voter};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// How often an agent looks and thinks when nothing else happens.
const TICK: Span = Span::ms(25);
/// How often a stream carries log and acknowledgements.
pub(crate) const SHIP: Span = Span::ms(4);

/// Something to come.
#[derive(Debug, Clone)]
pub(crate) enum Coming {
    Tick(usize),
    Deliver {
        to: usize,
        from: usize,
        message: Box<Message>,
    },
    Saved {
        to: usize,
        life: u64,
        durable: Durable,
    },
    StoreResult {
        to: usize,
        life: u64,
        op: dauphin_ha::OpId,
        result: StoreResult,
    },
    StoreApply {
        op: dauphin_ha::OpId,
        from: usize,
        life: u64,
        txn: Box<StoreTxn>,
    },
    StoreSeen(usize),
    EngineEnds {
        at: usize,
        life: u64,
        pg_life: u64,
        step: EngineStep,
        fails: Fails,
    },
    BarrierEnds {
        at: usize,
        life: u64,
        pg_life: u64,
        serial: u64,
    },
    Ship(usize),
    Arrive {
        at: usize,
        epoch: u64,
        pg_life: u64,
        from: usize,
        records: Vec<Record>,
        history: Vec<Branch>,
        timeline: Timeline,
    },
    Flushed {
        at: usize,
        pg_life: u64,
        voter: Voter,
        end: usize,
    },
    Deadline {
        at: usize,
        seq: u64,
    },
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
    pub(crate) deadline_seq: u64,
    pub(crate) seen: StoreView,
    pub(crate) store_cut: bool,
    pub(crate) barrier: Option<u64>,
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

    pub(crate) fn pause(&mut self) -> Span {
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

    pub(crate) fn server_runs(&self, at: usize) -> bool {
        self.nodes[at].pg.running.is_some() && self.now >= self.nodes[at].frozen_until
    }

    pub(crate) fn reaches(&self, from: usize, to: usize) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// Something for a process that stands still waits until it goes on.
    pub(crate) fn postponed(&mut self, at: usize, coming: &Coming, agent: bool) -> bool {
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
                if self.nodes[*at].life != *life
                    || self.nodes[*at].pg.life != *pg_life
                    || self.postponed(*at, &coming, true)
                {
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
                if self.nodes[*at].deadline_seq == *seq
                    && !self.postponed(*at, &coming, false)
                    && self.nodes[*at].deadline.is_some()
                {
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
        let dead = self.nodes[to].core.is_none()
            && self.nodes[to].pg.running.is_none()
            && self.now >= self.nodes[to].frozen_until;
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
                self.trace.line(
                    self.now,
                    from,
                    &format!(
                        "store: term {} {} {:?}, timeline {}, set {} of {} answers",
                        after.term,
                        after.leader,
                        after.state,
                        after.timeline,
                        after.published.voters.len(),
                        after.published.answers
                    ),
                );
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

    pub(crate) fn index(&self, name: &MemberName) -> Option<usize> {
        self.nodes.iter().position(|n| n.name == *name)
    }
}
