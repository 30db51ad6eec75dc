//! A leader's duties: promote, prove, wait behind the barrier, open; then keep the lease, the sync set and itself honest.
//! It stops at once when the store names another, when its lease ends, or when its server cannot be trusted.

use crate::core::Core;
use crate::event::{EngineOutcome, StoreResult};
use crate::reason::Reason;
use crate::roles::Cause;
use crate::stall::Behind;
use crate::step::{EngineStep, OpId, Rev, Step, StoreTxn};
use crate::switchover::Switchover;
use crate::variant::Variant;
use dauphin_model::{
    Enforced, Evidence, Leadership, LeadershipState, Lsn, Mono, Published, Run, Span, SwitchPoint, Term, Timeline,
    Voter,
};
use std::collections::BTreeMap;

/// A renewal whose answer is not here yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Renewal {
    pub(crate) op: OpId,
    pub(crate) sent: Mono,
    /// The length that it tells.
    pub(crate) length: Span,
}

/// A change of the record by us whose end is not seen yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Publishing {
    /// Asked for; `unsure`: to overtake one of which nobody knows.
    Sent { op: OpId, unsure: bool },
    /// Committed; our view of the store has to reach this revision.
    Committed(Rev),
    /// Nobody knows: the record is written once more as it is, so that the lost one can never land later.
    Unknown,
}

/// What a leader keeps in mind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Lead {
    pub(crate) term: Term,
    pub(crate) timeline: Timeline,
    pub(crate) bootstrap: bool,
    pub(crate) since: Mono,
    /// The server runs as a leader (closed or open).
    pub(crate) running: bool,
    /// What the server waits for is proved: voters may attach.
    pub(crate) attach: bool,
    pub(crate) barrier: bool,
    /// The barrier under way; an older one's end says nothing.
    pub(crate) barrier_serial: u64,
    /// What it asked the store to open with, behind its barrier or degraded.
    pub(crate) opening: Option<Published>,
    pub(crate) open: bool,
    pub(crate) access: bool,
    pub(crate) switch: Option<SwitchPoint>,
    pub(crate) enforced: Enforced,
    /// A change of the setting did not end well: the server may be using either.
    pub(crate) unsure: bool,
    /// Everything acknowledged under an earlier setting lies before this.
    pub(crate) confirmed_at: Lsn,
    pub(crate) publishing: Option<Publishing>,
    pub(crate) counter: u64,
    pub(crate) renewal: Option<Renewal>,
    pub(crate) next_renewal: Mono,
    /// A renewal of our own was committed: whoever waits for the end of a lease waits for ours.
    pub(crate) renewed: bool,
    pub(crate) granted_until: Option<Mono>,
    pub(crate) missing: BTreeMap<Voter, Mono>,
    /// Voters that are behind.
    pub(crate) behind: BTreeMap<Voter, Behind>,
    /// Too few streams carry anything, though enough voters are well.
    pub(crate) cut_since: Option<Mono>,
    pub(crate) short_since: Option<Mono>,
    pub(crate) short_told: bool,
    /// The intent is not taken back again before this moment.
    pub(crate) intent_rest: Mono,
    pub(crate) switchover: Option<Switchover>,
}

impl Lead {
    pub(crate) fn state(&self) -> LeadershipState {
        if self.open { LeadershipState::Open } else { LeadershipState::Elected }
    }
}

/// A failed promotion or bootstrap is tried this often before the leadership is given up.
pub(crate) const TRIES_MAX: u32 = 3;

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
            opening: None,
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
            renewed: false,
            granted_until: Some(self.now + self.spec.profile.lease() - self.spec.profile.margin()),
            missing: BTreeMap::new(),
            behind: BTreeMap::new(),
            cut_since: None,
            short_since: None,
            short_told: false,
            intent_rest: Mono::default(),
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
        let deposed =
            self.record().is_some_and(|r| r.term > term && (r.leader != self.voter() || r.timeline != timeline));
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

    pub(crate) fn publish(&mut self, txn: StoreTxn) {
        let unsure = self.lead.as_ref().is_some_and(|l| l.publishing == Some(Publishing::Unknown));
        let seen = (!self.broken(Variant::PublishBlindly)).then_some(self.store.leadership_rev);
        let txn = StoreTxn { expect_leadership: seen, ..txn };
        let op = self.commit(txn);
        if let Some(lead) = &mut self.lead {
            lead.publishing = Some(Publishing::Sent { op, unsure });
        }
    }

    /// Takes in how far our last change of the record has come; after an unknown end it writes the record once more.
    pub(crate) fn settle_publishing(&mut self) {
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
            Some(Publishing::Sent { .. } | Publishing::Committed(_)) | None => {}
        }
    }

    /// Voters that have pledged to a later term receive nothing from us: if no leader came of that election, our
    /// leadership goes on under a term above it, by one compare-and-set, so that they may come back.
    pub(crate) fn reaffirm_if_pledged(&mut self, lead: &Lead) -> bool {
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
        let none = highest <= lead.term || highest <= record.term || record.leader != self.voter();
        if none || self.broken(Variant::NoReaffirm) {
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
        self.take_intent_back();
        self.watch_streams();
        if self.make_room_if_cut(&lead) {
            return;
        }
        if !lead.access {
            let enforced_as_published =
                self.record().is_some_and(|r| r.published.degraded) && lead.enforced.required > 0;
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

    /// No switchover is under way: nobody is to believe that one is.
    fn take_intent_back(&mut self) {
        let (now, beat) = (self.now, self.spec.profile.beat());
        let Some(lead) = self.lead.as_mut().filter(|l| now >= l.intent_rest) else { return };
        if self.store.intent.is_some() {
            lead.intent_rest = now + beat;
            let expect_leadership = Some(self.store.leadership_rev);
            self.commit(StoreTxn { expect_leadership, intent: Some(None), ..StoreTxn::default() });
        }
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
                self.durable.whole_once = true;
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
        if let (EngineStep::Promote { .. } | EngineStep::StartBarrier { .. } | EngineStep::SetSync { .. }, Some(_)) =
            (step, &self.lead)
            && self.failures >= TRIES_MAX
        {
            self.fence(&format!("{} failed: {because}", step.name()));
        }
        self.switchover_failed(step, because);
    }

    pub(crate) fn lead_store_result(&mut self, op: OpId, result: StoreResult) {
        self.renewed(op, result);
        let Some(lead) = &mut self.lead else { return };
        let unsure = match lead.publishing {
            Some(Publishing::Sent { op: sent, unsure }) if sent == op => unsure,
            _ => return,
        };
        lead.publishing = match result {
            StoreResult::Committed(rev) => Some(Publishing::Committed(rev)),
            StoreResult::Unknown => Some(Publishing::Unknown),
            // the one that it was to overtake may still land
            StoreResult::Failed if unsure => Some(Publishing::Unknown),
            StoreResult::Conflict | StoreResult::Failed => None,
        };
    }
}

impl StoreTxn {
    /// A change of the record alone.
    #[must_use]
    pub fn of(leadership: Leadership) -> Self {
        Self { leadership: Some(leadership), ..Self::default() }
    }
}
