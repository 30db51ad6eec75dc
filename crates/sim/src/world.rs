//! The simulated cluster: virtual time, one queue of things to come, members whose agents run the real decision core.
//! Nothing here decides anything about leadership; faults come from `faults`, checks from `invariants`.

use crate::config::Config;
use crate::invariants::Watch;
use crate::pg::{Postgres, Record};
use crate::rng::Rng;
use crate::store::Store;
use crate::trace::Trace;
use dauphin_ha::{Core, Durable, EngineStep, Event, Message, StoreResult, StoreTxn, StoreView};
use dauphin_model::{Branch, MemberKind, MemberName, Mono, Span, Timeline, Voter};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

/// How often an agent looks and thinks when nothing else happens.
const TICK: Span = Span::ms(25);
/// Something to come.
#[derive(Debug, Clone, Hash)]
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
        fails: Fails,
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
        /// `None`: chance decides.
        fails: Option<Fails>,
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
    /// A member's links and its way to the store are whole again.
    Mended(usize),
    Client(usize),
    Fault,
}

/// How a step will go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fails {
    No,
    Before,
    After,
}

/// One member.
#[derive(Debug, Clone, Hash)]
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
    /// What it saw of the store before that.
    pub(crate) seen_before: StoreView,
    pub(crate) store_cut: bool,
    pub(crate) barrier: Option<u64>,
    pub(crate) server_down_told: bool,
}

/// The world. A copy goes its own way.
#[derive(Debug, Clone)]
pub struct World {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) now: Mono,
    /// What is to come: when, and in which order of what comes at the same moment.
    pub(crate) coming: BTreeMap<(Mono, u64), Coming>,
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
            seen_before: StoreView::default(),
            store_cut: false,
            barrier: None,
            server_down_told: false,
        });
        let mut world = Self {
            rng: if config.pace.steady { Rng::steady() } else { Rng::new(config.seed ^ 0x5EED) },
            now: Mono(1_000_000),
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
            world.later(world.config.pace.ship, Coming::Ship(at));
        }
        for client in 0..world.config.pace.clients {
            world.later(Span::ms(10), Coming::Client(client));
        }
        world
    }

    pub(crate) fn later(&mut self, span: Span, coming: Coming) {
        self.seq += 1;
        self.coming.insert((self.now + span, self.seq), coming);
    }

    pub(crate) fn pause(&mut self) -> Span {
        Span(self.rng.between(300, 3_000))
    }

    /// Runs until `end`; stops early at a violation.
    pub fn run_until(&mut self, end: Mono) {
        while self.next_at().is_some_and(|at| at <= end) {
            self.go_on();
            if self.watch.violation.is_some() {
                return;
            }
        }
        self.now = self.now.max(end);
    }

    /// When the next thing comes.
    pub(crate) fn next_at(&self) -> Option<Mono> {
        self.coming.first_key_value().map(|((at, _), _)| *at)
    }

    /// Lets the next thing happen.
    pub fn go_on(&mut self) {
        if let Some(((at, _), coming)) = self.coming.pop_first() {
            self.now = self.now.max(at);
            self.happen(coming);
        }
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
            Coming::Saved { to, life, durable, fails } => {
                if self.nodes[*to].life != *life || self.postponed(*to, &coming, true) {
                    return;
                }
                if *fails != Fails::Before {
                    self.nodes[*to].disk = durable.clone();
                }
                let event = match fails {
                    Fails::No => Event::Saved,
                    Fails::Before | Fails::After => Event::SaveFailed { because: "the disk is full".to_owned() },
                };
                self.feed(*to, event);
            }
            Coming::StoreApply { op, from, life, txn, fails } => self.store_applies(*op, *from, *life, txn, *fails),
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
                self.nodes[*at].seen_before = std::mem::replace(&mut self.nodes[*at].seen, seen.clone());
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
                self.later(self.config.pace.ship, coming);
            }
            Coming::Arrive { at, epoch, pg_life, from, records, history, timeline } => {
                self.arrive(*at, *epoch, *pg_life, *from, records, history, *timeline);
            }
            Coming::Flushed { at, pg_life, voter, end } => {
                if self.nodes[*at].pg.life != *pg_life || self.postponed(*at, &coming, false) {
                    return;
                }
                self.hear(*at, voter, *end);
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
            Coming::Mended(at) => self.mended(*at),
            Coming::Client(client) => self.client(*client),
            Coming::Fault => self.fault(),
        }
    }

    pub(crate) fn index(&self, name: &MemberName) -> Option<usize> {
        self.nodes.iter().position(|n| n.name == *name)
    }
}

/// What makes two worlds go on alike: not how they came about. Numbers of the queue are left out, their order is not.
impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.now.hash(state);
        self.nodes.hash(state);
        self.store.hash(state);
        self.cut.hash(state);
        self.watch.hash(state);
        self.next_value.hash(state);
        for ((at, _), coming) in &self.coming {
            at.hash(state);
            coming.hash(state);
        }
    }
}
