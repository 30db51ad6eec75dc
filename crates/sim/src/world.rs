//! The simulated cluster: virtual time, one queue of things to come, members whose agents run the real decision core.
//! Nothing here decides anything about leadership; faults come from `faults`, checks from `invariants`.

use crate::coming::{Coming, Fails, Node, TRUE_RATE};
use crate::config::Config;
use crate::invariants::Watch;
use crate::rng::Rng;
use crate::store::Stores;
use crate::struck::Struck;
use crate::trace::Trace;
use crate::weather::Weather;
use dauphin_ha::Event;
use dauphin_model::{MemberKind, MemberName, Mono, Span};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

/// Clocks run this fast, in thousandths of true time: the profiles' margins cover as much.
const RATE_MIN: u64 = 950;
/// See [`RATE_MIN`].
const RATE_MAX: u64 = 1_050;
/// Tells the draw of the clocks from the world's own.
const CLOCKS: u64 = 0xC10C;
/// How often people keep a copy of the store, where they restore one.
pub(crate) const COPY_EVERY: Span = Span::ms(2_000);
/// How often a start that waits for log looks whether it is there.
const START_POLL: Span = Span::ms(100);
/// How often an agent looks and thinks when nothing else happens.
const TICK: Span = Span::ms(25);

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
    pub(crate) stores: Stores,
    /// Links that are cut: from, to.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    /// What goes wrong.
    pub(crate) weather: Weather,
    pub(crate) next_value: u64,
    pub(crate) next_ask: u64,
    pub(crate) watch: Watch,
    /// What happened.
    pub trace: Trace,
    /// There are servers and no agents.
    pub(crate) bare: bool,
}

impl World {
    /// A cluster whose members all just started, with empty folders.
    #[must_use]
    pub fn new(config: Config) -> Self {
        // drawn apart, so that a run with fewer faults has the same clocks
        let mut clocks = if config.pace.steady { Rng::steady() } else { Rng::new(config.seed ^ CLOCKS) };
        let mut rate = || if config.faults.drift { clocks.between(RATE_MIN, RATE_MAX + 1) } else { TRUE_RATE };
        let members = config.spec.members.iter();
        let nodes = members
            .map(|m| Node::new(m.name.clone(), config.spec.engine, m.kind == MemberKind::Witness, rate()))
            .collect();
        let mut world = Self {
            rng: if config.pace.steady { Rng::steady() } else { Rng::new(config.seed ^ 0x5EED) },
            now: Mono(1_000_000),
            coming: BTreeMap::new(),
            seq: 0,
            nodes,
            stores: Stores::new(),
            cut: BTreeSet::new(),
            weather: Weather::new(&config),
            next_value: 1,
            next_ask: 0,
            watch: Watch::default(),
            trace: Trace::new(config.trace),
            bare: false,
            config,
        };
        for at in 0..world.nodes.len() {
            let late = Span(world.rng.below(200_000));
            world.later(late, Coming::AgentReturns(at));
            world.later(world.config.pace.ship, Coming::Ship(at));
        }
        if world.config.faults.store_restored > 0 {
            world.later(COPY_EVERY, Coming::StoreCopied);
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

    /// The next faults: before everything else at that moment, so that a replay has the same order.
    pub(crate) fn faults_at(&mut self, at: Mono) {
        self.coming.insert((at, 0), Coming::Fault);
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
        self.nodes[at].db.running.is_some() && self.now >= self.nodes[at].frozen_until
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
                let full = self.nodes[*to].disk_is_full(self.now);
                let fails = if full { &Fails::Before } else { fails };
                if !matches!(fails, Fails::Before | Fails::Hopeless) {
                    self.nodes[*to].disk = durable.clone();
                }
                let event = match fails {
                    Fails::No | Fails::Twice => Event::Saved,
                    Fails::Before | Fails::Hopeless | Fails::After => {
                        Event::SaveFailed { because: "the disk is full".to_owned() }
                    }
                };
                self.feed(*to, event);
            }
            Coming::StoreApply { .. } => self.store_applies(coming),
            Coming::StoreCopied => self.store_copied(),
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
                if self.now < self.stores.stands_until {
                    let span = self.stores.stands_until.since(self.now) + self.pause();
                    return self.later(span, coming);
                }
                let now = self.nodes[*at].clock(self.now);
                let seen = self.stores.now.seen(&self.nodes[*at].seen, now);
                self.nodes[*at].seen_before = std::mem::replace(&mut self.nodes[*at].seen, seen.clone());
                self.feed(*at, Event::Store(Box::new(seen)));
            }
            Coming::EngineEnds { at, life, db_life, seq, step, fails } => {
                let node = &self.nodes[*at];
                let cut_off = node.life != *life || node.step.as_ref().is_none_or(|(s, _)| s != seq);
                if cut_off || self.postponed(*at, &coming, true) {
                    return;
                }
                if self.start_waits(*at, step) {
                    return self.later(START_POLL, coming);
                }
                self.nodes[*at].step = None;
                self.engine_ends(*at, *db_life, step, *fails);
            }
            Coming::EngineTold { at, life, result } => {
                if self.nodes[*at].life != *life || self.postponed(*at, &coming, true) {
                    return;
                }
                self.feed(*at, Event::Engine((**result).clone()));
            }
            Coming::PromotesLate { at, db_life, timeline } => {
                if !self.postponed(*at, &coming, false) {
                    self.promotes_late(*at, *db_life, *timeline);
                }
            }
            Coming::BarrierEnds { at, life, db_life, serial } => {
                if self.nodes[*at].life != *life
                    || self.nodes[*at].db.life != *db_life
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
            Coming::Arrive { at, epoch, db_life, from, records, history, timeline } => {
                self.arrive(*at, *epoch, *db_life, *from, records, history, *timeline);
            }
            Coming::Received { at, epoch, db_life, from, records, end } => {
                self.gtid_received(*at, (*epoch, *db_life), *from, records, *end);
            }
            Coming::Flushed { at, db_life, voter, end } => {
                if self.nodes[*at].db.life != *db_life || self.postponed(*at, &coming, false) {
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
            Coming::Fault => self.faults(),
        }
    }

    /// What struck so far, by chance or as planned.
    #[must_use]
    pub fn struck(&self) -> &[Struck] {
        &self.weather.struck
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
        self.stores.hash(state);
        self.cut.hash(state);
        self.watch.hash(state);
        self.next_value.hash(state);
        for ((at, _), coming) in &self.coming {
            at.hash(state);
            coming.hash(state);
        }
    }
}
