//! The server's end of links: accepts connections, proves who is there, hands frames to the handler.

use crate::BoxFuture;
use crate::identity::Identity;
use crate::peer::Peer;
use crate::server_conn;
use crate::socket;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// Most connections at once; more are closed as they come.
pub const CONNECTIONS_MAX: usize = 512;
/// Most calls and subscriptions of one connection at once; beyond it the connection is not read.
pub const CALLS_PER_CONNECTION_MAX: usize = 256;
/// How long a peer may take to prove itself.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(2);
/// Pause after a failed accept: it fails when file descriptors run out, and would fail again at once.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A handler's no, with what the peer should do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is done with the frames of proven peers.
pub trait Handler: Send + Sync + 'static {
    /// Answers a call.
    fn call(&self, peer: Peer, channel: u8, body: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>>;

    /// Takes a note. Must not block.
    fn note(&self, peer: Peer, channel: u8, body: Bytes);

    /// Begins a subscription: what comes out of the stream is sent, until it ends or the peer does.
    ///
    /// # Errors
    /// [`Refusal`]: nothing can be subscribed to on this channel.
    fn subscribe(&self, peer: Peer, channel: u8, body: Bytes) -> Result<mpsc::Receiver<Bytes>, Refusal> {
        drop((peer, body));
        Err(Refusal(format!("channel {channel} has nothing to follow")))
    }
}

/// Serves links on `listener` until `shutdown` ends; then closes every connection and returns.
pub async fn serve(
    listener: TcpListener,
    identity: Arc<Identity>,
    handler: Arc<dyn Handler>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((stream, from)) => {
                let Ok(place) = room.clone().try_acquire_owned() else {
                    tracing::warn!(%from, "too many links at once; this one is closed");
                    continue;
                };
                let (identity, handler, mut stopping) = (identity.clone(), handler.clone(), stopping.clone());
                connections.spawn(async move {
                    tokio::select! {
                        () = connection(stream, &identity, handler) => {}
                        _ = stopping.changed() => {}
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a link");
                sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
    drop((listener, stop));
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, identity: &Identity, handler: Arc<dyn Handler>) {
    let from = stream.peer_addr().map_or_else(|_| "unknown".to_owned(), |a| a.to_string());
    if let Err(error) = socket::prepare(&stream) {
        tracing::debug!(from, %error, "a link ended before it began");
        return;
    }
    let handshake = TlsAcceptor::from(identity.server()).accept(stream);
    let stream = match timeout(HANDSHAKE_WITHIN, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(from, %error, "a link was not accepted");
            return;
        }
        Err(_) => {
            tracing::debug!(from, "a link did not prove itself in time");
            return;
        }
    };
    match identity.proven(stream.get_ref().1.peer_certificates()) {
        Ok(peer) => server_conn::run(stream, peer, handler).await,
        Err(error) => tracing::warn!(from, %error, "a link was refused"),
    }
}
