//! What the core shows of itself to the agent, the faces and the simulator. Read only.

use crate::core::{Core, Peer, StepUnderWay};
use crate::event::StoreView;
use crate::message::Beat;
use crate::roles::Role;
use crate::step::Durable;
use dauphin_model::{MemberName, Mono, ServerView, Spec};
use std::collections::BTreeMap;

impl Core {
    /// The role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The specification in force.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// What the store holds.
    #[must_use]
    pub fn store(&self) -> &StoreView {
        &self.store
    }

    /// Whether the record's leader says that it lets clients in.
    #[must_use]
    pub fn leader_accepts(&self) -> bool {
        let Some(leader) = self.record().map(|r| &r.leader.name) else { return false };
        let beat = if *leader == self.me { self.own_beat().map(|(_, beat)| beat) } else { self.beat_of(leader) };
        beat.and_then(|b| b.leading.as_ref()).is_some_and(|l| l.accepting)
    }

    /// Our own server.
    #[must_use]
    pub fn server(&self) -> &ServerView {
        &self.server
    }

    /// Whether the server is believed to run while nothing is done with it: who sees that none does must say so again.
    #[must_use]
    pub fn believes_up(&self) -> bool {
        self.server.run.is_up() && self.engine.is_none()
    }

    /// The other members.
    #[must_use]
    pub fn peers(&self) -> &BTreeMap<MemberName, Peer> {
        &self.peers
    }

    /// What is kept on the disk.
    #[must_use]
    pub fn durable(&self) -> &Durable {
        &self.durable
    }

    /// The last beat sent.
    #[must_use]
    pub fn own_beat(&self) -> Option<(Mono, &Beat)> {
        self.last_beat.as_ref().map(|(at, beat)| (*at, beat))
    }

    /// One line on where it stands, for whoever looks for a fault.
    #[must_use]
    pub fn summary(&self) -> String {
        let campaign = self.campaign.as_ref().map(|c| c.term);
        format!(
            "{} record {:?} pledge {} saved {} incarnation {} run {:?} recovery {:?} engine {:?} rest {} failures {} frozen {:?} freezing {:?} campaign {campaign:?} lead {:?}",
            self.role,
            self.record().map(|r| (r.term, r.leader.to_string(), r.state)),
            self.durable.pledge,
            self.is_saved(),
            self.durable.incarnation,
            self.server.run,
            self.server.in_recovery,
            self.engine.as_ref().map(|e| e.step.name()),
            self.engine_rest.since(self.now),
            self.failures,
            self.frozen_at.as_ref().map(ToString::to_string),
            self.freezing.as_ref().map(|f| f.term),
            self.lead,
        )
    }

    /// The engine step under way.
    #[must_use]
    pub fn under_way(&self) -> Option<&StepUnderWay> {
        self.engine.as_ref()
    }

    /// Whether that member was heard within the profile's `suspect`.
    #[must_use]
    pub fn hears(&self, name: &MemberName) -> bool {
        self.fresh(name)
    }
}
