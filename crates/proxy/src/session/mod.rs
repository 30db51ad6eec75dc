//! One client's session from login to its end: it is attached to a server, goes on with another one when the leader
//! changes, or ends with an error that says why. The accept loop runs it; `relay` moves its bytes, `attach` finds servers.
//! It never repeats anything that a server may have seen.

mod attach;
mod checkout;
mod clock;
mod confirm;
mod end;
mod fresh;
mod notice;
mod reading;
mod relay;
mod resolve;
mod scan;
mod slow;

use crate::hub::{Guest, Hub, Registered};
use crate::pool::link::{Fate, Link, Right};
use crate::pool::open::Login;
use crate::pool::{Pool, Pools};
use crate::seat::Who;
use crate::shard::{Seated, Shard};
use crate::stream::{Stream, write_or_keep};
use crate::track::own::Asked;
use crate::track::{DIRTY, Loss, Track};
use dauphin_model::Pooling;
use dauphin_wire::postgres::message::{self, Report};
use dauphin_wire::postgres::scram::Secret;
use dauphin_wire::postgres::sql::Lasting;
use dauphin_wire::postgres::startup::Startup;
pub(crate) use end::End;
use end::{CANCELLED_WAIT, REPLICA_LOST, ROLLED_BACK, UNKNOWN};
use reading::Reading;
use relay::Event;
use resolve::InDoubt;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

/// The parameter that names a client, and is no reason for a connection of its own.
const NAME: &str = "application_name";

/// Longest name of a client, in bytes; PostgreSQL cuts it at 63.
const NAME_BYTES_MAX: usize = 63;

/// Which port a client came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// The leader's.
    Write,
    /// The replicas'.
    Read,
}

/// Where a session's servers come from.
enum Source {
    /// A connection of its own, opened as the client logged in.
    Own(Box<(Login, Secret)>),
    /// Shared with others; the pool that the server it has now belongs to.
    Shared(Rc<Pools>, Option<Rc<Pool>>),
}

/// A client and, most of the time, a server.
pub(crate) struct Session {
    hub: Arc<Hub>,
    shard: Rc<Shard>,
    registered: Registered,
    #[expect(dead_code, reason = "held for its drop")]
    guest: Guest,
    seated: Seated,
    port: Port,
    source: Source,
    client: Stream,
    /// Not yet taken by the client's socket.
    to_client: Vec<u8>,
    /// Written to the client and not known to be flushed.
    unflushed: bool,
    /// From the client and not yet forwarded: the beginning of a message, or all that came while no server took it.
    held: Vec<u8>,
    /// There are whole messages in it.
    more: bool,
    backend: Option<Box<Link>>,
    /// New transactions may begin on the server.
    admitted: bool,
    /// A COMMIT that the next leader is to be asked about.
    in_doubt: Option<Box<InDoubt>>,
    /// How it reads unless it chooses otherwise.
    at_login: Asked,
    /// What it is told is confirmed before.
    strict: bool,
    /// Of what the server sent there are whole messages that were not looked at.
    unread: bool,
    /// What it remembers of what it read and wrote, while replicas may serve it.
    reading: Option<Box<Reading>>,
    greeted: bool,
    epoch: u64,
    track: Track,
    /// The statement that runs, while slow ones are logged.
    said: Option<Vec<u8>>,
}

impl Session {
    /// A session whose client has proved who it is.
    pub(crate) fn new(
        shard: &Rc<Shard>,
        (registered, guest): (Registered, Guest),
        port: Port,
        client: Stream,
        mut startup: Startup,
        secret: Secret,
        asked: Asked,
    ) -> Self {
        let replication = startup.is_replication();
        let mut track = Track::new(replication);
        let rules = shard.hub.rules();
        if !replication && rules.pooling == Pooling::Transaction {
            track.let_pick();
            if port == Port::Write {
                track.let_choose();
            }
        }
        let who = Who {
            database: shard.database(startup.database()),
            port: Some(port),
            replication,
            ..Who::new(&startup, &client)
        };
        let source = if replication || rules.pooling == Pooling::Session {
            Source::Own(Box::new((Login::new(startup), secret)))
        } else {
            if let Some(text) = set_name(&startup) {
                track.memory_mut().change(&Lasting::Set(NAME.into()), text.as_bytes());
            }
            startup.parameters.retain(|(name, _)| name != NAME);
            Source::Shared(shard.pools(Login::new(startup), secret), None)
        };
        Self {
            hub: Arc::clone(&shard.hub),
            shard: Rc::clone(shard),
            seated: shard.seat(registered.key.pid, who),
            registered,
            guest,
            port,
            source,
            client,
            to_client: Vec::new(),
            unflushed: false,
            held: Vec::new(),
            more: false,
            backend: None,
            admitted: false,
            in_doubt: None,
            at_login: asked,
            strict: false,
            unread: false,
            reading: None,
            greeted: false,
            epoch: 0,
            track,
            said: None,
        }
    }

    /// Attaches it for the first time and runs it to its end. In its box: moved into the future it would lie in memory twice.
    pub(crate) async fn run(mut self: Box<Self>) {
        let entered = if self.greet_early() { Ok(()) } else { Box::pin(self.attach()).await };
        let end = match entered {
            Ok(()) => {
                self.hub.stats.logins.add();
                self.let_go();
                self.relay().await
            }
            Err(end) => end,
        };
        Box::pin(self.finish(end)).await;
    }

    async fn relay(&mut self) -> End {
        loop {
            let outcome = match poll_fn(|cx| self.poll(cx)).await {
                Event::View => self.follow(),
                Event::Held => Box::pin(self.attach()).await,
                Event::InDoubt(in_doubt) => {
                    let resolved = Box::pin(self.resolve(*in_doubt)).await;
                    self.let_go();
                    resolved
                }
                Event::Unconfirmed => {
                    Box::pin(self.confirm()).await;
                    self.mark_busy();
                    self.let_go();
                    Ok(())
                }
                Event::ServerLost(fatal) => self.lost(fatal),
                Event::LeftBehind => Err(End::left_behind(self.track.memory().pins())),
                Event::Silent => {
                    self.abandon();
                    if self.rescue() { Ok(()) } else { self.cut() }
                }
                Event::Superseded => self.cut(),
                Event::CancelledWait => self.cancelled_wait(),
                Event::ClientGone => Err(End::Quiet),
                Event::BadClient(bad) => Err(End::fatal(message::PROTOCOL_VIOLATION, bad.to_string())),
                Event::BadServer(bad) => {
                    tracing::warn!(%bad, "a server breaks the protocol");
                    self.lost(None)
                }
            };
            if let Err(end) = outcome {
                return end;
            }
        }
    }

    /// The view has changed: keeps, holds, leaves or ends, as it says.
    fn follow(&mut self) -> Result<(), End> {
        let at_rest = self.track.is_at_rest();
        if self.hub.is_stopping() {
            self.admitted = false;
            return if at_rest { Err(End::stopping()) } else { Ok(()) };
        }
        let Some(backend) = &self.backend else { return Ok(()) };
        let fate = backend.right.fate(&self.hub.view());
        self.admitted = fate == Fate::Admitted && !self.is_paused();
        match fate {
            Fate::Admitted | Fate::Hold => Ok(()),
            Fate::Closed | Fate::Superseded if at_rest => self.leave(),
            Fate::Closed => {
                self.watch_round();
                Ok(())
            }
            Fate::Superseded => self.cut(),
        }
    }

    /// Leaves a server at rest, keeping the client; an error when the session cannot go on elsewhere.
    fn leave(&mut self) -> Result<(), End> {
        self.detach();
        let pins = self.track.memory().pins();
        if pins.is_empty() {
            return Ok(());
        }
        self.hub.stats.cut_pinned.add();
        Err(End::pinned(pins))
    }

    fn detach(&mut self) {
        if let Some(mut backend) = self.backend.take() {
            let mut goodbye = Vec::new();
            message::put(&mut goodbye, b'X', &[]);
            // Best effort: a server that is gone needs no goodbye.
            let mut nobody = Context::from_waker(Waker::noop());
            let _ = write_or_keep(&mut backend.server.stream, &mut nobody, &mut backend.to_server, &goodbye);
            if let Source::Shared(_, pool) = &mut self.source
                && let Some(pool) = pool.take()
            {
                pool.closed();
            }
        }
        self.released();
    }

    /// It has no server.
    fn released(&mut self) {
        self.admitted = false;
        self.track.detached();
        self.seated.seat.target.take();
        self.stop_clock();
    }

    /// The server closed the connection, perhaps with a last error.
    fn lost(&mut self, fatal: Option<Vec<u8>>) -> Result<(), End> {
        if self.rescue() {
            return Ok(());
        }
        let shutdown = fatal.as_deref().is_none_or(|body| is_shutdown(&Report::parse(body)));
        match fatal {
            Some(body) if !shutdown => Err(End::Server(body)),
            _ if self.track.is_at_rest() => self.leave(),
            _ => self.cut(),
        }
    }

    /// Loses its server in the middle of a statement or transaction: the client is told, and keeps its connection if it can.
    fn cut(&mut self) -> Result<(), End> {
        self.hub.stats.cut_busy.add();
        if self.backend.as_ref().is_some_and(|link| matches!(link.right, Right::Replica(_))) {
            return self.lose(REPLICA_LOST);
        }
        if self.track.may_have_committed() {
            if let Some(link) = &self.backend
                && let Right::Leader(term) = link.right
                && let Some(doubt) = self.track.in_doubt()
            {
                self.detach();
                self.in_doubt = Some(Box::new(InDoubt { doubt, term }));
                return Ok(());
            }
            self.hub.stats.unknown.add();
            return self.lose(UNKNOWN);
        }
        self.lose(ROLLED_BACK)
    }

    fn cancelled_wait(&mut self) -> Result<(), End> {
        self.hub.stats.unknown.add();
        self.hub.stats.cancelled_waits.add();
        self.lose(CANCELLED_WAIT)
    }

    fn lose(&mut self, loss: Loss) -> Result<(), End> {
        let told = self.track.abort(loss);
        if told.is_some() {
            self.note_refused(loss.code, loss.message);
        }
        self.drop_round();
        self.detach();
        let Some(told) = told else { return Err(End::loss(loss)) };
        self.to_client.extend(told);
        Ok(())
    }

    /// Lets the client in by what a server reported to another one of this login. False: a server has to be asked.
    fn greet_early(&mut self) -> bool {
        let Source::Shared(pools, _) = &self.source else { return false };
        let Some(reported) = pools.greeting(self.port == Port::Write).borrow().clone() else { return false };
        message::put_authentication_ok(&mut self.to_client);
        for (name, value) in reported.iter() {
            message::put_texts(&mut self.to_client, b'S', &[name, value]);
        }
        self.track.memory_mut().show(reported);
        self.greet();
        true
    }

    fn greet(&mut self) {
        self.registered.key.put(&mut self.to_client);
        message::put(&mut self.to_client, b'Z', b"I");
        self.greeted = true;
    }

    /// Takes a server that is set up for this session.
    fn adopt(&mut self, link: Box<Link>) {
        self.seated.seat.target.replace(Some(Rc::clone(&link.target)));
        if self.port == Port::Write && self.greeted && matches!(link.right, Right::Replica(_)) {
            // For one round: the client is not told that it is a replica.
            self.backend = Some(link);
            return;
        }
        if !self.greeted && !self.seated.seat.let_in.get() {
            message::put_authentication_ok(&mut self.to_client);
        }
        if !self.track.memory().reported().is(&link.reported) {
            let seen = self.track.memory().reported();
            if *seen != link.reported {
                for (name, value) in link.reported.iter().filter(|(name, value)| seen.get(name) != Some(value)) {
                    message::put_texts(&mut self.to_client, b'S', &[name, value]);
                }
            }
            self.track.memory_mut().show(link.reported.clone());
        }
        if !self.greeted {
            self.greet();
        }
        self.backend = Some(link);
    }

    /// Gives a shared server back once nothing of this session is left on it.
    fn let_go(&mut self) {
        if self.in_round() {
            return;
        }
        if self.reading.is_some() && self.track.is_at_rest() {
            self.note_written();
        }
        let Source::Shared(_, pool) = &mut self.source else { return };
        let free = self.track.is_at_rest() && self.track.memory().pins().let_go() && !self.more;
        let quiet = self.backend.as_ref().is_some_and(|link| link.to_server.is_empty() && link.server.rest.is_empty());
        if !free || !quiet {
            return;
        }
        let (Some(mut link), Some(pool)) = (self.backend.take(), pool.take()) else { return };
        let code = self.track.memory_mut().take_code();
        let memory = self.track.memory();
        link.reported = memory.reported().clone();
        link.state = if code { DIRTY } else { memory.state() };
        self.released();
        pool.give(link, &self.shard);
    }
}

/// The server goes down, whoever asked it to.
fn is_shutdown(report: &Report<'_>) -> bool {
    matches!(report.code, b"57P01" | b"57P02" | b"57P03")
}

/// The SET that gives a server the client's name, if it has one.
fn set_name(startup: &Startup) -> Option<String> {
    let name = startup.get(NAME).filter(|name| !name.is_empty())?;
    let end = (0..=NAME_BYTES_MAX.min(name.len())).rev().find(|end| name.is_char_boundary(*end))?;
    let quoted = name[..end].replace('\\', "\\\\").replace('\'', "''");
    Some(format!("SET {NAME} TO E'{quoted}'"))
}
