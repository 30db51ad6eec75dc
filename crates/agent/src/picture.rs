//! What the agent shows of itself: a copy of the core's state, made when it changed, for faces and helpers to read.

use dauphin_ha::{Beat, Core, Durable, Leading, ReplicaSeen, Role, StoreView};
use dauphin_model::{Away, Lag, MemberName, Mono, ServerView, Spec, Voter};
use std::collections::{BTreeMap, BTreeSet};

/// A member as it is heard.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heard {
    pub(crate) fresh: bool,
    pub(crate) beat: Option<Beat>,
    /// When that came.
    pub(crate) at: Option<Mono>,
}

/// The copy.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Picture {
    pub(crate) me: MemberName,
    pub(crate) role: Role,
    pub(crate) spec: Spec,
    pub(crate) store: StoreView,
    pub(crate) server: ServerView,
    pub(crate) durable: Durable,
    pub(crate) beat: Option<Beat>,
    /// When our own beat was made.
    pub(crate) beat_at: Option<Mono>,
    pub(crate) others: BTreeMap<MemberName, Heard>,
    pub(crate) busy: Option<&'static str>,
    pub(crate) believes_up: bool,
}

impl Picture {
    pub(crate) fn of(me: &MemberName, core: &Core) -> Self {
        let others = core.spec().members.iter().filter(|m| m.name != *me).map(|m| {
            let peer = core.peers().get(&m.name);
            let beat = peer.and_then(|p| p.beat.clone());
            (m.name.clone(), Heard { fresh: core.hears(&m.name), beat, at: peer.and_then(|p| p.heard) })
        });
        Self {
            me: me.clone(),
            role: core.role(),
            spec: core.spec().clone(),
            store: core.store().clone(),
            server: core.server().clone(),
            durable: core.durable().clone(),
            beat: core.own_beat().map(|(_, beat)| beat.clone()),
            beat_at: core.own_beat().map(|(at, _)| at),
            others: others.collect(),
            busy: core.under_way().map(|u| u.step.name()),
            believes_up: core.believes_up(),
        }
    }

    /// The beat of a member, ourselves included, if it is fresh.
    pub(crate) fn beat_of(&self, name: &MemberName) -> Option<&Beat> {
        if *name == self.me {
            return self.beat.as_ref();
        }
        self.others.get(name).filter(|h| h.fresh).and_then(|h| h.beat.as_ref())
    }

    /// When what a member says of itself, ourselves included, was heard.
    pub(crate) fn heard_at(&self, name: &MemberName) -> Option<Mono> {
        if *name == self.me { self.beat_at } else { self.others.get(name)?.at }
    }

    /// A replica as the leader sees it.
    pub(crate) fn seen(&self, name: &MemberName) -> Option<&ReplicaSeen> {
        self.leading()?.replicas.iter().find(|r| r.name == *name)
    }

    /// What the record's leader says of its leadership, as far as we hear.
    pub(crate) fn leading(&self) -> Option<&Leading> {
        let record = self.store.leadership.as_ref()?;
        self.beat_of(&record.leader.name)?.leading.as_ref().filter(|l| l.term == record.term)
    }

    /// For how long a replica has been behind, and whether it comes closer: by the leader's clock where the leader sees it or
    /// has seen it, as of now; by its own where it is behind another replica.
    pub(crate) fn lag(&self, name: &MemberName, now: Mono) -> Option<Lag> {
        let leader = &self.store.leadership.as_ref()?.leader.name;
        if name == leader {
            return Some(Lag::default());
        }
        let by_leader = self.seen(name).map(|r| r.lag);
        let by_leader = by_leader.or_else(|| self.away(name).map(|a| Some(a.lag))).flatten();
        let own = self.beat_of(name).and_then(|b| b.replay_lag_ms).map(|ms| Lag { ms, ..Lag::default() });
        let Some(lag) = by_leader else { return own };
        Some(Lag { at: self.heard_at(leader).unwrap_or(now), ..lag }.as_of(now))
    }

    /// A replica that the leader saw and sees no more; not one that receives from another replica now.
    fn away(&self, name: &MemberName) -> Option<&Away> {
        let leader = &self.store.leadership.as_ref()?.leader.name;
        let elsewhere =
            self.beat_of(name).is_some_and(|b| b.streaming && b.upstream.as_ref().is_some_and(|u| u != leader));
        self.leading()?.away.iter().find(|a| a.voter.name == *name).filter(|_| !elsewhere)
    }

    /// How far a member is behind the leader, in bytes: as the leader sees it, or, behind another replica, as both tell of
    /// themselves. `None`: not known.
    pub(crate) fn lag_bytes(&self, name: &MemberName) -> Option<u64> {
        let leader = &self.store.leadership.as_ref()?.leader.name;
        let leaders = self.beat_of(leader)?;
        if name == leader {
            return self.leading().map(|_| 0);
        }
        if let Some(behind) = self.seen(name).map(|s| s.lag_bytes).or_else(|| self.away(name).map(|a| a.behind)) {
            return Some(behind);
        }
        let own = self.beat_of(name).filter(|b| b.streaming && b.upstream.as_ref() != Some(leader))?;
        let (end, position) = (leaders.position.as_ref()?, own.position.as_ref()?);
        let replayed = position.lsn.0.checked_sub(own.replay_behind)?;
        (position.timeline == end.timeline).then(|| end.lsn.0.saturating_sub(replayed))
    }

    /// The copies that may replicate from us: every slot that has to be there.
    pub(crate) fn voters(&self) -> BTreeSet<Voter> {
        let heard = self.others.iter().filter_map(|(name, heard)| {
            let incarnation = heard.beat.as_ref()?.incarnation;
            (incarnation.0 > 0).then(|| Voter::new(name.clone(), incarnation))
        });
        let heard: BTreeSet<Voter> = heard.collect();
        let record = self.store.leadership.as_ref();
        let published = record.map(|r| r.published.voters.clone()).unwrap_or_default();
        // a member heard of under a newer name needs no slot under the old one
        let silent = published.into_iter().filter(|v| v.name != self.me && !heard.iter().any(|h| h.name == v.name));
        let silent: Vec<Voter> = silent.collect();
        heard.into_iter().chain(silent).filter(|v| v.name != self.me).collect()
    }
}
