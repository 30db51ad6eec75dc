//! The proxy: one port for sessions that write and one for sessions that read, which follow the leader. The binary's
//! verb `proxy` runs it. It acknowledges nothing of a server whose term has ended, and repeats nothing that a server may
//! have seen.

mod allowance;
mod cancel;
mod choice;
mod config;
mod console;
mod crowd;
mod dial;
mod hub;
mod journal;
mod login;
mod marks;
mod metrics;
mod pool;
mod reload;
mod seat;
mod server;
mod session;
mod settings;
mod shard;
mod socket;
mod source;
mod stats;
mod stream;
mod survey;
mod table;
mod tally;
mod tls;
mod track;
mod verifier;

#[cfg(fuzzing)]
pub use track::fuzz::track as fuzz_track;

pub use config::{
    AgentLink, Certificates, ClientTls, Config, Demand, Limits, Operators, PROXY_ROLE, Reads, Rules, ServerTls,
};
pub use reload::{Change, Reader, Reloaded};
pub use source::Heard;
pub use stats::Snapshot;
pub use table::{RouteTable, View};

use dauphin_wire::postgres::message::TOO_MANY_CONNECTIONS;
use dial::Dial;
use hub::Hub;
use login::{Door, Entered};
use marks::Marks;
use reload::{Front, RELOADS_MAX, Reloader};
use session::{Port, Session};
use shard::{Shard, Shards};
use socket::Socket;
use source::Agents;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use stream::Stream;
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;

/// Connections that may wait to be accepted: a storm of clients after a failover must not be refused.
const BACKLOG: u32 = 4096;

/// Pause after the system refuses to accept (no file descriptors left, most likely).
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Why the proxy does not run.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// A port cannot be listened on.
    #[error("cannot listen on {address}: {source}; is another program using it?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A secret that others can read.
    #[error("{} can be read by others: chmod 600 it", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
    },
    /// The password file is empty.
    #[error("{} holds no password: write the password of {PROXY_ROLE} into it", path.display())]
    NoPassword {
        /// The file.
        path: PathBuf,
    },
    /// Certificate or key for clients cannot be used.
    #[error("the certificate or key for clients cannot be used: {0}")]
    Tls(String),
    /// The CA that clients' certificates are checked against cannot be used.
    #[error("clients' certificates cannot be checked: {0}")]
    ClientTrust(String),
    /// The CA that servers' certificates are checked against cannot be used.
    #[error("servers' certificates cannot be checked: {0}")]
    Trust(String),
    /// The system gives no thread, or no way to wait for sockets.
    #[error("cannot start a thread: {0}")]
    Threads(io::Error),
    /// The certificates for the agents' links cannot be used.
    #[error("{0}")]
    Identity(#[from] dauphin_net::IdentityError),
    /// An agent's name cannot be one.
    #[error("no agents are configured: nothing would tell the proxy where the leader is")]
    NoAgents,
}

/// A running proxy.
pub struct Proxy {
    hub: Arc<Hub>,
    shards: Shards,
    cluster: String,
    write: Vec<SocketAddr>,
    read: Vec<SocketAddr>,
    /// Ends every accept loop when dropped.
    accepting: mpsc::Sender<()>,
    /// Ends the shards when dropped.
    #[expect(dead_code, reason = "held for its drop")]
    life: watch::Sender<()>,
    /// Closed once every connection's task has ended.
    ended: mpsc::Receiver<()>,
}

/// What can be asked of a running proxy from outside.
#[derive(Clone)]
pub struct Handle {
    hub: Arc<Hub>,
    shards: Shards,
    cluster: String,
}

impl Handle {
    /// What it measures, as OpenMetrics text.
    pub async fn metrics(&self) -> String {
        let pooled = survey::merge_pooled(self.shards.gather(survey::pooled).await);
        let known = survey::merge_databases(self.shards.gather(survey::databases).await);
        metrics::text(&self.cluster, &self.hub, &pooled, &known)
    }

    /// Has the configuration read again, and what can be changed by that changed.
    ///
    /// # Errors
    /// Why it stays as it was.
    pub async fn reload(&self) -> Result<Reloaded, String> {
        self.hub.reload().await
    }
}

impl Proxy {
    /// Starts listening. `heard` brings what the agents say, `reader` reads the configuration again when asked to. Must be called
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// [`ProxyError`] when a port, a file or a certificate cannot be used.
    pub fn start(config: &Config, heard: mpsc::Receiver<Heard>, reader: Option<Reader>) -> Result<Self, ProxyError> {
        Self::start_with(config, heard, None, reader)
    }

    /// The same, hearing from the agents that the configuration names.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn open(config: &Config, reader: Reader) -> Result<Self, ProxyError> {
        let (agents, heard) = Agents::start(config)?;
        Self::start_with(config, heard, Some(agents), Some(reader))
    }

    fn start_with(
        config: &Config,
        heard: mpsc::Receiver<Heard>,
        agents: Option<Agents>,
        reader: Option<Reader>,
    ) -> Result<Self, ProxyError> {
        let password = read_password(&config.password_file)?;
        let (front, entrance) = watch::channel(Front::new(config)?);
        let listen = |addresses: &[SocketAddr]| {
            addresses.iter().map(|at| bind(*at, config.rules.limits.client_keepalive)).collect::<Result<Vec<_>, _>>()
        };
        let (write, read) = (listen(&config.listen_write)?, listen(&config.listen_read)?);
        let addresses = |listeners: &[(SocketAddr, TcpListener)]| listeners.iter().map(|(at, _)| *at).collect();

        let hub =
            Hub::new(config.rules.clone(), Dial::new(config)?, Marks::new(&config.auth_database, password.clone()));
        hub.set(config.rules.clone(), settings::settings(config));
        Marks::start(&hub);
        tokio::spawn(journal::publish(Arc::clone(&hub), RouteTable::new(config.cluster.clone()), heard));
        let verifiers = verifier::Verifiers::start(Arc::clone(&hub), &config.auth_database, password.clone());
        let (life, alive) = watch::channel(());
        let shards = Shards::start(&hub, config.shards, &alive)?;
        let door = Arc::new(Door {
            hub: Arc::clone(&hub),
            shards: shards.clone(),
            verifiers,
            front: entrance,
            mock_secret: password.into_bytes(),
        });
        let (accepting, _) = mpsc::channel(1);
        let (running, ended) = mpsc::channel(1);
        let (reloads, asked) = mpsc::channel(RELOADS_MAX);
        let reloader = Reloader { hub: Arc::downgrade(&hub), reader, front, agents, cluster: config.cluster.clone() };
        tokio::spawn(reloader.run(asked));
        // Set once, here.
        let _ = hub.reloads.set(reloads);
        let cluster = config.cluster.to_string();
        let proxy =
            Self { hub, shards, cluster, write: addresses(&write), read: addresses(&read), accepting, life, ended };
        let ports = write.into_iter().map(|listener| (Port::Write, listener));
        for (port, (_, listener)) in ports.chain(read.into_iter().map(|listener| (Port::Read, listener))) {
            tokio::spawn(accept(Arc::clone(&door), listener, port, running.clone(), proxy.accepting.downgrade()));
        }
        Ok(proxy)
    }

    /// Where it takes sessions that write.
    #[must_use]
    pub fn write_addresses(&self) -> &[SocketAddr] {
        &self.write
    }

    /// Where it takes sessions that read.
    #[must_use]
    pub fn read_addresses(&self) -> &[SocketAddr] {
        &self.read
    }

    /// What asks it from elsewhere.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { hub: Arc::clone(&self.hub), shards: self.shards.clone(), cluster: self.cluster.clone() }
    }

    /// Counters now.
    #[must_use]
    pub fn stats(&self) -> Snapshot {
        self.hub.stats.snapshot()
    }

    /// Where clients go now.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.hub.view()
    }

    /// Takes no more clients, ends those at rest, and gives running transactions until the limit.
    pub async fn stop(mut self) {
        drop(self.accepting);
        self.hub.stop();
        if tokio::time::timeout(self.hub.rules().limits.stop, self.ended.recv()).await.is_err() {
            tracing::warn!(clients = self.hub.stats.clients.get(), "stopping with transactions still running");
        }
    }
}

fn read_password(path: &Path) -> Result<String, ProxyError> {
    let failed = |source| ProxyError::File { path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(ProxyError::Permissions { path: path.to_owned() });
    }
    let password = std::fs::read_to_string(path).map_err(failed)?.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() { Err(ProxyError::NoPassword { path: path.to_owned() }) } else { Ok(password) }
}

fn bind(address: SocketAddr, client_keepalive: Duration) -> Result<(SocketAddr, TcpListener), ProxyError> {
    let open = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        // Accepted sockets inherit it: a client that is gone without a word is noticed at last.
        socket::watch(&socket, client_keepalive)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        Ok((listener.local_addr()?, listener))
    };
    open().map_err(|source| ProxyError::Listen { address, source })
}

async fn accept(
    door: Arc<Door>,
    listener: TcpListener,
    port: Port,
    running: mpsc::Sender<()>,
    accepting: mpsc::WeakSender<()>,
) {
    let mut stopped = door.hub.subscribe();
    let mut turns = (0..door.shards.count()).cycle();
    while accepting.upgrade().is_some() {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                // What cannot be taken off its first thread is gone already.
                Ok((stream, _)) => if let Ok(stream) = stream.into_std() {
                    let (entered, running) = (Arc::clone(&door), running.clone());
                    let job = move |shard| {
                        spawn_local(connection(shard, entered, stream, port, running));
                    };
                    door.shards.run(turns.next().unwrap_or_default(), Box::new(job)).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
            // Wakes at every change, the proxy's stop among them.
            _ = stopped.changed() => {}
        }
    }
}

async fn connection(
    shard: Rc<Shard>,
    door: Arc<Door>,
    stream: std::net::TcpStream,
    port: Port,
    running: mpsc::Sender<()>,
) {
    let hub = Arc::clone(&shard.hub);
    let _running = running;
    let _client = stats::Gauge::new(&hub.stats.clients);
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    // What cannot be set on a socket is gone already.
    let _ = stream.set_nodelay(true);
    let rules = hub.rules();
    let limits = &rules.limits;
    // The listening socket hands on what it was bound with, and a reload may have changed that.
    let _ = socket::watch(&stream, limits.client_keepalive);
    let stream = Socket::watched(stream, limits.client_keepalive);
    if hub.stats.clients.get() > limits.clients as u64 || hub.stats.logging_in.get() >= limits.logins as u64 {
        hub.stats.refused.add();
        return turn_away(stream).await;
    }
    match enter(shard, door, stream, port).await {
        Some(Entered::Session(session)) => run_session(session).await,
        Some(Entered::Console(console)) => console.run().await,
        None => {}
    }
}

type Boxed<T> = Pin<Box<dyn Future<Output = T>>>;

// Each stage of a connection has a box of its own, given back when the stage ends: an idle client pays for its session
// only, and not for what its login needed.

fn turn_away(stream: Socket) -> Boxed<()> {
    Box::pin(async move {
        let text = "sorry, too many clients already: raise the proxy's limit, or pool in the application";
        login::refuse(&mut Stream::Plain(stream), TOO_MANY_CONNECTIONS, text).await;
    })
}

fn enter(shard: Rc<Shard>, door: Arc<Door>, stream: Socket, port: Port) -> Boxed<Option<Entered>> {
    Box::pin(async move {
        let _logging_in = stats::Gauge::new(&shard.hub.stats.logging_in);
        door.enter(&shard, stream, port).await
    })
}

fn run_session(session: Box<Session>) -> Boxed<()> {
    Box::pin(session.run())
}
