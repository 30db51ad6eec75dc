//! What goes wrong and when: drawn from the seed as the run goes, or replayed from a list. Never fair. The draws are kept
//! apart from the world's own, so that a replay of everything that struck gives the same trace.

use crate::coming::Coming;
use crate::config::{Config, Faults, Ways};
use crate::faults::Fault;
use crate::rng::Rng;
use crate::struck::{Asked, Change, How, Struck, What, Work};
use crate::world::World;
use dauphin_model::{Durability, EngineKind, Mono, OnShortage, Profile, Span};
use std::collections::{BTreeMap, VecDeque};

/// Average time between two moments at which faults strike.
const BETWEEN: Span = Span::ms(900);
/// How many cuts of a hundred last long.
const LONG_PERCENT: u64 = 20;
/// Tells the weather's draws from the world's own.
const APART: u64 = 0x0F_A017;

/// The weather.
#[derive(Debug, Clone)]
pub(crate) struct Weather {
    /// Nothing goes wrong.
    pub(crate) calm: bool,
    /// What struck.
    pub(crate) struck: Vec<Struck>,
    rng: Rng,
    plan: Option<Plan>,
}

/// What is still to strike in a replay.
#[derive(Debug, Clone, Default)]
struct Plan {
    hits: VecDeque<Struck>,
    bends: BTreeMap<(usize, Work), VecDeque<Struck>>,
}

impl Plan {
    fn of(list: &[Struck]) -> Self {
        let mut plan = Self::default();
        for struck in list {
            match struck.what {
                What::Hits(_) | What::Asks(_) | What::Sets(_) => plan.hits.push_back(*struck),
                What::Bends(work, _) => plan.bends.entry((struck.member, work)).or_default().push_back(*struck),
            }
        }
        plan
    }
}

impl Weather {
    pub(crate) fn new(config: &Config) -> Self {
        let rng = if config.pace.steady { Rng::steady() } else { Rng::new(config.seed ^ APART) };
        Self { calm: true, struck: Vec::new(), rng, plan: config.plan.as_deref().map(Plan::of) }
    }

    /// How work that begins now goes, if not as it usually does.
    fn bent(&mut self, now: Mono, member: usize, work: Work, faults: &Faults) -> Option<Struck> {
        if let Some(plan) = &mut self.plan {
            let due = plan.bends.get_mut(&(member, work))?;
            due.front().filter(|next| next.at <= now)?;
            return due.pop_front().map(|next| Struck { at: now, ..next });
        }
        let how = match work {
            Work::Step => self.way(&faults.steps)?,
            Work::Renewal | Work::Record => self.way(&faults.store)?,
            Work::Notes => self.way(&faults.notes)?,
            Work::Fence => self.rng.chance(faults.steps.twice).then_some(How::Twice)?,
        };
        let lasts = match how {
            How::Late if work == Work::Notes => self.span(20, 3_000),
            How::Late => self.span(50, 6_000),
            How::Never => self.span(2_000, 12_000),
            How::FailsBefore | How::Hopeless | How::FailsAfter | How::Twice => Span::ZERO,
        };
        Some(Struck { at: now, member, what: What::Bends(work, how), lasts })
    }

    /// At most one way at a time.
    fn way(&mut self, ways: &Ways) -> Option<How> {
        let of = [
            (ways.before, How::FailsBefore),
            (ways.hopeless, How::Hopeless),
            (ways.after, How::FailsAfter),
            (ways.late, How::Late),
            (ways.never, How::Never),
        ];
        let drawn = of.map(|(percent, how)| (percent > 0 && self.rng.chance(percent)).then_some(how));
        drawn.into_iter().flatten().next()
    }

    fn span(&mut self, from: u64, to: u64) -> Span {
        Span::ms(self.rng.between(from, to))
    }

    /// How long such a fault lasts this time.
    fn lasts(&mut self, fault: Fault, lease: Span) -> Span {
        match fault {
            Fault::KillServer | Fault::LosesLog | Fault::Errant => Span::ZERO,
            Fault::KillAgent | Fault::Upgraded => self.span(200, 6_000),
            Fault::KillNode => self.span(200, 8_000),
            Fault::PauseAgent | Fault::FreezeNode => self.span(50, lease.as_ms() * 3),
            Fault::CutOff | Fault::HearsNothing | Fault::IsNotHeard | Fault::LosesStore => {
                let most = if self.rng.chance(LONG_PERCENT) { 12_000 } else { 4_000 };
                self.span(200, most)
            }
            Fault::StreamStalls | Fault::ApplierStands => self.span(100, 6_000),
            Fault::FullDisk | Fault::StoreStands => self.span(300, 8_000),
            // how old the copy is
            Fault::StoreRestored => self.span(1_000, 15_000),
        }
    }
}

impl Faults {
    fn rates(&self, one_way: Fault) -> [(u64, Fault); 13] {
        [
            (self.kill_server, Fault::KillServer),
            (self.kill_agent, Fault::KillAgent),
            (self.kill_node, Fault::KillNode),
            (self.pause_agent, Fault::PauseAgent),
            (self.pause_node, Fault::FreezeNode),
            (self.partition, Fault::CutOff),
            (self.one_way, one_way),
            (self.store_cut, Fault::LosesStore),
            (self.stream_stalls, Fault::StreamStalls),
            (self.full_disk, Fault::FullDisk),
            (self.lost_log, Fault::LosesLog),
            (self.store_stands, Fault::StoreStands),
            (self.store_restored, Fault::StoreRestored),
        ]
    }

    /// What hits servers of GTIDs besides. A draw more would change every seed of PostgreSQL's.
    fn rates_for_gtids(&self, engine: EngineKind) -> Vec<(u64, Fault)> {
        let all = [(self.applier_stands, Fault::ApplierStands), (self.errant, Fault::Errant)];
        // a draw that can give nothing would change every seed without upgrades
        let upgraded = (self.upgraded > 0).then_some((self.upgraded, Fault::Upgraded));
        all.into_iter().chain(upgraded).filter(|_| engine.has_gtids()).collect()
    }
}

impl World {
    /// Faults begin.
    pub fn begin_chaos(&mut self) {
        self.weather.calm = false;
        match &self.weather.plan {
            None => self.faults_at(self.now + Span::ms(100)),
            Some(plan) => {
                if let Some(first) = plan.hits.front() {
                    self.faults_at(first.at);
                }
            }
        }
    }

    /// Faults end, and what they broke is mended: links, pauses, disks, dead agents.
    pub fn heal(&mut self) {
        self.weather.calm = true;
        self.watch.held_by_newer = false;
        self.cut.clear();
        self.stores.stands_until = self.now;
        if !self.config.faults.upgrade_stands {
            self.upgrade_the_rest();
        }
        for at in 0..self.nodes.len() {
            self.nodes[at].store_cut = false;
            self.nodes[at].agent_paused_until = self.now;
            self.nodes[at].frozen_until = self.now;
            self.nodes[at].stalled_until = self.now;
            self.nodes[at].applier_stands_until = self.now;
            self.nodes[at].disk_full_until = self.now;
            self.start_agent(at);
            self.later(Span::ms(2), Coming::StoreSeen(at));
        }
        if self.stores.now.view.spec.as_ref().is_some_and(|spec| spec.profile == Profile::Wan) {
            // a minute is not long enough for those who believe a failure after eight seconds
            self.change_spec(Change::Profile(self.config.spec.profile));
        }
        self.trace.line(self.now, 0, "=== all faults healed ===");
    }

    /// A moment at which faults strike.
    pub(crate) fn faults(&mut self) {
        if self.weather.calm {
            return;
        }
        if let Some(plan) = &mut self.weather.plan {
            let mut due = Vec::new();
            while let Some(next) = plan.hits.pop_front_if(|next| next.at <= self.now) {
                due.push(next);
            }
            if let Some(next) = plan.hits.front().map(|next| next.at) {
                self.faults_at(next);
            }
            due.into_iter().for_each(|struck| self.hit(struck));
            return;
        }
        let next = self.now + self.weather.span(50, BETWEEN.as_ms() * 2);
        self.faults_at(next);
        let member = usize::try_from(self.weather.rng.below(self.nodes.len() as u64)).unwrap_or(0);
        let (at, lease, operator) = (self.now, self.config.spec.profile.lease(), self.config.faults.operator);
        let one_way = if self.weather.rng.chance(50) { Fault::HearsNothing } else { Fault::IsNotHeard };
        let more = self.config.faults.rates_for_gtids(self.config.spec.engine);
        for (percent, fault) in self.config.faults.rates(one_way).into_iter().chain(more) {
            if self.weather.rng.chance(percent) {
                let lasts = self.weather.lasts(fault, lease);
                self.hit(Struck { at, member, what: What::Hits(fault), lasts });
            }
        }
        if self.weather.rng.chance(self.config.faults.changes) {
            let change = self.drawn_change();
            self.hit(Struck { at, member, what: What::Sets(change), lasts: Span::ZERO });
        }
        if self.weather.rng.chance(operator) {
            let asked = [Asked::Switchover, Asked::Switchover, Asked::Restart, Asked::Reinit, Asked::Failover];
            if let Some(asked) = self.weather.rng.pick(&asked) {
                self.hit(Struck { at, member, what: What::Asks(asked), lasts: Span::ZERO });
            }
        }
    }

    /// What people change. With `async` commits may be lost, before and after: whoever begins with it stays with it, and who
    /// begins without never takes it.
    fn drawn_change(&mut self) -> Change {
        let rng = &mut self.weather.rng;
        let voters = self.config.spec.members.iter().filter(|m| m.may_vote()).count().saturating_sub(1) as u64;
        let waits = self.config.spec.durability != Durability::Async;
        // MariaDB waits for one acknowledgement, or for none
        let waits = waits && self.config.spec.engine != EngineKind::Mariadb;
        match rng.below(4) {
            0 if waits => Change::Durability(if rng.chance(50) { Durability::Sync } else { Durability::Quorum }),
            1 if waits => {
                let required = 1 + rng.below(voters.max(1));
                Change::Required(if rng.chance(50) { u32::try_from(required).ok() } else { None })
            }
            2 => Change::Shortage(if rng.chance(50) { OnShortage::Wait } else { OnShortage::Degrade }),
            _ => Change::Profile(rng.pick(&[Profile::Standard, Profile::Fast, Profile::Wan]).unwrap_or_default()),
        }
    }

    fn hit(&mut self, struck: Struck) {
        let member = struck.member;
        match struck.what {
            What::Hits(fault) => self.strike(member, fault, struck.lasts),
            What::Asks(asked) if self.nodes[member].core.is_some() => self.ask(member, asked.into()),
            What::Sets(change) => self.change_spec(change),
            What::Asks(_) | What::Bends(..) => return,
        }
        self.weather.struck.push(struck);
    }

    /// Whether this work goes another way, and for how long.
    pub(crate) fn bent(&mut self, member: usize, work: Work) -> Option<(How, Span)> {
        if self.weather.calm {
            return None;
        }
        let struck = self.weather.bent(self.now, member, work, &self.config.faults)?;
        self.weather.struck.push(struck);
        match struck.what {
            What::Bends(_, how) => Some((how, struck.lasts)),
            What::Hits(_) | What::Asks(_) | What::Sets(_) => None,
        }
    }

    /// Whether a message is lost. Drawn for itself alone: a run with fewer faults loses the same ones.
    pub(crate) fn loses(&self, from: usize, to: usize) -> bool {
        let percent = self.config.faults.loss;
        if self.weather.calm || percent == 0 {
            return false;
        }
        let link = (from * self.nodes.len() + to) as u64;
        Rng::new(self.config.seed ^ self.now.0.rotate_left(16) ^ link).chance(percent)
    }
}
