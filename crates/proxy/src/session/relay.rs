//! Moves a session's bytes both ways without copying them, until something happens that needs a decision.
//! Only `session` calls it. It forwards no acknowledgement of a server whose term has ended.

use super::Session;
use super::reading::Turn;
use super::resolve::InDoubt;
use super::scan::scan_server;
use crate::pool::link::Link;
use crate::stream::{Stream, poll_flush_kept, poll_read_with, write_or_keep};
use crate::track::{Registry, Taken, Track, Upstream};
use dauphin_model::ReadLevel;
use dauphin_wire::postgres::frame::BadFrame;
use std::cell::RefCell;
use std::task::{Context, Poll};

/// Turns before other sessions of the thread get theirs.
const TURNS_MAX: usize = 16;

/// Bytes put together for a server before it has to take them: statements that it lacks are put before what needs them.
const BATCH_BYTES_MAX: usize = 128 * 1024;

/// Most bytes of a client that are taken in while a replica answers; beyond it the client waits.
const AHEAD_BYTES_MAX: usize = 64 * 1024;

/// Where messages for servers are put together, per thread.
#[derive(Debug, Default)]
struct Scratch {
    message: Vec<u8>,
    batch: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What needs a decision.
pub(super) enum Event {
    /// Where clients go has changed.
    View,
    /// The client has something that no server may take now.
    Held,
    /// The server is gone with the answer to a COMMIT.
    InDoubt(Box<InDoubt>),
    /// The server is gone; the body of its last error.
    ServerLost(Option<Vec<u8>>),
    /// The server acknowledges something, and its term has ended.
    Superseded,
    /// The server is done, and whether it led until then is to be confirmed before the client is told.
    Unconfirmed,
    /// A transaction has left something on a replica.
    LeftBehind,
    /// A replica that is not usable any more says nothing.
    Silent,
    /// The server gave up waiting for its replicas.
    CancelledWait,
    /// The client is gone, or has said goodbye.
    ClientGone,
    /// The client's bytes make no sense.
    BadClient(BadFrame),
    /// The server's bytes make no sense.
    BadServer(BadFrame),
}

impl Session {
    /// Moves what can be moved.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        self.seated.seat.register(cx.waker());
        let epoch = self.hub.epoch();
        if epoch != self.epoch {
            self.epoch = epoch;
            return Poll::Ready(Event::View);
        }
        if self.is_overdue() {
            return Poll::Ready(Event::Silent);
        }
        if let Some(in_doubt) = self.in_doubt.take() {
            return Poll::Ready(Event::InDoubt(in_doubt));
        }
        for _ in 0..TURNS_MAX {
            let flushed = self.poll_flush(cx);
            if let Poll::Ready(Some(event)) = flushed {
                return Poll::Ready(event);
            }
            // The server first: if it has gone, the client's next statement must not go there.
            let server = self.poll_server(cx);
            if let Poll::Ready(Some(event)) = server {
                return Poll::Ready(event);
            }
            let client = self.poll_client(cx);
            if let Poll::Ready(Some(event)) = client {
                return Poll::Ready(event);
            }
            if server.is_pending() && client.is_pending() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if self.unflushed || !self.to_client.is_empty() {
            match poll_flush_kept(&mut self.client, cx, &mut self.to_client) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(_)) => return Poll::Ready(Some(Event::ClientGone)),
                Poll::Pending => {}
            }
        }
        if let Some(backend) = &mut self.backend
            && (backend.unflushed || !backend.to_server.is_empty())
        {
            match poll_flush_kept(&mut backend.server.stream, cx, &mut backend.to_server) {
                Poll::Ready(Ok(())) => backend.unflushed = false,
                Poll::Ready(Err(_)) => return Poll::Ready(Some(Event::ServerLost(None))),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    /// Pending when nothing was read; ready without an event when something was.
    fn poll_server(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let Self {
            hub,
            seated,
            backend: Some(backend),
            client,
            to_client,
            unflushed,
            track,
            reading,
            strict,
            unread,
            ..
        } = self
        else {
            return Poll::Pending;
        };
        if !to_client.is_empty() {
            return Poll::Pending;
        }
        let Link { server, right, known, .. } = &mut **backend;
        let (stream, carry) = (&mut server.stream, &mut server.rest);
        let again = std::mem::take(unread);
        let mut take = |data: &[u8], cx: &mut Context<'_>| {
            seated.seat.who.database.note(|totals| totals.sent += data.len() as u64);
            let joined;
            let data = if carry.is_empty() {
                data
            } else {
                carry.extend_from_slice(data);
                joined = std::mem::take(carry);
                &joined
            };
            let mut out = |bytes: &[u8]| {
                *unflushed = true;
                write_or_keep(client, cx, to_client, bytes).is_ok()
            };
            // Also what follows in one go on the statement that asks for it.
            let strict = *strict || track.memory().asked().level == Some(ReadLevel::Strict);
            let scan = scan_server(hub, (right, strict), (track, reading.as_deref_mut()), known, data, &mut out);
            *unread = matches!(scan.event, Some(Event::Unconfirmed)) && scan.rest < data.len();
            if (scan.event.is_none() || *unread) && scan.rest < data.len() {
                *carry = data[scan.rest..].to_vec();
            }
            scan.event
        };
        let read = if again {
            Poll::Ready(Ok(take(&[], cx)))
        } else {
            poll_read_with(
                stream,
                cx,
                |data, cx| if data.is_empty() { Some(Event::ServerLost(None)) } else { take(data, cx) },
            )
        };
        match read {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(None)) => {}
            Poll::Ready(Ok(event)) => return Poll::Ready(event),
            Poll::Ready(Err(_)) => return Poll::Ready(Some(Event::ServerLost(None))),
        }
        self.mark_busy();
        if !self.track.is_in_flight()
            && let Some(backend) = &mut self.backend
        {
            backend.server.stream.caught_up();
        }
        self.round_goes_on();
        if !self.end_round() {
            return Poll::Ready(Some(Event::LeftBehind));
        }
        self.let_go();
        Poll::Ready(None)
    }

    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let full = self.backend.as_ref().is_some_and(|backend| !backend.to_server.is_empty());
        if full || (self.track.is_aborted() && !self.to_client.is_empty()) {
            return Poll::Pending;
        }
        if self.waits_for_answers() {
            return self.poll_ahead(cx);
        }
        if self.more && self.track.is_full() {
            // Its server has to answer first.
            return Poll::Pending;
        }
        if self.more {
            // What was held, now that there is a server for it, or none is needed.
            self.more = false;
            let held = std::mem::take(&mut self.held);
            if let Some(event) = self.take_client(cx, &held) {
                return Poll::Ready(Some(event));
            }
            self.mark_busy();
            return Poll::Ready(None);
        }
        let answered = !self.track.is_in_flight();
        let mut client = std::mem::replace(&mut self.client, Stream::Closed);
        let read = poll_read_with(&mut client, cx, |data, cx| {
            if data.is_empty() {
                return Some(Event::ClientGone);
            }
            self.seated.seat.who.database.note(|totals| totals.received += data.len() as u64);
            if self.held.is_empty() {
                return self.take_client(cx, data);
            }
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(data);
            self.take_client(cx, &held)
        });
        self.client = client;
        if answered && read.is_ready() {
            // It goes on, and so has read what it was answered.
            self.client.caught_up();
        }
        match read {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(None)) => {}
            Poll::Ready(Ok(event)) => return Poll::Ready(event),
            Poll::Ready(Err(_)) => return Poll::Ready(Some(Event::ClientGone)),
        }
        self.mark_busy();
        // Half a message needs no server yet.
        self.let_go();
        Poll::Ready(None)
    }

    /// Takes in what the client sends while a replica answers: it goes elsewhere, perhaps.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if self.held.len() > AHEAD_BYTES_MAX {
            return Poll::Pending;
        }
        let (held, more) = (&mut self.held, &mut self.more);
        let read = poll_read_with(&mut self.client, cx, |data, _| {
            held.extend_from_slice(data);
            *more |= !data.is_empty();
            data.is_empty()
        });
        match read {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(false)) => Poll::Ready(None),
            Poll::Ready(Ok(true) | Err(_)) => Poll::Ready(Some(Event::ClientGone)),
        }
    }

    /// Forwards what the client sent; what must wait stays in `held`.
    fn take_client(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Option<Event> {
        let mut data = data;
        while self.track.is_aborted() && !data.is_empty() {
            match self.track.client_aborted(data, &mut self.to_client) {
                Ok(Some(taken)) => data = &data[taken..],
                Ok(None) => {
                    self.held = data.to_vec();
                    return None;
                }
                Err(bad) => return Some(Event::BadClient(bad)),
            }
        }
        if self.track.is_terminated() {
            return Some(Event::ClientGone);
        }
        if data.is_empty() {
            return None;
        }
        let mut end = data.len();
        if self.track.is_at_rest() {
            if data.first() == Some(&b'X') && (!self.admitted || self.backend.is_none()) {
                return Some(Event::ClientGone);
            }
            match self.turn(data) {
                Turn::Forward(len) => end = len,
                Turn::Wait => {
                    self.held = data.to_vec();
                    self.more = true;
                    return Some(Event::Held);
                }
            }
        }
        self.keep_statement(&data[..end]);
        let (in_round, one) = (self.in_round(), self.goes_by_rounds());
        let Some(link) = &mut self.backend else { return Some(Event::ServerLost(None)) };
        let mut at = 0;
        loop {
            match forward(link, &mut self.track, (&self.shard.registry, one), cx, &data[at..end]) {
                Ok(Forwarded { at: taken, more }) => {
                    at += taken;
                    self.more = more;
                    // A round goes as a whole.
                    if one || !(in_round && more && taken > 0) {
                        break;
                    }
                }
                Err(bad) => return Some(Event::BadClient(bad)),
            }
        }
        if self.track.take_misset() {
            self.note_refused("22023", "a setting of the proxy's own does not take that");
        }
        if at < data.len() {
            self.held = data[at..].to_vec();
            self.more |= in_round || end < data.len();
        }
        self.track.is_terminated().then_some(Event::ClientGone)
    }
}

/// How far a client's bytes were forwarded.
struct Forwarded {
    at: usize,
    /// There is more that could be, once the server has taken this.
    more: bool,
}

/// Forwards what may be, as it is where nothing has to be put in between; if so said, no further than to where the server
/// answers everything.
fn forward(
    link: &mut Link,
    track: &mut Track,
    (registry, one): (&Registry, bool),
    cx: &mut Context<'_>,
    data: &[u8],
) -> Result<Forwarded, BadFrame> {
    let Link { server, to_server, unflushed, known, .. } = link;
    let mut up = Upstream { known, registry };
    // A server that takes no more bytes may still have sent a last error: the next read says which.
    let mut out = |bytes: &[u8]| {
        *unflushed = true;
        if write_or_keep(&mut server.stream, cx, to_server, bytes).is_err() {
            to_server.clear();
        }
    };
    SCRATCH.with_borrow_mut(|Scratch { message, batch }| {
        // What another session's broken message left is nobody's.
        message.clear();
        batch.clear();
        let (mut from, mut at, mut more) = (0, 0, false);
        while at < data.len() {
            let ends = one && track.ends_round(&data[at..]);
            match track.client(&data[at..], &mut up, message)? {
                Taken::More => break,
                Taken::Full => {
                    more = true;
                    break;
                }
                Taken::Pass(len) => at += len,
                Taken::Instead(len) => {
                    batch.extend_from_slice(&data[from..at]);
                    batch.append(message);
                    at += len;
                    from = at;
                }
            }
            if batch.len() > BATCH_BYTES_MAX || (ends && track.is_between_client_messages()) {
                more = at < data.len();
                break;
            }
        }
        if batch.is_empty() {
            out(&data[from..at]);
        } else {
            batch.extend_from_slice(&data[from..at]);
            out(batch);
            batch.clear();
            batch.shrink_to(BATCH_BYTES_MAX);
        }
        Ok(Forwarded { at, more })
    })
}
