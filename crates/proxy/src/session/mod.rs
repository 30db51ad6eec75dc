//! One client's session from login to its end: it is attached to a server, goes on with another one when the leader
//! changes, or ends with an error that says why. The accept loop runs it; `relay` moves its bytes, `attach` finds servers.
//! It never repeats anything that a server may have seen.

mod attach;
mod end;
mod relay;

use crate::hub::{CancelTarget, Hub, ReadSlot, Registered};
use crate::server::Server;
use crate::shard::{Seated, Shard};
use crate::stream::{Stream, write_or_keep};
use crate::table::View;
use crate::track::Track;
use dauphin_model::{MemberName, Term};
use dauphin_wire::postgres::message::{self, Report};
use dauphin_wire::postgres::scram::Secret;
use dauphin_wire::postgres::startup::Startup;
use dauphin_wire::postgres::warnings;
use end::End;
use relay::Event;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

/// The setting that may hide warnings, and the highest level that does not.
const MESSAGES: &str = "client_min_messages";
const AUDIBLE: &str = "warning";

/// Which port a client came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// The leader's.
    Write,
    /// The replicas'.
    Read,
}

/// Who the client is, enough to log in as it anywhere.
pub(crate) struct Identity {
    /// The startup packet for servers.
    startup: Startup,
    secret: Secret,
}

impl Identity {
    /// From the client's startup and the secret that its proof gave.
    pub(crate) fn new(mut startup: Startup, secret: Secret) -> Self {
        for (name, value) in &mut startup.parameters {
            if name == MESSAGES && warnings::hides(value) {
                AUDIBLE.clone_into(value);
            } else if let Some(text) = warnings::audible(value.as_bytes()).filter(|_| name == "options") {
                *value = String::from_utf8_lossy(&text).into_owned();
            }
        }
        Self { startup, secret }
    }

    /// The startup packet for a server that would hide warnings by itself.
    fn audible(&self) -> Vec<u8> {
        let mut startup = self.startup.clone();
        startup.parameters.push((MESSAGES.to_owned(), AUDIBLE.to_owned()));
        startup.encode()
    }
}

/// Why a server may be used.
enum Right {
    /// It leads in this term.
    Leader(Term),
    /// It is a replica; the session is counted among its readers.
    Replica(MemberName, #[expect(dead_code, reason = "held for its drop")] ReadSlot),
}

/// The server that a session is attached to.
struct Backend {
    stream: Stream,
    right: Right,
    /// Not yet taken by the server's socket.
    to_server: Vec<u8>,
    /// Written to the server and not known to be flushed.
    unflushed: bool,
    /// The beginning of a message.
    carry: Vec<u8>,
}

/// What becomes of a server in the light of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It takes new transactions.
    Admitted,
    /// It takes none for now; running ones go on.
    Hold,
    /// It takes none any more; what runs may still end.
    Closed,
    /// There is a higher term: nothing it says counts.
    Superseded,
}

impl Backend {
    fn fate(&self, view: &View) -> Fate {
        match &self.right {
            Right::Leader(term) if view.term > *term => Fate::Superseded,
            Right::Leader(_) if !view.open => Fate::Closed,
            Right::Leader(_) if view.draining => Fate::Hold,
            Right::Leader(_) => Fate::Admitted,
            Right::Replica(member, _) if view.usable_replicas().any(|target| target.member == *member) => {
                Fate::Admitted
            }
            Right::Replica(..) => Fate::Closed,
        }
    }
}

/// A client and, most of the time, a server.
pub(crate) struct Session {
    hub: Arc<Hub>,
    registered: Registered,
    seated: Seated,
    port: Port,
    identity: Box<Identity>,
    client: Stream,
    /// Not yet taken by the client's socket.
    to_client: Vec<u8>,
    /// Written to the client and not known to be flushed.
    unflushed: bool,
    /// From the client and not yet forwarded: the beginning of a message, or all that came while no server took it.
    held: Vec<u8>,
    backend: Option<Backend>,
    /// New transactions may begin on the server.
    admitted: bool,
    greeted: bool,
    epoch: u64,
    track: Track,
}

impl Session {
    /// A session whose client has proved who it is.
    pub(crate) fn new(
        shard: &Rc<Shard>,
        registered: Registered,
        port: Port,
        client: Stream,
        identity: Identity,
    ) -> Self {
        let track = Track::new(identity.startup.is_replication());
        Self {
            hub: Arc::clone(&shard.hub),
            seated: shard.seat(registered.pid),
            registered,
            port,
            identity: Box::new(identity),
            client,
            to_client: Vec::new(),
            unflushed: false,
            held: Vec::new(),
            backend: None,
            admitted: false,
            greeted: false,
            epoch: 0,
            track,
        }
    }

    /// Attaches it for the first time and runs it to its end.
    pub(crate) async fn run(mut self) {
        let end = match Box::pin(self.attach()).await {
            Ok(()) => {
                self.hub.stats.logins.add();
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
                Event::ServerLost(fatal) => self.lost(fatal),
                Event::Superseded => Err(self.cut()),
                Event::CancelledWait => Err(self.cancelled_wait()),
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
        let fate = backend.fate(&self.hub.view());
        self.admitted = fate == Fate::Admitted;
        match fate {
            Fate::Admitted | Fate::Hold => Ok(()),
            Fate::Closed | Fate::Superseded if at_rest => self.leave(),
            Fate::Closed => Ok(()),
            Fate::Superseded => Err(self.cut()),
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
            let _ = write_or_keep(&mut backend.stream, &mut nobody, &mut backend.to_server, &goodbye);
        }
        self.admitted = false;
        self.track.detached();
        self.seated.seat.target.take();
        self.mark_busy();
    }

    /// The server closed the connection, perhaps with a last error.
    fn lost(&mut self, fatal: Option<Vec<u8>>) -> Result<(), End> {
        let shutdown = fatal.as_deref().is_none_or(|body| is_shutdown(&Report::parse(body)));
        match fatal {
            Some(body) if !shutdown => Err(End::Server(body)),
            _ if self.track.is_at_rest() => self.leave(),
            _ => Err(self.cut()),
        }
    }

    /// Ends in the middle of a statement or transaction.
    fn cut(&self) -> End {
        self.hub.stats.cut_busy.add();
        if self.track.may_have_committed() {
            self.hub.stats.unknown.add();
            return End::unknown();
        }
        End::rolled_back()
    }

    fn cancelled_wait(&self) -> End {
        self.hub.stats.unknown.add();
        self.hub.stats.cancelled_waits.add();
        End::cancelled_wait()
    }

    /// Takes a server that has just been opened.
    fn adopt(&mut self, server: Server, right: Right) {
        let (pid, secret) = server.key;
        let Server { stream, address, member, rest: carry, parameters, .. } = server;
        self.seated.seat.target.replace(Some(Rc::new(CancelTarget { member, address, pid, secret })));
        if !self.greeted {
            message::put_authentication_ok(&mut self.to_client);
        }
        for (name, value) in &parameters {
            let memory = self.track.memory_mut();
            if !memory.reported().any(|known| known == (name, value)) {
                memory.report(name, value);
                message::put_texts(&mut self.to_client, b'S', &[name, value]);
            }
        }
        if self.greeted {
            self.hub.stats.reattached.add();
        } else {
            message::put_backend_key(&mut self.to_client, self.registered.pid, self.registered.secret);
            message::put(&mut self.to_client, b'Z', b"I");
            self.greeted = true;
        }
        self.backend = Some(Backend { stream, right, to_server: Vec::new(), unflushed: false, carry });
    }

    /// Lets cancel requests know whether something runs.
    fn mark_busy(&self) {
        self.seated.seat.busy.set(self.track.is_in_flight());
    }
}

/// The server goes down, whoever asked it to.
fn is_shutdown(report: &Report<'_>) -> bool {
    matches!(report.code, b"57P01" | b"57P02" | b"57P03")
}
