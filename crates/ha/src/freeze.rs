//! A voter's side of an election: stop receiving, read the position, write the pledge, answer. In that order.
//! Only a leader of the pledged term or later ends it (see `follow`).

use crate::core::Core;
use crate::elect::Answer;
use crate::message::Message;
use crate::reason::Reason;
use crate::roles::{Cause, Role};
use crate::step::EngineStep;
use crate::variant::Variant;
use dauphin_model::{MemberName, Position, Run, SetVersion, Term, Voter};
use std::collections::BTreeSet;

/// A freeze asked for and not answered yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Freezing {
    /// The term to pledge to.
    pub(crate) term: Term,
    /// Who waits for the answer; ourselves among them when we run the election.
    pub(crate) askers: BTreeSet<MemberName>,
}

/// A frozen member that streams what it lacks from another frozen one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CatchingUp {
    term: Term,
    asker: MemberName,
    from: MemberName,
    until: Position,
    attached: bool,
}

impl Core {
    /// Somebody (perhaps ourselves) asks us to freeze for `term`.
    pub(crate) fn on_freeze(&mut self, from: &MemberName, term: Term) {
        let highest = self.durable.pledge.max(self.record().map(|r| r.term).unwrap_or_default());
        let able = matches!(self.role, Role::Replica | Role::Frozen | Role::Fenced)
            && !self.durable.half_done
            && self.has_data;
        let old = term < self.durable.pledge || self.record().is_some_and(|r| term <= r.term);
        if old || !able {
            let pledge = if old { highest } else { self.durable.pledge };
            let alive = self.role.leads() || self.record().is_some_and(|r| self.store_is_old(r));
            let refusal = Message::FreezeRefused { term, pledge, alive };
            self.answer(from, refusal);
            return;
        }
        self.give_way_to(from, term);
        if self.catching_up.as_ref().is_some_and(|c| c.term != term) {
            self.stop_catching_up();
        }
        match &mut self.freezing {
            Some(freezing) if freezing.term == term => {
                freezing.askers.insert(from.clone());
            }
            Some(freezing) if freezing.term > term => {}
            _ => self.freezing = Some(Freezing { term, askers: BTreeSet::from([from.clone()]) }),
        }
    }

    /// Goes on with a freeze that was asked for: called at every step.
    pub(crate) fn answer_freeze(&mut self) {
        let Some(term) = self.freezing.as_ref().map(|f| f.term) else { return };
        if !matches!(self.role, Role::Replica | Role::Frozen | Role::Fenced) {
            self.freezing = None;
            return;
        }
        if self.frozen_at.is_none() {
            let decided = self.record().is_some_and(|record| record.term >= term);
            if decided && matches!(self.role, Role::Replica | Role::Fenced) {
                // decided without us: nobody waits for the answer, and it may be that there never is one
                self.freezing = None;
                self.following = None;
                return;
            }
            if self.broken(Variant::SkipFreeze) && self.server.run == Run::Running {
                self.frozen_at = self.server.position.clone();
            } else {
                let running = self.server.run == Run::Running && self.server.in_recovery == Some(true);
                if running && self.engine_idle() {
                    self.engine(EngineStep::Freeze);
                }
                return;
            }
        }
        // the position is read; only now the pledge is written, and only then answered
        self.durable.pledge = self.durable.pledge.max(term);
        if self.saved.pledge < term && !self.broken(Variant::ForgetPledge) {
            return;
        }
        let (Some(freezing), Some(position)) = (self.freezing.take(), self.frozen_at.clone()) else { return };
        if self.role != Role::Frozen {
            self.journal(Reason::FrozenHere { term, position: position.clone() });
        }
        self.change(Cause::Pledged);
        let voter = self.voter();
        let holder = self.record().is_some_and(|r| r.holder.as_ref() == Some(&voter));
        let set_version = self.durable.set_version;
        for asker in freezing.askers {
            self.answer(
                &asker,
                Message::Frozen {
                    term,
                    voter: voter.clone(),
                    position: position.clone(),
                    set_version,
                    holder,
                    stray: self.frozen_stray,
                },
            );
        }
    }

    fn answer(&mut self, to: &MemberName, message: Message) {
        if *to != self.me {
            self.send(to, message);
            return;
        }
        match message {
            Message::Frozen { term, voter, position, set_version, holder, stray } => {
                self.on_frozen(term, voter, Answer { position, holder, stray }, set_version);
            }
            Message::FreezeRefused { term, pledge, alive } => {
                let me = self.me.clone();
                self.on_freeze_refused(&me, term, pledge, alive);
            }
            Message::Beat(_)
            | Message::PreVote { .. }
            | Message::PreVoteReply { .. }
            | Message::Freeze { .. }
            | Message::CatchUp { .. } => {}
        }
    }

    /// An election wants this member to win, and another one's log reaches further.
    pub(crate) fn on_catch_up(&mut self, asker: &MemberName, term: Term, from: MemberName, until: Position) {
        let decided = self.record().is_some_and(|r| r.term >= term);
        if self.role == Role::Frozen && self.durable.pledge == term && !decided && self.catching_up.is_none() {
            self.catching_up = Some(CatchingUp { term, asker: asker.clone(), from, until, attached: false });
        }
    }

    /// Goes on catching up; ends in a new freeze, which answers with the new position.
    pub(crate) fn catch_up(&mut self) {
        let Some(goal) = self.catching_up.clone() else { return };
        let decided = self.record().is_some_and(|r| r.term >= goal.term);
        if self.role != Role::Frozen || self.durable.pledge != goal.term || decided {
            return self.stop_catching_up();
        }
        if !self.engine_idle() {
            return;
        }
        if !goal.attached {
            let voter = self.voter();
            self.engine(EngineStep::Follow { upstream: goal.from, voter });
            self.follows_to_catch_up = true;
            if let Some(goal) = &mut self.catching_up {
                goal.attached = true;
            }
            return;
        }
        let there = self.server.position.as_ref().is_some_and(|p| p.holds(&goal.until));
        if there {
            self.catching_up = None;
            self.frozen_at = None;
            self.freezing = Some(Freezing { term: goal.term, askers: BTreeSet::from([goal.asker]) });
        }
    }

    /// Gives catching up up. A receiver that is attached by now is a freeze that leaks: it is stopped, and the position is
    /// read again, before anybody hears of it.
    fn stop_catching_up(&mut self) {
        let attached = self.catching_up.take().is_some_and(|goal| goal.attached);
        if attached && self.role == Role::Frozen {
            self.frozen_at = None;
            let again = Freezing { term: self.durable.pledge, askers: BTreeSet::new() };
            self.freezing.get_or_insert(again);
        }
    }

    /// What an election hears of a voter.
    pub(crate) fn on_frozen(&mut self, term: Term, voter: Voter, mut answer: Answer, set_version: SetVersion) {
        // what the voter believes of itself may come from an old record: ours is the one that the decision expects
        let known = self.record().is_some_and(|r| r.holder.as_ref() == Some(&voter));
        answer.holder = answer.holder && (known || self.broken(Variant::BelieveHolder));
        let Some(campaign) = self.campaign.as_mut().filter(|c| c.term == term) else { return };
        campaign.answer(voter, answer);
        // a voter that knows a later set than our view of the store: our view is old, the compare-and-set would fail
        if self.record().is_some_and(|r| r.published.version < set_version) {
            self.drop_campaign("a voter has seen a later sync set than this member's view of the store");
        }
    }
}
