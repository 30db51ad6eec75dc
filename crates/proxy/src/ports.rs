//! The listening sockets: made, or had from the process before this one, and accepted from while this process is the one that takes
//! clients. The service owns them; a takeover hands them on. Nothing here reads a byte of a client's.

use crate::config::Config;
use crate::session::Port;
use crate::{ProxyError, socket};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{AddressFamily, SocketType, sockopt};
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

/// Connections that may wait to be accepted: a storm of clients after a failover must not be refused.
const BACKLOG: u32 = 4096;

/// Pause after the system refuses to accept (no file descriptors left, most likely).
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Whether this process accepts connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepting {
    Yes,
    /// Another process is about to, or this one again.
    Held,
    /// Never more.
    No,
}

/// A listening socket.
#[derive(Debug)]
struct Listening {
    at: SocketAddr,
    socket: StdListener,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Ports {
    clients: Vec<(Port, Listening)>,
    metrics: Option<Listening>,
}

impl Ports {
    /// Those that the configuration names: of these sockets where one has the address, else made.
    ///
    /// # Errors
    /// [`ProxyError::Listen`] when an address cannot be listened on.
    pub(crate) fn open(config: &Config, had: Vec<StdListener>) -> Result<Self, ProxyError> {
        let mut had: Vec<_> =
            had.into_iter().filter_map(|socket| Some(Listening { at: socket.local_addr().ok()?, socket })).collect();
        let mut open = |address: SocketAddr| match had.iter().position(|had| had.at == address) {
            Some(place) => Ok(had.swap_remove(place)),
            None => make(address).map_err(|source| ProxyError::Listen { address, source }),
        };
        let write = config.listen_write.iter().map(|at| (Port::Write, *at));
        let read = config.listen_read.iter().map(|at| (Port::Read, *at));
        let clients = write.chain(read).map(|(port, at)| Ok((port, open(at)?))).collect::<Result<_, ProxyError>>()?;
        let metrics = config.listen_metrics.map(open).transpose()?;
        Ok(Self { clients, metrics })
    }

    /// Where clients of this port come in.
    pub(crate) fn addresses(&self, of: Port) -> Vec<SocketAddr> {
        self.clients.iter().filter(|(port, _)| *port == of).map(|(_, listening)| listening.at).collect()
    }

    /// All of them, to be handed on.
    pub(crate) fn sockets(&self) -> Vec<BorrowedFd<'_>> {
        let clients = self.clients.iter().map(|(_, listening)| listening);
        clients.chain(&self.metrics).map(|listening| listening.socket.as_fd()).collect()
    }

    /// Those of clients, to be accepted from by this process.
    ///
    /// # Errors
    /// [`ProxyError::Listen`] when the system has no descriptor left.
    pub(crate) fn to_accept(&self) -> Result<Vec<(Port, TcpListener)>, ProxyError> {
        self.clients.iter().map(|(port, listening)| Ok((*port, listening.again()?))).collect()
    }

    /// The one for metrics.
    ///
    /// # Errors
    /// As [`Self::to_accept`].
    pub(crate) fn metrics(&self) -> Result<Option<TcpListener>, ProxyError> {
        self.metrics.as_ref().map(Listening::again).transpose()
    }

    /// Accepted sockets inherit it: a client that is gone without a word is noticed at last.
    ///
    /// # Errors
    /// [`ProxyError::Listen`] when it cannot be set.
    pub(crate) fn watch(&self, client_keepalive: Duration) -> Result<(), ProxyError> {
        for (_, listening) in &self.clients {
            let watched = socket::watch(&listening.socket, client_keepalive);
            watched.map_err(|source| ProxyError::Listen { address: listening.at, source })?;
        }
        Ok(())
    }
}

impl Listening {
    fn again(&self) -> Result<TcpListener, ProxyError> {
        let again = self.socket.try_clone().and_then(TcpListener::from_std);
        again.map_err(|source| ProxyError::Listen { address: self.at, source })
    }
}

fn make(address: SocketAddr) -> io::Result<Listening> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let socket = socket.listen(BACKLOG)?.into_std()?;
    Ok(Listening { at: socket.local_addr()?, socket })
}

/// A socket that came from another process, if it is one that connections are accepted from.
pub(crate) fn adopt(socket: OwnedFd) -> Option<StdListener> {
    let internet = matches!(sockopt::socket_domain(&socket), Ok(AddressFamily::INET | AddressFamily::INET6));
    let stream = sockopt::socket_type(&socket) == Ok(SocketType::STREAM);
    let listens = sockopt::socket_acceptconn(&socket) == Ok(true);
    if !(internet && stream && listens) {
        return None;
    }
    let listener = StdListener::from(socket);
    listener.set_nonblocking(true).ok()?;
    Some(listener)
}

/// Accepts, and gives each connection to `take`, while this process is the one that does.
pub(crate) async fn accept<T: Future<Output = ()>>(
    listener: TcpListener,
    mut accepting: watch::Receiver<Accepting>,
    mut take: impl FnMut(TcpStream) -> T,
) {
    loop {
        let now = *accepting.borrow_and_update();
        match now {
            Accepting::No => return,
            Accepting::Held => {
                if accepting.changed().await.is_err() {
                    return;
                }
                continue;
            }
            Accepting::Yes => {}
        }
        tokio::select! {
            biased;
            // first: who comes after the word was given waits for whoever goes on
            changed = accepting.changed() => if changed.is_err() {
                return;
            },
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => take(stream).await,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
}
