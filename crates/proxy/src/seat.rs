//! A session as its shard sees it: who its client is, what it does, how to wake it and where to cancel what it runs. The session keeps
//! it true; the shard, cancel requests and the console read it. It decides nothing.

use crate::pool::link::CancelTarget;
use crate::session::Port;
use crate::stream::Stream;
use crate::tally::Database;
use dauphin_wire::postgres::startup::Startup;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

/// Who sits on a seat.
#[derive(Debug)]
pub(crate) struct Who {
    pub(crate) user: String,
    pub(crate) database: Rc<Database>,
    /// How it came in; none: to the console.
    pub(crate) port: Option<Port>,
    pub(crate) replication: bool,
    /// What it called itself at login.
    pub(crate) name: String,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) tls: bool,
    pub(crate) since: Instant,
}

impl Who {
    /// A client of the console, by what is known of any.
    pub(crate) fn new(startup: &Startup, client: &Stream) -> Self {
        Self {
            user: startup.user().to_owned(),
            database: Rc::new(Database::new(startup.database(), false)),
            port: None,
            replication: false,
            name: startup.get("application_name").unwrap_or_default().to_owned(),
            peer: client.peer(),
            tls: matches!(client, Stream::Tls(_)),
            since: Instant::now(),
        }
    }
}

/// A session as its shard sees it.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) who: Who,
    /// Since when it waits for a server, and since when it is in a transaction.
    pub(crate) waiting: Cell<Option<Instant>>,
    pub(crate) transaction: Cell<Option<Instant>>,
    /// When it asked for something last.
    pub(crate) asked: Cell<Option<Instant>>,
    /// The client was told that its password is right, before a server was found for it.
    pub(crate) let_in: Cell<bool>,
    /// A cancel request came while nothing of it ran on a server.
    pub(crate) interrupted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// Something of this client runs on the server now.
    pub(crate) busy: Cell<bool>,
    /// Where to cancel it.
    pub(crate) target: RefCell<Option<Rc<CancelTarget>>>,
}

impl Seat {
    /// Somebody's who has just come.
    pub(crate) fn new(who: Who) -> Self {
        Self {
            who,
            waiting: Cell::default(),
            transaction: Cell::default(),
            asked: Cell::default(),
            let_in: Cell::default(),
            interrupted: Cell::default(),
            waker: RefCell::default(),
            busy: Cell::default(),
            target: RefCell::default(),
        }
    }

    /// Wakes this task when the view changes.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut kept = self.waker.borrow_mut();
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
    }

    /// Wakes the task.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Where to cancel what the session runs now; none when it runs nothing.
    pub(crate) fn running_on(&self) -> Option<Rc<CancelTarget>> {
        self.target.borrow().clone().filter(|_| self.busy.get())
    }
}
