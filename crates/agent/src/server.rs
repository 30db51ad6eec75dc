//! The hands on this member's server: carries the core's engine steps out, one at a time, through the engine and the
//! guard. It knows how, never when.

use crate::links::Links;
use crate::mind::Inbox;
use crate::operations::Ask;
use crate::picture::Picture;
use crate::secrets::Secrets;
use crate::setup::GuardStart;
use bytes::Bytes;
use dauphin_engine::postgres::{
    Access, Error, Networks, Postgres, Refusal, ServerCommand, StopMode, SyncMethod, Upstream, clone::Progress,
};
use dauphin_guard::client::{Event as GuardEvent, Guard};
use dauphin_guard::protocol::{OnAgentDeath, StartServer};
use dauphin_ha::{EngineFailure, EngineOutcome, EngineStep, Event};
use dauphin_model::{Durability, Enforced, MemberName, Mono, Spec, Voter};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// How long a server may take to start: it may have to recover a lot of log. The core can fence it sooner.
const START_LIMIT: Duration = Duration::from_secs(3_600);
/// How long a fast stop may take before it becomes an immediate one.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How long stopping to receive and draining may take.
const FREEZE_LIMIT: Duration = Duration::from_secs(5);
/// How long a promotion may take in one attempt.
const PROMOTE_LIMIT: Duration = Duration::from_secs(10);
/// How long running transactions may go on when a switchover closes the server.
const DRAIN_LIMIT: Duration = Duration::from_millis(1_500);
/// How often that is looked at.
const DRAIN_POLL: Duration = Duration::from_millis(5);
/// How long the leader may take to write the checkpoint that a rewind needs.
const CHECKPOINT_WITHIN: Duration = Duration::from_secs(30);
/// How long the guard may take to kill everything.
const KILL_WITHIN: Duration = Duration::from_secs(5);

/// This member's server.
pub(crate) struct Server {
    pub(crate) postgres: Arc<Postgres>,
    pub(crate) networks: Networks,
    pub(crate) secrets: Secrets,
    pub(crate) inbox: Inbox,
    pub(crate) links: Arc<Links>,
    pub(crate) picture: watch::Receiver<Arc<Picture>>,
    pub(crate) runtime: tokio::runtime::Handle,
    /// What pushes the system identifier to the store once it is known.
    pub(crate) system: watch::Sender<Option<u64>>,
    guard: Mutex<Arc<Guard>>,
    guard_start: GuardStart,
    /// The agent ends, and the guard with it.
    ending: AtomicBool,
    /// The guard has a server under it.
    up: AtomicBool,
    /// Grows with every start and end: a look that began in another life is thrown away.
    life: AtomicU64,
    /// The engine step under way.
    task: Mutex<Option<JoinHandle<()>>>,
    /// Held by whoever changes access or runs a step: housekeeping waits for it.
    pub(crate) hand: tokio::sync::Mutex<()>,
    /// How far a copy has come.
    pub(crate) copying: Mutex<Option<Arc<Progress>>>,
    barrier: Mutex<Option<JoinHandle<()>>>,
    /// Whom to follow at the next start: a rewound copy is consistent only once it has received something.
    start_behind: Mutex<Option<Upstream>>,
    /// The cluster that this process began: its data may be thrown away if another member's became the cluster.
    begun: Mutex<Option<u64>>,
    /// When it was given other settings.
    changed: Mutex<Option<Instant>>,
}

pub(crate) struct Parts {
    pub(crate) postgres: Arc<Postgres>,
    pub(crate) networks: Networks,
    pub(crate) secrets: Secrets,
    pub(crate) inbox: Inbox,
    pub(crate) links: Arc<Links>,
    pub(crate) picture: watch::Receiver<Arc<Picture>>,
    pub(crate) system: watch::Sender<Option<u64>>,
    pub(crate) guard_start: GuardStart,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the core is told of an error. Only a server that ended by itself, or data marked as unfinished, blames the data.
fn failure(error: &Error) -> EngineFailure {
    let bad_data = matches!(error, Error::NotRunning { .. } | Error::Refused(_));
    EngineFailure { because: error.to_string(), bad_data }
}

impl Server {
    pub(crate) fn new(parts: Parts, guard: Guard, events: mpsc::Receiver<GuardEvent>) -> Arc<Self> {
        let up = guard.adopted().server_pid.is_some();
        let server = Arc::new(Self {
            postgres: parts.postgres,
            networks: parts.networks,
            secrets: parts.secrets,
            inbox: parts.inbox,
            links: parts.links,
            picture: parts.picture,
            runtime: tokio::runtime::Handle::current(),
            system: parts.system,
            guard: Mutex::new(Arc::new(guard)),
            guard_start: parts.guard_start,
            ending: AtomicBool::new(false),
            up: AtomicBool::new(up),
            life: AtomicU64::new(0),
            task: Mutex::new(None),
            hand: tokio::sync::Mutex::new(()),
            copying: Mutex::new(None),
            barrier: Mutex::new(None),
            start_behind: Mutex::new(None),
            begun: Mutex::new(None),
            changed: Mutex::new(None),
        });
        tokio::spawn(Arc::clone(&server).hear_guard(events));
        server
    }

    pub(crate) fn guard(&self) -> Arc<Guard> {
        Arc::clone(&lock(&self.guard))
    }

    /// Whether the guard has a server, and which life it is in.
    pub(crate) fn life(&self) -> (bool, u64) {
        (self.up.load(Ordering::Acquire), self.life.load(Ordering::Acquire))
    }

    async fn hear_guard(self: Arc<Self>, mut events: mpsc::Receiver<GuardEvent>) {
        loop {
            match events.recv().await {
                Some(GuardEvent::Exited(exit)) => {
                    tracing::info!(%exit, "the server ended");
                    self.ended();
                }
                Some(GuardEvent::DeadlinePassed { killed, .. }) => {
                    tracing::warn!(processes = killed.processes, "the guard killed the server: the lease ran out");
                }
                Some(GuardEvent::Gone) | None if self.ending.load(Ordering::Acquire) => return,
                Some(GuardEvent::Gone) | None => match self.replace_guard().await {
                    Ok(next) => events = next,
                    Err(error) => {
                        tracing::error!(%error, "no guard can be started; the server stays fenced");
                        tokio::time::sleep(KILL_WITHIN).await;
                        events = mpsc::channel(1).1;
                    }
                },
            }
        }
    }

    fn ended(&self) {
        self.up.store(false, Ordering::Release);
        self.life.fetch_add(1, Ordering::AcqRel);
        if let Some(barrier) = lock(&self.barrier).take() {
            barrier.abort();
        }
        self.inbox.tell(Event::ServerExited);
        let postgres = Arc::clone(&self.postgres);
        self.runtime.spawn(async move { postgres.forget_connections().await });
    }

    /// The guard died: what it guarded is fenced, and another one takes its place.
    async fn replace_guard(&self) -> Result<mpsc::Receiver<GuardEvent>, crate::AgentError> {
        tracing::warn!("the guard is gone: fencing the server and starting another one");
        let (data_dir, program) =
            (self.postgres.instance.data_dir.clone(), self.postgres.instance.bin.program("postgres"));
        if self.postgres.instance.has_data() {
            let fenced = tokio::task::spawn_blocking(move || dauphin_guard::orphan::fence(&data_dir, &program)).await;
            if let Ok(result) = fenced {
                result?;
            }
        }
        self.ended();
        let (guard, events) = self.guard_start.connect().await?;
        *lock(&self.guard) = Arc::new(guard);
        Ok(events)
    }

    /// Kills the server's whole tree, whatever else is under way.
    pub(crate) fn fence(self: &Arc<Self>) {
        if let Some(task) = lock(&self.task).take()
            && !task.is_finished()
        {
            task.abort();
            self.inbox.tell(Event::Engine(Err(EngineFailure::new("the server was fenced meanwhile"))));
        }
        let server = Arc::clone(self);
        self.runtime.spawn(async move {
            if let Err(error) = server.guard().kill().await {
                tracing::error!(%error, "the guard did not kill the server; killing it by its data directory");
                if let Err(error) = server.postgres.instance.stop(StopMode::Kill, KILL_WITHIN).await {
                    tracing::error!(%error, "the server could not be killed");
                    return;
                }
            }
            server.ended();
        });
    }

    /// It has other settings from now on.
    pub(crate) fn note_change(&self) {
        *lock(&self.changed) = Some(Instant::now());
    }

    /// Whether it was given other settings within this time.
    pub(crate) fn changed_lately(&self, within: Duration) -> bool {
        lock(&self.changed).is_some_and(|at| at.elapsed() < within)
    }

    /// Ends the guard; its server is down already.
    pub(crate) async fn end_guard(&self) {
        self.ending.store(true, Ordering::Release);
        if let Err(error) = self.guard().shutdown().await {
            tracing::debug!(%error, "the guard stays");
        }
    }

    /// Moves the guard's deadline. Never waits.
    pub(crate) fn deadline(&self, deadline: Option<Mono>) {
        let on_death = if deadline.is_some() { OnAgentDeath::KillNow } else { OnAgentDeath::Keep };
        if let Err(error) = self.guard().deadline(deadline, on_death) {
            tracing::warn!(%error, "the guard did not take the deadline");
        }
    }

    /// Begins an engine step; its end comes as an event.
    pub(crate) fn begin(self: &Arc<Self>, step: EngineStep) {
        let server = Arc::clone(self);
        let task = self.runtime.spawn(async move {
            let begun = Instant::now();
            let name = step.name();
            let hand = server.hand.lock().await;
            let result = server.carry_out(step).await;
            drop(hand);
            let ms = begun.elapsed().as_millis();
            match &result {
                Ok(_) => tracing::info!(step = name, ms, "done"),
                Err(error) => tracing::warn!(step = name, ms, %error, "failed"),
            }
            *lock(&server.task) = None;
            server.inbox.tell(Event::Engine(result.map_err(|error| failure(&error))));
        });
        *lock(&self.task) = Some(task);
    }

    async fn carry_out(self: &Arc<Self>, step: EngineStep) -> Result<EngineOutcome, Error> {
        let postgres = &self.postgres;
        match step {
            EngineStep::Bootstrap { timeline } => self.bootstrap(timeline).await,
            EngineStep::StartDetached => self.start().await,
            EngineStep::Stop => self.stop().await,
            EngineStep::Freeze => postgres.freeze(FREEZE_LIMIT).await.map(|f| EngineOutcome::Frozen(f.position)),
            EngineStep::Follow { upstream, voter } => {
                postgres.follow(&self.upstream(&upstream, &voter, true)?).await.map(|()| EngineOutcome::Done)
            }
            EngineStep::Promote { timeline, .. } => {
                if postgres.instance.written_access()? != Some(Access::Closed) {
                    postgres.set_access(Access::Closed, &self.networks).await?;
                }
                postgres.promote(timeline, PROMOTE_LIMIT).await.map(EngineOutcome::Promoted)
            }
            EngineStep::StartBarrier { term, serial, enforced } => self.start_barrier(term, serial, &enforced).await,
            EngineStep::SetSync { enforced } => {
                postgres.confirm_sync(&enforced, self.method()).await?;
                let view = postgres.look(FREEZE_LIMIT).await;
                let lsn = view.position.map(|p| p.lsn).ok_or(Error::PositionUnknown("the server did not say"))?;
                Ok(EngineOutcome::SyncSet(lsn))
            }
            EngineStep::OpenAccess => {
                postgres.set_access(Access::Open, &self.networks).await.map(|()| EngineOutcome::Done)
            }
            EngineStep::CloseAccess => {
                self.drain().await;
                postgres.set_access(Access::Closed, &self.networks).await.map(|()| EngineOutcome::Done)
            }
            EngineStep::Clone { from, voter } => self.copy_from(&from, &voter).await,
            EngineStep::Rewind { from } => self.rewind(&from).await,
        }
    }

    fn spec(&self) -> Spec {
        self.picture.borrow().spec.clone()
    }

    fn method(&self) -> SyncMethod {
        match self.picture.borrow().spec.durability {
            Durability::Sync => SyncMethod::First,
            Durability::Async | Durability::Quorum => SyncMethod::Any,
        }
    }

    pub(crate) fn upstream(&self, name: &MemberName, voter: &Voter, slot: bool) -> Result<Upstream, Error> {
        let spec = self.spec();
        let member = spec.member(name).ok_or(Error::PositionUnknown("the specification does not name the upstream"))?;
        let application_name = voter.application_name();
        Ok(Upstream {
            host: member.host.clone(),
            port: member.sql_port,
            slot: slot.then(|| application_name.clone()),
            application_name,
            tls: spec.postgres.sql_tls,
        })
    }

    async fn start(&self) -> Result<EngineOutcome, Error> {
        let behind = lock(&self.start_behind).clone();
        if let Some(upstream) = &behind {
            match self.postgres.follow(upstream).await {
                // the file is written; the server reads it when it starts
                Ok(()) | Err(Error::NotRunning { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let command = self.postgres.prepare_start(&self.networks, &self.secrets.credentials, behind.is_some()).await?;
        self.spawn(command).await?;
        self.postgres.wait_ready(START_LIMIT).await?;
        *lock(&self.start_behind) = None;
        Ok(EngineOutcome::Done)
    }

    async fn spawn(&self, command: ServerCommand) -> Result<(), Error> {
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        let start = StartServer {
            program: command.program,
            args: command.args.into_iter().map(text).collect(),
            env: command.env.into_iter().map(|(k, v)| (text(k), text(v))).collect(),
            cwd: command.cwd,
            stderr_path: command.stderr_path,
        };
        let refused = |error: dauphin_guard::GuardError| Error::Guard(error.to_string());
        self.guard().start(start).await.map_err(refused)?;
        self.life.fetch_add(1, Ordering::AcqRel);
        self.up.store(true, Ordering::Release);
        Ok(())
    }

    async fn stop(&self) -> Result<EngineOutcome, Error> {
        let mode = self.postgres.instance.stop(StopMode::Fast, STOP_PATIENCE).await?;
        if mode > StopMode::Fast {
            return Ok(EngineOutcome::Stopped(None));
        }
        let position = self.postgres.instance.stopped_position().await.ok();
        Ok(EngineOutcome::Stopped(position))
    }

    async fn bootstrap(&self, timeline: dauphin_model::Timeline) -> Result<EngineOutcome, Error> {
        let instance = &self.postgres.instance;
        if !instance.has_data() || !self.life().0 {
            instance.wipe()?;
            let system = instance.initdb(&self.spec().postgres.locale).await?;
            *lock(&self.begun) = Some(system);
            self.system.send_replace(Some(system));
            self.start().await?;
        }
        self.postgres.promote(timeline, PROMOTE_LIMIT).await?;
        // nobody is there to wait for yet, and nobody but us is let in
        self.postgres.set_sync(&Enforced::default(), self.method()).await?;
        self.postgres.ensure_roles(&self.secrets.credentials).await?;
        if let Some(secret) = &self.secrets.admin {
            self.postgres.ensure_admin("admin", secret).await?;
        }
        if let Some(secret) = &self.secrets.app {
            self.postgres.ensure_app("app", "app", secret).await?;
        }
        Ok(EngineOutcome::Done)
    }

    async fn start_barrier(
        self: &Arc<Self>,
        term: dauphin_model::Term,
        serial: u64,
        enforced: &Enforced,
    ) -> Result<EngineOutcome, Error> {
        if let Some(old) = lock(&self.barrier).take() {
            old.abort();
        }
        let mut voters: Vec<Voter> = self.picture.borrow().voters().into_iter().collect();
        voters.extend(enforced.voters.iter().cloned());
        voters.sort();
        voters.dedup();
        self.postgres.ensure_slots(&voters).await?;
        let probe = self.postgres.start_barrier(term, enforced, self.method()).await?;
        let inbox = self.inbox.clone();
        let waits = self.runtime.spawn(async move {
            let result = probe.done().await;
            if let Err(error) = &result {
                tracing::warn!(%error, "the barrier's wait was cut");
            }
            inbox.tell(Event::BarrierPassed { serial, ok: result.is_ok() });
        });
        *lock(&self.barrier) = Some(waits);
        Ok(EngineOutcome::Done)
    }

    /// Lets running transactions end; the proxy holds new ones back.
    async fn drain(&self) {
        let until = Instant::now() + DRAIN_LIMIT;
        while Instant::now() < until {
            match self.postgres.busy_clients().await {
                Ok(0) => return,
                Ok(_) => tokio::time::sleep(DRAIN_POLL).await,
                Err(error) => {
                    tracing::debug!(%error, "running transactions could not be counted");
                    return;
                }
            }
        }
    }

    async fn copy_from(&self, from: &MemberName, voter: &Voter) -> Result<EngineOutcome, Error> {
        let instance = &self.postgres.instance;
        let system = *self.system.borrow();
        let upstream = self.upstream(from, voter, true)?;
        let progress: Arc<Progress> = Arc::default();
        *lock(&self.copying) = Some(Arc::clone(&progress));
        let settings = self.postgres.settings().await;
        if let (true, Some(expected)) = (instance.has_data(), system)
            && let Err(Error::Refused(refusal @ Refusal::System { found, .. })) = instance.check_data(Some(expected))
            && *lock(&self.begun) != Some(found)
        {
            // somebody put another cluster's data here meanwhile: not ours to throw away
            return Err(refusal.into());
        }
        instance.wipe()?;
        let source = Upstream { slot: None, ..upstream.clone() };
        let copied = instance.clone_from(&source, &settings, &self.secrets.credentials, system, progress).await;
        *lock(&self.copying) = None;
        copied?;
        *lock(&self.start_behind) = Some(upstream);
        Ok(EngineOutcome::Done)
    }

    async fn rewind(&self, from: &MemberName) -> Result<EngineOutcome, Error> {
        let instance = &self.postgres.instance;
        let (theirs, voter, term) = {
            let picture = self.picture.borrow();
            let theirs = picture.beat_of(from).and_then(|b| b.position.clone());
            let term = picture.store.leadership.as_ref().map(|r| r.term).unwrap_or_default();
            (theirs, Voter::new(picture.me.clone(), picture.durable.incarnation), term)
        };
        let theirs = theirs.ok_or(Error::PositionUnknown("the leader's position is not known"))?;
        // pg_rewind believes a leader's timeline only after its first checkpoint
        let body = Bytes::from(serde_json::to_vec(&Ask::Checkpoint).unwrap_or_default());
        if let Err(error) = self.links.ask(from, body, CHECKPOINT_WITHIN).await {
            tracing::warn!(%error, %from, "the leader did not say that it wrote a checkpoint");
        }
        let upstream = self.upstream(from, &voter, true)?;
        let settings = self.postgres.settings().await;
        let cut = instance.rewind(&upstream, &theirs, &settings, &self.secrets.credentials, term).await?;
        if let Some(cut) = cut {
            tracing::info!(from = %cut.from, to = %cut.to, timeline = %cut.timeline, folder = %cut.folder.display(),
                "what the new leader does not hold was archived and cut off");
        }
        *lock(&self.start_behind) = Some(upstream);
        Ok(EngineOutcome::Done)
    }
}
