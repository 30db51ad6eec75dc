//! Who could follow whom while members run servers of two series, as they do during an upgrade: an older server does not read
//! what a newer one logs. Elections, switchovers and replicas ask; it never says who leads.

use crate::core::Core;
use crate::message::ReplicaSeen;
use crate::reason::Reason;
use crate::stuck::STUCK;
use dauphin_model::{Durability, Leadership, MemberName, MemberSpec, Timeline};

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

    /// Whether its files can be copied to us: between servers of one series alone, as far as both are known.
    pub(crate) fn copies_from(&self, source: &MemberName) -> bool {
        self.reads_from(source, &self.me) && self.reads_from(&self.me, source)
    }

    /// Says once in each term that nothing comes from that leader while both run what they run.
    pub(crate) fn tell_other_series(&mut self, leader: &MemberName) {
        let term = self.record().map(|r| r.term).unwrap_or_default();
        if self.told_series < Some(term) {
            self.told_series = Some(term);
            let reads = self.reads_from(leader, &self.me.clone());
            let text = if reads {
                "files are copied within one series"
            } else {
                "an older server does not follow a newer one"
            };
            let because = format!("{text}, and {leader} runs another; upgrade both");
            self.journal(Reason::StepFailed { step: "follow".to_owned(), because });
        }
    }

    /// The leadership that a member's log has come to, where it is there and can be read.
    fn come_to(&self, name: &MemberName) -> Option<Timeline> {
        let own = || self.frozen_log().or(self.server.position.as_ref());
        let theirs = || self.beat_of(name).and_then(|b| b.position.as_ref());
        let position = if *name == self.me { own() } else { theirs() };
        position.map(|p| p.timeline)
    }

    /// Somebody who goes on after the last leader, may lead, and could not follow this member. Who was left behind by a newer leader
    /// counts no more, nor who has no log to go on with, but for the last leader itself, which gets time to start its server
    /// again; nor do we while we go away.
    pub(crate) fn outgrown_by(&self, name: &MemberName) -> Option<MemberName> {
        let all = || self.spec.data_members().map(|m| &m.name);
        let newest = all().filter_map(|m| self.come_to(m)).max();
        let leader = self.record().map(|r| &r.leader.name);
        let fallen = self.gone.as_ref().map(|gone| self.now.since(gone.since));
        let starts_again = fallen.is_none_or(|long| long < self.spec.profile.suspect().times(STUCK));
        let goes_on = |m: &MemberName| {
            let there = if *m == self.me { self.shutting_down.is_none() } else { self.fresh(m) };
            let follows = leader.is_some_and(|l| self.series_of(l) != 0 && self.reads_from(l, m));
            there
                && match self.come_to(m) {
                    Some(timeline) => Some(timeline) >= newest || follows,
                    None => leader == Some(m) && starts_again,
                }
        };
        let may_lead = |m: &&MemberName| self.spec.member(m).is_some_and(MemberSpec::may_lead);
        all().filter(|m| may_lead(m) && !self.reads_from(name, m)).find(|m| goes_on(m)).cloned()
    }

    /// Why that member leads nobody for now, for people.
    pub(crate) fn outgrown_because(&self, name: &MemberName) -> Option<String> {
        let older = self.outgrown_by(name)?;
        Some(format!("{older}, which runs an older series, could not follow it; upgrade or stop {older}"))
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
            let counts = (vouches && leading.replicas.iter().any(said)) || self.spec.durability == Durability::Async;
            well && counts && m.may_lead() && self.series_of(&m.name) == theirs
        };
        let others = self.spec.members.iter().filter(|m| m.name != self.me && m.name != *leader);
        let before_us: Vec<_> = others.filter(before_us).collect();
        let enough = u32::try_from(before_us.len()).unwrap_or(u32::MAX) >= self.spec.required_min();
        before_us.first().filter(|_| enough).map(|m| m.name.clone())
    }
}
