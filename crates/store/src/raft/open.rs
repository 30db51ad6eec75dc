//! Opening a member's folder: reads every record once, checks every checksum, and refuses what is damaged.
//! Called when the store starts. It never repairs, truncates or guesses.

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
    let mut next = purged.map_or(0, |index| index + 1);
    for (index, entry) in &loaded.entries {
        if *index != next || entry.index() != *index {
            return Some(format!("log entry {next} is missing"));
        }
        next += 1;
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
