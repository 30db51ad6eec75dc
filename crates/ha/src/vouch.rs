//! Keeps an open leader's sync set: who can vouch now, and the next move towards it. The moves' order is `syncing`'s.

use crate::core::Core;
use crate::lead::Lead;
use crate::reason::Reason;
use crate::step::{EngineStep, StoreTxn};
use crate::syncing::{Move, Target, next_move};
use crate::variant::Variant;
use dauphin_model::{Durability, Enforced, Leadership, MemberSpec, Run, Voter};
use std::collections::{BTreeMap, BTreeSet};

impl Core {
    pub(crate) fn keep_sync_set(&mut self, lead: &Lead) {
        let target = self.target(lead);
        let Some(record) = self.record().cloned() else { return };
        if lead.publishing.is_some() || record.term != lead.term || record.leader != self.voter() {
            return;
        }
        let setting = matches!(self.engine.as_ref().map(|e| &e.step), Some(EngineStep::SetSync { .. }));
        if setting && !self.broken(Variant::UnconfirmedReload) {
            // until it ends either setting is in use
            return;
        }
        if lead.unsure {
            if self.engine_idle() {
                self.engine(EngineStep::SetSync { enforced: lead.enforced.clone() });
            }
            return;
        }
        let holding = |voters: &BTreeSet<Voter>| {
            let holds = |v: &&Voter| {
                self.server
                    .attached
                    .iter()
                    .any(|a| a.voter.as_ref() == Some(v) && a.flush.is_some_and(|f| f >= lead.confirmed_at))
            };
            voters.iter().filter(holds).count()
        };
        match next_move(&record.published, &lead.enforced, &target, holding, self.variant()) {
            None => {}
            Some(Move::Configure(enforced)) => {
                if !self.engine_idle() {
                    return;
                }
                if self.broken(Variant::UnconfirmedReload)
                    && let Some(lead) = &mut self.lead
                {
                    lead.enforced = enforced.clone();
                }
                self.engine(EngineStep::SetSync { enforced });
            }
            Some(Move::Publish(published)) => {
                if published.degraded && !record.published.degraded {
                    self.journal(Reason::Degraded { term: lead.term });
                }
                self.journal(Reason::SyncSetChanged {
                    version: published.version,
                    voters: published.voters.iter().cloned().collect(),
                    answers: published.answers,
                    because: "the replicas that can vouch changed".to_owned(),
                });
                self.publish(StoreTxn::of(Leadership { published, ..record }));
            }
        }
    }

    /// Who should vouch now: voters that stream and are heard. One that is gone stays for `suspect`, so that a
    /// reconnecting receiver does not churn the set.
    pub(crate) fn target(&mut self, lead: &Lead) -> Target {
        if self.spec.durability == Durability::Async {
            return Target { enforced: Enforced::default(), degraded: false };
        }
        let (now, suspect) = (self.now, self.spec.profile.suspect());
        let streams = |v: &Voter| {
            let beat = self.beat_of(&v.name);
            self.streams_to_us(v)
                && !self.stalled(v)
                && beat
                    .is_some_and(|b| b.pledge <= lead.term && b.incarnation == v.incarnation && b.run == Run::Running)
        };
        // who was taken out by the specification is no more asked for, though it streams
        let stays = |v: &&Voter| self.spec.member(&v.name).is_none_or(MemberSpec::may_vote);
        let candidates: BTreeSet<Voter> = self
            .spec
            .members
            .iter()
            .filter(|m| m.may_vote() && m.name != self.me)
            .filter_map(|m| self.beat_of(&m.name).map(|b| Voter::new(m.name.clone(), b.incarnation)))
            .chain(lead.enforced.voters.iter().filter(stays).cloned())
            .collect();
        let mut missing = BTreeMap::new();
        let mut voters = BTreeSet::new();
        for voter in candidates {
            let since = lead.missing.get(&voter).copied().unwrap_or(now);
            if streams(&voter) {
                voters.insert(voter);
            } else {
                // one whose stream stands has had its time
                let waited = now.since(since) >= suspect || self.stalled(&voter);
                if lead.enforced.voters.contains(&voter) && !waited {
                    voters.insert(voter.clone());
                }
                missing.insert(voter, since);
            }
        }
        if let Some(lead) = &mut self.lead {
            lead.missing = missing;
        }
        let there = u32::try_from(voters.len()).unwrap_or(u32::MAX);
        let required = self.spec.required_of(voters.len()).max(self.spec.required_min());
        if there >= required {
            if let Some(lead) = &mut self.lead {
                lead.short_since = None;
                lead.short_told = false;
            }
            return Target { enforced: Enforced { voters, required }, degraded: false };
        }
        let first = Enforced { voters, required };
        let degraded = self.record().is_some_and(|r| r.published.degraded);
        if degraded || self.may_degrade(&first) {
            return Target { enforced: Enforced::default(), degraded: true };
        }
        Target { enforced: lead.enforced.clone(), degraded }
    }
}
