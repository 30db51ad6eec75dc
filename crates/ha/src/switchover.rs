//! A planned change of leader: drain, close, stop in order, hand over by an election that the old leader runs itself.
//! The same safety checks as a failover; a client that is idle at the time sees nothing.

use crate::core::Core;
use crate::elect::{Answer, Kind};
use crate::reason::Reason;
use crate::roles::Role;
use crate::step::{EngineStep, Intent, IntentKind, Step, StoreTxn};
use dauphin_model::{MemberName, Mono, Position, Run};

/// A switchover under way on the leader.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Switchover {
    pub(crate) to: Option<MemberName>,
    pub(crate) since: Mono,
    closed: bool,
}

/// How far a target may be behind for a switchover to begin: 16 MiB, one segment of the log.
const BEHIND_BYTES_MAX: u64 = 16 * 1024 * 1024;

impl Core {
    /// Why a member cannot take over just now.
    pub(crate) fn unfit(&self, name: &MemberName) -> Option<String> {
        let Some(member) = self.spec.member(name) else {
            return Some("there is no such member; `dauphin status` lists them".to_owned());
        };
        if *name == self.me {
            return Some("it leads already".to_owned());
        }
        if !member.may_lead() {
            return Some(
                "the specification says that it never leads (never_leader, reporting, delay or witness)".to_owned(),
            );
        }
        let Some(beat) = self.beat_of(name) else { return Some("nothing is heard of it".to_owned()) };
        if let Some(because) = self.outgrown_because(name) {
            return Some(because);
        }
        if beat.run != Run::Running {
            return Some("its server does not run".to_owned());
        }
        let ours = self.server.position.as_ref()?.lsn.0;
        let attached = self.server.attached.iter().find(|a| a.voter.as_ref().is_some_and(|v| v.name == *name));
        let Some(flush) = attached.filter(|a| a.state == "streaming").and_then(|a| a.flush) else {
            return Some("it does not stream from the leader".to_owned());
        };
        let behind = ours.saturating_sub(flush.0);
        (behind > BEHIND_BYTES_MAX).then(|| format!("it is {behind} bytes behind; wait until it is closer"))
    }

    /// The best member to hand over to.
    pub(crate) fn best_successor(&self) -> Option<MemberName> {
        let record = self.record()?;
        let mut fit: Vec<_> = self
            .others()
            .into_iter()
            .filter(|n| self.unfit(n).is_none())
            .map(|n| {
                let voter = record.published.voters.iter().any(|v| v.name == n);
                let priority = self.spec.member(&n).map_or(0, |m| m.priority);
                (std::cmp::Reverse((voter, priority)), n)
            })
            .collect();
        fit.sort();
        fit.into_iter().next().map(|(_, n)| n)
    }

    /// Begins on an open leader.
    pub(crate) fn begin_switchover(&mut self, to: Option<MemberName>) {
        let name = to.clone().unwrap_or_else(|| self.me.clone());
        // told to everybody, and to whoever has to finish it without us; nothing waits for it
        let intent = Intent { kind: IntentKind::Switchover, to: to.clone() };
        self.commit(StoreTxn {
            expect_leadership: Some(self.store.leadership_rev),
            intent: Some(Some(intent)),
            ..StoreTxn::default()
        });
        let now = self.now;
        if let Some(lead) = &mut self.lead {
            lead.switchover = Some(Switchover { to, since: now, closed: false });
            self.journal(Reason::SwitchoverStarted { to: name });
        }
    }

    /// One step further: close, then stop.
    pub(crate) fn while_switching_over(&mut self) {
        let Some(switchover) = self.lead.as_ref().and_then(|l| l.switchover.clone()) else { return };
        if !self.engine_idle() {
            return;
        }
        if let (Some(to), false) = (&switchover.to, switchover.closed)
            && let Some(because) = self.unfit(to)
        {
            return self.cancel_switchover(&because);
        }
        if switchover.closed {
            self.engine(EngineStep::Stop);
        } else {
            if let Some(lead) = &mut self.lead {
                // however the step ends, clients may be out: if nothing comes of it, they are let in again
                lead.access = false;
            }
            self.engine(EngineStep::CloseAccess);
        }
    }

    pub(crate) fn access_closed(&mut self) {
        if let Some(switchover) = self.lead.as_mut().and_then(|l| l.switchover.as_mut()) {
            switchover.closed = true;
        }
    }

    /// Back to normal: access is opened again, and the intent taken back, by the leader's turn.
    fn cancel_switchover(&mut self, because: &str) {
        let Some(switchover) = self.lead.as_mut().and_then(|l| l.switchover.take()) else { return };
        let to = switchover.to.unwrap_or_else(|| self.me.clone());
        let reason = Reason::SwitchoverFailed { to, because: because.to_owned() };
        self.journal(reason.clone());
        self.shutting_down = None;
        self.refuse_pending(&reason);
    }

    pub(crate) fn switchover_failed(&mut self, step: &EngineStep, because: &str) {
        if self.lead.as_ref().is_some_and(|l| l.switchover.is_some()) && matches!(step, EngineStep::CloseAccess) {
            self.cancel_switchover(because);
        }
    }

    /// The server stopped in order. If we led, we hold everything, and run the election ourselves.
    pub(crate) fn stopped(&mut self, position: Option<Position>) {
        let Some(lead) = self.lead.clone() else { return };
        let to = lead.switchover.as_ref().and_then(|s| s.to.clone());
        self.push(Step::Deadline(None));
        self.step_down();
        self.handing_over_since = Some(self.now);
        let (Some(record), Some(position)) = (self.record().cloned(), position) else { return };
        self.start_campaign(Kind::HandOver(to), &record);
        let voter = self.voter();
        if let Some(campaign) = &mut self.campaign {
            campaign.answer(voter, Answer { position, holder: true, stray: false });
        }
        self.freezing = None;
    }

    /// Whether we gave leadership up on purpose and still run the election for it.
    pub(crate) fn hands_over(&self) -> bool {
        self.role == Role::Fenced
            && self.handing_over_since.is_some_and(|since| self.now.since(since) < self.spec.profile.suspect())
            && self.campaign.is_some()
    }
}
