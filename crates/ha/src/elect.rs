//! An election as its elector runs it: evidence, pre-vote, freeze; `choose` does the rest. The elector need not be the winner.
//! Whatever happens here, the store's compare-and-set decides; PROTOCOL.md "Election".

use crate::core::Core;
use crate::event::StoreResult;
use crate::gone::GoneSince;
use crate::message::Message;
use crate::reason::{Gone, Reason};
use crate::roles::Role;
use crate::step::{OpId, Step};
use crate::variant::Variant;
use dauphin_model::{Leadership, MemberName, Mono, Position, Run, Term, Voter};
use std::collections::{BTreeMap, BTreeSet};

/// How often a member gives other electors time before it stands whatever they do.
const GIVES_MAX: u32 = 3;

/// Why this election runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The leader is gone.
    Automatic,
    /// The leader stopped in order and hands over to this member.
    HandOver(Option<MemberName>),
    /// A person wants this member, whatever nobody present holds.
    Forced {
        /// Commits may be lost.
        allow_data_loss: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    PreVote,
    Freeze,
    Decide(OpId),
}

/// An answer to the freeze.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Answer {
    pub(crate) position: Position,
    pub(crate) holder: bool,
    /// Its log holds something besides: it vouches, and is no candidate.
    pub(crate) stray: bool,
}

/// An election under way here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Campaign {
    pub(crate) kind: Kind,
    pub(crate) term: Term,
    pub(crate) record_term: Term,
    pub(crate) phase: Phase,
    pub(crate) started: Mono,
    pub(crate) asked: Mono,
    pub(crate) agreed: BTreeSet<MemberName>,
    pub(crate) answers: BTreeMap<Voter, Answer>,
    pub(crate) refused: BTreeSet<MemberName>,
    pub(crate) enough_since: Option<Mono>,
    pub(crate) catching_up: Option<Voter>,
    /// That answers are missing was told.
    pub(crate) told: bool,
}

impl Campaign {
    pub(crate) fn answer(&mut self, voter: Voter, answer: Answer) {
        self.refused.remove(&voter.name);
        if self.catching_up.as_ref() == Some(&voter) {
            self.catching_up = None;
        }
        self.answers.insert(voter, answer);
    }
}

impl Core {
    /// Starts, goes on with, or drops an election: called at every step.
    pub(crate) fn elect(&mut self) {
        let Some(record) = self.record().cloned() else { return };
        if let Some(campaign) = &self.campaign {
            if campaign.record_term != record.term {
                self.campaign = None;
                self.campaign_rest = self.now;
                return;
            }
        } else {
            self.consider(&record);
            return;
        }
        if self.role.leads() {
            self.campaign = None;
            return;
        }
        let phase = self.campaign.as_ref().map(|c| c.phase.clone());
        match phase {
            Some(Phase::PreVote) => self.while_pre_vote(&record),
            Some(Phase::Freeze) => self.while_freezing(&record),
            Some(Phase::Decide(_)) | None => {}
        }
    }

    /// Whether to start one.
    fn consider(&mut self, record: &Leadership) {
        let can = matches!(self.role, Role::Replica | Role::Frozen | Role::Fenced)
            && self.has_data
            && !self.durable.half_done;
        if !can || self.store.paused || self.now < self.campaign_rest || self.shutting_down.is_some() {
            return;
        }
        let Some(how) = self.leader_gone() else {
            self.gone = None;
            return;
        };
        // the first to stand is the first in the list; the others give it a moment
        let fresh = GoneSince { term: record.term, since: self.now, stood: 0, gave: 0, told: Vec::new() };
        let gone = self.gone.take().filter(|g| g.term == record.term).unwrap_or(fresh);
        let since = gone.since;
        self.gone = Some(gone);
        if self.now < since + self.turn() {
            return;
        }
        let reason = Reason::LeaderGone { leader: record.leader.name.clone(), term: record.term, how };
        self.journal_of(&Kind::Automatic, reason);
        self.start_campaign(Kind::Automatic, record);
    }

    /// Begins: pre-vote first, unless the leader itself or a person asks for it.
    pub(crate) fn start_campaign(&mut self, kind: Kind, record: &Leadership) {
        let highest = self.peers.values().filter_map(|p| p.beat.as_ref()).map(|b| b.pledge.max(b.term)).max();
        let term = record.term.max(self.durable.pledge).max(highest.unwrap_or_default()).next();
        let phase = if kind == Kind::Automatic { Phase::PreVote } else { Phase::Freeze };
        self.campaign = Some(Campaign {
            kind,
            term,
            record_term: record.term,
            phase: phase.clone(),
            started: self.now,
            asked: self.now,
            agreed: BTreeSet::from([self.me.clone()]),
            answers: BTreeMap::new(),
            refused: BTreeSet::new(),
            enough_since: None,
            catching_up: None,
            told: false,
        });
        if phase == Phase::PreVote {
            let others: Vec<_> = self.spec.members.iter().map(|m| m.name.clone()).filter(|n| *n != self.me).collect();
            for to in others {
                self.send(&to, Message::PreVote { term: record.term });
            }
            self.while_pre_vote(record);
        } else {
            self.ask_freeze(term);
        }
    }

    pub(crate) fn on_pre_vote(&mut self, from: &MemberName, term: Term) {
        let agree = match self.record() {
            // whoever has not seen what we have may not decide by a store that forgot it
            Some(record) if self.store_is_old(record) => false,
            // our view of the store is older than the asker's: silence is all we can judge by
            Some(record) if record.term == term => self.leader_gone().is_some(),
            Some(record) => record.term < term,
            None => false,
        };
        self.send(from, Message::PreVoteReply { term, agree });
    }

    pub(crate) fn on_pre_vote_reply(&mut self, from: &MemberName, term: Term, agree: bool) {
        if let Some(campaign) = self.campaign.as_mut().filter(|c| c.record_term == term && c.phase == Phase::PreVote) {
            if agree {
                campaign.agreed.insert(from.clone());
            } else {
                campaign.refused.insert(from.clone());
            }
        }
    }

    fn while_pre_vote(&mut self, record: &Leadership) {
        if self.leader_gone().is_none() {
            self.drop_campaign("the leader is back");
            return;
        }
        let members = self.spec.members.len();
        let Some(campaign) = &self.campaign else { return };
        if campaign.agreed.len() * 2 > members || self.broken(Variant::AloneIsEnough) {
            let (term, agreed, kind) =
                (campaign.term, campaign.agreed.iter().cloned().collect(), campaign.kind.clone());
            self.journal_of(&kind, Reason::ElectionStarted { term, agreed });
            if self.leader_gone() != Some(Gone::GaveUp) {
                self.push(Step::ElectStore { gone: record.leader.name.clone() });
            }
            if let Some(campaign) = &mut self.campaign {
                campaign.phase = Phase::Freeze;
                campaign.refused.clear();
            }
            self.ask_freeze(term);
            self.while_freezing(record);
        } else if self.now.since(campaign.started) >= self.spec.profile.beat() {
            self.drop_campaign("no majority of the members agrees that the leader is gone");
        }
    }

    pub(crate) fn ask_freeze(&mut self, term: Term) {
        if let Some(campaign) = &mut self.campaign {
            campaign.asked = self.now;
        }
        for to in self.others() {
            self.send(&to, Message::Freeze { term });
        }
        let me = self.me.clone();
        let stopped_holder = self.campaign.as_ref().is_some_and(|c| c.answers.keys().any(|v| v.name == me));
        if !stopped_holder {
            self.on_freeze(&me, term);
        }
    }

    pub(crate) fn on_freeze_refused(&mut self, from: &MemberName, term: Term, pledge: Term, alive: bool) {
        let Some(campaign) = self.campaign.as_mut().filter(|c| c.term == term) else { return };
        let heeds = matches!(campaign.kind, Kind::Automatic | Kind::Forced { allow_data_loss: false });
        if alive && heeds {
            self.drop_campaign(&format!("{from} leads, or knows of a newer store than this one"));
        } else if pledge >= term {
            // somebody is pledged higher: ask again above it
            campaign.term = pledge.next();
            campaign.answers.retain(|v, a| v.name == self.me && a.holder && self.server.run != Run::Running);
            campaign.enough_since = None;
            let again = campaign.term;
            self.ask_freeze(again);
        } else {
            campaign.refused.insert(from.clone());
        }
    }

    /// Another elector asks for a later term: one election is enough, and two that outbid each other would climb through
    /// the terms as fast as disks can write pledges. The later one goes on; this member stands again if nothing comes of
    /// it, and sooner or later in any case: that elector may not reach the store.
    pub(crate) fn give_way_to(&mut self, elector: &MemberName, term: Term) {
        if *elector == self.me {
            return;
        }
        if term > self.durable.pledge
            && let Some(gone) = self.gone.as_mut().filter(|g| g.gave < GIVES_MAX)
        {
            gone.gave += 1;
            self.campaign_rest = self.campaign_rest.max(self.now + self.patience() + self.turn());
        }
        let mine = self.campaign.as_ref().filter(|c| {
            let undecided = matches!(c.phase, Phase::PreVote | Phase::Freeze);
            c.kind == Kind::Automatic && undecided && c.term < term
        });
        if mine.is_some() {
            self.drop_campaign(&format!("{elector} asks for term {term}"));
            self.campaign_rest = self.now + self.patience() + self.turn();
            self.stood_in_vain();
        }
    }

    /// Gives this election up for now.
    pub(crate) fn drop_campaign(&mut self, because: &str) {
        if let Some(campaign) = self.campaign.take() {
            let reason = Reason::ElectionDropped { term: campaign.term, because: because.to_owned() };
            self.journal_of(&campaign.kind, reason.clone());
            self.campaign_rest = self.now + self.spec.profile.beat().over(2) + self.turn();
            if let Kind::Forced { .. } = campaign.kind {
                self.refuse_failover(reason);
            }
        }
    }

    fn while_freezing(&mut self, record: &Leadership) {
        let Some(campaign) = self.campaign.clone() else { return };
        if campaign.kind == Kind::Automatic && self.leader_gone().is_none() {
            self.drop_campaign("the leader is back");
            return;
        }
        if self.now.since(campaign.asked) >= self.spec.profile.beat().over(2) {
            // messages may be lost; those who answered answer again
            self.ask_freeze(campaign.term);
        }
        let Some(evidence) = self.revoked(&campaign, record) else {
            self.while_too_few(&campaign, record);
            return;
        };
        let enough_since = campaign.enough_since.unwrap_or(self.now);
        if let Some(c) = &mut self.campaign {
            c.enough_since = Some(enough_since);
        }
        if let Kind::HandOver(Some(to)) = &campaign.kind {
            let answered = campaign.answers.keys().any(|v| v.name == *to);
            let soon = self.now.since(campaign.started) < self.spec.profile.suspect();
            if !answered && soon && self.fresh(to) && !campaign.refused.contains(to) {
                return;
            }
        }
        if self.now.since(enough_since) < self.waits_for_more(&campaign, record, &evidence) {
            return;
        }
        self.choose(&campaign, record, evidence);
    }

    pub(crate) fn campaign_store_result(&mut self, op: OpId, result: StoreResult) {
        if !self.campaign.as_ref().is_some_and(|c| c.phase == Phase::Decide(op)) {
            return;
        }
        match result {
            // the record itself will tell
            StoreResult::Committed(_) => {}
            StoreResult::Conflict => self.drop_campaign("the leadership record changed meanwhile"),
            StoreResult::Failed => self.drop_campaign("the store did not take the decision"),
            StoreResult::Unknown => self.drop_campaign("nobody knows whether the store took the decision"),
        }
    }
}
