//! The disk thread's promises, on a disk whose fsync can be held back and made to fail.

use crate::raft::disk::{Disk, format};
use crate::raft::types::{NodeId, TC, Vote};
use openraft::storage::IOFlushed;
use openraft::type_config::TypeConfigExt;
use redb::Database;
use redb::backends::InMemoryBackend;
use std::io;
use std::path::Path;
use std::sync::Condvar;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A disk whose fsync can be held back and made to fail.
#[derive(Debug, Default)]
struct Held {
    inner: InMemoryBackend,
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    state: Mutex<(bool, bool)>,
    moved: Condvar,
    syncs: AtomicU64,
}

impl Gate {
    fn set(&self, held: bool, failing: bool) {
        *self.state.lock().expect("not poisoned") = (held, failing);
        self.moved.notify_all();
    }
}

impl redb::StorageBackend for Held {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.gate.syncs.fetch_add(1, Ordering::SeqCst);
        let state = self.gate.state.lock().expect("not poisoned");
        let state = self.gate.moved.wait_while(state, |(held, _)| *held).expect("not poisoned");
        if state.1 { Err(io::Error::other("no such luck")) } else { self.inner.sync_data() }
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)
    }
}

fn held() -> (Disk, Arc<Gate>) {
    let backend = Held::default();
    let gate = backend.gate.clone();
    let database = Database::builder().create_with_backend(backend).expect("a database");
    format(&database, &NodeId::from(1)).expect("formatted");
    (Disk::spawn(database, Path::new("held")).expect("a thread"), gate)
}

fn vote(term: u64) -> Vote {
    Vote::new(term, NodeId::from(1))
}

#[tokio::test]
async fn nothing_is_acknowledged_before_it_is_synced() {
    let (disk, gate) = held();
    gate.set(true, false);
    let saving = tokio::spawn({
        let disk = disk.clone();
        async move { disk.vote(&vote(1)).await }
    });
    let entry = openraft::testing::blank_ent::<TC>(1, NodeId::from(1), 0);
    let (tx, mut appended) = TC::oneshot();
    disk.append(&[entry], IOFlushed::signal(tx)).expect("queued");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!saving.is_finished() && appended.try_recv().is_err(), "acknowledged without fsync");
    gate.set(false, false);
    saving.await.expect("no panic").expect("saved");
    appended.await.expect("answered").expect("appended");
    assert!(gate.syncs.load(Ordering::SeqCst) > 0 && disk.commits() > 0);
}

#[tokio::test]
async fn many_waiting_writes_share_one_commit() {
    let (disk, gate) = held();
    gate.set(true, false);
    let saves: Vec<_> = (1..=40)
        .map(|term| {
            let disk = disk.clone();
            tokio::spawn(async move { disk.vote(&vote(term)).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    gate.set(false, false);
    for save in saves {
        save.await.expect("no panic").expect("saved");
    }
    assert!(disk.commits() <= 3, "{} commits for 40 writes", disk.commits());
}

#[tokio::test]
async fn after_a_failed_fsync_nothing_is_acknowledged_any_more() {
    let (disk, gate) = held();
    gate.set(false, true);
    assert!(disk.vote(&vote(1)).await.is_err());
    gate.set(false, false);
    assert!(disk.vote(&vote(2)).await.is_err(), "what is on disk is no longer known");
}
