//! The thread that writes: one redb file per member, one fsync per batch, in the order asked. The log and the state
//! machine send it work; it acknowledges only what is on disk, and writes nothing more after the first failure.

use crate::raft::record;
use crate::raft::types::{LogEntry, LogId, NodeId, SnapshotMeta, TC, Vote};
use openraft::entry::RaftEntry;
use openraft::storage::IOFlushed;
use redb::{Database, Durability, TableDefinition};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

pub(crate) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// Records of the table `META`, by key; the key is also the place that the checksum covers.
pub(crate) mod place {
    pub(crate) const NODE: &str = "node";
    pub(crate) const VOTE: &str = "vote";
    pub(crate) const COMMITTED: &str = "committed";
    pub(crate) const PURGED: &str = "purged";
    /// Index of the last entry: an entry that vanished from the end would otherwise not be missed.
    pub(crate) const TAIL: &str = "tail";
    pub(crate) const SNAPSHOT: &str = "snapshot";
}

/// Most operations that share one commit.
const BATCH_OPS_MAX: usize = 256;

/// A saved state of the machine and what it covers.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Saved {
    pub(crate) meta: SnapshotMeta,
    pub(crate) data: Vec<u8>,
}

/// Who is told when an operation is on disk.
pub(crate) enum Ack {
    Raft(IOFlushed<TC>),
    Caller(oneshot::Sender<io::Result<()>>),
    Nobody,
}

enum Op {
    /// Log records and the index of the last one.
    Append(Vec<(u64, Vec<u8>)>, u64),
    Vote(Vec<u8>),
    /// Everything after this index goes; `None`: everything.
    Truncate(Option<u64>),
    /// Everything up to this index goes; the record of the last one gone.
    Purge(u64, Vec<u8>),
    /// Not worth an fsync of its own: written with the next operation that is.
    Committed(Vec<u8>),
    Snapshot(Vec<u8>),
    Stop,
}

/// A handle to the writing thread.
#[derive(Clone)]
pub(crate) struct Disk {
    queue: mpsc::UnboundedSender<(Op, Ack)>,
    commits: Arc<AtomicU64>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
    file: Arc<PathBuf>,
}

impl Disk {
    /// Takes the database over and starts the thread. The queue needs no limit of its own: Raft bounds what is in flight.
    pub(crate) fn spawn(database: Database, file: &Path) -> io::Result<Self> {
        let (queue, work) = mpsc::unbounded_channel();
        let commits = Arc::new(AtomicU64::new(0));
        let writer = Writer { database, commits: commits.clone(), committed: None, broken: None };
        let thread = std::thread::Builder::new().name("store-disk".to_owned()).spawn(move || writer.run(work))?;
        let thread = Arc::new(Mutex::new(Some(thread)));
        Ok(Self { queue, commits, thread, file: Arc::new(file.to_owned()) })
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Durable commits so far.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub(crate) fn append(&self, entries: &[LogEntry], done: IOFlushed<TC>) -> io::Result<()> {
        let mut records = Vec::with_capacity(entries.len());
        for entry in entries {
            let index = entry.index();
            records.push((index, seal(&index.to_le_bytes(), entry)?));
        }
        match records.last().map(|(index, _)| *index) {
            Some(tail) => self.send(Op::Append(records, tail), Ack::Raft(done)),
            None => {
                done.io_completed(Ok(()));
                Ok(())
            }
        }
    }

    pub(crate) async fn vote(&self, vote: &Vote) -> io::Result<()> {
        self.done(Op::Vote(seal(place::VOTE.as_bytes(), vote)?)).await
    }

    pub(crate) async fn truncate_after(&self, last: Option<u64>) -> io::Result<()> {
        self.done(Op::Truncate(last)).await
    }

    pub(crate) async fn purge(&self, upto: &LogId) -> io::Result<()> {
        self.done(Op::Purge(upto.index, seal(place::PURGED.as_bytes(), upto)?)).await
    }

    pub(crate) fn committed(&self, upto: &Option<LogId>) -> io::Result<()> {
        self.send(Op::Committed(seal(place::COMMITTED.as_bytes(), upto)?), Ack::Nobody)
    }

    pub(crate) async fn snapshot(&self, saved: &Saved) -> io::Result<()> {
        self.done(Op::Snapshot(seal(place::SNAPSHOT.as_bytes(), saved)?)).await
    }

    /// Ends the thread after everything before has been written, and releases the file.
    pub(crate) async fn stop(&self) {
        let _ = self.done(Op::Stop).await;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    fn send(&self, op: Op, ack: Ack) -> io::Result<()> {
        self.queue.send((op, ack)).map_err(|_| io::Error::other("the store's disk thread has ended"))
    }

    async fn done(&self, op: Op) -> io::Result<()> {
        let (tx, rx) = oneshot::channel();
        self.send(op, Ack::Caller(tx))?;
        rx.await.unwrap_or_else(|_| Err(io::Error::other("the store's disk thread has ended")))
    }
}

/// Seals one record.
pub(crate) fn seal<T: serde::Serialize>(place: &[u8], value: &T) -> io::Result<Vec<u8>> {
    record::seal(place, value).map_err(io::Error::other)
}

/// Makes the tables and writes who this member is.
pub(crate) fn format(database: &Database, node: &NodeId) -> io::Result<()> {
    let mut write = database.begin_write().map_err(io::Error::other)?;
    write.set_durability(Durability::Immediate).map_err(io::Error::other)?;
    write.open_table(LOG).map_err(io::Error::other)?;
    {
        let mut meta = write.open_table(META).map_err(io::Error::other)?;
        let record = seal(place::NODE.as_bytes(), node)?;
        meta.insert(place::NODE, record.as_slice()).map_err(io::Error::other)?;
    }
    write.commit().map_err(io::Error::other)
}

struct Writer {
    database: Database,
    commits: Arc<AtomicU64>,
    /// The newest committed log id that is not on disk yet.
    committed: Option<Vec<u8>>,
    /// The first failure: what is on disk is then no longer known, so nothing more is written.
    broken: Option<String>,
}

impl Writer {
    fn run(mut self, mut work: mpsc::UnboundedReceiver<(Op, Ack)>) {
        let mut batch = Vec::new();
        let mut stop = false;
        while !stop {
            let Some(first) = work.blocking_recv() else { break };
            batch.push(first);
            while batch.len() < BATCH_OPS_MAX
                && let Ok(next) = work.try_recv()
            {
                batch.push(next);
            }
            stop = batch.iter().any(|(op, _)| matches!(op, Op::Stop));
            self.write(&batch);
            for (_, ack) in batch.drain(..) {
                acknowledge(ack, self.broken.as_deref());
            }
        }
        if self.committed.is_some() && self.broken.is_none() {
            self.write(&[(Op::Stop, Ack::Nobody)]);
        }
    }

    /// Writes a batch in one durable commit. Only `committed` marks wait for the next batch.
    fn write(&mut self, batch: &[(Op, Ack)]) {
        if self.broken.is_some() {
            return;
        }
        for (op, _) in batch {
            if let Op::Committed(record) = op {
                self.committed = Some(record.clone());
            }
        }
        let stopping_dirty = |op: &Op| matches!(op, Op::Stop) && self.committed.is_some();
        if !batch.iter().any(|(op, _)| !matches!(op, Op::Committed(_) | Op::Stop) || stopping_dirty(op)) {
            return;
        }
        // redb checks itself with panics in places; a panic here must not leave Raft waiting for an acknowledgement.
        let commit = std::panic::AssertUnwindSafe(|| self.commit(batch));
        match std::panic::catch_unwind(commit) {
            Ok(Ok(())) => {
                self.committed = None;
                self.commits.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Err(error)) => self.broken = Some(error.to_string()),
            Err(_) => self.broken = Some("the database file is damaged".to_owned()),
        }
        if let Some(why) = &self.broken {
            tracing::error!(why, "the store's disk failed; this member stops taking part");
        }
    }

    fn commit(&self, batch: &[(Op, Ack)]) -> Result<(), redb::Error> {
        let mut write = self.database.begin_write()?;
        write.set_durability(Durability::Immediate)?;
        {
            let mut log = write.open_table(LOG)?;
            let mut meta = write.open_table(META)?;
            for (op, _) in batch {
                apply(op, &mut log, &mut meta)?;
            }
            if let Some(record) = &self.committed {
                meta.insert(place::COMMITTED, record.as_slice())?;
            }
        }
        write.commit()?;
        Ok(())
    }
}

fn apply(
    op: &Op,
    log: &mut redb::Table<'_, u64, &'static [u8]>,
    meta: &mut redb::Table<'_, &'static str, &'static [u8]>,
) -> Result<(), redb::Error> {
    match op {
        Op::Append(records, tail) => {
            for (index, record) in records {
                log.insert(index, record.as_slice())?;
            }
            put_tail(meta, Some(*tail))?;
        }
        Op::Vote(record) => {
            meta.insert(place::VOTE, record.as_slice())?;
        }
        Op::Truncate(last) => {
            let keep = last.map_or(0, |index| index.saturating_add(1));
            log.retain_in(keep.., |_, _| false)?;
            put_tail(meta, *last)?;
        }
        Op::Purge(upto, record) => {
            log.retain_in(..=*upto, |_, _| false)?;
            meta.insert(place::PURGED, record.as_slice())?;
        }
        Op::Snapshot(record) => {
            meta.insert(place::SNAPSHOT, record.as_slice())?;
        }
        Op::Committed(_) | Op::Stop => {}
    }
    Ok(())
}

fn put_tail(meta: &mut redb::Table<'_, &'static str, &'static [u8]>, tail: Option<u64>) -> Result<(), redb::Error> {
    let record = seal(place::TAIL.as_bytes(), &tail).map_err(redb::StorageError::Io)?;
    meta.insert(place::TAIL, record.as_slice())?;
    Ok(())
}

fn acknowledge(ack: Ack, broken: Option<&str>) {
    let result = match broken {
        None => Ok(()),
        Some(why) => Err(io::Error::other(why.to_owned())),
    };
    match ack {
        Ack::Raft(done) => done.io_completed(result),
        Ack::Caller(tx) => {
            let _ = tx.send(result);
        }
        Ack::Nobody => {}
    }
}
