//! One running member of the embedded store: what its parts share, and its random numbers.

use crate::health::StoreHealth;
use crate::raft::campaign::Hearing;
use crate::raft::disk::Disk;
use crate::raft::network::Wire;
use crate::raft::types::{NodeId, Raft};
use crate::store::Timings;
use crate::types::Snapshot;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Everything that the verbs of the store work with.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) raft: Raft,
    pub(crate) disk: Disk,
    pub(crate) wire: Arc<Wire>,
    pub(crate) state: watch::Receiver<Arc<Snapshot>>,
    pub(crate) health: watch::Sender<StoreHealth>,
    pub(crate) timings: Timings,
    /// What was heard of the leader and of candidates.
    pub(crate) hearing: Hearing,
    /// One change of the members at a time.
    pub(crate) changing: tokio::sync::Mutex<()>,
    pub(crate) tasks: Mutex<Vec<JoinHandle<()>>>,
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A new disk's number.
pub(crate) fn new_nonce() -> io::Result<u64> {
    random().map(u64::from_le_bytes)
}

/// A new cluster's id.
pub(crate) fn new_cluster_id() -> io::Result<String> {
    random().map(|bytes| format!("{:032x}", u128::from_le_bytes(bytes)))
}
