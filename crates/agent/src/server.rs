//! The hands on this member's server: carries the core's engine steps out, one at a time, through the engine and the
//! guard. It knows how, never when.

use crate::engine::{Access, Cut, Engine, Error};
use crate::failpoint::{self, Side};
use crate::lengths::Lengths;
use crate::links::Links;
use crate::lives::Lives;
use crate::mind::Inbox;
use crate::picture::Picture;
use crate::proxies::Proxies;
use crate::setup::GuardStart;
use dauphin_guard::client::{Event as GuardEvent, Guard, GuardError};
use dauphin_guard::protocol::OnAgentDeath;
use dauphin_ha::{EngineFailure, EngineStep, Event};
use dauphin_model::Mono;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// How often the guard is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(1);
/// Questions in a row that it may leave unanswered.
const SILENT_MAX: u32 = 2;
/// How long the guard may take to kill everything.
const KILL_WITHIN: Duration = Duration::from_secs(5);

/// This member's server.
pub(crate) struct Server {
    pub(crate) engine: Arc<Engine>,
    pub(crate) inbox: Inbox,
    pub(crate) links: Arc<Links>,
    pub(crate) picture: watch::Receiver<Arc<Picture>>,
    pub(crate) runtime: tokio::runtime::Handle,
    /// What pushes the system identifier to the store once it is known.
    pub(crate) system: watch::Sender<Option<u64>>,
    /// The proxies that send clients here.
    pub(crate) proxies: Arc<Proxies>,
    /// What pushes to the store what was cut off.
    pub(crate) cuts: mpsc::Sender<Cut>,
    guard: Mutex<Arc<Guard>>,
    guard_start: GuardStart,
    /// The agent ends, and the guard with it.
    ending: AtomicBool,
    /// Whether the guard has a server under it, and which life that is in.
    pub(crate) lives: Mutex<Lives>,
    /// Clients are let in, as the server itself has proved.
    open: AtomicBool,
    /// The engine step under way.
    task: Mutex<Option<JoinHandle<()>>>,
    /// Held by whoever changes access or runs a step: housekeeping waits for it.
    pub(crate) hand: tokio::sync::Mutex<()>,
    pub(crate) barrier: Mutex<Option<JoinHandle<()>>>,
    /// The cluster that this process began: its data may be thrown away if another member's became the cluster.
    pub(crate) begun: Mutex<Option<u64>>,
    /// When it was given other settings.
    changed: Mutex<Option<Instant>>,
    /// How long commits waited for replicas, as far as that is measured.
    pub(crate) commit_waits: Mutex<Lengths>,
}

pub(crate) struct Parts {
    pub(crate) engine: Arc<Engine>,
    pub(crate) inbox: Inbox,
    pub(crate) links: Arc<Links>,
    pub(crate) picture: watch::Receiver<Arc<Picture>>,
    pub(crate) system: watch::Sender<Option<u64>>,
    pub(crate) proxies: Arc<Proxies>,
    pub(crate) cuts: mpsc::Sender<Cut>,
    pub(crate) guard_start: GuardStart,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    pub(crate) fn new(parts: Parts, guard: Guard, events: mpsc::Receiver<GuardEvent>) -> Arc<Self> {
        let lives = Lives::adopted(guard.adopted().server_pid);
        let server = Arc::new(Self {
            engine: parts.engine,
            inbox: parts.inbox,
            links: parts.links,
            picture: parts.picture,
            runtime: tokio::runtime::Handle::current(),
            system: parts.system,
            proxies: parts.proxies,
            cuts: parts.cuts,
            guard: Mutex::new(Arc::new(guard)),
            guard_start: parts.guard_start,
            ending: AtomicBool::new(false),
            lives: Mutex::new(lives),
            open: AtomicBool::new(false),
            task: Mutex::new(None),
            hand: tokio::sync::Mutex::new(()),
            barrier: Mutex::new(None),
            begun: Mutex::new(None),
            changed: Mutex::new(None),
            commit_waits: Mutex::default(),
        });
        tokio::spawn(Arc::clone(&server).hear_guard(events));
        server
    }

    pub(crate) fn guard(&self) -> Arc<Guard> {
        Arc::clone(&lock(&self.guard))
    }

    /// Whether the guard has a server, and which life it is in.
    pub(crate) fn life(&self) -> (bool, u64) {
        lock(&self.lives).now()
    }

    async fn hear_guard(self: Arc<Self>, mut events: mpsc::Receiver<GuardEvent>) {
        loop {
            match events.recv().await {
                Some(GuardEvent::Exited(exit)) => {
                    tracing::info!(%exit, "the server ended");
                    if lock(&self.lives).ended(exit.pid) {
                        self.tell_end();
                    }
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

    /// A guard that stands still would miss the deadline: it is ended, and all goes on as if it had died.
    pub(crate) async fn watch_guard(self: Arc<Self>) {
        let mut silent = 0;
        loop {
            tokio::time::sleep(PING_EVERY).await;
            let guard = self.guard();
            silent = match guard.ping().await {
                Err(GuardError::Silent { .. }) if Arc::ptr_eq(&guard, &self.guard()) => silent + 1,
                Ok(_) | Err(_) => 0,
            };
            // once may be the end of a standstill of everything
            if silent >= SILENT_MAX {
                silent = 0;
                if guard.end_by_force() {
                    tracing::warn!("the guard does not answer: it was ended, and the server with it");
                } else {
                    tracing::error!("the guard does not answer and cannot be ended: the server is fenced");
                    self.fence();
                }
            }
        }
    }

    /// Lets clients in or keeps them out.
    pub(crate) async fn set_access(&self, access: Access) -> Result<(), Error> {
        // until the server has proved that it is open, nobody is sent to it
        self.open.store(false, Ordering::Release);
        self.engine.set_access(access, self).await?;
        self.open.store(access == Access::Open, Ordering::Release);
        Ok(())
    }

    /// Nobody is let in until the server has proved otherwise.
    pub(crate) fn closed(&self) {
        self.open.store(false, Ordering::Release);
    }

    /// Whether clients are let in.
    pub(crate) fn serves(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// The server that ran is gone: tells whoever must know.
    pub(crate) fn tell_end(&self) {
        self.closed();
        self.forget_barrier();
        self.inbox.tell(Event::ServerExited);
        let engine = Arc::clone(&self.engine);
        self.runtime.spawn(async move { engine.forget_connections().await });
    }

    /// The guard died: what it guarded is fenced, and another one takes its place.
    async fn replace_guard(&self) -> Result<mpsc::Receiver<GuardEvent>, crate::AgentError> {
        tracing::warn!("the guard is gone: fencing the server and starting another one");
        let (data_dir, program) = (self.engine.data_dir().to_owned(), self.engine.program());
        if self.engine.has_data() {
            let fenced = tokio::task::spawn_blocking(move || dauphin_guard::orphan::fence(&data_dir, &program)).await;
            if let Ok(result) = fenced {
                result?;
            }
        }
        let (_, life) = self.life();
        lock(&self.lives).over(life);
        self.tell_end();
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
            let because = "the server was fenced meanwhile".to_owned();
            let bad_data = self.engine.half_done();
            self.inbox.tell(Event::Engine(Err(EngineFailure { because, bad_data })));
        }
        let server = Arc::clone(self);
        let (_, life) = self.life();
        self.runtime.spawn(async move {
            if let Err(error) = server.guard().kill().await {
                tracing::warn!(%error, "the guard did not kill the server; killing it by its data directory");
                if let Err(error) = server.engine.kill(KILL_WITHIN).await {
                    tracing::error!(%error, "the server could not be killed");
                    return;
                }
            }
            // the guard's own word may have come first, and the next server may run by now
            if lock(&server.lives).over(life) {
                server.tell_end();
            }
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
            failpoint::pass(Side::After, name);
            let ms = begun.elapsed().as_millis();
            match &result {
                Ok(_) => tracing::info!(step = name, ms, "done"),
                Err(error) => tracing::warn!(step = name, ms, %error, "failed"),
            }
            *lock(&server.task) = None;
            let told = |error: Error| error.told(server.engine.half_done());
            server.inbox.tell(Event::Engine(result.map_err(told)));
        });
        *lock(&self.task) = Some(task);
    }
}
