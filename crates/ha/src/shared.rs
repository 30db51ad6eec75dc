//! What all rules need: who we are and what is known of the others, changing the role, and asking the engine, the store and
//! the journal for something. Every module of decisions calls it; it decides nothing.

use crate::core::{Core, StepUnderWay};
use crate::message::{Beat, Message};
use crate::reason::Reason;
use crate::roles::{Cause, Role, find};
use crate::step::{EngineStep, OpId, Step, StoreTxn};
use dauphin_model::{Leadership, MemberName, MemberSpec, Voter};

impl Core {
    /// Our own entry in the specification.
    pub(crate) fn my_spec(&self) -> Option<&MemberSpec> {
        self.spec.member(&self.me)
    }

    /// This copy of our data.
    pub(crate) fn voter(&self) -> Voter {
        Voter::new(self.me.clone(), self.durable.incarnation)
    }

    /// The leadership record.
    pub(crate) fn record(&self) -> Option<&Leadership> {
        self.store.leadership.as_ref()
    }

    /// Whether a beat of that member came within the profile's `suspect`.
    pub(crate) fn fresh(&self, name: &MemberName) -> bool {
        let suspect = self.spec.profile.suspect();
        self.peers.get(name).is_some_and(|p| !p.refused && p.heard.is_some_and(|h| self.now.since(h) < suspect))
    }

    /// The last beat of that member, if it is fresh.
    pub(crate) fn beat_of(&self, name: &MemberName) -> Option<&Beat> {
        if self.fresh(name) { self.peers.get(name).and_then(|p| p.beat.as_ref()) } else { None }
    }

    /// Other members that hold data.
    pub(crate) fn others(&self) -> Vec<MemberName> {
        self.spec.data_members().filter(|m| m.name != self.me).map(|m| m.name.clone()).collect()
    }

    /// Changes the role by the table. A cause without a row is loud, and fences.
    pub(crate) fn change(&mut self, cause: Cause) {
        match find(self.role, cause) {
            Some(row) => {
                if row.from != row.to {
                    self.journal(Reason::RoleChanged { from: row.from, to: row.to, because: row.comment.to_owned() });
                }
                self.role = row.to;
            }
            None => {
                let because = format!("no rule for {cause:?} while {}", self.role);
                self.journal(Reason::Quarantined { because });
                self.steps.push(Step::Fence);
                self.lead = None;
                self.role = Role::Quarantined;
            }
        }
    }

    pub(crate) fn journal(&mut self, reason: Reason) {
        self.steps.push(Step::Journal(reason));
    }

    pub(crate) fn push(&mut self, step: Step) {
        self.steps.push(step);
    }

    pub(crate) fn send(&mut self, to: &MemberName, message: Message) {
        self.steps.push(Step::Send { to: to.clone(), message });
    }

    /// Whether the engine takes a step now.
    pub(crate) fn engine_idle(&self) -> bool {
        self.engine.is_none() && self.now >= self.engine_rest
    }

    /// Asks the engine, which must be idle.
    pub(crate) fn engine(&mut self, step: EngineStep) {
        debug_assert!(self.engine.is_none(), "one engine step at a time");
        self.follows_to_catch_up = false;
        self.engine = Some(StepUnderWay { step: step.clone(), since: self.now, cut: false });
        self.steps.push(Step::Engine(step));
    }

    /// Asks the store.
    pub(crate) fn commit(&mut self, txn: StoreTxn) -> OpId {
        self.next_op += 1;
        let op = OpId(self.next_op);
        self.steps.push(Step::Commit { op, txn: Box::new(txn) });
        op
    }

    /// Whether what the disk must hold is on it.
    pub(crate) fn is_saved(&self) -> bool {
        self.saved == self.durable
    }
}
