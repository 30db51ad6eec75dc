//! The proxy: one port for sessions that write and one for sessions that read, which follow the leader. The binary's
//! verb `proxy` runs it. It acknowledges nothing of a server whose term has ended, and repeats nothing that a server may
//! have seen.

mod allowance;
mod by_port;
mod cancel;
mod choice;
mod config;
mod console;
mod crowd;
mod dial;
mod error;
mod hub;
mod journal;
mod login;
mod marks;
mod metrics;
mod pool;
mod ports;
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
mod takeover;
mod tally;
mod tell;
mod tls;
mod track;
mod verifier;

#[cfg(fuzzing)]
pub use track::fuzz::track as fuzz_track;

pub use by_port::{ByPort, Totals};
pub use config::{
    AgentLink, Certificates, ClientTls, Config, Demand, Limits, Operators, PROXY_ROLE, Reads, Rules, ServerTls,
};
pub use error::ProxyError;
pub use reload::{Change, Reader, Reloaded};
pub use source::Heard;
pub use stats::Snapshot;
pub use table::{RouteTable, View};

use dauphin_model::ClusterName;
use dauphin_wire::postgres::message::TOO_MANY_CONNECTIONS;
use dial::Dial;
use hub::Hub;
use login::{Door, Entered};
use marks::Marks;
use ports::{Accepting, Ports};
use reload::{Front, RELOADS_MAX, Reloader};
use session::{Port, Session};
use shard::{Shard, Shards};
use socket::Socket;
use source::Agents;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stream::Stream;
use takeover::{Estate, Former, Place};
use tell::Process;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How often clients that are to end are looked at: those in a transaction have ended it, perhaps.
const END_LOOK_EVERY: Duration = Duration::from_millis(100);

/// A running proxy.
pub struct Proxy {
    hub: Arc<Hub>,
    shards: Shards,
    cluster: String,
    write: Vec<SocketAddr>,
    read: Vec<SocketAddr>,
    metrics: Option<TcpListener>,
    /// Ends every accept loop when dropped.
    accepting: Arc<watch::Sender<Accepting>>,
    /// Where a new process asks for the listening sockets.
    place: Option<Place>,
    /// The process that has taken over.
    heir: watch::Receiver<Option<u32>>,
    /// Ends the shards when dropped.
    #[expect(dead_code, reason = "held for its drop")]
    life: watch::Sender<()>,
    /// Closed once every connection's task has ended.
    ended: mpsc::Receiver<()>,
}

/// All that a proxy is made of but its ports.
struct Inside {
    hub: Arc<Hub>,
    shards: Shards,
    door: Arc<Door>,
    cluster: ClusterName,
    life: watch::Sender<()>,
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

    /// Takes over from the process that runs with this configuration, if one does, once this one could take clients: it has heard
    /// what there is to know, from the agents unless `heard` brings it. Not one connection is refused or reset on the way, and
    /// while it is not done the other process goes on. It then serves its own clients to their end.
    ///
    /// # Errors
    /// As [`Self::start`], and [`ProxyError::TakeOver`] and [`ProxyError::NotReady`] when the other process goes on.
    pub async fn take_over(
        config: &Config,
        heard: Option<mpsc::Receiver<Heard>>,
        reader: Option<Reader>,
    ) -> Result<Self, ProxyError> {
        let place = Place::open(config.run_dir.as_ref().ok_or(ProxyError::NoRunDir)?)?;
        let (agents, heard) = match heard {
            Some(heard) => (None, heard),
            None => Agents::start(config).map(|(agents, heard)| (Some(agents), heard))?,
        };
        let Some(stream) = place.call()? else {
            tracing::info!("there is no process to take over from");
            return Self::start_with(config, heard, agents, reader);
        };
        let former = Former::greet(stream, &config.cluster).await?;
        let listener = place.listen()?;
        let taken = Box::pin(Self::take_from(former, config, &place, (heard, agents, reader))).await;
        let (former, inside, ports, listeners) = taken?;
        let hub = Arc::clone(&inside.hub);
        if let Err(error) = ports.watch(config.rules.limits.client_keepalive) {
            tracing::warn!("client_keepalive is that of the process before: {error}");
        }
        if let Err(error) = place.publish() {
            tracing::warn!("no process can take over from this one: {error}");
        }
        let proxy = Self::serve(inside, ports, listeners, Some((place, listener)));
        former.follow(&hub);
        Ok(proxy)
    }

    /// Everything that may fail.
    async fn take_from(
        mut former: Former,
        config: &Config,
        place: &Place,
        (heard, agents, reader): (mpsc::Receiver<Heard>, Option<Agents>, Option<Reader>),
    ) -> Result<(Former, Inside, Ports, Listeners), ProxyError> {
        let inside = Inside::new(config, files(config)?, heard, agents, reader)?;
        former.await_known(&inside.hub).await?;
        let ports = Ports::open(config, former.sockets().await?)?;
        let listeners = Listeners { clients: ports.to_accept()?, metrics: ports.metrics()? };
        former.replace(place).await?;
        Ok((former, inside, ports, listeners))
    }

    fn start_with(
        config: &Config,
        heard: mpsc::Receiver<Heard>,
        agents: Option<Agents>,
        reader: Option<Reader>,
    ) -> Result<Self, ProxyError> {
        let files = files(config)?;
        let place = config.run_dir.as_deref().map(Place::open).transpose()?;
        let meets = match place {
            None => None,
            Some(place) if place.call()?.is_some() => {
                return Err(ProxyError::Runs { path: config.run_dir.clone().unwrap_or_default() });
            }
            Some(place) => {
                let listener = place.listen()?;
                Some((place, listener))
            }
        };
        let ports = Ports::open(config, Vec::new())?;
        ports.watch(config.rules.limits.client_keepalive)?;
        let listeners = Listeners { clients: ports.to_accept()?, metrics: ports.metrics()? };
        let inside = Inside::new(config, files, heard, agents, reader)?;
        // Last: until here another process may have been faster with the ports.
        meets.as_ref().map_or(Ok(()), |(place, _)| place.publish())?;
        Ok(Self::serve(inside, ports, listeners, meets))
    }

    /// Accepts, and answers processes that want to take over.
    fn serve(inside: Inside, ports: Ports, listeners: Listeners, meets: Option<(Place, UnixListener)>) -> Self {
        let Inside { hub, shards, door, cluster, life } = inside;
        let accepting = Arc::new(watch::Sender::new(Accepting::Yes));
        let (running, ended) = mpsc::channel(1);
        for (port, listener) in listeners.clients {
            let (door, running) = (Arc::clone(&door), running.clone());
            let mut turns = (0..door.shards.count()).cycle();
            let take = move |stream: TcpStream| {
                let shard = turns.next().unwrap_or_default();
                give(Arc::clone(&door), shard, stream, port, running.clone())
            };
            tokio::spawn(ports::accept(listener, accepting.subscribe(), take));
        }
        let (write, read) = (ports.addresses(Port::Write), ports.addresses(Port::Read));
        let (told, heir) = watch::channel(None);
        let name = cluster.to_string();
        let place = meets.map(|(place, listener)| {
            let estate = Estate {
                hub: Arc::clone(&hub),
                shards: shards.clone(),
                cluster,
                ports: Mutex::new(Some(ports)),
                accepting: Arc::downgrade(&accepting),
                heir: told,
            };
            tokio::spawn(takeover::give(Arc::new(estate), listener));
            place
        });
        let metrics = listeners.metrics;
        Self { hub, shards, cluster: name, write, read, metrics, accepting, place, heir, life, ended }
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

    /// Where metrics are asked for, if the configuration says so: whoever runs the proxy serves them there, until another process has
    /// taken over. Given once.
    pub fn metrics_listener(&mut self) -> Option<TcpListener> {
        self.metrics.take()
    }

    /// Waits until another process has taken over: this one has clients to [`Self::drain`] then, and nothing else to do.
    pub async fn taken_over(&self) {
        let mut heir = self.heir.clone();
        if heir.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Serves the clients that are there until they have left, after another process has taken over. At the limit those at rest are
    /// ended, and transactions may end for as long again.
    pub async fn drain(&mut self) {
        let begun = Instant::now();
        let heir = self.heir.borrow().unwrap_or_default();
        let limit = self.hub.rules().limits.drain;
        let clients = self.hub.stats.clients.get();
        tracing::info!(
            "draining: {clients} clients stay until they leave, at most {} s; process {heir} takes new ones",
            limit.as_secs()
        );
        let mut views = self.hub.subscribe();
        let stayed = loop {
            let limit = self.hub.rules().limits.drain;
            tokio::select! {
                _ = self.ended.recv() => break 0,
                () = sleep_until(begun + limit) => break self.hub.stats.clients.get(),
                // A reload is among the changes.
                _ = views.changed() => {}
            }
        };
        let limit = self.hub.rules().limits.drain;
        let cut = if stayed == 0 || self.end_clients(limit).await { 0 } else { self.hub.stats.clients.get() };
        // It tells of those before it, and passes on what is cancelled there; they have limits of their own.
        let _ = timeout(limit, self.hub.succession.alone()).await;
        tracing::info!(
            "drained: {} clients left by themselves, {stayed} were ended at the limit, {cut} of them in a transaction; it took {} s",
            clients.saturating_sub(stayed),
            begun.elapsed().as_secs(),
        );
    }

    /// Ends clients at rest, and others once they are. Whether all have ended within the limit.
    async fn end_clients(&mut self, limit: Duration) -> bool {
        self.hub.stop();
        let until = Instant::now() + limit;
        loop {
            tokio::select! {
                _ = self.ended.recv() => return true,
                () = sleep_until(until) => return false,
                () = sleep(END_LOOK_EVERY) => self.hub.stir(),
            }
        }
    }

    /// Takes no more clients, ends those at rest, and gives running transactions until the limit.
    pub async fn stop(mut self) {
        self.accepting.send_replace(Accepting::No);
        if let Some(place) = self.place.as_ref().filter(|_| !self.hub.succession.is_over()) {
            place.leave();
        }
        if !self.end_clients(self.hub.rules().limits.stop).await {
            tracing::warn!(clients = self.hub.stats.clients.get(), "stopping with transactions still running");
        }
    }
}

/// Sockets that this process accepts from.
struct Listeners {
    clients: Vec<(Port, TcpListener)>,
    metrics: Option<TcpListener>,
}

impl Inside {
    fn new(
        config: &Config,
        (password, front): (String, Front),
        heard: mpsc::Receiver<Heard>,
        agents: Option<Agents>,
        reader: Option<Reader>,
    ) -> Result<Self, ProxyError> {
        let (front, entrance) = watch::channel(front);
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
        if let Some(agents) = &agents {
            let this = Process::new(&config.listen_write);
            tokio::spawn(tell::tell(Arc::downgrade(&hub), shards.clone(), this, agents.news()));
        }
        let (reloads, asked) = mpsc::channel(RELOADS_MAX);
        let reloader = Reloader { hub: Arc::downgrade(&hub), reader, front, agents, cluster: config.cluster.clone() };
        tokio::spawn(reloader.run(asked));
        // Set once, here.
        let _ = hub.reloads.set(reloads);
        Ok(Self { hub, shards, door, cluster: config.cluster.clone(), life })
    }
}

/// What is read before anything is done: the proxy's password, and how clients are let in.
fn files(config: &Config) -> Result<(String, Front), ProxyError> {
    Ok((read_password(&config.password_file)?, Front::new(config)?))
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

/// Has a shard serve this client. What cannot be taken off its first thread is gone already.
async fn give(door: Arc<Door>, shard: usize, stream: TcpStream, port: Port, running: mpsc::Sender<()>) {
    let Ok(stream) = stream.into_std() else { return };
    let entered = Arc::clone(&door);
    let job = move |shard| {
        spawn_local(connection(shard, entered, stream, port, running));
    };
    door.shards.run(shard, Box::new(job)).await;
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
        Some(Entered::Console(console)) => Box::pin(console.run()).await,
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
