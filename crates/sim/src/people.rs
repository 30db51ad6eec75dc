//! Agents that start and stop, clients that write wherever they are let in, and what an onlooker sees of the cluster.
//! Part of the world; it decides nothing.

use crate::coming::{Coming, Node};
use crate::struck::{Asked, Change};
use crate::world::World;
use dauphin_ha::variant::Variant;
use dauphin_ha::{Command, Core, Event, Role, StoreView};
use dauphin_model::{Enforced, LeadershipState, Mono, Span, Term};

impl World {
    pub(crate) fn stop_agent(&mut self, at: usize) {
        self.nodes[at].core = None;
        self.nodes[at].life += 1;
        self.nodes[at].step = None;
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
        let (spec, now) = (self.config.spec.clone(), node.clock(self.now));
        let core = Core::new(node.name.clone(), spec, node.disk.clone(), node.db.has_data, view, now);
        node.core = Some(core.broken_by(self.config.variant));
        if self.config.variant == Some(Variant::OldFirstView) {
            let old = node.seen_before.clone();
            self.feed(at, Event::Store(Box::new(old)));
        }
        self.later(Span::ms(1), Coming::Tick(at));
        self.later(Span::ms(5), Coming::StoreSeen(at));
    }

    /// People change the specification in the store, if it takes the change; each member hears of it some time later.
    pub fn change_spec(&mut self, change: Change) {
        if self.now < self.stores.stands_until {
            return;
        }
        let mut spec = self.stores.now.view.spec.clone().unwrap_or_else(|| self.config.spec.clone());
        match change {
            Change::Durability(durability) => spec.durability = durability,
            Change::Required(required) => spec.required = required,
            Change::Shortage(on_shortage) => spec.on_shortage = on_shortage,
            Change::Profile(profile) => spec.profile = profile,
            Change::Late(at) => spec.members[at].delay = Some(Span::ms(3_600_000)),
        }
        self.trace.line(self.now, 0, &format!("CHANGE {change:?}"));
        let before = self.watch.least_promised.unwrap_or_else(|| self.config.spec.required_min());
        self.watch.least_promised = Some(before.min(spec.required_min()));
        self.stores.now.view.spec = Some(spec);
        for at in 0..self.nodes.len() {
            let span = self.pause() + self.pause();
            self.later(span, Coming::StoreSeen(at));
        }
    }

    /// A client writes wherever it is let in, as one that was not told yet would.
    pub(crate) fn client(&mut self, client: usize) {
        let (from, to) = self.config.pace.client_ms;
        let span = Span::ms(self.rng.between(from, to));
        self.later(span, Coming::Client(client));
        let open: Vec<usize> = (0..self.nodes.len())
            .filter(|at| {
                self.server_runs(*at) && self.nodes[*at].db.running.as_ref().is_some_and(|r| r.access && !r.in_recovery)
            })
            .collect();
        let takes_writes = |at: &usize| !self.nodes[*at].disk_is_full(self.now);
        if let Some(at) = self.rng.pick(&open).filter(takes_writes) {
            let value = self.next_value;
            self.next_value += 1;
            self.nodes[at].db.write(value);
            self.release(at);
        }
    }

    /// Whether some open leader of the newest term serves.
    #[must_use]
    pub fn healthy(&self) -> bool {
        let Some(record) = &self.stores.now.view.leadership else { return false };
        let Some(at) = self.index(&record.leader.name) else { return false };
        let leads = self.nodes[at].core.as_ref().is_some_and(|c| c.role() == Role::Leader);
        leads && record.state == LeadershipState::Open && self.nodes[at].db.running.as_ref().is_some_and(|r| r.access)
    }

    /// Whether members run programs of two series.
    pub(crate) fn is_mixed(&self) -> bool {
        let mut series = self.nodes.iter().filter(|n| !n.witness).map(|n| n.series);
        let first = series.next();
        series.any(|other| Some(other) != first)
    }

    /// Whether a member cannot come back before its upgrade, or its leader's: it could not follow, or needs a copy.
    pub(crate) fn is_left_out(&self, node: &Node, leader: usize) -> bool {
        let leader = &self.nodes[leader];
        let empty = node.core.as_ref().is_some_and(|core| core.role() == Role::Empty);
        let log_gone = node.db.held() < leader.db.kept_from;
        node.series < leader.series || ((empty || log_gone) && node.series != leader.series)
    }

    /// Whether every data member that can follows or leads.
    #[must_use]
    pub fn whole(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        self.healthy()
            && self.nodes.iter().filter(|n| !n.witness && !self.is_left_out(n, leader)).all(|n| {
                n.core.as_ref().is_some_and(|c| match c.role() {
                    Role::Leader => true,
                    Role::Replica => n.db.running.as_ref().is_some_and(|r| r.streaming),
                    _ => false,
                })
            })
    }

    /// A person's command to a member.
    pub(crate) fn ask(&mut self, at: usize, command: Command) {
        self.next_ask += 1;
        self.trace.line(self.now, at, &format!("operator: {command:?}"));
        self.feed(at, Event::Command { id: self.next_ask, command });
    }

    /// A person asks a member for something.
    pub fn person_asks(&mut self, at: usize, asked: Asked) {
        self.ask(at, asked.into());
    }

    /// Where every member stands, into the trace.
    pub(crate) fn dump(&mut self) {
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            let core = node.core.as_ref().map_or_else(|| "no agent".to_owned(), Core::summary);
            let db = &node.db;
            let server = db.running.as_ref().map(|r| {
                format!(
                    "recovery {} upstream {:?} streaming {} enforced {:?} access {} attached {:?} waiting {}",
                    r.in_recovery,
                    r.upstream.as_ref().map(|(u, v)| (*u + 1, v.to_string())),
                    r.streaming,
                    r.enforced,
                    r.access,
                    r.attached.iter().map(|(v, e)| (v.to_string(), *e)).collect::<Vec<_>>(),
                    r.waiting.len()
                )
            });
            let text = format!("{core}\n      server {} disk pledge {} {server:?}", db.position(), node.disk.pledge);
            self.trace.line(self.now, at, &text);
        }
    }

    /// What each open leader's server may be enforcing.
    pub(crate) fn enforced_of(&self, at: usize) -> Vec<Enforced> {
        self.nodes[at].db.running.as_ref().map(|r| r.enforced.clone()).unwrap_or_default()
    }

    /// Runs until `wanted` shows, `within` this time; the moment it does.
    pub fn wait_for(&mut self, within: Span, wanted: impl Fn(&Self) -> bool) -> Option<Mono> {
        let end = self.now + within;
        while !wanted(self) {
            if self.now >= end || self.watch.violation.is_some() {
                return None;
            }
            self.run_until(self.now + Span::ms(50));
        }
        Some(self.now)
    }

    /// Runs on for that long.
    pub fn run_for(&mut self, span: Span) {
        self.run_until(self.now + span);
    }

    /// The moment it is.
    #[must_use]
    pub fn now(&self) -> Mono {
        self.now
    }

    /// The member that the store names.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        let record = self.stores.now.view.leadership.as_ref()?;
        self.index(&record.leader.name)
    }

    /// The invariant that broke, and how.
    #[must_use]
    pub fn violation(&self) -> Option<&str> {
        self.watch.violation.as_deref()
    }

    /// The leader's agent, guard and server die and stay dead.
    pub fn kill_leader(&mut self) -> Option<usize> {
        let at = self.leader()?;
        self.kill(at);
        Some(at)
    }

    /// A member's agent, guard and server die and stay dead.
    pub fn kill(&mut self, at: usize) {
        self.trace.line(self.now, at, "FAULT node killed for good");
        self.stop_agent(at);
        self.kill_server(at);
    }

    /// An agent that is dead starts again.
    pub fn revive(&mut self, at: usize) {
        self.start_agent(at);
    }

    /// The highest term that any member is pledged to.
    #[must_use]
    pub fn highest_pledge(&self) -> Term {
        self.nodes.iter().map(|n| n.disk.pledge).max().unwrap_or_default()
    }

    /// What happened so far, if the configuration says to keep it.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        self.trace.lines()
    }
}
