//! Opening a member's folder: reads every record once, checks every checksum, and refuses what is damaged.
//! Called when the store starts. It never repairs, truncates or guesses.
#![expect(clippy::wildcard_enum_match_arm, reason = "whatever else redb says of a file, the file is not to be trusted")]

use crate::error::{Corruption, StoreError};
use crate::raft::disk::{LOG, META, Saved, format, place};
use crate::raft::record;
use crate::raft::types::{LogEntry, LogId, NodeId, Vote};
use dauphin_model::MemberName;
use openraft::entry::RaftEntry;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The file of a member's store, in its folder.
pub(crate) const FILE: &str = "raft.redb";
/// A file that was being made when the process died; it holds nothing yet.
const FILE_NEW: &str = "raft.redb.new";
/// redb's cache. The log is kept in memory anyway, so this only has to hold a commit's pages.
const CACHE_BYTES: usize = 512 * 1024;

/// What the folder held.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) node: NodeId,
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    pub(crate) entries: BTreeMap<u64, LogEntry>,
    pub(crate) snapshot: Option<Saved>,
}

/// Whether the folder holds a store.
pub(crate) fn exists(dir: &Path) -> Result<bool, StoreError> {
    let file = dir.join(FILE);
    file.try_exists().map_err(|source| StoreError::Disk { file, source })
}

/// Makes a store in an empty folder. Atomic: a crash leaves an empty folder or a whole store.
pub(crate) fn create(dir: &Path, node: &NodeId) -> Result<(), StoreError> {
    let new = dir.join(FILE_NEW);
    let failed = |source| StoreError::Disk { file: new.clone(), source };
    std::fs::create_dir_all(dir).map_err(failed)?;
    match std::fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        Ok(()) | Err(_) => {}
    }
    let database = builder().create(&new).map_err(|e| opening(&new, e))?;
    format(&database, node).map_err(failed)?;
    drop(database);
    std::fs::rename(&new, dir.join(FILE)).map_err(failed)?;
    std::fs::File::open(dir).and_then(|d| d.sync_all()).map_err(failed)
}

/// Opens and reads a member's store.
pub(crate) fn load(dir: &Path, name: &MemberName) -> Result<(Database, Loaded), StoreError> {
    let file = dir.join(FILE);
    let read = || -> Result<_, StoreError> {
        let database = builder().open(&file).map_err(|e| opening(&file, e))?;
        let loaded = Reader { file: &file }.read(&database)?;
        Ok((database, loaded))
    };
    // redb answers some damage with a panic instead of an error.
    let (database, loaded) = std::panic::catch_unwind(read)
        .unwrap_or_else(|_| Err(damage(&file, "its pages do not fit together").into()))?;
    if loaded.node.name != *name {
        let found = loaded.node.name.to_string();
        return Err(StoreError::Foreign { dir: dir.to_owned(), found, wanted: name.to_string() });
    }
    Ok((database, loaded))
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn damage(file: &Path, what: impl ToString) -> Corruption {
    Corruption { file: file.to_owned(), what: what.to_string() }
}

fn opening(file: &Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { file: file.to_owned() },
        DatabaseError::Storage(error) => reading(file, error),
        other => damage(file, other).into(),
    }
}

fn reading(file: &Path, error: StorageError) -> StoreError {
    match error {
        StorageError::Io(e) if !matches!(e.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
            StoreError::Disk { file: file.to_owned(), source: e }
        }
        other => damage(file, other).into(),
    }
}

struct Reader<'a> {
    file: &'a PathBuf,
}

impl Reader<'_> {
    fn read(&self, database: &Database) -> Result<Loaded, StoreError> {
        let read = database.begin_read().map_err(|e| damage(self.file, e))?;
        let meta = read.open_table(META).map_err(|e| damage(self.file, e))?;
        let log = read.open_table(LOG).map_err(|e| damage(self.file, e))?;
        let node = self.meta(&meta, place::NODE)?;
        let Some(node) = node else {
            return Err(damage(self.file, "it does not say whose it is").into());
        };
        let mut entries = BTreeMap::new();
        for row in log.iter().map_err(|e| reading(self.file, e))? {
            let (index, value) = row.map_err(|e| reading(self.file, e))?;
            let index = index.value();
            let entry = self.record(&index.to_le_bytes(), value.value(), &format!("log entry {index}"))?;
            entries.insert(index, entry);
        }
        let loaded = Loaded {
            node,
            vote: self.meta(&meta, place::VOTE)?,
            committed: self.meta::<Option<LogId>>(&meta, place::COMMITTED)?.flatten(),
            purged: self.meta(&meta, place::PURGED)?,
            entries,
            snapshot: self.meta(&meta, place::SNAPSHOT)?,
        };
        let tail = self.meta::<Option<u64>>(&meta, place::TAIL)?.flatten();
        match gap(&loaded, tail) {
            None => Ok(loaded),
            Some(what) => Err(damage(self.file, what).into()),
        }
    }

    fn meta<T: DeserializeOwned>(
        &self,
        meta: &impl ReadableTable<&'static str, &'static [u8]>,
        place: &str,
    ) -> Result<Option<T>, StoreError> {
        let found = meta.get(place).map_err(|e| reading(self.file, e))?;
        found.map(|record| self.record(place.as_bytes(), record.value(), place)).transpose()
    }

    fn record<T: DeserializeOwned>(&self, place: &[u8], record: &[u8], name: &str) -> Result<T, StoreError> {
        record::open(place, record).map_err(|what| damage(self.file, format!("record {name}: {what}")).into())
    }
}

/// The pair assertion to what the writer promises: no hole, nothing missing at either end.
fn gap(loaded: &Loaded, tail: Option<u64>) -> Option<String> {
    let purged = loaded.purged.as_ref().map(|id| id.index);
    let first = purged.map_or(0, |index| index + 1);
    for (expected, (index, entry)) in (first..).zip(&loaded.entries) {
        if *index != expected || entry.index() != *index {
            return Some(format!("log entry {expected} is missing"));
        }
    }
    let last = loaded.entries.last_key_value().map(|(index, _)| *index);
    let end = match (last, tail) {
        (None, Some(tail)) if purged < Some(tail) => Some(tail),
        (Some(last), Some(tail)) if last != tail => Some(tail),
        (Some(last), None) => Some(last),
        _ => None,
    };
    if let Some(end) = end {
        return Some(format!("the log should end with entry {end} and does not"));
    }
    if purged.is_some() && loaded.snapshot.is_none() {
        return Some("the start of the log was compacted and the snapshot is missing".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::disk::Disk;
    use crate::raft::types::TC;
    use openraft::storage::IOFlushed;
    use redb::ReadableDatabase;

    /// A folder with a vote and ten entries; what it holds.
    async fn written(dir: &Path) -> Loaded {
        let node = NodeId::from(1);
        create(dir, &node).expect("made");
        let (database, _) = load(dir, &node.name).expect("opens");
        let disk = Disk::spawn(database, &dir.join(FILE)).expect("a thread");
        disk.vote(&Vote::new(3, node.clone())).await.expect("saved");
        let entries: Vec<_> = (0..10).map(|i| openraft::testing::blank_ent::<TC>(3, node.clone(), i)).collect();
        disk.append(&entries, IOFlushed::noop()).expect("queued");
        disk.stop().await;
        load(dir, &node.name).expect("opens").1
    }

    fn same(a: &Loaded, b: &Loaded) -> bool {
        (&a.node, &a.vote, &a.purged, &a.entries, &a.committed)
            == (&b.node, &b.vote, &b.purged, &b.entries, &b.committed)
    }

    /// What a damaged copy of the file is taken for.
    fn opened(bytes: &[u8], good: &Loaded) -> &'static str {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join(FILE), bytes).expect("written");
        let open = std::panic::AssertUnwindSafe(|| match load(dir.path(), &good.node.name) {
            Ok((_, loaded)) if same(&loaded, good) => "the same",
            Ok(_) => "something else",
            Err(StoreError::Corrupt(_)) => "damaged",
            Err(_) => "another error",
        });
        // Debug builds of redb panic at some damage, also when the database is dropped.
        std::panic::catch_unwind(open).unwrap_or("damaged")
    }

    #[tokio::test]
    async fn a_flipped_byte_is_harmless_or_refused_never_believed() {
        let dir = tempfile::tempdir().expect("a folder");
        let good = written(dir.path()).await;
        let bytes = std::fs::read(dir.path().join(FILE)).expect("read");
        let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        let mut seen = BTreeMap::new();
        for at in used.iter().step_by(1 + used.len() / 100) {
            let mut damaged = bytes.clone();
            damaged[*at] ^= 0x10;
            *seen.entry(opened(&damaged, &good)).or_insert(0) += 1;
        }
        // and inside a record, wherever the file has a copy of it
        let record = record::seal(&4_u64.to_le_bytes(), &good.entries[&4]).expect("encodes");
        for at in 0..record.len() {
            let mut damaged = bytes.clone();
            for start in 0..bytes.len() - record.len() {
                if bytes[start..].starts_with(&record) {
                    damaged[start + at] ^= 0x10;
                }
            }
            assert_eq!(opened(&damaged, &good), "damaged", "byte {at} of a record");
        }
        assert!(seen.keys().all(|k| matches!(*k, "the same" | "damaged")), "{seen:?}");
    }

    /// Damages one record below the database's own checks.
    fn tamper(dir: &Path, index: Option<u64>, change: impl Fn(&mut Vec<u8>)) {
        let database = builder().open(dir.join(FILE)).expect("opens");
        let read = database.begin_read().expect("reads");
        let mut record = match index {
            Some(index) => {
                read.open_table(LOG).expect("a table").get(index).expect("reads").expect("there").value().to_vec()
            }
            None => read
                .open_table(META)
                .expect("a table")
                .get(place::VOTE)
                .expect("reads")
                .expect("there")
                .value()
                .to_vec(),
        };
        drop(read);
        change(&mut record);
        let write = database.begin_write().expect("writes");
        match (index, record.is_empty()) {
            (Some(index), true) => drop(write.open_table(LOG).expect("a table").remove(index).expect("writes")),
            (Some(index), false) => {
                drop(write.open_table(LOG).expect("a table").insert(index, record.as_slice()).expect("writes"))
            }
            (None, _) => {
                drop(write.open_table(META).expect("a table").insert(place::VOTE, record.as_slice()).expect("writes"))
            }
        }
        write.commit().expect("commits");
    }

    #[tokio::test]
    async fn a_damaged_vote_or_entry_names_the_file_and_the_way_out() {
        type Change = fn(&mut Vec<u8>);
        let cases: [(Option<u64>, Change, &str); 4] = [
            (None, |r| *r.last_mut().expect("bytes") ^= 1, "record vote: its checksum"),
            (Some(4), |r| r[7] ^= 1, "record log entry 4: its checksum"),
            (Some(4), Vec::clear, "log entry 4 is missing"),
            (Some(9), Vec::clear, "the log should end with entry 9"),
        ];
        for (index, change, expected) in cases {
            let dir = tempfile::tempdir().expect("a folder");
            let good = written(dir.path()).await;
            tamper(dir.path(), index, change);
            let Err(StoreError::Corrupt(corruption)) = load(dir.path(), &good.node.name) else {
                panic!("believed: {expected}");
            };
            let text = corruption.to_string();
            assert!(text.contains(expected) && text.contains(FILE) && text.contains("store remove"), "{text}");
        }
    }
}
