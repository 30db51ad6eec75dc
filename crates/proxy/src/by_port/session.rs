//! One client of a port and its server: found, or waited for within a limit, then bytes both ways until either ends or the server may
//! not be believed any more. The accept loop runs it.

use super::{Counted, Reader, Shared};
use crate::choice::{Load, Wish};
use crate::session::Port;
use crate::socket::{self, SERVER_SILENCE_MAX};
use crate::table::View;
use dauphin_model::{MemberName, Target, Term};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

/// How long a server may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Pause before a server that could not be reached is tried again, unless something changes.
const RETRY: Duration = Duration::from_millis(50);
/// How long a client may take to read why it is not served.
const REFUSE_WITHIN: Duration = Duration::from_secs(1);
/// Buffer for each direction of a session, in bytes.
const BUFFER_BYTES: usize = 8 * 1024;
/// `ER_CON_COUNT_ERROR`: MySQL's own word for a server that has no room. Drivers take it as temporary.
const NO_ROOM: u16 = 1040;

/// A server that a session may use.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Chosen {
    target: Target,
    /// The leader of this term; none: a replica.
    leads: Option<Term>,
}

/// A client of a port.
pub(super) struct Session {
    counted: Counted,
    client: TcpStream,
    port: Port,
}

impl Session {
    pub(super) fn new(counted: Counted, client: TcpStream, port: Port) -> Self {
        Self { counted, client, port }
    }

    /// To its end.
    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.counted.0);
        let _ = self.client.set_nodelay(true);
        let found = tokio::select! {
            found = self.server(&shared) => found,
            () = leaves(&self.client) => return,
        };
        let Some((mut server, chosen, _reader)) = found else {
            shared.counts.refused.fetch_add(1, Ordering::Relaxed);
            let text = why(&shared.views.borrow(), self.port);
            return refuse(self.client, text).await;
        };
        shared.counts.served.fetch_add(1, Ordering::Relaxed);
        let mut views = shared.views.clone();
        let cut = tokio::select! {
            // what a server said before it lost its place is not sent on behind that
            biased;
            () = ends(&mut views, &chosen) => true,
            _ = copy_bidirectional_with_sizes(&mut self.client, &mut server, BUFFER_BYTES, BUFFER_BYTES) => false,
        };
        if cut {
            shared.counts.cut.fetch_add(1, Ordering::Relaxed);
            // a reset on both sides: neither takes it for an orderly end, and the server gives up what it runs
            for stream in [&self.client, &server] {
                let _ = stream.set_zero_linger();
            }
        }
    }

    /// Waits, within the limit, for a server that takes connections.
    async fn server(&self, shared: &Arc<Shared>) -> Option<(TcpStream, Chosen, Option<Reader>)> {
        let mut views = shared.views.clone();
        let deadline = Instant::now() + shared.limits.wait;
        loop {
            let view = Arc::clone(&views.borrow_and_update());
            let chosen = choose(shared, &view, self.port);
            let pause = if let Some((chosen, reader)) = chosen {
                match connect(&chosen.target).await {
                    // leadership may have moved meanwhile
                    Ok(server) if holds(&views.borrow(), &chosen) => {
                        return Some((server, chosen, reader));
                    }
                    Ok(_) => Duration::ZERO,
                    Err(error) => {
                        tracing::debug!(member = %chosen.target.member, %error, "a server cannot be reached");
                        RETRY
                    }
                }
            } else {
                shared.limits.wait
            };
            if Instant::now() >= deadline {
                return None;
            }
            // the sender lives as long as sessions do
            let _ = timeout_at(deadline.min(Instant::now() + pause), views.changed()).await;
        }
    }
}

/// Returns when a client that waits for a server has left. No client of MySQL speaks before its server does; one that does
/// waits like the others.
async fn leaves(client: &TcpStream) {
    if client.peek(&mut [0]).await.is_ok_and(|read| read > 0) {
        std::future::pending::<()>().await;
    }
}

/// Returns when a session may not go on with its server.
async fn ends(views: &mut watch::Receiver<Arc<View>>, chosen: &Chosen) {
    let over = |view: &Arc<View>| !holds(view, chosen);
    if views.wait_for(over).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Whether what this server says may be believed, as things stand.
fn holds(view: &View, chosen: &Chosen) -> bool {
    match chosen.leads {
        // a switchover that is about to happen lets sessions end what they run
        Some(term) => view.term == term && view.open_leader() == Some(&chosen.target),
        None => view.usable_replicas().any(|replica| *replica == chosen.target),
    }
}

/// Where a client of this port goes now; counted there from now on.
fn choose(shared: &Arc<Shared>, view: &View, port: Port) -> Option<(Chosen, Option<Reader>)> {
    let leader = || {
        let target = view.admitting_leader()?.clone();
        Some((Chosen { target, leads: Some(view.term) }, None))
    };
    match port {
        Port::Write => leader(),
        Port::Read => {
            let mut readers = shared.readers.lock().unwrap_or_else(PoisonError::into_inner);
            let load =
                |member: &MemberName| Load { busy: readers.get(member.as_str()).copied().unwrap_or(0), full: false };
            let wish = Wish { zone: shared.zone.as_deref(), reporting: false };
            let best = view.readable().min_by_key(|replica| wish.rank(replica, load(&replica.target.member)));
            let Some(replica) = best else {
                drop(readers);
                return leader().filter(|_| shared.read_from_leader);
            };
            let member = replica.target.member.to_string();
            *readers.entry(member.clone()).or_default() += 1;
            let reader = Reader { shared: Arc::clone(shared), member };
            Some((Chosen { target: replica.target.clone(), leads: None }, Some(reader)))
        }
    }
}

async fn connect(target: &Target) -> io::Result<TcpStream> {
    let connecting = TcpStream::connect((target.host.as_str(), target.port));
    let server = timeout(CONNECT_WITHIN, connecting).await.map_err(|_| io::ErrorKind::TimedOut)??;
    server.set_nodelay(true)?;
    socket::watch(&server, SERVER_SILENCE_MAX)?;
    Ok(server)
}

fn why(view: &View, port: Port) -> &'static str {
    match (view.open_leader(), port) {
        (None, Port::Write) => "no leader takes clients just now",
        (None, Port::Read) => "neither a replica nor the leader takes clients just now",
        (Some(_), _) => "the server could not be reached in time",
    }
}

/// Says why a client is not served, as a MySQL server does in place of its greeting: the first packet of a connection.
pub(super) async fn refuse(mut client: TcpStream, text: &str) {
    let _ = timeout(REFUSE_WITHIN, client.write_all(&refusal(text))).await;
    let _ = timeout(REFUSE_WITHIN, client.shutdown()).await;
}

/// An ERR packet without an SQLSTATE, which is not spoken before the handshake (MySQL manual, "Connection Phase").
fn refusal(text: &str) -> Vec<u8> {
    let mut body = vec![0xFF];
    body.extend_from_slice(&NO_ROOM.to_le_bytes());
    body.extend_from_slice(text.as_bytes());
    let length = u32::try_from(body.len()).unwrap_or(0).to_le_bytes();
    // three bytes of length, then the packet's number
    let mut packet = vec![length[0], length[1], length[2], 0];
    packet.extend_from_slice(&body);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_packet_that_clients_read() {
        let packet = refusal("no");
        assert_eq!(packet, [5, 0, 0, 0, 0xFF, 0x10, 0x04, b'n', b'o']);
    }
}
