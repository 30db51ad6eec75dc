//! Who could follow whom while members run servers of two series, as they do during an upgrade: an older server does not read
//! what a newer one logs. Elections, switchovers and replicas ask; it never says who leads.

use crate::core::Core;
use crate::message::ReplicaSeen;
use crate::roles::Role;
use dauphin_model::{Durability, Leadership, MemberName, MemberSpec};

impl Core {
    /// Series of a member's server, as it said last; 0: not known, or it does not matter.
    fn series_of(&self, name: &MemberName) -> u32 {
        let said = || self.peers.get(name).and_then(|p| p.beat.as_ref()).map_or(0, |b| b.series);
        if *name == self.me { self.server.series } else { said() }
    }

    /// Whether the second reads what the first logs, as far as both are known.
    pub(crate) fn reads_from(&self, source: &MemberName, reader: &MemberName) -> bool {
        let reader = self.series_of(reader);
        reader == 0 || self.series_of(source) <= reader
    }

    /// Somebody who is there, may lead, and could not follow this member. One that a newer leader has left behind already counts
    /// no more, nor one that waits for a person, nor do we while we go away.
    pub(crate) fn outgrown_by(&self, name: &MemberName) -> Option<MemberName> {
        let there = |m: &MemberName| match *m == self.me {
            true => self.shutting_down.is_none() && self.role != Role::Quarantined,
            false => self.beat_of(m).is_some_and(|b| b.role != Role::Quarantined),
        };
        let goes_on = |m: &MemberName| self.record().is_none_or(|r| self.reads_from(&r.leader.name, m));
        let all = self.spec.data_members().filter(|m| m.may_lead()).map(|m| &m.name);
        all.filter(|m| !self.reads_from(name, m)).find(|m| there(m) && goes_on(m)).cloned()
    }

    /// Whom a member of a newer series than its leader receives from: one that takes over before it does, so that it is never
    /// beyond the next leader, where neither could go on. Only where the leader has enough others that acknowledge, and they do.
    pub(crate) fn stays_behind(&self, record: &Leadership) -> Option<MemberName> {
        let leader = &record.leader.name;
        let theirs = self.series_of(leader);
        let leading = self.beat_of(leader).and_then(|b| b.leading.as_ref())?;
        if !(1..self.server.series).contains(&theirs) || leading.short {
            return None;
        }
        let before_us = |m: &&MemberSpec| {
            let well = self.beat_of(&m.name).is_some_and(|b| {
                let there = b.position.as_ref().is_some_and(|p| p.timeline == record.timeline);
                b.streaming && b.term == record.term && there && b.upstream.as_ref() == Some(leader)
            });
            let vouches = record.published.voters.iter().any(|v| v.name == m.name);
            let said = |r: &ReplicaSeen| r.name == m.name && matches!(r.sync_state.as_str(), "sync" | "quorum");
            let seen =
                self.beat_of(leader).and_then(|b| b.leading.as_ref()).is_some_and(|l| l.replicas.iter().any(said));
            let counts = (vouches && seen) || self.spec.durability == Durability::Async;
            well && counts && m.may_lead() && self.series_of(&m.name) == theirs
        };
        let others = self.spec.members.iter().filter(|m| m.name != self.me && m.name != *leader);
        let before_us: Vec<_> = others.filter(before_us).collect();
        let enough = u32::try_from(before_us.len()).unwrap_or(u32::MAX) >= self.spec.required_min();
        before_us.first().filter(|_| enough).map(|m| m.name.clone())
    }
}
