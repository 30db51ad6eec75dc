//! From the decision to the opening: promote, prove that the server waits, stand behind the barrier, publish and open.
//! Nothing is acknowledged to a client before it has ended; a winner that stops on the way changed nothing.

use crate::core::Core;
use crate::lead::{Lead, TRIES_MAX};
use crate::reason::Reason;
use crate::roles::{Cause, Role};
use crate::step::{EngineStep, StoreTxn};
use crate::variant::Variant;
use dauphin_model::sync_set::answers_for;
use dauphin_model::{
    Durability, Enforced, Evidence, Leadership, LeadershipState, MemberSpec, OnShortage, PastTerm, Published, Run,
    Voter,
};
use std::collections::BTreeSet;

impl Core {
    /// Voters to wait for from the promotion on: those that are there, or all that are known if they are too few.
    pub(crate) fn first_voters(&self) -> Enforced {
        if self.spec.durability == Durability::Async {
            // nobody is waited for, so nobody vouches: an election waits for the lease instead
            return Enforced::default();
        }
        let known = |m: &&MemberSpec| m.may_vote() && m.name != self.me;
        let bootstrap = self.lead.as_ref().is_some_and(|l| l.bootstrap)
            || self.record().is_some_and(|r| r.evidence == Evidence::Bootstrap);
        // a member that has yet to start or to rewind would keep everybody waiting: it is counted in once it streams
        let has_data = |v: &Voter| {
            let beat = self.beat_of(&v.name);
            bootstrap
                || beat.is_some_and(|b| {
                    let here = matches!(b.role, Role::Replica | Role::Frozen | Role::Fenced);
                    here && b.run == Run::Running
                })
        };
        let voter = |m: &MemberSpec| {
            let beat = self.peers.get(&m.name).and_then(|p| p.beat.as_ref());
            let published = self.record().and_then(|r| r.published.voters.iter().find(|v| v.name == m.name).cloned());
            beat.filter(|b| b.incarnation.0 > 0).map(|b| Voter::new(m.name.clone(), b.incarnation)).or(published)
        };
        let all: BTreeSet<Voter> = self.spec.members.iter().filter(known).filter_map(voter).collect();
        let there: BTreeSet<Voter> = all.iter().filter(|v| self.fresh(&v.name) && has_data(v)).cloned().collect();
        let enough = there.len() >= self.spec.required_min() as usize;
        let voters = if enough { there } else { all };
        let required = self.spec.required_of(voters.len()).max(self.spec.required_min());
        Enforced { voters, required }
    }

    /// From the decision to the opening.
    pub(crate) fn while_winner(&mut self) {
        let Some(lead) = self.lead.clone() else { return };
        if self.failures >= TRIES_MAX && !lead.running && !lead.bootstrap {
            return self.fence("the promotion failed again and again");
        }
        if !lead.running {
            if self.engine_idle() && self.is_saved() {
                let step = if lead.bootstrap {
                    EngineStep::Bootstrap { timeline: lead.timeline }
                } else {
                    EngineStep::Promote { timeline: lead.timeline, enforced: self.first_voters() }
                };
                if let (Some(l), EngineStep::Promote { enforced, .. }) = (&mut self.lead, &step) {
                    l.enforced = enforced.clone();
                }
                self.engine(step);
            }
            return;
        }
        if self.reaffirm_if_pledged(&lead) {
            return;
        }
        if !lead.attach {
            if lead.bootstrap {
                let first = self.first_voters();
                let short = first.voters.len() < first.required as usize;
                if (short && !self.may_degrade(&first)) || !self.engine_idle() {
                    return;
                }
                if lead.enforced != first && !short {
                    return self.engine(EngineStep::SetSync { enforced: first });
                }
            }
            if self.engine_idle() {
                self.start_barrier(&lead);
            }
            return;
        }
        if !lead.barrier && !self.broken(Variant::SkipBarrier) {
            return self.while_behind_barrier(&lead);
        }
        self.open(&lead, &lead.enforced, false);
    }

    pub(crate) fn start_barrier(&mut self, lead: &Lead) {
        let serial = lead.barrier_serial + 1;
        if let Some(lead) = &mut self.lead {
            lead.barrier_serial = serial;
        }
        self.engine(EngineStep::StartBarrier { term: lead.term, serial, enforced: lead.enforced.clone() });
    }

    /// Whether replicas have been short for long enough to degrade, where the specification says so.
    pub(crate) fn may_degrade(&mut self, first: &Enforced) -> bool {
        let there = first.voters.iter().filter(|v| self.fresh(&v.name)).count();
        let (now, term) = (self.now, self.lead.as_ref().map(|l| l.term).unwrap_or_default());
        let patience = self.spec.profile.suspect().times(2);
        let Some(lead) = &mut self.lead else { return false };
        if there >= first.required as usize {
            lead.short_since = None;
            return false;
        }
        let since = *lead.short_since.get_or_insert(now);
        if now.since(since) < patience {
            return false;
        }
        if self.spec.on_shortage == OnShortage::Degrade {
            return true;
        }
        if !lead.short_told {
            lead.short_told = true;
            let there = u32::try_from(there).unwrap_or(u32::MAX);
            self.journal(Reason::ShortOfReplicas { term, there, required: first.required });
        }
        false
    }

    pub(crate) fn while_behind_barrier(&mut self, lead: &Lead) {
        let mut first = self.first_voters();
        let attached: BTreeSet<Voter> = first.voters.iter().filter(|v| self.streams_to_us(v)).cloned().collect();
        let required = self.spec.required_of(attached.len()).max(self.spec.required_min());
        if attached.len() >= required as usize {
            // do not wait for one that has not come
            first = Enforced { voters: attached, required };
        }
        if self.may_degrade(&first) {
            return self.open(lead, &Enforced::default(), true);
        }
        // voters came or went while we wait: nothing was acknowledged yet, the setting may simply change
        let patience = self.now.since(lead.since) >= self.spec.profile.suspect();
        let fits = first.voters.len() >= first.required as usize;
        if (lead.unsure || (first != lead.enforced && patience && fits)) && self.engine_idle() {
            // a barrier that passes meanwhile may have passed under either setting: a new one is needed
            if let Some(lead) = &mut self.lead {
                lead.barrier_serial += 1;
                lead.unsure = true;
            }
            self.engine(EngineStep::SetSync { enforced: if fits { first } else { lead.enforced.clone() } });
        }
    }

    pub(crate) fn streams_to_us(&self, voter: &Voter) -> bool {
        self.server
            .attached
            .iter()
            .any(|a| a.voter.as_ref() == Some(voter) && a.state == "streaming" && a.flush.is_some())
    }

    /// Publishes the new set and state `open`, in one compare-and-set.
    pub(crate) fn open(&mut self, lead: &Lead, enforced: &Enforced, degraded: bool) {
        let held = lead.renewed && lead.granted_until.is_some_and(|g| g > self.now) && lead.renewal.is_none();
        let Some(record) = self.record().cloned() else { return };
        if lead.publishing.is_some() || !held || record.leader != self.voter() {
            return self.settle_publishing();
        }
        let Some(switch) = lead.switch else { return };
        let voters = enforced.voters.clone();
        let answers = answers_for(voters.len(), enforced.required);
        let published = Published {
            answers,
            version: record.published.version.next(),
            degraded: degraded && enforced.required == 0,
            voters,
        };
        let past = PastTerm {
            term: record.term,
            leader: record.leader.clone(),
            timeline: record.timeline,
            switch,
            evidence: record.evidence.clone(),
        };
        let next = Leadership {
            state: LeadershipState::Open,
            published,
            holder: Some(self.voter()),
            switch: Some(switch),
            ..record
        };
        if let Some(lead) = &mut self.lead {
            lead.opening = Some(next.published.clone());
        }
        self.publish(StoreTxn { past: Some(past), intent: Some(None), ..StoreTxn::of(next) });
    }

    /// The barrier's commit ended.
    pub(crate) fn on_barrier(&mut self, serial: u64, ok: bool) {
        let any = self.broken(Variant::AnyBarrier);
        let ours = |l: &&mut Lead| (l.barrier_serial == serial || any) && !l.open;
        let Some(lead) = self.lead.as_mut().filter(ours) else { return };
        if ok {
            lead.barrier = true;
        } else {
            // its wait was cut: begin a new one
            lead.attach = false;
        }
    }

    /// The record says that our term is open.
    pub(crate) fn notice_open(&mut self, record: &Leadership) {
        if self.role != Role::Winner || record.state != LeadershipState::Open || record.leader != self.voter() {
            return;
        }
        // one that lands late may be of an earlier try of ours in this term, from before the server fell: behind today's
        // barrier nobody stands yet, and the server may wait for others than those that it publishes
        let asked = |l: &Lead| l.opening.as_ref().is_some_and(|p| p.same_set(&record.published));
        let ours = |l: &&mut Lead| l.running && record.timeline == l.timeline && asked(l);
        let Some(lead) = self.lead.as_mut().filter(ours) else { return };
        lead.open = true;
        lead.term = record.term;
        let (term, voters, answers) =
            (record.term, record.published.voters.iter().cloned().collect(), record.published.answers);
        self.change(Cause::Opened);
        self.journal(Reason::Opened { term, voters, answers });
        if record.published.degraded {
            self.journal(Reason::Degraded { term });
        }
    }
}
