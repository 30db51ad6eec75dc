//! Carries the core's steps out in the simulated world, as an agent's hands would; things go wrong on the way.

use crate::world::{Coming, Fails, World};
use dauphin_ha::{Event, Reason, Step, StoreResult, StoreTxn};
use dauphin_model::Span;

impl World {
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
                let (span, percent) = (self.pause(), self.config.faults.save_fails);
                let fails = if percent > 0 && !self.calm && self.rng.chance(percent) {
                    if self.rng.chance(50) { Fails::Before } else { Fails::After }
                } else {
                    Fails::No
                };
                self.later(span, Coming::Saved { to: at, life, durable, fails });
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
                    self.later(span, Coming::StoreApply { op, from: at, life, txn, fails: None });
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
            Step::Reply { .. } | Step::ElectStore { .. } => {}
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

    pub(crate) fn store_applies(
        &mut self,
        op: dauphin_ha::OpId,
        from: usize,
        life: u64,
        txn: &StoreTxn,
        fails: Option<Fails>,
    ) {
        let fails = fails.unwrap_or_else(|| {
            let unknown = !self.calm && self.rng.chance(self.config.faults.store_unknown);
            match unknown {
                false => Fails::No,
                true if self.rng.chance(50) => Fails::Before,
                true => Fails::After,
            }
        });
        if fails == Fails::Before {
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
        let unknown = fails == Fails::After;
        let span = if unknown { Span::ms(500) } else { self.pause() };
        let result = if unknown { StoreResult::Unknown } else { result };
        self.later(span, Coming::StoreResult { to: from, life, op, result });
    }
}
