//! A connection to a server as sessions use it: what it may be used for, what it has set and prepared. A session has at most
//! one; a pool keeps those that no session needs.

use super::budget::Permit;
use crate::hub::ReadSlot;
use crate::server::Server;
use crate::table::View;
use crate::track::{Known, Reported};
use dauphin_model::{MemberName, Term};
use dauphin_wire::postgres::cancel::CancelKey;
use std::cell::Cell;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

/// What a cancel request is forwarded to.
#[derive(Debug)]
pub(crate) struct CancelTarget {
    pub(crate) member: MemberName,
    pub(crate) address: SocketAddr,
    /// None: the server gave none.
    pub(crate) key: Option<CancelKey>,
    /// Whether it leads.
    pub(crate) leads: bool,
    /// When the connection was made.
    pub(crate) opened: Instant,
    /// Cancel requests on their way: until they have arrived no other client may have the server.
    pub(crate) cancels: Cell<u32>,
}

impl CancelTarget {
    /// The server's process; 0 where it has told none.
    pub(crate) fn pid(&self) -> u32 {
        self.key.as_ref().map_or(0, |key| key.pid)
    }
}

/// Why a server may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Right {
    /// It leads in this term.
    Leader(Term),
    /// It is a replica.
    Replica(MemberName),
}

/// What becomes of a server in the light of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It takes new transactions.
    Admitted,
    /// It takes none for now; running ones go on.
    Hold,
    /// It takes none any more; what runs may still end.
    Closed,
    /// There is a higher term: nothing it says counts.
    Superseded,
}

impl Right {
    pub(crate) fn fate(&self, view: &View) -> Fate {
        match self {
            Self::Leader(term) if view.term > *term => Fate::Superseded,
            Self::Leader(_) if !view.open => Fate::Closed,
            Self::Leader(_) if view.draining => Fate::Hold,
            Self::Leader(_) => Fate::Admitted,
            Self::Replica(member) if view.usable_replicas().any(|target| target.member == *member) => Fate::Admitted,
            Self::Replica(_) => Fate::Closed,
        }
    }
}

/// What a connection counts for while it lives.
#[derive(Debug)]
#[expect(dead_code, reason = "held for its drop")]
pub(crate) enum Counted {
    /// One of a pool's.
    Pool(Permit),
    /// One reader of a replica.
    Reader(ReadSlot),
    Nothing,
}

/// A connection to a server.
pub(crate) struct Link {
    pub(crate) server: Server,
    pub(crate) right: Right,
    pub(crate) target: Rc<CancelTarget>,
    /// Not yet taken by the server's socket.
    pub(crate) to_server: Vec<u8>,
    /// Written to the server and not known to be flushed.
    pub(crate) unflushed: bool,
    /// What it has reported.
    pub(crate) reported: Reported,
    /// Which settings it has, as [`crate::track::Memory::state`] numbers them.
    pub(crate) state: u64,
    pub(crate) known: Known,
    /// When.
    pub(crate) opened: Instant,
    #[expect(dead_code, reason = "held for its drop")]
    counted: Counted,
}

impl Link {
    /// A connection that has just been opened; in a box, as most sessions have none and all have room for one.
    pub(crate) fn new(server: Server, right: Right, counted: Counted) -> Box<Self> {
        let (member, address, key) = (server.member.clone(), server.address, server.key.clone());
        let (leads, opened) = (matches!(right, Right::Leader(_)), Instant::now());
        let target = CancelTarget { member, address, key, leads, opened, cancels: Cell::new(0) };
        Box::new(Self {
            reported: Reported::of(&server.parameters),
            server,
            right,
            target: Rc::new(target),
            to_server: Vec::new(),
            unflushed: false,
            state: 0,
            known: Known::default(),
            opened,
            counted,
        })
    }

    /// Whether it has nothing to say: a server that is gone, or about to go, would.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        let mut byte = [0; 1];
        Pin::new(&mut self.server.stream).poll_read(&mut nobody, &mut ReadBuf::new(&mut byte)).is_pending()
    }
}
