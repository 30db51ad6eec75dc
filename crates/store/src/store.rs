//! The store as the agent uses it: one handle, whatever the backend. Today the backend is the embedded Raft.

use crate::error::StoreError;
use crate::health::{MemberProgress, StoreHealth, StoreStatus};
use crate::raft::campaign::campaign;
use crate::raft::disk::Disk;
use crate::raft::log::LogStore;
use crate::raft::network::{Peers, Wire};
use crate::raft::node::{Node, new_nonce};
use crate::raft::rpc::Order;
use crate::raft::state::StateStore;
use crate::raft::types::{NodeId, Raft};
use crate::raft::{bootstrap, open, watch as follow};
use crate::transport::RaftTransport;
use crate::types::{Snapshot, Txn, TxnOutcome};
use bytes::Bytes;
use dauphin_model::MemberName;
use openraft::async_runtime::WatchReceiver;
use openraft::{Config, SnapshotPolicy};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Entries after which the state is saved and the log before it dropped: at two renewals a second, every half hour.
const ENTRIES_UNTIL_SNAPSHOT: u64 = 4_000;
/// Entries kept behind a snapshot, for members that were away for a moment.
const ENTRIES_KEPT: u64 = 500;
/// Entries dropped at a time: dropping costs a disk write.
const ENTRIES_DROPPED_AT_ONCE: u64 = 500;
/// Most entries in one message to a member.
const ENTRIES_PER_MESSAGE: u64 = 64;
/// How long sending and installing a snapshot may take.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(10);
/// Questions that may wait for Raft.
const QUEUE_MAX: u64 = 1_024;

/// How fast Raft believes that its leader is gone. A leader that is *known* to be dead need not be waited for:
/// [`Store::elect_now`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// How often the leader makes itself heard.
    pub heartbeat: Duration,
    /// Silence after which members elect another leader; until then they keep to the one they have.
    pub lease: Duration,
    /// How much longer each member waits than the one before it. Long enough for an election.
    pub apart: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(150),
            lease: Duration::from_millis(600),
            apart: Duration::from_millis(150),
        }
    }
}

/// What to do when the folder is empty. Ignored when it is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Found a cluster together with these members, this one among them. All of them say the same.
    Bootstrap {
        /// All members of the store.
        members: BTreeSet<MemberName>,
    },
    /// Wait until a cluster adds this member ([`Store::add_member`]).
    Join,
}

/// What [`Store::open`] needs.
pub struct Open {
    /// The member's folder for its store; made when missing. Nobody else's.
    pub dir: PathBuf,
    /// This member.
    pub name: MemberName,
    /// What to do when the folder is empty; `None`: refuse.
    pub start: Option<Start>,
    /// Raft's timings, the same on all members.
    pub timings: Timings,
    /// Carries messages to the other members.
    pub transport: Arc<dyn RaftTransport>,
}

/// One member's store. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct Store {
    node: Arc<Node>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.node.id)
    }
}

impl Store {
    /// Opens this member's store and takes part in its cluster. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::Empty`] without a word on how to start; [`StoreError::Corrupt`] when any record is damaged;
    /// [`StoreError::Foreign`], [`StoreError::InUse`] and [`StoreError::Disk`] for the folder.
    pub async fn open(open: Open) -> Result<Self, StoreError> {
        let (dir, name, start) = (open.dir.clone(), open.name.clone(), open.start.clone());
        let task = tokio::task::spawn_blocking(move || prepare(&dir, &name, start.as_ref()));
        let (database, mut loaded) = task.await.map_err(StoreError::stopped)??;
        let file = open.dir.join(open::FILE);
        let damaged = |what| StoreError::Corrupt(crate::Corruption { file: file.clone(), what });
        let broken = |source| StoreError::Disk { file: file.clone(), source };

        let disk = Disk::spawn(database, &file).map_err(broken)?;
        let log = LogStore::new(disk.clone(), &mut loaded);
        let snapshot = loaded.snapshot.take();
        let (machine, state) =
            StateStore::new(disk.clone(), snapshot).map_err(|e| damaged(format!("record snapshot: {e}")))?;
        let id = loaded.node;
        let wire = Arc::new(Wire { me: id.clone(), transport: open.transport, state: state.clone() });
        let config = Arc::new(config(open.timings).validate().map_err(StoreError::refused)?);
        let raft = Raft::new(id.clone(), config, Peers(wire.clone()), log, machine).await;
        let raft = raft.map_err(StoreError::stopped)?;

        let node = Arc::new(Node {
            id,
            raft,
            disk,
            wire,
            state,
            health: watch::Sender::new(StoreHealth::starting()),
            timings: open.timings,
            hearing: Arc::default(),
            changing: tokio::sync::Mutex::new(()),
            tasks: Mutex::new(Vec::new()),
        });
        let store = Self { node };
        store.begin(open.start);
        Ok(store)
    }

    fn begin(&self, start: Option<Start>) {
        let node = &self.node;
        let health = node.health.clone();
        let mut tasks = vec![
            tokio::spawn(follow::follow(node.id.clone(), node.raft.clone(), node.hearing.clone(), health)),
            tokio::spawn(campaign(Arc::downgrade(node))),
        ];
        let founders = match start {
            Some(Start::Bootstrap { members }) => Some(members),
            Some(Start::Join) | None => None,
        };
        tasks.push(tokio::spawn(bootstrap::found(Arc::downgrade(node), founders)));
        *node.tasks.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
    }

    /// Answers one message that the transport brought from `from`, whose name the caller has authenticated.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for what is no message of a store, [`StoreError::Stopped`] after a failure.
    pub async fn handle(&self, from: &MemberName, body: Bytes) -> Result<Bytes, StoreError> {
        self.node.handle(from, body).await
    }

    /// Changes keys together, or none of them. Passed on to the Raft leader when that is another member.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: certainly not done. [`StoreError::Unknown`]: may be done, now or later.
    /// [`StoreError::Refused`]: too large.
    pub async fn txn(&self, txn: Txn, timeout: Duration) -> Result<TxnOutcome, StoreError> {
        Box::pin(self.node.txn(txn, timeout)).await
    }

    /// The state as this member has applied it, and each later one. Versions in between may be skipped; the order
    /// never changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.node.state.clone()
    }

    /// The state with everything that was acknowledged anywhere before the call. Needs a majority.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when no majority or no leader answered in time.
    pub async fn read_linearizable(&self, timeout: Duration) -> Result<Arc<Snapshot>, StoreError> {
        Box::pin(self.node.read(timeout)).await
    }

    /// How the store is, and each change of it.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<StoreHealth> {
        self.node.health.subscribe()
    }

    /// Everything about it, at this moment.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let node = &self.node;
        let metrics = node.raft.metrics();
        let metrics = metrics.borrow_watched();
        let state = node.state.borrow().clone();
        let heard = node.hearing.lock().unwrap_or_else(PoisonError::into_inner).leader;
        let matched = metrics.replication.iter().flatten();
        let progress = matched.filter(|(id, _)| **id != node.id).map(|(id, log)| {
            let beat = metrics.heartbeat.as_ref().and_then(|all| all.get(id)).and_then(Option::as_ref);
            let progress = MemberProgress { matched: log.as_ref().map(|l| l.index), seen: beat.map(follow::moment) };
            (id.name.clone(), progress)
        });
        StoreStatus {
            identity: state.identity.clone(),
            health: follow::health_of(&node.id, &metrics, heard, &node.health.borrow()),
            last_log: metrics.last_log_index,
            committed: metrics.cluster_committed.as_ref().map(|l| l.index),
            applied: state.applied,
            snapshot: metrics.snapshot.as_ref().map(|l| l.index),
            keys: state.entries.len(),
            disk_commits: node.disk.commits(),
            progress: progress.collect(),
        }
    }

    /// Gives a member a vote, once it has the whole log. A member that came back with an empty folder takes the place
    /// of its former self. Its store must be running, started with [`Start::Join`].
    ///
    /// # Errors
    /// [`StoreError::Refused`] when it cannot be added, or another change is under way.
    pub async fn add_member(&self, name: &MemberName, timeout: Duration) -> Result<(), StoreError> {
        Box::pin(self.node.order(Order::Add(name.clone()), timeout)).await
    }

    /// Takes a member's vote away.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the members present would be no majority without it.
    pub async fn remove_member(&self, name: &MemberName, timeout: Duration) -> Result<(), StoreError> {
        Box::pin(self.node.order(Order::Remove(name.clone()), timeout)).await
    }

    /// Makes another member the Raft leader, without a gap. Returns when this member has heard it lead.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when it has no vote, [`StoreError::Unknown`] when it did not take over in time.
    pub async fn transfer_leader(&self, to: &MemberName, timeout: Duration) -> Result<(), StoreError> {
        let deadline = tokio::time::Instant::now() + timeout;
        Box::pin(self.node.order(Order::HandTo(to.clone()), timeout)).await?;
        let leads = self.node.leader_within(deadline, Some(to)).await;
        leads
            .map(|_| ())
            .ok_or_else(|| StoreError::unknown(format!("{to} was asked to lead and was not heard leading")))
    }

    /// Stands for election at once. Only for a caller that *knows* that the leader is dead (its port refuses): a living
    /// leader is deposed by it. Every survivor should call it: the one whose log is shorter cannot win. Returns when the
    /// store has another leader, whoever it is.
    ///
    /// # Errors
    /// [`StoreError::Refused`] without a vote, [`StoreError::Unavailable`] when no majority voted within half a second.
    pub async fn elect_now(&self) -> Result<(), StoreError> {
        self.node.elect_now().await
    }

    /// Saves the state now, so that the log before it can be dropped. Returns when it has been asked for.
    ///
    /// # Errors
    /// [`StoreError::Stopped`].
    pub async fn snapshot(&self) -> Result<(), StoreError> {
        self.node.raft.trigger().snapshot().await.map_err(StoreError::stopped)
    }

    /// Stops taking part and releases the file. What was acknowledged is on disk.
    pub async fn shutdown(&self) {
        let tasks = std::mem::take(&mut *self.node.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let _ = self.node.raft.shutdown().await;
        self.node.disk.stop().await;
        for task in tasks {
            task.abort();
            let _ = task.await;
        }
        self.node.health.send_modify(|health| {
            health.failed.get_or_insert_with(|| "it was shut down".to_owned());
            (health.leader, health.is_leader) = (None, false);
        });
    }

    /// The file that holds this member's copy.
    #[must_use]
    pub fn file(&self) -> &Path {
        self.node.disk.file()
    }
}

fn prepare(dir: &Path, name: &MemberName, start: Option<&Start>) -> Result<(redb::Database, open::Loaded), StoreError> {
    if !open::exists(dir)? {
        match start {
            None => return Err(StoreError::Empty { dir: dir.to_owned() }),
            Some(Start::Bootstrap { members }) if !members.contains(name) => {
                return Err(StoreError::refused(format!("{name} is not among the members that found the cluster")));
            }
            Some(Start::Bootstrap { .. } | Start::Join) => {}
        }
        let nonce = new_nonce().map_err(|source| StoreError::Disk { file: dir.to_owned(), source })?;
        open::create(dir, &NodeId { name: name.clone(), nonce })?;
    }
    open::load(dir, name)
}

fn config(timings: Timings) -> Config {
    let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    Config {
        cluster_name: "dauphin".to_owned(),
        heartbeat_interval: ms(timings.heartbeat),
        // who stands when: raft/campaign.rs
        enable_elect: false,
        election_timeout_min: ms(timings.lease).saturating_sub(1),
        election_timeout_max: ms(timings.lease),
        install_snapshot_timeout: ms(SNAPSHOT_WITHIN),
        max_payload_entries: ENTRIES_PER_MESSAGE,
        replication_lag_threshold: ENTRIES_UNTIL_SNAPSHOT * 2,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(ENTRIES_UNTIL_SNAPSHOT),
        max_in_snapshot_log_to_keep: ENTRIES_KEPT,
        purge_batch_size: ENTRIES_DROPPED_AT_ONCE,
        api_channel_size: Some(QUEUE_MAX),
        enable_pre_vote: Some(true),
        ..Config::default()
    }
}
