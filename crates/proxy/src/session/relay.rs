//! Moves a session's bytes both ways without copying them, until something happens that needs a decision.
//! Only `session` calls it. It forwards no acknowledgement of a server whose term has ended.

use super::Session;
use super::resolve::InDoubt;
use crate::hub::Hub;
use crate::pool::link::{Link, Right};
use crate::stream::{Stream, poll_flush_kept, poll_read_with, write_or_keep};
use crate::track::{Known, Registry, Taken, Track, Upstream, Verdict};
use dauphin_wire::postgres::frame::{BadFrame, HEADER_BYTES};
use std::cell::RefCell;
use std::task::{Context, Poll};

/// Turns before other sessions of the thread get theirs.
const TURNS_MAX: usize = 16;

/// Bytes put together for a server before it has to take them: statements that it lacks are put before what needs them.
const BATCH_BYTES_MAX: usize = 128 * 1024;

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
        let Self { hub, backend: Some(backend), client, to_client, unflushed, track, .. } = self else {
            return Poll::Pending;
        };
        if !to_client.is_empty() {
            return Poll::Pending;
        }
        let Link { server, right, known, .. } = backend;
        let (stream, carry) = (&mut server.stream, &mut server.rest);
        let read = poll_read_with(stream, cx, |data, cx| {
            if data.is_empty() {
                return Some(Event::ServerLost(None));
            }
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
            let scan = scan_server(hub, right, track, known, data, &mut out);
            if scan.event.is_none() && scan.rest < data.len() {
                *carry = data[scan.rest..].to_vec();
            }
            scan.event
        });
        match read {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(None)) => {}
            Poll::Ready(Ok(event)) => return Poll::Ready(event),
            Poll::Ready(Err(_)) => return Poll::Ready(Some(Event::ServerLost(None))),
        }
        self.mark_busy();
        self.let_go();
        Poll::Ready(None)
    }

    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let full = self.backend.as_ref().is_some_and(|backend| !backend.to_server.is_empty());
        if full || (self.track.is_aborted() && !self.to_client.is_empty()) {
            return Poll::Pending;
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
        let mut client = std::mem::replace(&mut self.client, Stream::Closed);
        let read = poll_read_with(&mut client, cx, |data, cx| {
            if data.is_empty() {
                return Some(Event::ClientGone);
            }
            if self.held.is_empty() {
                return self.take_client(cx, data);
            }
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(data);
            self.take_client(cx, &held)
        });
        self.client = client;
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
        if self.track.is_at_rest() && (!self.admitted || self.backend.is_none()) {
            if data.first() == Some(&b'X') {
                return Some(Event::ClientGone);
            }
            let free = self.backend.is_none() && self.check_out_now();
            if !free {
                self.held = data.to_vec();
                self.more = true;
                return Some(Event::Held);
            }
        }
        let Some(link) = &mut self.backend else { return Some(Event::ServerLost(None)) };
        let at = match forward(link, &mut self.track, &self.shard.registry, cx, data) {
            Ok(Forwarded { at, more }) => {
                self.more = more;
                at
            }
            Err(bad) => return Some(Event::BadClient(bad)),
        };
        if at < data.len() {
            self.held = data[at..].to_vec();
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

/// Forwards what may be, as it is where nothing has to be put in between.
fn forward(
    link: &mut Link,
    track: &mut Track,
    registry: &Registry,
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
            if batch.len() > BATCH_BYTES_MAX {
                more = true;
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

/// What a client takes for the answer to its Parse.
const PARSE_COMPLETE: &[u8] = b"1\0\0\0\x04";

struct ServerScan {
    rest: usize,
    event: Option<Event>,
}

/// Looks at what the server sent and hands what may pass to `out`, in as few pieces as possible.
fn scan_server(
    hub: &Hub,
    right: &Right,
    track: &mut Track,
    known: &mut Known,
    data: &[u8],
    out: &mut impl FnMut(&[u8]) -> bool,
) -> ServerScan {
    let (mut from, mut at, mut passed) = (0, 0, true);
    let event = loop {
        if at >= data.len() {
            break None;
        }
        // Before anything is noted: what an older term acknowledges has not happened.
        let acknowledges = track.is_between_server_messages() && matches!(data[at], b'C' | b'Z');
        if acknowledges && matches!(right, Right::Leader(term) if hub.term() > *term) {
            break Some(Event::Superseded);
        }
        match track.server(&data[at..], known) {
            Ok((0, _)) => break None,
            Ok((len, Verdict::Pass | Verdict::Acknowledges)) => at += len,
            Ok((len, verdict @ (Verdict::Drop | Verdict::Parsed))) => {
                passed &= out(&data[from..at]);
                if verdict == Verdict::Parsed {
                    passed &= out(PARSE_COMPLETE);
                }
                at += len;
                from = at;
            }
            Ok((_, Verdict::CancelledWait)) => break Some(Event::CancelledWait),
            Ok((len, Verdict::Fatal)) => {
                break Some(Event::ServerLost(Some(data[at + HEADER_BYTES..at + len].to_vec())));
            }
            Err(bad) => break Some(Event::BadServer(bad)),
        }
    };
    passed &= out(&data[from..at]);
    let event = if passed { event } else { Some(Event::ClientGone) };
    ServerScan { rest: at, event }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::dial::Dial;
    use crate::table::View;
    use dauphin_model::{Pooling, Term};
    use dauphin_wire::postgres::message::{put, put_texts};

    #[test]
    fn nothing_of_an_older_term_is_acknowledged() {
        let hub = Hub::new(Limits::default(), Pooling::Session, true, Dial::plain());
        let right = Right::Leader(Term(1));
        let mut data = Vec::new();
        put(&mut data, b'D', b"row");
        let row = data.len();
        put_texts(&mut data, b'C', &["COMMIT"]);
        put(&mut data, b'Z', b"I");
        let passed = |hub: &Hub| {
            let mut passed = Vec::new();
            let mut track = Track::new(false);
            let scan = scan_server(hub, &right, &mut track, &mut Known::default(), &data, &mut |bytes| {
                passed.extend_from_slice(bytes);
                true
            });
            (passed.len(), scan.event)
        };
        hub.publish(View { term: Term(1), open: true, ..View::default() });
        assert!(matches!(passed(&hub), (len, None) if len == data.len()));
        // Elected, not even open: the old leader's word counts no more.
        hub.publish(View { term: Term(2), ..View::default() });
        assert!(matches!(passed(&hub), (len, Some(Event::Superseded)) if len == row));
    }
}
