//! What the agent shows of itself: a copy of the core's state, made when it changed, for faces and helpers to read.

use dauphin_ha::{Beat, Core, Durable, Role, StoreView};
use dauphin_model::{MemberName, ServerView, Spec, Voter};
use std::collections::{BTreeMap, BTreeSet};

/// A member as it is heard.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heard {
    pub(crate) fresh: bool,
    pub(crate) beat: Option<Beat>,
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
    pub(crate) others: BTreeMap<MemberName, Heard>,
    pub(crate) busy: Option<&'static str>,
    pub(crate) believes_up: bool,
}

impl Picture {
    pub(crate) fn of(me: &MemberName, core: &Core) -> Self {
        let others = core.spec().members.iter().filter(|m| m.name != *me).map(|m| {
            let beat = core.peers().get(&m.name).and_then(|p| p.beat.clone());
            (m.name.clone(), Heard { fresh: core.hears(&m.name), beat })
        });
        Self {
            me: me.clone(),
            role: core.role(),
            spec: core.spec().clone(),
            store: core.store().clone(),
            server: core.server().clone(),
            durable: core.durable().clone(),
            beat: core.own_beat().cloned(),
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

    /// How far a member is behind the leader, in bytes: as the leader sees it, or, behind another replica, as both tell of
    /// themselves. `None`: not known.
    pub(crate) fn lag_bytes(&self, name: &MemberName) -> Option<u64> {
        let leader = &self.store.leadership.as_ref()?.leader.name;
        let leaders = self.beat_of(leader)?;
        let leading = leaders.leading.as_ref()?;
        if name == leader {
            return Some(0);
        }
        if let Some(seen) = leading.replicas.iter().find(|r| r.name == *name) {
            return Some(seen.lag_bytes);
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
