//! The agent's end of the guard: starts one or adopts the one that is there, gives orders, hears what happens.
//! Runs in the agent, on tokio. It never decides what the guard should do; the only process it
//! signals is a guard that does not answer.

mod link;

use crate::log::LOG;
use crate::process::{self, Process};
use crate::protocol::{Exit, Killed, OnAgentDeath, Reply, Request, ServerSignal, StartServer, Status, VERSION};
use crate::socket::Door;
use dauphin_model::{Mono, Span};
use link::{Shared, hear, push};
use rustix::process::Signal;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

/// Longest wait for a guard that was started to answer.
const SPAWN_WAIT_MAX: Duration = Duration::from_secs(5);
/// Pause between two attempts to reach it.
const SPAWN_PAUSE: Duration = Duration::from_millis(5);
/// Longest wait for an answer to an order. A kill may take as long as the guard waits for stuck processes.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);
/// Events that may wait for the agent. There are one or two for each life of a server.
const EVENTS_MAX: usize = 64;

/// Why the guard did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// It could not be started.
    #[error("cannot start the guard: {source}; see {log}")]
    Spawn {
        /// Why.
        source: io::Error,
        /// Where it says more.
        log: PathBuf,
    },
    /// Its socket could not be used.
    #[error("cannot reach the guard in {dir}: {source}")]
    Unreachable {
        /// The run directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection ended: the guard is dead. Fence the server by its data directory, then start another guard.
    #[error("the guard is gone; fence the server and start another guard")]
    Gone,
    /// No answer in time: the guard is frozen or the machine is overloaded.
    #[error("the guard did not answer {what} within {} s", ANSWER_WAIT_MAX.as_secs())]
    Silent {
        /// Which order.
        what: &'static str,
    },
    /// It refused.
    #[error("the guard refused {what}: {why}")]
    Refused {
        /// Which order.
        what: &'static str,
        /// Why, and what to do.
        why: String,
    },
}

/// What happens without being asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The server ended. Nothing of it is left.
    Exited(Exit),
    /// The deadline came and the server was killed. An [`Event::Exited`] came before.
    DeadlinePassed {
        /// The deadline.
        deadline: Mono,
        /// What the kill did.
        killed: Killed,
        /// When nothing of the server was left.
        at: Mono,
    },
    /// The guard is gone, and the server unguarded (it is told to quit when its guard dies; do not rely on it).
    /// The last event.
    Gone,
}

/// A guard, as the agent holds it. Dropping the last one is, to the guard, the agent's death.
#[derive(Debug)]
pub struct Guard {
    shared: Arc<Shared>,
    status: Status,
    /// The guard itself, as it was when it greeted us.
    process: Option<Process>,
    reader: tokio::task::JoinHandle<()>,
    writer: tokio::task::JoinHandle<()>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.reader.abort();
        self.writer.abort();
    }
}

impl Guard {
    /// Adopts the guard that watches in `run_dir`, or starts one with `spawn` (this program with the verb `guard` and
    /// `--dir`; its standard streams are set here). What the guard has under it already is [`Self::status`].
    ///
    /// # Errors
    /// When no guard comes up, or another agent has it.
    pub async fn connect_or_spawn(
        run_dir: &Path,
        spawn: std::process::Command,
    ) -> Result<(Self, mpsc::Receiver<Event>), GuardError> {
        let unreachable = |source| GuardError::Unreachable { dir: run_dir.to_owned(), source };
        match open(run_dir).await {
            Ok(stream) => {
                let peer = stream.peer_cred().ok().and_then(|c| c.pid()).and_then(process::look);
                match Self::greet(stream).await {
                    // it stands still, and would for ever: its server is fenced with it, and another takes its place
                    Err(GuardError::Silent { .. }) if peer.is_some_and(|p| process::signal(&p, Signal::KILL)) => {}
                    greeted => return greeted,
                }
            }
            Err(error) if absent(&error) => {}
            Err(error) => return Err(unreachable(error)),
        }
        let log = run_dir.join(LOG);
        let failed = |source| GuardError::Spawn { source, log: log.clone() };
        let errors = OpenOptions::new().create(true).append(true).mode(0o600).open(&log).map_err(failed)?;
        let mut command = tokio::process::Command::from(spawn);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).kill_on_drop(false);
        let mut child = command.spawn().map_err(failed)?;
        let deadline = Instant::now() + SPAWN_WAIT_MAX;
        loop {
            match open(run_dir).await {
                Ok(stream) => return Self::greet(stream).await,
                Err(error) if !absent(&error) || Instant::now() > deadline => return Err(unreachable(error)),
                Err(_) => {}
            }
            if let Some(status) = child.try_wait().map_err(failed)? {
                return Err(failed(io::Error::other(format!("it ended at once ({status})"))));
            }
            tokio::time::sleep(SPAWN_PAUSE).await;
        }
    }

    /// Adopts the guard that watches in `run_dir`.
    ///
    /// # Errors
    /// When there is none, or another agent has it.
    pub async fn connect(run_dir: &Path) -> Result<(Self, mpsc::Receiver<Event>), GuardError> {
        let unreachable = |source| GuardError::Unreachable { dir: run_dir.to_owned(), source };
        Self::greet(open(run_dir).await.map_err(unreachable)?).await
    }

    async fn greet(stream: UnixStream) -> Result<(Self, mpsc::Receiver<Event>), GuardError> {
        let (read, write) = stream.into_split();
        let shared = Arc::new(Shared::new(write));
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let reader = tokio::spawn(hear(Arc::clone(&shared), read, events));
        let writer = tokio::spawn(push(Arc::clone(&shared)));
        let status = Status {
            version: VERSION,
            guard_pid: 0,
            agent_pid: None,
            server_pid: None,
            deadline: None,
            on_agent_death: OnAgentDeath::KillNow,
            last_exit: None,
            watchdog: false,
        };
        let mut guard = Self { shared, status, process: None, reader, writer };
        let hello = Request::Hello { version: VERSION, agent_pid: std::process::id() };
        guard.status = guard.ask("hello", hello, status_in).await?;
        guard.process = i32::try_from(guard.status.guard_pid).ok().and_then(process::look);
        Ok((guard, receiver))
    }

    /// What the guard had under it when it was adopted or started.
    #[must_use]
    pub fn adopted(&self) -> &Status {
        &self.status
    }

    async fn ask<T>(
        &self,
        what: &'static str,
        request: Request,
        expected: impl FnOnce(&Reply) -> Option<T>,
    ) -> Result<T, GuardError> {
        let (answer, answered) = oneshot::channel();
        self.shared.send(request, Some(answer))?;
        match tokio::time::timeout(ANSWER_WAIT_MAX, answered).await {
            Ok(Ok(Reply::Refused { why })) => Err(GuardError::Refused { what, why }),
            Ok(Ok(reply)) => expected(&reply).ok_or_else(|| GuardError::Refused {
                what,
                why: format!("it gave an answer that does not fit: {reply:?}"),
            }),
            Ok(Err(_)) => Err(GuardError::Gone),
            Err(_) => Err(GuardError::Silent { what }),
        }
    }

    async fn order(&self, what: &'static str, request: Request) -> Result<(), GuardError> {
        self.ask(what, request, |reply| (*reply == Reply::Done).then_some(())).await
    }

    /// Starts the server; its first process. How it ends is an [`Event::Exited`].
    ///
    /// # Errors
    /// Refused when a server runs, the deadline has passed, or program or folder do not exist.
    pub async fn start(&self, start: StartServer) -> Result<u32, GuardError> {
        self.ask(
            "start",
            Request::Start(start),
            |reply| if let Reply::Started { pid } = reply { Some(*pid) } else { None },
        )
        .await
    }

    /// Sends a signal to the server's first process.
    ///
    /// # Errors
    /// Refused when no server runs.
    pub async fn signal(&self, signal: ServerSignal) -> Result<(), GuardError> {
        self.order("signal", Request::Signal { signal }).await
    }

    /// Kills the server's whole tree; returns when nothing of it is left. Without a server it does nothing.
    ///
    /// # Errors
    /// When the guard is gone or silent: fence by the data directory then.
    pub async fn kill(&self) -> Result<Killed, GuardError> {
        self.ask("kill", Request::Kill, |reply| if let Reply::Killed(killed) = reply { Some(*killed) } else { None })
            .await
    }

    /// Moves the deadline by which the server must be dead, and says what to do should this agent die. Not async, and
    /// never waits: for the thread that renews the lease. Orders are kept in the order given.
    ///
    /// # Errors
    /// [`GuardError::Gone`] when the guard no longer reads.
    pub fn deadline(&self, deadline: Option<Mono>, on_agent_death: OnAgentDeath) -> Result<(), GuardError> {
        self.shared.send(Request::Deadline { deadline, on_agent_death }, None)
    }

    /// Like [`Self::deadline`], and waits until the guard has taken it: before a leadership begins.
    ///
    /// # Errors
    /// When the guard is gone or silent.
    pub async fn arm(&self, deadline: Option<Mono>, on_agent_death: OnAgentDeath) -> Result<(), GuardError> {
        self.order("deadline", Request::Deadline { deadline, on_agent_death }).await
    }

    /// Asks whether the guard answers; how long it took.
    ///
    /// # Errors
    /// When the guard is gone or silent.
    pub async fn ping(&self) -> Result<Span, GuardError> {
        let sent = crate::boottime();
        let answered = |reply: &Reply| (*reply == Reply::Pong { n: sent.0 }).then_some(());
        self.ask("ping", Request::Ping { n: sent.0 }, answered).await?;
        Ok(crate::boottime().since(sent))
    }

    /// Kills the guard process, which does not answer; the kernel ends the server's first process with it, and
    /// [`crate::orphan::fence`] the rest. `false`: it was gone already.
    #[must_use]
    pub fn end_by_force(&self) -> bool {
        self.process.as_ref().is_some_and(|guard| process::signal(guard, Signal::KILL))
    }

    /// What the guard has under it now.
    ///
    /// # Errors
    /// When the guard is gone or silent.
    pub async fn status(&self) -> Result<Status, GuardError> {
        self.ask("status", Request::Status, status_in).await
    }

    /// Ends the guard.
    ///
    /// # Errors
    /// Refused while a server runs.
    pub async fn shutdown(&self) -> Result<(), GuardError> {
        self.order("shutdown", Request::Shutdown).await
    }
}

fn status_in(reply: &Reply) -> Option<Status> {
    if let Reply::Status(status) = reply { Some(status.clone()) } else { None }
}

async fn open(run_dir: &Path) -> io::Result<UnixStream> {
    let door = Door::open(run_dir)?;
    UnixStream::connect(door.socket()).await
}

/// Whether nobody listens, so that a guard is to be started.
fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}
