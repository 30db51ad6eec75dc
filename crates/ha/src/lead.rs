//! A leader's duties: promote, prove, wait behind the barrier, open; then keep the lease, the sync set and itself honest.
//! It stops at once when the store names another, when its lease ends, or when its server cannot be trusted.

use crate::core::Core;
use crate::event::{EngineOutcome, StoreResult};
use crate::reason::Reason;
use crate::roles::{Cause, Role};
use crate::step::{EngineStep, OpId, Rev, Step, StoreTxn};
use crate::switchover::Switchover;
use crate::syncing::{Move, Target, next_move};
use crate::variant::Variant;
use dauphin_model::sync_set::answers_for;
use dauphin_model::{
    Enforced, Evidence, Leadership, LeadershipState, Lsn, MemberSpec, Mono, OnShortage, PastTerm, Published, Run,
    SwitchPoint, Term, Timeline, Voter,
};
use std::collections::{BTreeMap, BTreeSet};

/// A renewal whose answer is not here yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Renewal {
    pub(crate) op: OpId,
    pub(crate) sent: Mono,
}

/// A change of the record by us whose end is not seen yet.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Publishing {
    /// Asked for.
    Sent(OpId),
    /// Committed; our view of the store has to reach this revision.
    Committed(Rev),
    /// Nobody knows: the record is written once more as it is, so that the lost one can never land later.
    Unknown,
}

/// What a leader keeps in mind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lead {
    pub(crate) term: Term,
    pub(crate) timeline: Timeline,
    bootstrap: bool,
    since: Mono,
    /// The server runs as a leader (closed or open).
    pub(crate) running: bool,
    /// What the server waits for is proved: voters may attach.
    pub(crate) attach: bool,
    barrier: bool,
    /// The barrier under way; an older one's end says nothing.
    barrier_serial: u64,
    open: bool,
    pub(crate) access: bool,
    pub(crate) switch: Option<SwitchPoint>,
    enforced: Enforced,
    /// A change of the setting did not end well: the server may be using either.
    unsure: bool,
    /// Everything acknowledged under an earlier setting lies before this.
    confirmed_at: Lsn,
    publishing: Option<Publishing>,
    pub(crate) counter: u64,
    pub(crate) renewal: Option<Renewal>,
    pub(crate) next_renewal: Mono,
    pub(crate) granted_until: Option<Mono>,
    missing: BTreeMap<Voter, Mono>,
    short_since: Option<Mono>,
    short_told: bool,
    pub(crate) switchover: Option<Switchover>,
}

impl Lead {
    pub(crate) fn state(&self) -> LeadershipState {
        if self.open { LeadershipState::Open } else { LeadershipState::Elected }
    }
}

/// A failed promotion or bootstrap is tried this often before the leadership is given up.
const TRIES_MAX: u32 = 3;

impl Core {
    /// The store names this member: it leads from now on, closed.
    pub(crate) fn begin_leading(&mut self, record: &Leadership) {
        self.change(Cause::Decided);
        self.lead = Some(Lead {
            term: record.term,
            timeline: record.timeline,
            bootstrap: record.evidence == Evidence::Bootstrap,
            since: self.now,
            running: false,
            attach: false,
            barrier: false,
            barrier_serial: 0,
            open: false,
            access: false,
            switch: None,
            enforced: Enforced::default(),
            unsure: false,
            confirmed_at: Lsn(0),
            publishing: None,
            counter: 0,
            renewal: None,
            next_renewal: self.now,
            granted_until: Some(self.now + self.spec.profile.lease() - self.spec.profile.margin()),
            missing: BTreeMap::new(),
            short_since: None,
            short_told: false,
            switchover: None,
        });
        self.failures = 0;
        self.campaign = None;
        self.freezing = None;
        self.catching_up = None;
        self.following = None;
        let until = self.lead.as_ref().and_then(|l| l.granted_until);
        self.push(Step::Deadline(until));
        if record.evidence == Evidence::Bootstrap {
            self.durable.half_done = true;
        }
    }

    /// Stops being able to acknowledge, now.
    pub(crate) fn fence(&mut self, because: &str) {
        let term = self.lead.as_ref().map(|l| l.term).unwrap_or_default();
        self.push(Step::Fence);
        self.push(Step::Deadline(None));
        self.journal(Reason::Fencing { term, because: because.to_owned() });
        self.step_down();
    }

    /// Leaves the leader's role; the server is stopped already or is being killed.
    pub(crate) fn step_down(&mut self) {
        self.lead = None;
        self.frozen_at = None;
        self.following = None;
        self.server.attached.clear();
        if self.role.leads() {
            self.change(Cause::Fence);
            self.deposed_since = Some(self.now);
        }
    }

    /// What must hold for a leader, whatever else it does: called first at every step.
    pub(crate) fn lead_or_fence(&mut self) {
        let Some(lead) = &self.lead else { return };
        let (term, timeline, running, since) = (lead.term, lead.timeline, lead.running, lead.since);
        // another election may even have chosen us again: on another timeline it is another leadership
        let deposed = self.record().is_some_and(|r| r.term > term && (r.leader != self.voter() || r.timeline != timeline));
        if deposed && !self.broken(Variant::WinInPlace) {
            return self.fence("the store names another leader");
        }
        if let Some(record) = self.record().filter(|r| r.leader.name == self.me && r.term > term) {
            let term = record.term;
            if let Some(lead) = &mut self.lead {
                lead.term = term;
            }
        }
        if !self.keep_lease() && !self.broken(Variant::IgnoreLease) {
            return self.fence("its lease ran out before the store renewed it");
        }
        if !running {
            // promotion has its own limit: a winner that cannot promote makes room
            if self.now.since(since) > self.spec.profile.suspect().times(20) && !self.is_bootstrapping() {
                self.fence("the promotion took too long");
            }
            return;
        }
        let hung = self.server_hung_since.is_some_and(|s| self.now.since(s) >= self.spec.profile.suspect());
        match self.server.run {
            Run::Crashed => self.fence("its server ended"),
            Run::Stopped if !self.stopping() => self.fence("its server is not running"),
            Run::Hung if hung => self.fence("its server does not answer"),
            Run::Running if !self.server.disk_ok => self.fence("the data disk does not take writes"),
            Run::Stopped | Run::Hung | Run::Running | Run::Starting => {}
        }
    }

    fn is_bootstrapping(&self) -> bool {
        self.lead.as_ref().is_some_and(|l| l.bootstrap && !l.open)
    }

    fn stopping(&self) -> bool {
        matches!(self.engine.as_ref().map(|e| &e.step), Some(EngineStep::Stop))
    }

    /// Voters to wait for from the promotion on: those that are there, or all that are known if they are too few.
    fn first_voters(&self) -> Enforced {
        let known = |m: &&MemberSpec| m.may_vote() && m.name != self.me;
        let bootstrap = self.lead.as_ref().is_some_and(|l| l.bootstrap)
            || self.record().is_some_and(|r| r.evidence == Evidence::Bootstrap);
        let has_data = |v: &Voter| {
            let role = self.beat_of(&v.name).map(|b| b.role);
            bootstrap || matches!(role, Some(Role::Replica | Role::Frozen | Role::Fenced | Role::Rejoining))
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

    fn start_barrier(&mut self, lead: &Lead) {
        let serial = lead.barrier_serial + 1;
        if let Some(lead) = &mut self.lead {
            lead.barrier_serial = serial;
        }
        self.engine(EngineStep::StartBarrier { term: lead.term, serial, enforced: lead.enforced.clone() });
    }

    /// Whether replicas have been short for long enough to degrade, where the specification says so.
    fn may_degrade(&mut self, first: &Enforced) -> bool {
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

    fn while_behind_barrier(&mut self, lead: &Lead) {
        let mut first = self.first_voters();
        let attached: BTreeSet<Voter> =
            first.voters.iter().filter(|v| self.streams_to_us(v)).cloned().collect();
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

    fn streams_to_us(&self, voter: &Voter) -> bool {
        self.server.attached.iter().any(|a| a.voter.as_ref() == Some(voter) && a.state == "streaming" && a.flush.is_some())
    }

    /// Publishes the new set and state `open`, in one compare-and-set.
    fn open(&mut self, lead: &Lead, enforced: &Enforced, degraded: bool) {
        let held = lead.granted_until.is_some_and(|g| g > self.now) && lead.counter > 0 && lead.renewal.is_none();
        let Some(record) = self.record().cloned() else { return };
        if lead.publishing.is_some() || !held || record.leader != self.voter() {
            return self.settle_publishing();
        }
        let Some(switch) = lead.switch else { return };
        let voters = enforced.voters.clone();
        let answers = answers_for(voters.len(), enforced.required);
        let published =
            Published { answers, version: record.published.version.next(), degraded: degraded && enforced.required == 0, voters };
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
        self.publish(StoreTxn { past: Some(past), ..StoreTxn::of(next) });
    }

    pub(crate) fn publish(&mut self, txn: StoreTxn) {
        let txn = StoreTxn { expect_leadership: Some(self.store.leadership_rev), ..txn };
        let op = self.commit(txn);
        if let Some(lead) = &mut self.lead {
            lead.publishing = Some(Publishing::Sent(op));
        }
    }

    /// Takes in how far our last change of the record has come; after an unknown end it writes the record once more.
    fn settle_publishing(&mut self) {
        let (rev, record) = (self.store.leadership_rev, self.record().cloned());
        let Some(lead) = &mut self.lead else { return };
        match lead.publishing {
            Some(Publishing::Committed(at)) if rev >= at => lead.publishing = None,
            Some(Publishing::Unknown) => {
                if let Some(mut record) = record {
                    record.published.version = record.published.version.next();
                    self.publish(StoreTxn::of(record));
                }
            }
            Some(Publishing::Sent(_) | Publishing::Committed(_)) | None => {}
        }
    }

    /// Voters that have pledged to a later term receive nothing from us: if no leader came of that election, our
    /// leadership goes on under a term above it, by one compare-and-set, so that they may come back.
    fn reaffirm_if_pledged(&mut self, lead: &Lead) -> bool {
        let highest = self
            .others()
            .iter()
            .filter_map(|n| self.beat_of(n))
            .filter(|b| b.hears_leader)
            .map(|b| b.pledge)
            .max()
            .unwrap_or_default()
            .max(self.durable.pledge);
        let Some(record) = self.record().cloned() else { return false };
        if highest <= lead.term || highest <= record.term || record.leader != self.voter() {
            return false;
        }
        if lead.publishing.is_some() {
            self.settle_publishing();
            return true;
        }
        let term = highest.next();
        self.journal(Reason::Reaffirmed { term, pledge: highest });
        self.publish(StoreTxn::of(Leadership { term, ..record }));
        true
    }

    /// An open leader's turn.
    pub(crate) fn while_leader(&mut self) {
        self.settle_publishing();
        let Some(lead) = self.lead.clone() else { return };
        if lead.switchover.is_some() {
            return self.while_switching_over();
        }
        if self.reaffirm_if_pledged(&lead) {
            return;
        }
        if !lead.access {
            let enforced_as_published = self.record().is_some_and(|r| r.published.degraded) && lead.enforced.required > 0;
            if !self.engine_idle() {
                return;
            }
            if enforced_as_published {
                return self.engine(EngineStep::SetSync { enforced: Enforced::default() });
            }
            return self.engine(EngineStep::OpenAccess);
        }
        self.keep_sync_set(&lead);
    }

    fn keep_sync_set(&mut self, lead: &Lead) {
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
                self.server.attached.iter().any(|a| a.voter.as_ref() == Some(v) && a.flush.is_some_and(|f| f >= lead.confirmed_at))
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
    fn target(&mut self, lead: &Lead) -> Target {
        let (now, suspect) = (self.now, self.spec.profile.suspect());
        let streams = |v: &Voter| {
            let beat = self.beat_of(&v.name);
            self.streams_to_us(v) && beat.is_some_and(|b| b.pledge <= lead.term && b.incarnation == v.incarnation && b.run == Run::Running)
        };
        let candidates: BTreeSet<Voter> = self
            .spec
            .members
            .iter()
            .filter(|m| m.may_vote() && m.name != self.me)
            .filter_map(|m| self.beat_of(&m.name).map(|b| Voter::new(m.name.clone(), b.incarnation)))
            .chain(lead.enforced.voters.iter().cloned())
            .collect();
        let mut missing = BTreeMap::new();
        let mut voters = BTreeSet::new();
        for voter in candidates {
            let since = lead.missing.get(&voter).copied().unwrap_or(now);
            if streams(&voter) {
                voters.insert(voter);
            } else {
                if lead.enforced.voters.contains(&voter) && now.since(since) < suspect {
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

    /// A leader's engine step ended well.
    pub(crate) fn led(&mut self, step: EngineStep, outcome: EngineOutcome) {
        let now = self.now;
        let Some(lead) = &mut self.lead else { return };
        match (step, outcome) {
            (EngineStep::Bootstrap { timeline }, _) => {
                lead.running = true;
                lead.switch = Some(SwitchPoint { from: timeline, lsn: Lsn(0), next_xid: 0 });
                self.server.run = Run::Running;
                self.server.in_recovery = Some(false);
                self.server.disk_ok = true;
                self.has_data = true;
            }
            (EngineStep::Promote { timeline, .. }, EngineOutcome::Promoted(switch)) => {
                lead.running = true;
                lead.switch = Some(switch);
                let term = lead.term;
                self.server.run = Run::Running;
                self.server.in_recovery = Some(false);
                self.server.disk_ok = true;
                // known without another look: voters compare their logs with it, and they wait for that
                if let Some(mut ours) = self.frozen_at.take().or_else(|| self.server.position.clone()) {
                    if ours.timeline < timeline {
                        ours.lsn = switch.lsn;
                        ours = ours.promoted(timeline);
                    }
                    self.server.position = Some(ours);
                }
                self.journal(Reason::Promoted { term, timeline, at: switch.lsn });
            }
            (EngineStep::StartBarrier { .. }, _) => {
                lead.attach = true;
                lead.since = now;
            }
            (EngineStep::SetSync { enforced }, EngineOutcome::SyncSet(at)) => {
                lead.enforced = enforced;
                lead.unsure = false;
                lead.confirmed_at = at;
                if !lead.open {
                    lead.attach = false;
                }
            }
            (EngineStep::OpenAccess, _) => {
                lead.access = true;
                self.durable.half_done = false;
            }
            (EngineStep::CloseAccess, _) => {
                lead.access = false;
                self.access_closed();
            }
            (_, _) => {}
        }
    }

    /// A step failed that matters to a leadership.
    pub(crate) fn lead_failed(&mut self, step: &EngineStep, because: &str) {
        if let (EngineStep::SetSync { .. }, Some(lead)) = (step, &mut self.lead) {
            lead.unsure = true;
        }
        if let (EngineStep::Promote { .. } | EngineStep::StartBarrier { .. } | EngineStep::SetSync { .. }, Some(_)) = (step, &self.lead)
            && self.failures >= TRIES_MAX
        {
            self.fence(&format!("{} failed: {because}", step.name()));
        }
        self.switchover_failed(step, because);
    }

    /// The barrier's commit ended.
    pub(crate) fn on_barrier(&mut self, serial: u64, ok: bool) {
        let Some(lead) = self.lead.as_mut().filter(|l| l.barrier_serial == serial && !l.open) else { return };
        if ok {
            lead.barrier = true;
        } else {
            // its wait was cut: begin a new one
            lead.attach = false;
        }
    }

    pub(crate) fn lead_store_result(&mut self, op: OpId, result: StoreResult) {
        self.renewed(op, result);
        let Some(lead) = &mut self.lead else { return };
        if lead.publishing != Some(Publishing::Sent(op)) {
            return;
        }
        lead.publishing = match result {
            StoreResult::Committed(rev) => Some(Publishing::Committed(rev)),
            StoreResult::Conflict | StoreResult::Failed => None,
            StoreResult::Unknown => Some(Publishing::Unknown),
        };
    }

    /// The record says that our term is open.
    pub(crate) fn notice_open(&mut self, record: &Leadership) {
        if self.role != Role::Winner || record.state != LeadershipState::Open || record.leader != self.voter() {
            return;
        }
        let Some(lead) = self.lead.as_mut().filter(|l| l.running && record.timeline == l.timeline) else { return };
        lead.open = true;
        lead.term = record.term;
        let (term, voters, answers) = (record.term, record.published.voters.iter().cloned().collect(), record.published.answers);
        self.change(Cause::Opened);
        self.journal(Reason::Opened { term, voters, answers });
        if record.published.degraded {
            self.journal(Reason::Degraded { term });
        }
    }
}

impl StoreTxn {
    /// A change of the record alone.
    #[must_use]
    pub fn of(leadership: Leadership) -> Self {
        Self { leadership: Some(leadership), ..Self::default() }
    }
}
