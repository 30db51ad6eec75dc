//! A leader that is believed gone: since when, on what evidence, how long an elector goes on and gives others, and what was
//! told meanwhile. The election asks; it is never begun or ended here.

use crate::core::Core;
use crate::elect::{Campaign, Kind};
use crate::reason::{Gone, Reason};
use crate::roles::Role;
use dauphin_model::{Durability, Mono, Span, Term};

/// Doublings of an elector's patience.
const STOOD_MAX: u32 = 2;
/// Most of what was told that is remembered; beyond it everything is told again.
const TOLD_MAX: usize = 16;

/// Since when a leader is believed gone, and how often this member stood for its place meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct GoneSince {
    pub(crate) term: Term,
    pub(crate) since: Mono,
    /// Elections that ended here without a decision.
    pub(crate) stood: u32,
    /// Elections of others that this member gave time to.
    pub(crate) gave: u32,
    /// What was said of elections meanwhile: one that is begun again and again in vain is told of once.
    pub(crate) told: Vec<Reason>,
}

impl Core {
    /// Why the record's leader is believed gone, as seen from here.
    pub(crate) fn leader_gone(&self) -> Option<Gone> {
        let record = self.record()?;
        let leader = &record.leader.name;
        if *leader == self.me {
            return (!self.role.leads() && self.role != Role::Boot).then_some(Gone::GaveUp);
        }
        let peer = self.peers.get(leader);
        let heard = peer.and_then(|p| p.heard).unwrap_or(self.booted);
        if let Some(beat) = peer.and_then(|p| p.beat.as_ref())
            && beat.gave_up == Some(record.term)
        {
            let suspect = self.spec.profile.suspect();
            // the leader that hands over runs the election itself; only if nothing comes of it somebody else does
            let waits = beat.handing_over && self.now.since(heard) < suspect;
            return (!waits).then_some(Gone::GaveUp);
        }
        if peer.is_some_and(|p| p.refused) && self.spec.durability != Durability::Async {
            return Some(Gone::Refused);
        }
        (self.now.since(heard) >= self.spec.profile.suspect()).then_some(Gone::Silent)
    }

    /// Whether that leader was heard leading this term lately.
    pub(crate) fn hears_leading(&self, term: Term) -> bool {
        let leader = self.record().filter(|r| r.term == term).map(|r| r.leader.name.clone());
        leader.is_some_and(|l| self.beat_of(&l).and_then(|b| b.leading.as_ref()).is_some_and(|b| b.term == term))
    }

    /// Since when this election's question is open: electors may take turns, so one of their elections says little.
    pub(crate) fn open_since(&self, campaign: &Campaign) -> Mono {
        let gone = self.gone.as_ref().filter(|g| g.term == campaign.record_term && campaign.kind == Kind::Automatic);
        gone.map_or(campaign.started, |g| g.since.min(campaign.started))
    }

    /// How long an elector goes on, and gives another one: `suspect`, and more each time that nothing came of it, as disks
    /// may need longer to write a pledge.
    pub(crate) fn patience(&self) -> Span {
        let stood = self.gone.as_ref().map_or(0, |g| g.stood);
        self.spec.profile.suspect().times(1 << stood.min(STOOD_MAX))
    }

    /// Tells of an election. What a person did not ask for is told once in the same words, as long as the leader is gone.
    pub(crate) fn journal_of(&mut self, kind: &Kind, reason: Reason) {
        if let (Kind::Automatic, Some(gone)) = (kind, &mut self.gone) {
            if gone.told.contains(&reason) {
                return;
            }
            if gone.told.len() == TOLD_MAX {
                gone.told.clear();
            }
            gone.told.push(reason.clone());
        }
        self.journal(reason);
    }

    /// One more election ended here without a decision.
    pub(crate) fn stood_in_vain(&mut self) {
        if let Some(gone) = &mut self.gone {
            gone.stood += 1;
        }
    }

    /// How long this member gives the ones before it in the list.
    pub(crate) fn turn(&self) -> Span {
        let step = self.spec.profile.beat().over(4);
        let leader = self.record().map(|r| r.leader.name.clone());
        let mut order: Vec<_> = self
            .spec
            .data_members()
            .filter(|m| Some(&m.name) != leader.as_ref() && (m.name == self.me || self.fresh(&m.name)))
            .map(|m| (u32::MAX - m.priority, m.name.clone()))
            .collect();
        order.sort();
        let place = order.iter().position(|(_, n)| *n == self.me).unwrap_or(order.len());
        step.times(place as u64)
    }
}
