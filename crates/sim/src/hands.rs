//! Carries the core's steps out in the simulated world, as an agent's hands would; things go wrong on the way.

use crate::coming::{Coming, Fails};
use crate::struck::{How, Work};
use crate::world::{COPY_EVERY, World};
use dauphin_ha::{Durable, EngineFailure, Event, OpId, Reason, Step, StoreResult, StoreTxn};
use dauphin_model::Span;

/// How long a member waits for the store before nobody knows: the agent's limit.
const STORE_WITHIN: Span = Span::ms(2_500);
/// After this long a change of the store is known to have been lost on the way.
const LOST_WITHIN: Span = Span::ms(500);
/// How long people take to start an agent again after the store was restored.
const RESTORED_WITHIN_MS: (u64, u64) = (200, 2_000);

impl World {
    /// Gives an event to a member's core and carries its steps out.
    pub(crate) fn feed(&mut self, at: usize, event: Event) {
        let (now, clock) = (self.now, self.nodes[at].clock(self.now));
        let Some(core) = &mut self.nodes[at].core else { return };
        let before = core.role();
        let steps = core.step(clock, event);
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
            Step::Save(durable) => self.save(at, life, durable),
            Step::Send { to, message } => {
                let Some(to) = self.nodes.iter().position(|n| n.name == to) else { return };
                if self.reaches(at, to) && !self.loses(at, to) {
                    let span = self.pause();
                    self.later(span, Coming::Deliver { to, from: at, message: Box::new(message) });
                } else if self.nodes[to].core.is_none() {
                    self.refused(at, to);
                }
                if self.reaches(at, to) && self.nodes[to].core.is_none() {
                    self.refused(at, to);
                }
            }
            Step::Commit { op, txn } => self.commits(at, life, op, txn),
            Step::Engine(step) => self.engine_begins(at, step),
            Step::Fence => {
                self.trace.line(self.now, at, "fences its server");
                self.cut_step(at, life);
                self.kill_server(at);
            }
            Step::Deadline(deadline) => {
                let node = &mut self.nodes[at];
                node.deadline_seq += 1;
                node.deadline = deadline;
                if let Some(deadline) = deadline {
                    let seq = node.deadline_seq;
                    let span = self.nodes[at].until(self.now, deadline);
                    self.later(span, Coming::Deadline { at, seq });
                }
            }
            Step::Journal(reason) => {
                if let Reason::Quarantined { because } = &reason
                    && because.starts_with("no rule")
                {
                    self.watch.violate(format!("{}: {because}", self.nodes[at].name));
                }
                self.watch.held_beside_stray |= matches!(reason, Reason::HeldBesideStray { .. });
                self.watch.held_by_newer |= matches!(reason, Reason::HeldByNewer { .. });
                self.trace.reason(self.now, at, &reason);
            }
            Step::Reply { .. } | Step::ElectStore { .. } => {}
            Step::Exit => self.stop_agent(at),
        }
    }

    /// Both ports of a dead member refuse; a silent one's do not.
    fn refused(&mut self, at: usize, to: usize) {
        let dead = self.nodes[to].core.is_none()
            && self.nodes[to].db.running.is_none()
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

    /// Writes a member's notes. One write at a time, and each is told of once: so does the agent.
    fn save(&mut self, at: usize, life: u64, durable: Durable) {
        let mut span = self.pause();
        let mut fails = Fails::No;
        match self.bent(at, Work::Notes) {
            Some((How::FailsBefore | How::Hopeless, _)) => fails = Fails::Before,
            Some((How::FailsAfter, _)) => fails = Fails::After,
            // a disk that hangs: nothing gives it up
            Some((How::Late | How::Never, late)) => span = span + late,
            Some((How::Twice, _)) | None => {}
        }
        self.later(span, Coming::Saved { to: at, life, durable, fails });
    }

    /// A change of the store goes out.
    fn commits(&mut self, at: usize, life: u64, op: OpId, txn: Box<StoreTxn>) {
        let span = self.pause();
        if self.nodes[at].store_cut {
            return self.later(Span::ms(400), Coming::StoreResult { to: at, life, op, result: StoreResult::Failed });
        }
        let work = if txn.lease.is_some() { Work::Renewal } else { Work::Record };
        let sent = self.now;
        let apply = |fails| Coming::StoreApply { op, from: at, life, txn, fails, told: false, sent };
        match self.bent(at, work) {
            Some((How::FailsBefore | How::Hopeless, _)) => self.later(span, apply(Fails::Before)),
            Some((How::FailsAfter, _)) => self.later(span, apply(Fails::After)),
            // it waits somewhere, and may be written long after everybody has given it up
            Some((How::Late, late)) => self.applies_late(apply(Fails::No), late),
            Some((How::Never, _)) => {
                self.later(STORE_WITHIN, Coming::StoreResult { to: at, life, op, result: StoreResult::Unknown });
            }
            Some((How::Twice, _)) => self.later(span, apply(Fails::Twice)),
            None => self.later(span, apply(Fails::No)),
        }
    }

    fn applies_late(&mut self, mut apply: Coming, late: Span) {
        let now = self.now;
        if let Coming::StoreApply { op, from, life, told, sent, .. } = &mut apply
            && !*told
            && now + late >= *sent + STORE_WITHIN
        {
            *told = true;
            let (left, unknown) = ((*sent + STORE_WITHIN).since(now), StoreResult::Unknown);
            self.later(left, Coming::StoreResult { to: *from, life: *life, op: *op, result: unknown });
        }
        self.later(late, apply);
    }

    /// An engine step is cut off by a fence, and told failed at once. What it was at may be half done; or it was done in
    /// that very moment, and is told of twice.
    fn cut_step(&mut self, at: usize, life: u64) {
        let Some((_, step)) = self.nodes[at].step.take() else { return };
        let db_life = self.nodes[at].db.life;
        // a start that still waits for log is not done in any moment
        let waits = self.start_waits(at, &step);
        if let (Some((How::Twice, _)), false) = (self.bent(at, Work::Fence), waits) {
            let result = Box::new(self.engine_does(at, db_life, &step));
            self.later(Span(200), Coming::EngineTold { at, life, result });
        }
        let because = "the server was fenced meanwhile".to_owned();
        let failure = EngineFailure { because, bad_data: self.nodes[at].db.torn };
        self.later(Span(400), Coming::EngineTold { at, life, result: Box::new(Err(failure)) });
    }

    pub(crate) fn store_applies(&mut self, apply: Coming) {
        if self.now < self.stores.stands_until {
            let span = self.stores.stands_until.since(self.now) + self.pause();
            return self.applies_late(apply, span);
        }
        let Coming::StoreApply { op, from, life, txn, fails, told, .. } = apply else { return };
        if fails == Fails::Before {
            // lost on the way: nothing is written, and nobody knows
            let result = StoreResult::Unknown;
            return self.later(LOST_WITHIN, Coming::StoreResult { to: from, life, op, result });
        }
        let before = self.stores.now.view.leadership.clone();
        let result = self.stores.now.commit(&txn);
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
        if told {
            return;
        }
        if fails == Fails::After {
            let result = StoreResult::Unknown;
            return self.later(LOST_WITHIN, Coming::StoreResult { to: from, life, op, result });
        }
        let span = self.pause();
        self.later(span, Coming::StoreResult { to: from, life, op, result });
        if fails == Fails::Twice {
            let span = span + self.pause() + self.pause();
            self.later(span, Coming::StoreResult { to: from, life, op, result });
        }
    }

    pub(crate) fn store_copied(&mut self) {
        self.stores.keep_copy(self.now);
        self.later(COPY_EVERY, Coming::StoreCopied);
    }

    /// People stop every agent, put an old copy of the store in place, and start them again. What was on its way to the
    /// store before is gone with it.
    pub(crate) fn restore_store(&mut self, age: Span) {
        let before = self.stores.now.view.leadership.clone();
        if !self.stores.restore(self.now, age) {
            return;
        }
        self.i1_restored(before.as_ref());
        self.coming.retain(|_, coming| !matches!(coming, Coming::StoreApply { .. }));
        self.i7_restored();
        for at in 0..self.nodes.len() {
            self.stop_agent(at);
            let back = Span::ms(self.rng.between(RESTORED_WITHIN_MS.0, RESTORED_WITHIN_MS.1));
            self.later(back, Coming::AgentReturns(at));
        }
    }
}
