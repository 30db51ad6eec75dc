//! How a member begins: what it finds on its disk, the first leader of a new cluster, and copies. A copy gets a name of its
//! own; foreign data is left alone.

use crate::core::Core;
use crate::reason::Reason;
use crate::roles::{Cause, Role};
use crate::step::{EngineStep, Step, StoreTxn};
use dauphin_model::{
    Evidence, Leadership, LeadershipState, MemberKind, MemberName, Position, Published, Run, SetVersion, Timeline,
};
use std::collections::BTreeSet;

impl Core {
    /// Just started.
    pub(crate) fn boot(&mut self) {
        if self.my_spec().is_some_and(|m| m.kind == MemberKind::Witness) {
            return self.change(Cause::IsWitness);
        }
        if self.server.run != Run::Stopped && self.server.run != Run::Crashed && self.server.in_recovery == Some(false)
        {
            // whatever it was, it does not acknowledge anything before the store says so
            self.push(Step::Fence);
            self.server.run = Run::Stopped;
        }
        if !self.store_seen {
            return;
        }
        if !self.durable.cluster_id.is_empty() && self.durable.cluster_id != self.store.cluster_id {
            let because = format!(
                "its disk belongs to cluster {} and the store to {}; start it with the right store, or with empty folders",
                self.durable.cluster_id, self.store.cluster_id
            );
            self.journal(Reason::Quarantined { because });
            return self.change(Cause::GiveUp);
        }
        if !self.has_data && self.durable.whole_once && !self.durable.half_done {
            let because =
                "its data directory holds nothing though this member had data: is the disk mounted? If the data is \
                           gone, `dauphin reinit` copies it again"
                    .to_owned();
            self.journal(Reason::Quarantined { because });
            self.change(Cause::GiveUp);
        } else if !self.has_data {
            self.change(Cause::NoData);
            self.next_incarnation();
            self.durable.half_done = false;
        } else if self.durable.incarnation.0 == 0 {
            let because = "its data directory is not empty and is not known to this cluster; empty it, or move it away"
                .to_owned();
            self.journal(Reason::Quarantined { because });
            self.change(Cause::GiveUp);
        } else if self.server.run == Run::Running {
            self.change(Cause::ReplicaAdopted);
        } else {
            self.change(Cause::DataFound);
        }
    }

    /// A copy that is yet to be made has a name of its own, and pledges of the one before outlive it. What lies half done
    /// in the folder stays so until the copy is there: the agent may be started again before it has even begun.
    pub(crate) fn next_incarnation(&mut self) {
        let published = self.record().map(|r| &r.published.voters).into_iter().flatten();
        let known = published.filter(|v| v.name == self.me).map(|v| v.incarnation).max().unwrap_or_default();
        self.durable.incarnation = self.durable.incarnation.max(known).next();
        self.durable.whole_once = false;
        self.frozen_at = None;
        self.following = None;
        self.failures = 0;
        self.bad_starts = 0;
    }

    /// Gives this copy of the data up.
    pub(crate) fn give_data_up(&mut self) {
        self.change(Cause::CloneNeeded);
        self.next_incarnation();
    }

    pub(crate) fn while_empty(&mut self) {
        let Some(record) = self.record().cloned() else {
            if self.store_seen && self.is_saved() {
                self.bootstrap(None);
            }
            return;
        };
        if record.evidence == Evidence::Bootstrap && record.state == LeadershipState::Elected {
            // nothing was ever acknowledged: whoever began and did not finish may be replaced
            let mine = record.leader.name == self.me && record.leader != self.voter();
            let replaced = mine || self.leader_gone().is_some();
            if replaced && record.leader != self.voter() && self.is_saved() && !self.somebody_has_a_copy() {
                self.bootstrap(Some(&record));
                return;
            }
        }
        let leader = record.leader.name.clone();
        let leading = self.beat_of(&leader).and_then(|b| b.leading.as_ref()).filter(|l| l.term == record.term);
        let (clone_ok, short) = (leading.is_some_and(|l| l.clone_ok), leading.is_some_and(|l| l.short));
        // an open leader takes us out of the set first. A decided one cannot, nor can one that waits for enough copies to be
        // there, this one among them; either holds everything that we vouched for
        let goes_first = match record.state {
            LeadershipState::Open => !short,
            LeadershipState::Elected => record.evidence != Evidence::Bootstrap && !self.may_cut(&record),
        };
        let listed = goes_first && record.published.voters.iter().any(|v| v.name == self.me);
        if !self.copies_from(&leader) {
            // until both are upgraded
            return self.tell_other_series(&leader);
        }
        if leader == self.me || !clone_ok || listed || record.term < self.durable.pledge || !self.engine_idle() {
            return;
        }
        if !self.durable.half_done {
            self.durable.half_done = true;
            return;
        }
        if self.is_saved() {
            self.change(Cause::CloneNeeded);
            let voter = self.voter();
            self.engine(EngineStep::Clone { from: leader, voter });
        }
    }

    /// Whether a member that may lead has copied the first leader's data, as far as is heard; who has just started hears in a moment. That member
    /// is elected and gone on with: a cluster that is begun again has another identity, and its copy would be good for nothing.
    fn somebody_has_a_copy(&self) -> bool {
        let early = self.now.since(self.booted) < self.spec.profile.suspect().times(4);
        let empty = |role| matches!(role, Role::Boot | Role::Empty | Role::Cloning | Role::Witness | Role::Quarantined);
        let leads = |name: &MemberName| self.spec.member(name).is_some_and(dauphin_model::MemberSpec::may_lead);
        self.others().iter().filter(|name| leads(name)).any(|name| {
            match self.beat_of(name).filter(|_| self.fresh(name)) {
                Some(beat) => !empty(beat.role),
                None => early,
            }
        })
    }

    /// The first leader of a new cluster: the first in the file that is there.
    pub(crate) fn bootstrap(&mut self, failed: Option<&Leadership>) {
        let before = self
            .spec
            .data_members()
            .filter(|m| m.may_lead())
            .take_while(|m| m.name != self.me)
            .any(|m| self.fresh(&m.name) || self.now.since(self.booted) < self.spec.profile.suspect().times(4));
        let busy = self.campaign_rest > self.now;
        if before || busy || !self.my_spec().is_some_and(dauphin_model::MemberSpec::may_lead) {
            return;
        }
        self.campaign_rest = self.now + self.spec.profile.beat().times(2);
        let term = failed.map(|r| r.term).unwrap_or_default().max(self.durable.pledge).next();
        let leader = self.voter();
        self.commit(StoreTxn {
            expect_leadership: Some(self.store.leadership_rev),
            leadership: Some(Leadership {
                term,
                leader,
                // a server starts as a replica and is promoted: its first timeline as a leader is 2. One that is begun again
                // writes another: the rest of the first may lie on a disk, and all were told whose it is
                timeline: failed.map_or(Timeline(2), |r| r.timeline.next()),
                state: LeadershipState::Elected,
                published: Published {
                    voters: BTreeSet::new(),
                    answers: 1,
                    version: failed.map_or(SetVersion(1), |r| r.published.version.next()),
                    degraded: false,
                },
                holder: None,
                evidence: Evidence::Bootstrap,
                switch: None,
            }),
            ..StoreTxn::default()
        });
    }

    pub(crate) fn while_cloning(&mut self) {
        if self.engine.is_none() {
            self.change(Cause::Retry);
        }
    }

    /// A copy or a rewind is complete.
    pub(crate) fn copied(&mut self, needs: Option<Position>) {
        self.durable.half_done = false;
        self.durable.needs = needs;
        self.durable.whole_once = true;
        self.has_data = true;
        self.server.run = Run::Stopped;
        self.server.position = None;
        self.frozen_at = None;
        self.failures = 0;
        if matches!(self.role, Role::Cloning | Role::Rejoining) {
            self.change(Cause::Cloned);
        }
    }

    pub(crate) fn half_done_data(&mut self, unfinished: bool) {
        if unfinished {
            // nothing was ever acknowledged with it
            return self.copy_again("its data is the rest of a first start that did not end");
        }
        self.needs_a_copy("its data is the rest of a copy or rewind that did not end");
    }

    /// This copy of the data is of no use any more: another is made, or a person is waited for.
    pub(crate) fn needs_a_copy(&mut self, because: &str) {
        if self.spec.allow_reclone {
            return self.copy_again(because);
        }
        let because =
            format!("{because}; the specification forbids a fresh copy (allow_reclone): `dauphin reinit` makes one");
        self.journal(Reason::Quarantined { because });
        self.change(Cause::GiveUp);
    }

    fn copy_again(&mut self, because: &str) {
        let from = self.record().map_or_else(|| self.me.clone(), |r| r.leader.name.clone());
        self.journal(Reason::Recloning { from, because: because.to_owned() });
        self.give_data_up();
    }
}
