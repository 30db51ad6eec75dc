//! The member's mind: what it knows, and the order in which it thinks. Fed with events, it answers with steps.
//! The rules themselves stand in the modules beside it; nothing here does I/O.

use crate::elect::{Answer, Campaign};
use crate::event::{Copying, EngineFailure, EngineOutcome, Event, StoreResult, StoreView};
use crate::follow::Following;
use crate::freeze::{CatchingUp, Freezing};
use crate::gone::GoneSince;
use crate::lead::Lead;
use crate::message::{Beat, Message};
use crate::operate::Pending;
use crate::reason::Reason;
use crate::roles::{Cause, Role};
use crate::step::{Durable, EngineStep, OpId, Step};
use crate::variant::Variant;
use dauphin_model::{LeadershipState, MemberName, Mono, Position, Run, ServerView, Span, Spec, Term};
use std::collections::BTreeMap;

/// What is known of another member.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Peer {
    /// When its last beat came.
    pub heard: Option<Mono>,
    /// That beat.
    pub beat: Option<Beat>,
    /// Both its ports refused since then.
    pub refused: bool,
}

/// An engine step that has not ended yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StepUnderWay {
    /// Which.
    pub step: EngineStep,
    /// Since when.
    pub since: Mono,
    /// It was cut off by a fence, and its end is yet to be told.
    pub cut: bool,
}

/// One member's decisions. A copy goes its own way: the explorer follows many.
#[derive(Debug, Clone, Hash)]
pub struct Core {
    pub(crate) me: MemberName,
    pub(crate) spec: Spec,
    pub(crate) durable: Durable,
    /// What is known to be on the disk.
    pub(crate) saved: Durable,
    saving: Option<Durable>,
    /// No attempt to save before this moment: the last one failed. Zero while all is well.
    save_rest: Mono,
    pub(crate) store: StoreView,
    /// The store was seen since the start.
    pub(crate) store_seen: bool,
    pub(crate) peers: BTreeMap<MemberName, Peer>,
    pub(crate) server: ServerView,
    pub(crate) server_hung_since: Option<Mono>,
    pub(crate) has_data: bool,
    pub(crate) role: Role,
    pub(crate) engine: Option<StepUnderWay>,
    /// What the server said last of its start, and since when.
    pub(crate) starting: Option<(Option<String>, Mono)>,
    /// How far the copy under way has come.
    pub(crate) copying: Option<Copying>,
    /// No engine step before this moment: the last one failed.
    pub(crate) engine_rest: Mono,
    pub(crate) failures: u32,
    /// Starts in a row that the server itself refused.
    pub(crate) bad_starts: u32,
    pub(crate) frozen_at: Option<Position>,
    /// Beside that the log holds what no leadership wrote.
    pub(crate) frozen_stray: bool,
    pub(crate) freezing: Option<Freezing>,
    pub(crate) catching_up: Option<CatchingUp>,
    /// The engine step under way follows another frozen member, not a leader.
    pub(crate) follows_to_catch_up: bool,
    pub(crate) following: Option<Following>,
    /// The last term in which the server was started anew to make its recovery aim at the leader's timeline.
    pub(crate) aimed_anew: Option<Term>,
    /// The last term in which it was told that its leader's series is in the way.
    pub(crate) told_series: Option<Term>,
    /// How often in a row nothing streamed from a member that does not lead.
    pub(crate) cascade_stood: u32,
    /// Until then it receives from the leader itself.
    pub(crate) direct_until: Mono,
    pub(crate) campaign: Option<Campaign>,
    pub(crate) campaign_rest: Mono,
    /// Since when the record's leader is believed gone.
    pub(crate) gone: Option<GoneSince>,
    pub(crate) lead: Option<Lead>,
    /// Since when the record is of this term and state.
    pub(crate) record_since: Option<(Term, LeadershipState, Mono)>,
    /// The last term of which it was told that its winner, this member, cannot lead yet.
    pub(crate) waits_as_winner: Option<Term>,
    pub(crate) pending: Vec<Pending>,
    pub(crate) shutting_down: Option<Mono>,
    pub(crate) handing_over_since: Option<Mono>,
    /// Since when we led and do not any more.
    pub(crate) deposed_since: Option<Mono>,
    pub(crate) booted: Mono,
    pub(crate) now: Mono,
    pub(crate) last_beat: Option<(Mono, Beat)>,
    pub(crate) next_op: u64,
    pub(crate) steps: Vec<Step>,
    variant: Option<Variant>,
}

/// Most commands that wait for their end at once; one more is refused.
pub(crate) const PENDING_MAX: usize = 8;
/// How long a member rests after a failed step, times the number of failures in a row (up to eight).
const REST: Span = Span::ms(250);
/// How long a member rests before it tries again to write its notes.
const SAVE_REST: Span = Span::ms(500);

impl Core {
    /// A member that just started. `has_data`: its data directory is not empty; `server`: what runs there already.
    #[must_use]
    pub fn new(me: MemberName, spec: Spec, durable: Durable, has_data: bool, server: ServerView, now: Mono) -> Self {
        Self {
            me,
            spec,
            saved: durable.clone(),
            durable,
            saving: None,
            save_rest: Mono::default(),
            store: StoreView::default(),
            store_seen: false,
            peers: BTreeMap::new(),
            server,
            server_hung_since: None,
            has_data,
            role: Role::Boot,
            engine: None,
            starting: None,
            copying: None,
            engine_rest: Mono::default(),
            failures: 0,
            bad_starts: 0,
            frozen_at: None,
            frozen_stray: false,
            freezing: None,
            catching_up: None,
            follows_to_catch_up: false,
            following: None,
            aimed_anew: None,
            told_series: None,
            cascade_stood: 0,
            direct_until: Mono(0),
            campaign: None,
            campaign_rest: Mono::default(),
            gone: None,
            lead: None,
            record_since: None,
            waits_as_winner: None,
            pending: Vec::new(),
            shutting_down: None,
            handing_over_since: None,
            deposed_since: None,
            booted: now,
            now,
            last_beat: None,
            next_op: 0,
            steps: Vec::new(),
            variant: None,
        }
    }

    /// The same with one rule broken, for the simulator.
    #[cfg(feature = "variants")]
    #[must_use]
    pub fn broken_by(mut self, variant: Option<Variant>) -> Self {
        self.variant = variant;
        self
    }

    /// Whether that rule is broken here; never outside tests.
    pub(crate) fn broken(&self, variant: Variant) -> bool {
        cfg!(feature = "variants") && self.variant == Some(variant)
    }

    pub(crate) fn variant(&self) -> Option<Variant> {
        if cfg!(feature = "variants") { self.variant } else { None }
    }

    /// Takes in what happened and says what to do about it.
    pub fn step(&mut self, now: Mono, event: Event) -> Vec<Step> {
        self.now = self.now.max(now);
        self.take_in(event);
        self.decide();
        self.save();
        self.beat();
        std::mem::take(&mut self.steps)
    }

    fn take_in(&mut self, event: Event) {
        match event {
            Event::Tick => {}
            Event::Store(view) => self.on_store(*view),
            Event::StoreResult { op, result } => self.on_store_result(op, result),
            Event::Message { from, message } => self.on_message(&from, *message),
            Event::Refused { member } => self.peers.entry(member).or_default().refused = true,
            Event::Server(view) => self.on_server(*view),
            Event::ServerExited => {
                let asked =
                    matches!(self.engine.as_ref().map(|e| &e.step), Some(EngineStep::Stop | EngineStep::Rewind { .. }));
                self.server.run = if asked { Run::Stopped } else { Run::Crashed };
                self.server.streaming = None;
                self.server.attached.clear();
                self.server.away.clear();
            }
            Event::Engine(result) => self.on_engine(result),
            Event::Copying(copying) => {
                let copies = matches!(self.engine.as_ref().map(|e| &e.step), Some(EngineStep::Clone { .. }));
                self.copying = copies.then_some(copying);
            }
            Event::BarrierPassed { serial, ok } => self.on_barrier(serial, ok),
            Event::Saved => {
                self.save_rest = Mono::default();
                if let Some(saved) = self.saving.take() {
                    self.saved = saved;
                }
            }
            Event::SaveFailed { because } => {
                // nothing that depends on it happens meanwhile
                self.saving = None;
                if self.save_rest == Mono::default() {
                    self.journal(Reason::StepFailed { step: "save".to_owned(), because });
                }
                self.save_rest = self.now + SAVE_REST;
            }
            Event::Command { id, command } => self.on_command(id, command),
            Event::Shutdown => {
                self.shutting_down.get_or_insert(self.now);
            }
        }
    }

    fn decide(&mut self) {
        self.notice_store();
        self.lead_or_fence();
        match self.role {
            Role::Boot => self.boot(),
            Role::Empty => self.while_empty(),
            Role::Cloning => self.while_cloning(),
            Role::Replica => self.while_replica(),
            Role::Frozen => self.while_frozen(),
            Role::Winner => self.while_winner(),
            Role::Leader => self.while_leader(),
            Role::Fenced => self.while_fenced(),
            Role::Rejoining => self.while_rejoining(),
            Role::Quarantined | Role::Witness => {}
        }
        self.answer_freeze();
        self.catch_up();
        self.elect();
        self.operate();
    }

    fn on_message(&mut self, from: &MemberName, message: Message) {
        if self.spec.member(from).is_none() {
            return;
        }
        match message {
            Message::Beat(beat) => {
                let peer = self.peers.entry(from.clone()).or_default();
                *peer = Peer { heard: Some(self.now), beat: Some(*beat), refused: false };
            }
            Message::PreVote { term } => self.on_pre_vote(from, term),
            Message::PreVoteReply { term, agree } => self.on_pre_vote_reply(from, term, agree),
            Message::Freeze { term } => self.on_freeze(from, term),
            Message::Frozen { term, voter, position, set_version, holder, stray } => {
                if voter.name == *from {
                    self.on_frozen(term, voter, Answer { position, holder, stray }, set_version);
                }
            }
            Message::FreezeRefused { term, pledge, alive } => self.on_freeze_refused(from, term, pledge, alive),
            Message::CatchUp { term, from: upstream, until } => self.on_catch_up(from, term, upstream, until),
        }
    }

    fn on_server(&mut self, view: ServerView) {
        self.server_hung_since = match view.run {
            Run::Hung => self.server_hung_since.or(Some(self.now)),
            Run::Stopped | Run::Starting | Run::Running | Run::Crashed => None,
        };
        let (progress, now) = (view.progress.clone(), self.now);
        self.starting = match (view.run, self.starting.take()) {
            (Run::Starting, Some((before, since))) if before.is_some() && before == progress => Some((before, since)),
            (Run::Starting, _) => Some((progress, now)),
            // one look that got no answer says nothing of it
            (Run::Hung, before) => before,
            (Run::Running | Run::Stopped | Run::Crashed, _) => None,
        };
        self.server = view;
    }

    fn on_engine(&mut self, result: Result<EngineOutcome, EngineFailure>) {
        let Some(StepUnderWay { step, .. }) = self.engine.take() else { return };
        self.copying = None;
        match result {
            Ok(outcome) => {
                self.failures = 0;
                self.bad_starts = 0;
                self.engine_done(step, outcome);
            }
            Err(EngineFailure { because, bad_data }) => {
                if bad_data && matches!(step, EngineStep::StartDetached | EngineStep::StartBehind { .. }) {
                    self.bad_starts = self.bad_starts.saturating_add(1);
                }
                self.failures = self.failures.saturating_add(1);
                self.engine_rest = self.now + REST.times(u64::from(self.failures.min(8)));
                // what fails again and again must not fill the journal
                if self.failures.is_power_of_two() {
                    self.journal(Reason::StepFailed { step: step.name().to_owned(), because: because.clone() });
                }
                self.engine_failed(&step, &because, bad_data);
            }
        }
    }

    fn engine_done(&mut self, step: EngineStep, outcome: EngineOutcome) {
        match (step, outcome) {
            (EngineStep::Freeze, EngineOutcome::Frozen { position, stray }) => {
                self.server.streaming = None;
                // all of it is looked at again
                self.server.position = (!stray).then(|| position.clone());
                self.frozen_at = Some(position);
                self.frozen_stray = stray;
            }
            (EngineStep::Stop, EngineOutcome::Stopped(position)) => {
                self.server.run = Run::Stopped;
                self.server.streaming = None;
                self.stopped(position);
            }
            (EngineStep::StartDetached | EngineStep::StartBehind { .. }, _) => {
                // it took connections: its data is consistent
                self.durable.needs = None;
                self.server.run = Run::Starting;
            }
            (EngineStep::Follow { upstream, voter }, _) => self.followed(upstream, voter),
            (EngineStep::Clone { .. } | EngineStep::Rewind { .. }, EngineOutcome::Copied { needs }) => {
                self.copied(needs)
            }
            (step, outcome) => self.led(step, outcome),
        }
    }

    fn engine_failed(&mut self, step: &EngineStep, because: &str, bad_data: bool) {
        match step {
            // another version, another cluster: trying again changes nothing
            EngineStep::Clone { .. } if bad_data => {
                self.journal(Reason::Quarantined { because: because.to_owned() });
                self.change(Cause::GiveUp);
            }
            EngineStep::Clone { .. } => self.change(Cause::Retry),
            EngineStep::Rewind { .. } if bad_data => self.cannot_rewind(because),
            // the leader did not answer, or was not ready: nothing was changed here, and it is tried again
            EngineStep::Rewind { .. } => self.durable.half_done = false,
            EngineStep::Bootstrap { .. }
            | EngineStep::StartDetached
            | EngineStep::StartBehind { .. }
            | EngineStep::Stop
            | EngineStep::Freeze
            | EngineStep::Follow { .. }
            | EngineStep::Promote { .. }
            | EngineStep::StartBarrier { .. }
            | EngineStep::SetSync { .. }
            | EngineStep::OpenAccess
            | EngineStep::CloseAccess => self.lead_failed(step, because),
        }
    }

    fn on_store_result(&mut self, op: OpId, result: StoreResult) {
        self.lead_store_result(op, result);
        self.campaign_store_result(op, result);
        self.operate_store_result(op, result);
    }

    fn save(&mut self) {
        if self.saving.is_none() && self.saved != self.durable && self.now >= self.save_rest {
            self.saving = Some(self.durable.clone());
            self.steps.push(Step::Save(self.durable.clone()));
        }
    }
}
