//! How a member with data that does not lead finds its place: recover, follow, rejoin.
//! It only ever follows a leader of its pledged term or later, and cuts off nothing that is not archived.

use crate::core::Core;
use crate::event::PAST_MAX;
use crate::reason::Reason;
use crate::roles::{Cause, Role};
use crate::step::{EngineStep, Step};
use crate::variant::Variant;
use dauphin_model::{Evidence, Leadership, LeadershipState, MemberName, Mono, Position, Run, Span, Term, Voter, Wrote};

/// Whom we receive from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Following {
    pub(crate) term: Term,
    pub(crate) upstream: MemberName,
    /// Since when nothing streams.
    pub(crate) idle_since: Option<Mono>,
}

impl Core {
    /// Takes in what the store holds.
    pub(crate) fn on_store(&mut self, view: crate::event::StoreView) {
        self.store_seen = self.store_seen || !view.cluster_id.is_empty();
        if let Some(spec) = &view.spec {
            self.spec = spec.clone();
        }
        self.store = view;
    }

    /// What the record means for us, whatever our role: called first at every step.
    pub(crate) fn notice_store(&mut self) {
        let Some(record) = self.record().cloned() else { return };
        if self.store_is_old(&record) {
            if self.role != Role::Quarantined {
                let went_on = self.forgotten_by(&record);
                self.journal(match went_on {
                    Some(wrote) => {
                        Reason::StoreWentOn { leader: wrote.leader, timeline: wrote.timeline, store: record.term }
                    }
                    None => Reason::StoreRolledBack { seen: self.durable.term, store: record.term },
                });
                self.push(Step::Fence);
                self.lead = None;
                self.role = Role::Quarantined;
            }
            return;
        }
        self.durable.term = record.term;
        self.durable.set_version = record.published.version;
        self.durable.elected = Some(record.wrote());
        if record.state == LeadershipState::Open {
            self.durable.opened = Some(record.wrote());
        }
        if self.durable.cluster_id.is_empty() {
            self.durable.cluster_id.clone_from(&self.store.cluster_id);
        }
        match self.record_since {
            Some((term, state, _)) if term == record.term && state == record.state => {}
            since => {
                if since.is_none_or(|(term, ..)| term != record.term) {
                    // whoever was given time has used it
                    self.campaign_rest = self.now;
                    (self.direct_until, self.cascade_stood) = (Mono(0), 0);
                }
                self.record_since = Some((record.term, record.state, self.now));
            }
        }
        self.notice_open(&record);
        let chosen = record.leader == self.voter() && record.state == LeadershipState::Elected && self.lead.is_none();
        let ready = match self.role {
            Role::Frozen => self.frozen_log().is_some() && self.catching_up.is_none() && self.engine.is_none(),
            Role::Empty => record.evidence == Evidence::Bootstrap,
            _ => false,
        };
        let goes_on = chosen && ready && self.most_trust_the_store(&record);
        if goes_on && record.term >= self.durable.pledge {
            self.begin_leading(&record);
        } else if goes_on && self.role == Role::Frozen && self.campaign.is_none() {
            // another election has begun above our term; the record still names us, and we go on above it. Not beside an
            // election of our own: it may be decided already, and the record of before would be led in its place
            self.begin_leading(&record);
        }
        if let Some(answered) = self.campaign.as_ref().map(|c| c.term)
            && record.term >= answered
        {
            self.campaign = None;
            self.campaign_rest = self.now;
        }
    }

    /// Whether this member's notes say more than the store: it was restored from an old copy.
    pub(crate) fn store_is_old(&self, record: &Leadership) -> bool {
        record.term < self.durable.term
            || record.published.version < self.durable.set_version
            || self.forgotten_by(record).is_some()
    }

    /// Whether most members are there and go by this store. One that was restored from an old copy may name a winner of long
    /// ago, who has not seen what came after it; the others have, and refuse the store.
    fn most_trust_the_store(&mut self, record: &Leadership) -> bool {
        if matches!(record.evidence, Evidence::Bootstrap | Evidence::DataLossAccepted)
            || self.broken(Variant::LeadByAnyStore)
        {
            return true;
        }
        let (mut agree, mut missing, mut refusing) = (1, Vec::new(), Vec::new());
        let members = self.spec.members.len();
        for name in self.spec.members.iter().map(|m| &m.name).filter(|name| **name != self.me) {
            match self.beat_of(name) {
                Some(b) if b.refuses_store || b.term > record.term => refusing.push(name.clone()),
                Some(b) if b.term > Term::default() => agree += 1,
                _ => missing.push(name.clone()),
            }
        }
        let waited = self.record_since.map_or(Span::ZERO, |(_, _, since)| self.now.since(since));
        let most = agree * 2 > members;
        if !most && waited >= self.spec.profile.suspect() && self.waits_as_winner < Some(record.term) {
            self.waits_as_winner = Some(record.term);
            let needed = u32::try_from(members / 2 + 1).unwrap_or(u32::MAX);
            self.journal(Reason::LeadsNotYet { term: record.term, needed, missing, refusing });
        }
        most
    }

    /// A leadership that this member has seen and that the store knows nothing of: it was restored from an old copy and
    /// grew beyond this member's numbers while that was away. Its log is not the one of the same timeline here.
    fn forgotten_by(&self, record: &Leadership) -> Option<Wrote> {
        if self.broken(Variant::TrustNumbers) {
            return None;
        }
        let (past, now) = (&self.store.past, record.wrote());
        let known = || past.iter().chain([&now]);
        let another = |ours: &&Wrote| known().any(|w| w.timeline == ours.timeline && w.leader != ours.leader);
        let lost = |ours: &&Wrote| past.len() < PAST_MAX && !known().any(|w| w == *ours);
        let (elected, opened) = (self.durable.elected.as_ref(), self.durable.opened.as_ref());
        opened.filter(lost).or(elected.filter(another)).or(opened.filter(another)).cloned()
    }

    /// The leader to go behind, when it is there, ours to follow, and takes us.
    pub(crate) fn leader_to_follow(&self) -> Option<(Leadership, Position)> {
        let record = self.record().filter(|r| r.leader.name != self.me)?;
        if record.term < self.durable.pledge && !self.broken(Variant::UnfreezeToOldLeader) {
            return None;
        }
        let leading = self.beat_of(&record.leader.name)?;
        let position = leading.position.clone()?;
        let there = leading.leading.as_ref().is_some_and(|l| l.term == record.term && l.attach);
        (there && position.timeline == record.timeline).then(|| (record.clone(), position))
    }

    pub(crate) fn while_fenced(&mut self) {
        let unfinished = self.record().is_some_and(|r| {
            r.evidence == Evidence::Bootstrap && r.state == LeadershipState::Elected && r.leader.name == self.me
        });
        if self.durable.half_done || unfinished {
            if self.server.run != Run::Stopped && self.server.run != Run::Crashed {
                self.push(Step::Fence);
                self.server.run = Run::Stopped;
            } else if self.engine.is_none() {
                self.half_done_data(unfinished);
            }
            return;
        }
        if self.restarting() || !self.keep_running() || self.freezing.is_some() || !self.engine_idle() {
            return;
        }
        self.go_behind();
    }

    pub(crate) fn while_frozen(&mut self) {
        if !self.keep_running() {
            if matches!(self.server.run, Run::Stopped | Run::Crashed) && self.engine.is_none() {
                self.frozen_at = None;
                self.change(Cause::Fence);
            }
            return;
        }
        if self.catching_up.is_some() || self.freezing.is_some() || !self.engine_idle() {
            return;
        }
        self.go_behind();
    }

    /// How far the log was replayed: that is what decides whether a server can follow another timeline. What was
    /// received may end in half a record.
    pub(crate) fn replayed_position(&self) -> Option<Position> {
        let position = self.server.position.clone()?;
        let lsn = self.server.replayed.map_or(position.lsn, |r| r.min(position.lsn));
        Some(Position { lsn, ..position })
    }

    /// Where the log was frozen, if that is all of it.
    pub(crate) fn frozen_log(&self) -> Option<&Position> {
        self.frozen_at.as_ref().filter(|_| !self.frozen_stray)
    }

    /// Whether what lies beyond the leader's log may be cut off. A decided winner holds everything acknowledged, and so
    /// do we up to where our logs part; but only if its barrier waits for us is there a reason to hurry.
    pub(crate) fn may_cut(&self, record: &Leadership) -> bool {
        let waited = self.record_since.map_or(Span::ZERO, |(_, _, since)| self.now.since(since));
        record.state == LeadershipState::Open || waited >= self.spec.profile.suspect().times(2)
    }

    /// Follows the leader if our log leads into its own; goes back to where they part if not.
    pub(crate) fn go_behind(&mut self) {
        let Some((record, theirs)) = self.leader_to_follow() else { return };
        let Some(ours) = self.frozen_log().cloned().or_else(|| self.replayed_position()) else { return };
        match ours.leads_into(&theirs) {
            Ok(()) => self.follow(&record),
            Err(_) if self.broken(Variant::FollowDiverged) => self.follow(&record),
            Err(at) if self.may_cut(&record) => {
                let leader = record.leader.name.clone();
                self.journal(Reason::Diverged { at, ours, leader });
                self.frozen_at = None;
                self.change(Cause::LeaderSeen);
            }
            Err(_) => {}
        }
    }

    fn follow(&mut self, record: &Leadership) {
        let upstream = self.upstream(record);
        if !self.reads_from(&upstream, &self.me) {
            return self.tell_other_series(&upstream);
        }
        let voter = self.voter();
        // however the step ends, it may receive from now on: what was frozen is so no more, and is measured again
        self.frozen_at = None;
        self.engine(EngineStep::Follow { upstream, voter });
    }

    /// The leader, or the member that the specification names while it is well, or one that takes over before us.
    pub(crate) fn upstream(&self, record: &Leadership) -> MemberName {
        let leader = record.leader.name.clone();
        if self.now < self.direct_until {
            return leader;
        }
        let wanted = self.my_spec().and_then(|m| m.follow.clone()).filter(|w| *w != self.me);
        let wanted = wanted.filter(|w| self.reads_from(w, &self.me));
        wanted
            .filter(|w| {
                self.beat_of(w).is_some_and(|b| {
                    b.streaming
                        && b.term == record.term
                        && b.position.as_ref().is_some_and(|p| p.timeline == record.timeline)
                })
            })
            .or_else(|| self.stays_behind(record))
            .unwrap_or(leader)
    }

    /// The server has its new upstream.
    pub(crate) fn followed(&mut self, upstream: MemberName, _voter: Voter) {
        if self.follows_to_catch_up {
            return;
        }
        let term = self.record().map(|r| r.term).unwrap_or_default();
        self.frozen_at = None;
        self.journal(Reason::Following { upstream: upstream.clone(), term });
        self.following = Some(Following { term, upstream, idle_since: None });
        if matches!(self.role, Role::Frozen | Role::Fenced) {
            self.change(Cause::Follows);
        }
    }

    pub(crate) fn while_replica(&mut self) {
        if self.restarting() {
            return;
        }
        match self.server.run {
            Run::Stopped | Run::Crashed => return self.change(Cause::Fence),
            Run::Hung | Run::Starting => {
                self.keep_running();
                return;
            }
            Run::Running => {}
        }
        if self.server.in_recovery == Some(false) {
            self.push(Step::Fence);
            return self.change(Cause::Fence);
        }
        if self.freezing.is_some() || !self.engine_idle() {
            return;
        }
        if self.frozen_at.take().is_some() {
            // it froze, and by then nobody waited for it any more
            self.following = None;
        }
        let Some((record, theirs)) = self.leader_to_follow() else { return };
        let upstream = self.upstream(&record);
        let same = self.following.as_ref().is_some_and(|f| f.term == record.term && f.upstream == upstream);
        if !same {
            return self.go_behind();
        }
        self.watch_stream(&record, &theirs);
    }

    pub(crate) fn while_rejoining(&mut self) {
        if !self.engine_idle() {
            return;
        }
        let Some((record, theirs)) = self.leader_to_follow().filter(|(r, _)| self.may_cut(r)) else { return };
        match self.server.run {
            Run::Running | Run::Starting => self.engine(EngineStep::Stop),
            Run::Hung => self.push(Step::Fence),
            Run::Stopped | Run::Crashed if !self.durable.half_done => {
                self.durable.half_done = true;
                // should its end not be told: so much at least
                self.durable.needs = Some(theirs);
            }
            Run::Stopped | Run::Crashed => {
                if self.is_saved() {
                    self.engine(EngineStep::Rewind { from: record.leader.name });
                }
            }
        }
    }

    /// Going back failed: what is left may only be copied anew.
    pub(crate) fn cannot_rewind(&mut self, because: &str) {
        if self.role != Role::Rejoining {
            return;
        }
        self.needs_a_copy(&format!("it cannot be rewound ({because})"));
    }
}
