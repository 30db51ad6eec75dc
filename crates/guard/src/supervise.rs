//! The guard's loop: one agent, one server, one deadline. `run` calls it; it returns when nobody needs it any more.
//! It never extends a deadline by itself, and nothing in it waits for a disk, the network or another process.

mod orders;
mod talk;

use crate::args::Options;
use crate::boottime;
use crate::connection::Connection;
use crate::log::Log;
use crate::protocol::{Exit, Killed, OnAgentDeath, Reply, ServerSignal};
use crate::server::Server;
use crate::socket;
use crate::tree::{self, Ended};
use crate::watchdog::Watchdog;
use dauphin_model::{Mono, Span};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use std::fs::File;
use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// How long before the deadline the kill begins: the kernel's time for ending a tree of processes.
pub const KILL_LEAD: Span = Span::ms(50);
/// How long a guard without a server waits for an agent before it ends.
pub const IDLE_EXIT: Span = Span::ms(30_000);
/// How long a connection may take to say hello.
const HELLO_WAIT_MAX: Span = Span::ms(5_000);
/// Connections at a time: the agent's, and a few that look or wait.
const CONNECTIONS_MAX: usize = 8;
/// How often a hardware watchdog is fed. Devices reset the machine after 10 s and more.
const FEED_EVERY: Span = Span::ms(1_000);
/// How long the server may take over a fast shutdown when the guard itself is told to end; half of it for each step.
const STOP_WAIT_MAX: Span = Span::ms(20_000);
/// How often a tree that would not die is killed again.
const RETRY_EVERY: Span = Span::ms(100);

struct Supervisor {
    options: Options,
    log: Log,
    listener: UnixListener,
    child_ended: UnixStream,
    asked_to_end: UnixStream,
    timer: OwnedFd,
    connections: Vec<Connection>,
    next_connection: u64,
    /// The connection that said hello.
    agent: Option<u64>,
    server: Option<Server>,
    /// Processes of a server that would not die yet.
    stuck: bool,
    deadline: Option<Mono>,
    on_agent_death: OnAgentDeath,
    last_exit: Option<Exit>,
    /// Since when neither agent nor server is there.
    idle_since: Mono,
    /// SIGTERM was seen then; the server is being shut down.
    stopping: Option<Mono>,
    watchdog: Option<(Watchdog, Mono)>,
    shutdown: bool,
    _lock: File,
}

/// Runs the guard.
///
/// # Errors
/// When it cannot take its place: a sentence for people.
pub(crate) fn run(options: Options) -> Result<(), String> {
    let dir = options.dir.clone();
    let mut supervisor = Supervisor::new(options)?;
    supervisor.log.line(&format!("guard {} watches in {}", std::process::id(), dir.display()));
    while !supervisor.turn() {}
    if let Some((watchdog, _)) = supervisor.watchdog.take()
        && let Err(error) = watchdog.disarm()
    {
        supervisor.log.line(&format!("the watchdog was not disarmed, the machine may reset: {error}"));
    }
    socket::remove(&dir);
    supervisor.log.line("guard ends");
    supervisor.log.close();
    Ok(())
}

impl Supervisor {
    fn new(options: Options) -> Result<Self, String> {
        let said = |what: &'static str| move |error: std::io::Error| format!("cannot {what}: {error}");
        let lock = socket::lock(&options.dir)
            .map_err(|error| format!("cannot lock {}: {error}", options.dir.display()))?
            .ok_or_else(|| format!("another guard watches in {}", options.dir.display()))?;
        let log = Log::open(&options.dir).map_err(said("open the log"))?;
        // The agent's end, or its terminal's, must not be the guard's. It fails only for a leader of a group, which
        // has left the agent's group already.
        let _ = rustix::process::setsid();
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|error| format!("cannot become the reaper of orphaned processes: {error}"))?;
        let watchdog = match &options.watchdog {
            None => None,
            Some(path) => {
                let open = Watchdog::open(path).map_err(|error| {
                    format!("cannot open the watchdog {}: {error}; correct `watchdog`, or take it out", path.display())
                })?;
                Some((open, Mono(0)))
            }
        };
        for ignored in [SIGINT, SIGHUP] {
            signal_hook::flag::register(ignored, Arc::new(AtomicBool::new(false))).map_err(said("ignore a signal"))?;
        }
        Ok(Self {
            child_ended: pipe_of(SIGCHLD).map_err(said("hear of ended processes"))?,
            asked_to_end: pipe_of(SIGTERM).map_err(said("hear SIGTERM"))?,
            timer: timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
                .map_err(|error| format!("cannot make a timer: {error}"))?,
            listener: socket::listen(&options.dir)
                .map_err(|error| format!("cannot listen in {}: {error}", options.dir.display()))?,
            connections: Vec::new(),
            next_connection: 1,
            agent: None,
            server: None,
            stuck: false,
            deadline: None,
            on_agent_death: OnAgentDeath::KillNow,
            last_exit: None,
            idle_since: boottime(),
            stopping: None,
            watchdog,
            shutdown: false,
            options,
            log,
            _lock: lock,
        })
    }

    /// Waits for something and deals with it. `true`: the guard's work is over.
    fn turn(&mut self) -> bool {
        self.set_timer();
        let ready = self.wait();
        drain(&self.child_ended);
        // Messages before the deadline: a renewal that has arrived counts, however late this process was woken.
        self.talk(&ready);
        self.reap();
        self.keep_deadline();
        self.keep_stopping();
        self.feed_watchdog();
        let served = self.server.is_some() || self.stuck;
        if served || self.agent.is_some() {
            self.idle_since = boottime();
        }
        let idle = boottime().since(self.idle_since) > IDLE_EXIT;
        !served && (self.shutdown || idle || self.stopping.is_some())
    }

    /// Sleeps until a descriptor is ready or the next chore is due. Returns what each connection is ready for, and
    /// last whether someone knocks.
    fn wait(&self) -> Ready {
        let mut fds = vec![
            PollFd::new(&self.listener, PollFlags::IN),
            PollFd::new(&self.child_ended, PollFlags::IN),
            PollFd::new(&self.asked_to_end, PollFlags::IN),
            PollFd::new(&self.timer, PollFlags::IN),
        ];
        let fixed = fds.len();
        for connection in &self.connections {
            let out = if connection.has_output() { PollFlags::OUT } else { PollFlags::empty() };
            fds.push(PollFd::from_borrowed_fd(connection.fd(), PollFlags::IN | out));
        }
        let server = self.server.as_ref().map(Server::handle);
        fds.extend(server.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let timeout = self.next_chore().map(|span| Timespec {
            tv_sec: i64::try_from(span.0 / 1_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(span.0 % 1_000_000 * 1_000).unwrap_or(0),
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                self.log.line(&format!("poll failed: {error}"));
                std::thread::sleep(RETRY_EVERY.duration());
            }
        }
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        Ready {
            knock: fds.first().is_some_and(is_ready),
            connections: fds.iter().skip(fixed).take(self.connections.len()).map(is_ready).collect(),
        }
    }

    /// How long this may sleep at most; `None`: until something happens.
    fn next_chore(&self) -> Option<Span> {
        let now = boottime();
        let served = self.server.is_some() || self.stuck;
        let mut due = Vec::new();
        if self.stuck {
            due.push(now + RETRY_EVERY);
        }
        if !served && self.agent.is_none() {
            due.push(self.idle_since + IDLE_EXIT + Span::ms(1));
        }
        if let Some((_, fed)) = &self.watchdog {
            due.push((*fed + FEED_EVERY).max(now + RETRY_EVERY));
        }
        if self.stopping.is_some() {
            due.push(now + RETRY_EVERY);
        }
        due.extend(self.strangers().map(|connection| connection.since + HELLO_WAIT_MAX));
        due.into_iter().min().map(|at| at.since(now).max(Span::ms(1)))
    }

    fn strangers(&self) -> impl Iterator<Item = &Connection> {
        self.connections.iter().filter(|connection| Some(connection.id) != self.agent)
    }

    fn set_timer(&self) {
        let at = match (&self.server, self.deadline) {
            // Zero disarms, so the earliest moment is one microsecond after boot.
            (Some(_), Some(deadline)) => (deadline - KILL_LEAD).max(Mono(1)),
            _ => Mono(0),
        };
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = Timespec {
            tv_sec: i64::try_from(at.0 / 1_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(at.0 % 1_000_000 * 1_000).unwrap_or(0),
        };
        if let Err(error) =
            timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &Itimerspec { it_interval: none, it_value })
        {
            self.log.line(&format!("cannot set the timer: {error}"));
        }
    }

    /// Collects what has ended. When the server's first process is among it, what it left behind is killed before
    /// anybody is told: a backend alone still acknowledges.
    fn reap(&mut self) {
        let mut ended = Vec::new();
        let children = tree::reap(&mut ended);
        if self.server.as_ref().is_some_and(|server| ended.iter().any(|(pid, _)| *pid == server.pid)) {
            let swept = if children { tree::kill(None, &mut ended) } else { Killed::default() };
            self.stuck = swept.stuck > 0;
            self.server_ended(&ended, swept.processes);
        } else if self.stuck {
            let swept = tree::kill(None, &mut ended);
            self.stuck = swept.stuck > 0;
        }
    }

    /// Kills the server and everything below it.
    fn kill(&mut self) -> Killed {
        let mut ended = Vec::new();
        let first = self.server.as_ref().map(Server::handle);
        let killed = tree::kill(first, &mut ended);
        self.stuck = killed.stuck > 0;
        self.server_ended(&ended, 0);
        killed
    }

    fn server_ended(&mut self, ended: &[Ended], left_behind: u32) {
        let Some(server) = self.server.take() else { return };
        let status = ended.iter().find(|(pid, _)| *pid == server.pid).map(|(_, status)| *status);
        let exit = Exit {
            pid: u32::try_from(server.pid).unwrap_or(0),
            code: status.and_then(rustix::process::WaitStatus::exit_status),
            signal: status.and_then(rustix::process::WaitStatus::terminating_signal),
            at: boottime(),
            left_behind,
        };
        self.log.line(&format!("the server ended: {exit}"));
        self.last_exit = Some(exit.clone());
        self.idle_since = boottime();
        self.tell(Reply::Exited(exit));
    }

    fn keep_deadline(&mut self) {
        let Some(deadline) = self.deadline else { return };
        if self.server.is_none() || boottime() < deadline - KILL_LEAD {
            return;
        }
        let killed = self.kill();
        let at = boottime();
        let when = if at <= deadline {
            format!("{} before it", deadline.since(at))
        } else {
            format!("{} after it", at.since(deadline))
        };
        self.log.line(&format!("the deadline came and was not moved: the server was dead {when} ({})", told(&killed)));
        self.tell(Reply::DeadlinePassed { deadline, killed, at });
    }

    /// SIGTERM: an orderly end of the server within bounds, then of the guard.
    fn keep_stopping(&mut self) {
        let now = boottime();
        let asked = drain(&self.asked_to_end);
        if asked && self.stopping.is_none() {
            self.log.line("asked to end: shutting the server down");
            self.stopping = Some(now);
            self.signal(ServerSignal::Interrupt);
        }
        let Some(since) = self.stopping else { return };
        let Some(server) = &self.server else { return };
        let waited = now.since(since);
        if waited > STOP_WAIT_MAX {
            let killed = self.kill();
            self.log.line(&format!("the server would not end and was killed ({})", told(&killed)));
        } else if waited > STOP_WAIT_MAX.over(2) {
            // Sent again with every turn of the loop: harmless, and it needs no memory of its own.
            let _ = server.signal(ServerSignal::Quit);
        }
    }

    fn feed_watchdog(&mut self) {
        let now = boottime();
        let overdue = self.stuck && self.deadline.is_some_and(|deadline| deadline <= now);
        let Some((watchdog, fed)) = &mut self.watchdog else { return };
        if overdue || now.since(*fed) < FEED_EVERY {
            return;
        }
        *fed = now;
        if let Err(error) = watchdog.feed() {
            self.log.line(&format!("the watchdog does not take its feed: {error}"));
        }
    }
}

/// What `poll` found.
struct Ready {
    knock: bool,
    connections: Vec<bool>,
}

fn told(killed: &Killed) -> String {
    let stuck = if killed.stuck > 0 { format!(", {} stuck in the kernel", killed.stuck) } else { String::new() };
    format!("{} processes{stuck}, {}.{:03} ms", killed.processes, killed.took_us / 1_000, killed.took_us % 1_000)
}

/// A stream that gets a byte with each signal.
fn pipe_of(signal: i32) -> std::io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(signal, theirs)?;
    Ok(ours)
}

/// Takes all bytes off a stream. Returns whether there were any.
fn drain(mut stream: &UnixStream) -> bool {
    let mut bytes = [0; 64];
    let mut any = false;
    while stream.read(&mut bytes).is_ok_and(|n| n > 0) {
        any = true;
    }
    any
}
