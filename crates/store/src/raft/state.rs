//! The state machine as openraft drives it: applies the log in memory, publishes what observers see, saves snapshots.
//! The rules of the state itself are in `machine.rs`.

use crate::machine::{Machine, Reply};
use crate::raft::disk::{Disk, Saved};
use crate::raft::record;
use crate::raft::types::{LogId, Membership, SnapshotMeta, TC};
use crate::types::{Key, Rev, Snapshot};
use futures_util::{Stream, StreamExt};
use openraft::EntryPayload;
use openraft::OptionalSend;
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::watch;

/// The place that a snapshot's checksum names.
const IMAGE: &[u8] = b"image";

type RaftSnapshot = openraft::alias::SnapshotOf<TC, Vec<u8>>;
type LastSaved = Arc<Mutex<Option<Saved>>>;

/// The applied state, and where it is published.
pub(crate) struct StateStore {
    machine: Machine,
    applied_at: BTreeMap<Key, Instant>,
    applied: Option<LogId>,
    membership: Membership,
    saved: LastSaved,
    disk: Disk,
    publish: watch::Sender<Arc<Snapshot>>,
}

/// The state of a saved image; otherwise what is wrong with it.
pub(crate) fn read_image(data: &[u8]) -> Result<Machine, String> {
    record::open(IMAGE, data)
}

impl StateStore {
    /// The state as saved. Everything in it counts as applied now.
    pub(crate) fn new(disk: Disk, saved: Option<Saved>) -> Result<(Self, watch::Receiver<Arc<Snapshot>>), String> {
        let mut store = Self {
            machine: Machine::default(),
            applied_at: BTreeMap::new(),
            applied: None,
            membership: Membership::default(),
            saved: Arc::default(),
            disk,
            publish: watch::Sender::new(Arc::new(Snapshot {
                identity: None,
                applied: Rev(0),
                entries: BTreeMap::new(),
            })),
        };
        if let Some(saved) = saved {
            store.take(&saved)?;
            store.saved = Arc::new(Mutex::new(Some(saved)));
        }
        let watch = store.publish.subscribe();
        Ok((store, watch))
    }

    /// Replaces the state by a saved one. A key that did not change keeps its moment.
    fn take(&mut self, saved: &Saved) -> Result<(), String> {
        let machine = read_image(&saved.data)?;
        let now = Instant::now();
        let moment = |key: &Key, rev: Rev| match self.machine.entries.get(key) {
            Some(entry) if entry.rev == rev => self.applied_at.get(key).copied().unwrap_or(now),
            _ => now,
        };
        self.applied_at = machine.entries.iter().map(|(key, e)| (key.clone(), moment(key, e.rev))).collect();
        self.machine = machine;
        self.applied = saved.meta.last_log_id.clone();
        self.membership = saved.meta.last_membership.clone();
        self.show();
        Ok(())
    }

    fn apply_one(
        &mut self,
        index: u64,
        payload: EntryPayload<crate::machine::Command, super::types::NodeId, openraft::EmptyNode>,
    ) -> Reply {
        match payload {
            EntryPayload::Normal(command) => {
                let reply = self.machine.apply(Rev(index), command);
                if matches!(reply, Reply::Committed(_)) {
                    self.mark(Rev(index));
                }
                reply
            }
            EntryPayload::Blank | EntryPayload::Membership(_) => Reply::Nothing,
        }
    }

    /// Notes the moment for the keys that change `rev` wrote, and forgets those it removed.
    fn mark(&mut self, rev: Rev) {
        let now = Instant::now();
        self.applied_at.retain(|key, _| self.machine.entries.contains_key(key));
        for (key, entry) in &self.machine.entries {
            if entry.rev == rev {
                self.applied_at.insert(key.clone(), now);
            }
        }
    }

    fn show(&self) {
        let now = Instant::now();
        let entry = |key: &Key, e: &crate::types::Entry| {
            (key.clone(), (e.clone(), self.applied_at.get(key).copied().unwrap_or(now)))
        };
        self.publish.send_replace(Arc::new(Snapshot {
            identity: self.machine.identity.clone(),
            applied: Rev(self.applied.as_ref().map_or(0, |id| id.index)),
            entries: self.machine.entries.iter().map(|(key, e)| entry(key, e)).collect(),
        }));
    }
}

impl RaftStateMachine<TC> for StateStore {
    type SnapshotData = Vec<u8>;
    type SnapshotBuilder = Image;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), io::Error> {
        Ok((self.applied.clone(), self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TC>, io::Error>> + Unpin + OptionalSend,
    {
        let mut answers = Vec::new();
        let mut failed = None;
        while let Some(next) = entries.next().await {
            let (entry, responder) = match next {
                Ok(next) => next,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            };
            let id = entry.log_id();
            if let Some(membership) = openraft::entry::RaftPayload::get_membership(&entry.payload) {
                self.membership = Membership::new(Some(id.clone()), membership);
            }
            let reply = self.apply_one(id.index, entry.payload);
            self.applied = Some(id);
            if let Some(responder) = responder {
                answers.push((responder, reply));
            }
        }
        // Observers first: whoever gets an answer finds the change in the snapshot.
        self.show();
        for (responder, reply) in answers {
            responder.send(reply);
        }
        failed.map_or(Ok(()), Err)
    }

    async fn get_snapshot_builder(&mut self) -> Image {
        Image {
            machine: self.machine.clone(),
            meta: SnapshotMeta { last_log_id: self.applied.clone(), last_membership: self.membership.clone() },
            disk: self.disk.clone(),
            saved: self.saved.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: Vec<u8>) -> Result<(), io::Error> {
        let saved = Saved { meta: meta.clone(), data };
        self.disk.snapshot(&saved).await?;
        self.take(&saved).map_err(io::Error::other)?;
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        let saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(saved.map(|saved| RaftSnapshot { meta: saved.meta, snapshot: saved.data }))
    }
}

/// A frozen copy of the state, to be saved.
pub(crate) struct Image {
    machine: Machine,
    meta: SnapshotMeta,
    disk: Disk,
    saved: LastSaved,
}

impl RaftSnapshotBuilder<TC> for Image {
    type SnapshotData = Vec<u8>;

    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        let data = record::seal(IMAGE, &self.machine).map_err(io::Error::other)?;
        let saved = Saved { meta: self.meta.clone(), data };
        self.disk.snapshot(&saved).await?;
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved.clone());
        Ok(RaftSnapshot { meta: saved.meta, snapshot: saved.data })
    }
}
