//! Sessions by port for engines whose protocol the proxy does not read (MySQL, MariaDB): each client of the write port has a
//! connection to the leader of one term, each of the read port one to a replica, and bytes go between them as they are, TLS
//! included. `dauphin proxy` runs it in place of [`crate::Proxy`]. It never keeps a connection whose server may not be believed any
//! more, and never carries a client over to another server: that client has to connect again.

mod session;

use crate::config::Config;
use crate::error::ProxyError;
use crate::ports::{self, Accepting, Ports};
use crate::session::Port;
use crate::source::{Agents, Heard, News};
use crate::table::{RouteTable, View};
use crate::tell::{Process, TELL_EVERY, leads_elsewhere};
use session::{Session, refuse};
use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// What happened so far.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Clients there now.
    clients: AtomicUsize,
    /// Sessions that got a server.
    served: AtomicU64,
    /// Clients that got none in time, or were too many.
    refused: AtomicU64,
    /// Sessions ended because their server may not be believed any more.
    cut: AtomicU64,
}

/// What every session shares.
pub(crate) struct Shared {
    views: watch::Receiver<Arc<View>>,
    counts: Counts,
    /// Sessions on each replica, by its name.
    readers: Mutex<BTreeMap<String, usize>>,
    limits: crate::config::Limits,
    /// A read goes to the leader while no replica can take it.
    read_from_leader: bool,
    zone: Option<String>,
}

/// What it has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Clients there now.
    pub clients: usize,
    /// Sessions that got a server.
    pub served: u64,
    /// Clients that got none in time, or were too many.
    pub refused: u64,
    /// Sessions ended because their server may not be believed any more.
    pub cut: u64,
}

/// A running proxy.
pub struct ByPort {
    shared: Arc<Shared>,
    write: Vec<SocketAddr>,
    read: Vec<SocketAddr>,
    /// Nobody else takes its ports over, so it never changes; dropped, it ends the accepting.
    #[expect(dead_code, reason = "held for its drop")]
    accepting: watch::Sender<Accepting>,
    /// All that runs ends with it.
    tasks: JoinSet<()>,
    /// Follows the agents, and ends with it.
    #[expect(dead_code, reason = "held for its drop")]
    agents: Option<Agents>,
}

impl ByPort {
    /// Starts listening, and hears from the agents that the configuration names. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`ProxyError`] when a port or a certificate cannot be used.
    pub fn open(config: &Config) -> Result<Self, ProxyError> {
        let (agents, heard) = Agents::start(config)?;
        Self::start_with(config, heard, Some(agents))
    }

    /// The same, hearing what `heard` brings.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn start(config: &Config, heard: mpsc::Receiver<Heard>) -> Result<Self, ProxyError> {
        Self::start_with(config, heard, None)
    }

    fn start_with(config: &Config, heard: mpsc::Receiver<Heard>, agents: Option<Agents>) -> Result<Self, ProxyError> {
        let ports = Ports::open(config, Vec::new())?;
        ports.watch(config.rules.limits.client_keepalive)?;
        let (publish, views) = watch::channel(Arc::new(View::default()));
        let shared = Arc::new(Shared {
            views,
            counts: Counts::default(),
            readers: Mutex::default(),
            limits: config.rules.limits.clone(),
            read_from_leader: config.rules.read_from_leader,
            zone: config.rules.zone.clone(),
        });
        let accepting = watch::Sender::new(Accepting::Yes);
        let mut tasks = JoinSet::new();
        if let Some(agents) = &agents {
            tasks.spawn(tell(Arc::clone(&shared), Process::new(&config.listen_write), agents.news()));
        }
        tasks.spawn(follow(RouteTable::new(config.cluster.clone()), heard, publish));
        for (port, listener) in ports.to_accept()? {
            tasks.spawn(ports::accept(listener, accepting.subscribe(), serve(Arc::clone(&shared), port)));
        }
        let (write, read) = (ports.addresses(Port::Write), ports.addresses(Port::Read));
        Ok(Self { shared, write, read, accepting, tasks, agents })
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

    /// What it has done so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let counts = &self.shared.counts;
        Totals {
            clients: counts.clients.load(Ordering::Relaxed),
            served: counts.served.load(Ordering::Relaxed),
            refused: counts.refused.load(Ordering::Relaxed),
            cut: counts.cut.load(Ordering::Relaxed),
        }
    }

    /// Ends everything, sessions included.
    pub async fn stop(mut self) {
        let clients = self.totals().clients;
        if clients > 0 {
            tracing::info!(clients, "stopping: their connections are closed");
        }
        self.tasks.shutdown().await;
    }
}

/// Merges what the agents say until nobody listens.
async fn follow(mut table: RouteTable, mut heard: mpsc::Receiver<Heard>, publish: watch::Sender<Arc<View>>) {
    while let Some(word) = heard.recv().await {
        match word {
            Heard::Route(route) => {
                let (from, cluster) = (route.from.clone(), route.cluster.clone());
                if !table.hear(*route) {
                    tracing::warn!(member = %from, %cluster, "an agent of another cluster is not believed");
                }
            }
            Heard::Lost(member) => table.lose(&member),
        }
        let view = table.view();
        let before = Arc::clone(&publish.borrow());
        if view == *before {
            continue;
        }
        if view.term != before.term || view.open != before.open || view.draining != before.draining {
            let leader = view.leader.as_ref().map_or("none", |leader| leader.member.as_str());
            tracing::info!(leader, open = view.open, draining = view.draining, "term {}", view.term);
        }
        publish.send_replace(Arc::new(view));
    }
}

/// Tells every agent how it is, until it ends.
async fn tell(shared: Arc<Shared>, this: Process, news: News) {
    let mut ticks = tokio::time::interval(TELL_EVERY);
    let mut views = shared.views.clone();
    loop {
        let (view, clients) = (Arc::clone(&views.borrow_and_update()), shared.counts.clients.load(Ordering::Relaxed));
        news.tell(this.news(&view, shared.zone.as_deref(), clients as u64, shared.limits.clients));
        tokio::select! {
            _ = ticks.tick() => {}
            () = leads_elsewhere(&mut views, &view) => {}
        }
    }
}

/// Serves each client that it is given; those that are there end with it.
fn serve(shared: Arc<Shared>, port: Port) -> impl FnMut(TcpStream) -> Ready<()> {
    let mut sessions = JoinSet::new();
    move |client| {
        // those that have ended are let go
        while sessions.try_join_next().is_some() {}
        let before = shared.counts.clients.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(Arc::clone(&shared));
        if before < shared.limits.clients {
            sessions.spawn(Session::new(counted, client, port).run());
        } else {
            sessions.spawn(async move {
                counted.0.counts.refused.fetch_add(1, Ordering::Relaxed);
                refuse(client, "too many clients: raise clients_max of the proxy").await;
            });
        }
        ready(())
    }
}

/// A client that is there; no more when dropped.
struct Counted(Arc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.counts.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A session counted as a reader of a replica; no more when dropped.
pub(crate) struct Reader {
    shared: Arc<Shared>,
    member: String,
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut readers = self.shared.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = readers.get_mut(&self.member) {
            *count = count.saturating_sub(1);
        }
    }
}
