//! A restart that no client notices: a new process takes the listening sockets over from the one that runs (`take`, `give`), over a
//! private socket (`place`, `wire`), and passes cancel requests on to it while it still has clients (`tie`). No session is handed over.

mod give;
mod place;
mod take;
mod tie;
mod wire;

use crate::hub::Hub;
use crate::ports::{Accepting, Ports};
use crate::shard::Shards;
use dauphin_model::ClusterName;
use dauphin_wire::postgres::cancel::CancelKey;
pub(crate) use give::give;
pub(crate) use place::Place;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};
pub(crate) use take::Former;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

/// What processes say to each other here has changed when this has.
const VERSION: u32 = 1;

/// How this program calls itself.
const PROGRAM: &str = env!("CARGO_PKG_VERSION");

/// How long the other process may take for a step that needs nothing but itself.
const STEP_MAX: Duration = Duration::from_secs(5);

/// How long a new process may take until it has heard from the agents.
const READY_MAX: Duration = Duration::from_secs(15);

/// Most cancel requests that are passed on at once, and most that are done for the other process at once.
const CANCELS_MAX: usize = 64;

/// How long passing one on may take.
const CANCEL_MAX: Duration = Duration::from_secs(10);

/// A process that was taken over from, and still has clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FormerProcess {
    pub(crate) pid: u32,
    /// Its program's version.
    pub(crate) program: String,
    pub(crate) clients: u64,
    pub(crate) in_transaction: u64,
    /// For how long it has only served clients to their end.
    pub(crate) drains_s: u64,
    /// How long they may stay yet.
    pub(crate) left_s: u64,
}

/// What the process after another one needs of it.
#[derive(Debug, Default)]
struct Before {
    /// Cancel requests for its clients; none: it is gone.
    cancels: Option<mpsc::Sender<(CancelKey, oneshot::Sender<()>)>>,
    /// It, and those before it.
    processes: Vec<FormerProcess>,
}

/// Processes before and after this one.
#[derive(Debug)]
pub(crate) struct Succession {
    before: Mutex<Before>,
    passing: Semaphore,
    /// Changes when the process before this one has gone.
    alone: watch::Sender<bool>,
    /// Since when.
    over: OnceLock<Instant>,
}

impl Default for Succession {
    fn default() -> Self {
        Self {
            before: Mutex::default(),
            passing: Semaphore::new(CANCELS_MAX),
            alone: watch::Sender::new(true),
            over: OnceLock::new(),
        }
    }
}

impl Succession {
    fn before(&self) -> MutexGuard<'_, Before> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another process has taken over: this one takes no more clients.
    pub(crate) fn is_over(&self) -> bool {
        self.over.get().is_some()
    }

    /// Processes before this one that still have clients.
    pub(crate) fn formers(&self) -> Vec<FormerProcess> {
        self.before().processes.clone()
    }

    /// Waits until there are none.
    pub(crate) async fn alone(&self) {
        // The sender is here.
        let _ = self.alone.subscribe().wait_for(|alone| *alone).await;
    }

    /// Has the process before this one cancel what its client with this key does; who knows no such client does nothing.
    pub(crate) async fn cancel(&self, key: &CancelKey) {
        let Some(cancels) = self.before().cancels.clone() else { return };
        let passing = async {
            let _place = self.passing.acquire().await.ok()?;
            let (done, told) = oneshot::channel();
            cancels.send((key.clone(), done)).await.ok()?;
            told.await.ok()
        };
        if timeout(CANCEL_MAX, passing).await.is_err() {
            tracing::debug!("the process before this one did not take a cancel request in time");
        }
    }
}

/// What a process that may be taken over from gives, and what it is.
pub(crate) struct Estate {
    pub(crate) hub: Arc<Hub>,
    pub(crate) shards: Shards,
    pub(crate) cluster: ClusterName,
    /// The listening sockets; closed once they are given.
    pub(crate) ports: Mutex<Option<Ports>>,
    /// Whether connections are accepted here. Gone: the proxy has stopped.
    pub(crate) accepting: Weak<watch::Sender<Accepting>>,
    /// Becomes the process that has taken over.
    pub(crate) heir: watch::Sender<Option<u32>>,
}
