//! What people ask for: switchover, failover, restart, reinit, pause, resume, and an orderly end. The checks are the same
//! as for what happens by itself; a refusal says why and what would help.

use crate::core::{Core, PENDING_MAX};
use crate::elect::Kind;
use crate::event::{Command, Refusal, StoreResult};
use crate::reason::Reason;
use crate::roles::Role;
use crate::step::{EngineStep, OpId, Step, StoreTxn};
use dauphin_model::{LeadershipState, MemberName, Mono, OnShortage, Run, Span, Term};

/// A command that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Pending {
    id: u64,
    since: Mono,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum What {
    /// Done when another member is open in a later term.
    Switchover { term: Term, to: Option<MemberName> },
    /// Done when we are open in a later term.
    Failover { term: Term },
    /// Done when our server follows (or leads) again.
    Restart { stopped: bool },
    /// Done when our new copy follows.
    Reinit { wiped: bool },
    /// Done when the store has it.
    Store { op: OpId },
}

impl What {
    /// For people.
    fn name(&self) -> &'static str {
        match self {
            Self::Switchover { .. } => "the switchover",
            Self::Failover { .. } => "the failover",
            Self::Restart { .. } => "the restart",
            Self::Reinit { wiped: false } => "stopping the server for a fresh copy",
            Self::Reinit { wiped: true } => "the fresh copy",
            Self::Store { .. } => "the change of the store",
        }
    }
}

/// A command that has not ended after this is answered as too slow; what it began goes on.
const PATIENCE: Span = Span::ms(60_000);
/// How long the leader may take to do without a member that is to be copied anew, in times of `suspect`.
const LEAVES_SET_WITHIN: u64 = 10;
/// A copy takes as long as the data is large.
const PATIENCE_COPY: Span = Span::ms(6 * 3_600_000);
/// An orderly end waits this long for its successor.
const EXIT_PATIENCE: Span = Span::ms(15_000);

impl Core {
    pub(crate) fn on_command(&mut self, id: u64, command: Command) {
        if self.pending.len() >= PENDING_MAX {
            let with = "other commands".to_owned();
            return self.reply(id, Err(Refusal::NotNow(Reason::Busy { with })));
        }
        match command {
            Command::Switchover { to } => self.ask_switchover(id, to),
            Command::Failover { allow_data_loss } => self.ask_failover(id, allow_data_loss),
            Command::Restart => self.ask_restart(id),
            Command::Reinit => self.ask_reinit(id),
            Command::Pause => self.ask_pause(id, true),
            Command::Resume => self.ask_pause(id, false),
        }
    }

    fn reply(&mut self, id: u64, result: Result<Option<Reason>, Refusal>) {
        self.push(Step::Reply { id, result });
    }

    fn wait_for(&mut self, id: u64, what: What) {
        let since = self.now;
        self.pending.push(Pending { id, since, what });
    }

    fn ask_switchover(&mut self, id: u64, to: Option<MemberName>) {
        if self.role != Role::Leader {
            let leader = self.record().map(|r| r.leader.name.clone()).filter(|l| *l != self.me);
            return self.reply(id, Err(Refusal::AskLeader(leader)));
        }
        if self.lead.as_ref().is_some_and(|l| l.switchover.is_some()) {
            return self.reply(id, Err(Refusal::NotNow(Reason::Busy { with: "a switchover".to_owned() })));
        }
        let Some(to) = to.or_else(|| self.best_successor()) else {
            let because = "no replica can take over just now (`dauphin status` shows why)".to_owned();
            return self.reply(id, Err(Refusal::NotNow(Reason::NotFit { member: self.me.clone(), because })));
        };
        if let Some(because) = self.unfit(&to) {
            return self.reply(id, Err(Refusal::NotNow(Reason::NotFit { member: to, because })));
        }
        let term = self.lead.as_ref().map(|l| l.term).unwrap_or_default();
        self.wait_for(id, What::Switchover { term, to: Some(to.clone()) });
        self.begin_switchover(Some(to));
    }

    fn ask_failover(&mut self, id: u64, allow_data_loss: bool) {
        let Some(record) = self.record().cloned() else {
            let because = "the store holds no leadership yet".to_owned();
            return self.reply(id, Err(Refusal::NotNow(Reason::NotFit { member: self.me.clone(), because })));
        };
        if self.role.leads() {
            let because = "it leads already".to_owned();
            return self.reply(id, Err(Refusal::NotNow(Reason::NotFit { member: self.me.clone(), because })));
        }
        let able = matches!(self.role, Role::Replica | Role::Frozen | Role::Fenced)
            && self.my_spec().is_some_and(|m| m.may_lead());
        if !able {
            let because = format!("it is {} just now, or the specification says that it never leads", self.role);
            return self.reply(id, Err(Refusal::NotNow(Reason::NotFit { member: self.me.clone(), because })));
        }
        if let Some(because) = self.outgrown_because(&self.me) {
            return self.reply(id, Err(Refusal::Unsafe(Reason::NotFit { member: self.me.clone(), because })));
        }
        if self.hears_leading(record.term) && !allow_data_loss {
            let because = format!(
                "{} leads and is well; `dauphin switchover --to {}` hands over without a loss",
                record.leader.name, self.me
            );
            return self.reply(id, Err(Refusal::Unsafe(Reason::NotFit { member: self.me.clone(), because })));
        }
        self.wait_for(id, What::Failover { term: record.term });
        self.start_campaign(Kind::Forced { allow_data_loss }, &record);
    }

    fn ask_restart(&mut self, id: u64) {
        if self.role == Role::Leader {
            // the leader hands over first, and comes back restarted; alone it stops, starts, and is elected again
            let others = self.others();
            if others.iter().any(|n| self.spec.member(n).is_some_and(dauphin_model::MemberSpec::may_lead)) {
                return self.ask_switchover(id, None);
            }
            let term = self.lead.as_ref().map(|l| l.term).unwrap_or_default();
            self.wait_for(id, What::Switchover { term, to: None });
            return self.begin_switchover(None);
        }
        if !matches!(self.role, Role::Replica | Role::Frozen | Role::Fenced) {
            return self.reply(id, Err(Refusal::NotNow(Reason::Busy { with: format!("being {}", self.role) })));
        }
        if !self.record().is_some_and(|r| self.hears_leading(r.term)) {
            let because = "no leader is heard: it could not follow anybody afterwards".to_owned();
            return self.reply(id, Err(Refusal::NotNow(Reason::KeepsRunning { because })));
        }
        self.journal(Reason::Asked { what: "a restart".to_owned() });
        self.wait_for(id, What::Restart { stopped: false });
    }

    fn ask_reinit(&mut self, id: u64) {
        if self.role.leads() {
            let because = "a leader's data is not thrown away; `dauphin switchover` first".to_owned();
            return self.reply(id, Err(Refusal::Unsafe(Reason::NotFit { member: self.me.clone(), because })));
        }
        let open = self.record().is_some_and(|r| r.state == LeadershipState::Open && self.hears_leading(r.term));
        if !open {
            let because = "no open leader is heard, and this copy may be the last that holds something".to_owned();
            return self.reply(id, Err(Refusal::Unsafe(Reason::KeepsData { because })));
        }
        if let Some(leader) = self.record().map(|r| r.leader.name.clone()).filter(|leader| !self.copies_from(leader)) {
            let because =
                format!("files are copied within one series, and {leader} runs another; upgrade all members first");
            return self.reply(id, Err(Refusal::Unsafe(Reason::KeepsData { because })));
        }
        if self.commits_need_us() {
            let because =
                "without this copy too few replicas could hold a commit, and all would wait until it is copied; \
                           bring another replica back first, or set on_shortage = \"degrade\" for that time"
                    .to_owned();
            return self.reply(id, Err(Refusal::Unsafe(Reason::KeepsData { because })));
        }
        self.journal(Reason::Asked { what: "a fresh copy".to_owned() });
        self.wait_for(id, What::Reinit { wiped: false });
    }

    /// Whether the leader could not take this member out of the set: nobody else is left to hold commits.
    fn commits_need_us(&self) -> bool {
        let Some(published) = self.record().map(|r| &r.published) else { return false };
        let others = published.voters.iter().filter(|v| v.name != self.me).count();
        let listed = others < published.voters.len();
        let waits = self.spec.on_shortage == OnShortage::Wait && !published.degraded;
        listed && waits && others < self.spec.required_min() as usize
    }

    fn ask_pause(&mut self, id: u64, paused: bool) {
        let op = self.commit(StoreTxn { paused: Some(paused), ..StoreTxn::default() });
        self.journal(Reason::Paused { paused });
        self.wait_for(id, What::Store { op });
    }

    pub(crate) fn operate_store_result(&mut self, op: OpId, result: StoreResult) {
        let Some(at) = self.pending.iter().position(|p| p.what == What::Store { op }) else { return };
        let id = self.pending.remove(at).id;
        let answer = match result {
            StoreResult::Committed(_) => Ok(None),
            StoreResult::Conflict | StoreResult::Failed | StoreResult::Unknown => {
                let because = match result {
                    StoreResult::Conflict => "somebody changed it meanwhile",
                    StoreResult::Unknown => "nobody knows whether it took the change",
                    StoreResult::Failed | StoreResult::Committed(_) => "most of its members are not there",
                };
                Err(Refusal::NotNow(Reason::StepFailed { step: "store".to_owned(), because: because.to_owned() }))
            }
        };
        self.reply(id, answer);
    }

    /// Whether a restart that a person asked for has the server in hand.
    pub(crate) fn restarting(&mut self) -> bool {
        let Some(at) = self.pending.iter().position(|p| matches!(p.what, What::Restart { stopped: false })) else {
            return false;
        };
        match self.server.run {
            Run::Running | Run::Starting | Run::Hung => {
                if self.engine_idle() {
                    self.engine(EngineStep::Stop);
                }
            }
            Run::Stopped | Run::Crashed => {
                self.pending[at].what = What::Restart { stopped: true };
                return false;
            }
        }
        true
    }

    /// A person's reinit: stop, wait until the set no longer counts on this copy, then give it up.
    fn reinitialize(&mut self, at: usize) {
        match self.server.run {
            Run::Running | Run::Starting | Run::Hung => {
                if self.engine_idle() {
                    self.engine(EngineStep::Stop);
                }
            }
            Run::Stopped | Run::Crashed => {
                let listed = self.record().is_some_and(|r| r.published.voters.iter().any(|v| v.name == self.me));
                if !listed && self.engine.is_none() {
                    self.pending[at].what = What::Reinit { wiped: true };
                    self.give_data_up();
                }
            }
        }
    }

    /// Whether a person's reinit keeps the server down.
    pub(crate) fn reinitializing(&self) -> bool {
        self.pending.iter().any(|p| matches!(p.what, What::Reinit { wiped: false }))
    }

    /// Goes on with what people asked for: called last at every step.
    pub(crate) fn operate(&mut self) {
        let mut at = 0;
        while at < self.pending.len() {
            let pending = self.pending[at].clone();
            let done = match &pending.what {
                What::Switchover { term, .. } | What::Failover { term } => {
                    self.record().is_some_and(|r| r.term > *term && self.lets_clients_in(&r.leader.name))
                }
                What::Restart { stopped } => *stopped && self.role == Role::Replica && self.server.streaming.is_some(),
                What::Reinit { wiped } => {
                    if !wiped && matches!(self.role, Role::Replica | Role::Frozen | Role::Fenced | Role::Quarantined) {
                        self.reinitialize(at);
                    }
                    *wiped && self.role == Role::Replica && self.server.streaming.is_some() && self.server.serves
                }
                What::Store { .. } => false,
            };
            let cancelled = matches!(pending.what, What::Reinit { wiped: false })
                && !self.record().is_some_and(|r| r.state == LeadershipState::Open);
            let patience = match pending.what {
                What::Reinit { wiped: true } => PATIENCE_COPY,
                // the server is down meanwhile, and commits may wait for it
                What::Reinit { wiped: false } => self.spec.profile.suspect().times(LEAVES_SET_WITHIN),
                What::Switchover { .. } | What::Failover { .. } | What::Restart { .. } | What::Store { .. } => PATIENCE,
            };
            if done {
                self.pending.remove(at);
                self.reply(pending.id, self.how_it_ended(&pending.what));
            } else if cancelled {
                // an election is on
                self.pending.remove(at);
                let because = "the leader went away meanwhile, and this copy may be needed".to_owned();
                self.reply(pending.id, Err(Refusal::Unsafe(Reason::KeepsData { because })));
            } else if self.now.since(pending.since) >= patience {
                self.pending.remove(at);
                let what = pending.what.name().to_owned();
                self.reply(pending.id, Err(Refusal::NotNow(Reason::TooSlow { what, after: patience })));
            } else {
                at += 1;
            }
        }
        self.end();
    }

    fn lets_clients_in(&self, leader: &MemberName) -> bool {
        let leading = if *leader == self.me {
            return self.role == Role::Leader && self.lead.as_ref().is_some_and(|l| l.access);
        } else {
            self.beat_of(leader).and_then(|b| b.leading.as_ref())
        };
        leading.is_some_and(|l| {
            l.state == LeadershipState::Open && l.accepting && self.record().is_some_and(|r| r.term == l.term)
        })
    }

    #[allow(clippy::result_large_err)] // made once per command
    fn how_it_ended(&self, what: &What) -> Result<Option<Reason>, Refusal> {
        let leader = self.record().map(|r| r.leader.name.clone());
        let wanted = match what {
            What::Switchover { to, .. } => to.clone(),
            What::Failover { .. } => Some(self.me.clone()),
            What::Restart { .. } | What::Reinit { .. } | What::Store { .. } => None,
        };
        match (wanted, leader) {
            (Some(wanted), Some(leader)) if wanted != leader => {
                let because = format!("{leader} took over instead");
                Err(Refusal::NotNow(Reason::SwitchoverFailed { to: wanted, because }))
            }
            _ => Ok(None),
        }
    }

    /// Answers every switchover that waits.
    pub(crate) fn refuse_pending(&mut self, reason: &Reason) {
        let (gone, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending).into_iter().partition(|p| matches!(p.what, What::Switchover { .. }));
        self.pending = kept;
        for pending in gone {
            self.reply(pending.id, Err(Refusal::NotNow(reason.clone())));
        }
    }

    /// Answers every failover that waits.
    pub(crate) fn refuse_failover(&mut self, reason: Reason) {
        let (gone, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending).into_iter().partition(|p| matches!(p.what, What::Failover { .. }));
        self.pending = kept;
        for pending in gone {
            self.reply(pending.id, Err(Refusal::Unsafe(reason.clone())));
        }
    }

    /// An orderly end: hand over if somebody can take it, stop the server, exit.
    fn end(&mut self) {
        let Some(since) = self.shutting_down else { return };
        let late = self.now.since(since) >= EXIT_PATIENCE;
        if late {
            self.push(Step::Fence);
            self.push(Step::Exit);
            return;
        }
        if self.role == Role::Leader {
            let switching = self.lead.as_ref().is_some_and(|l| l.switchover.is_some());
            if !switching && self.engine_idle() {
                let to = self.best_successor();
                self.begin_switchover(to);
            }
            return;
        }
        let idle = self.engine.is_none();
        match self.server.run {
            Run::Running if idle && self.server.in_recovery == Some(true) => self.engine(EngineStep::Stop),
            Run::Stopped | Run::Crashed if idle => {
                let mine = self.record().is_some_and(|r| r.leader.name == self.me && self.campaign.is_some());
                let heir = self
                    .others()
                    .iter()
                    .any(|n| self.beat_of(n).is_some_and(|b| matches!(b.role, Role::Replica | Role::Frozen)));
                if !(mine && heir) {
                    self.push(Step::Exit);
                }
            }
            Run::Running | Run::Starting | Run::Hung | Run::Stopped | Run::Crashed => {}
        }
    }
}
