//! The log and the vote: kept whole in memory (it is compacted to a few thousand small entries), written through the
//! disk thread. openraft calls it; an entry is acknowledged when it is on disk.

use crate::raft::disk::Disk;
use crate::raft::open::Loaded;
use crate::raft::types::{LogEntry, LogId, TC, Vote};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most bytes of entries in one message: bounded by entries, so only a limit on their number is needed with the
/// limits on values.
const READ_ENTRIES_MAX: usize = 64;

#[derive(Debug, Default)]
struct Memory {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, LogEntry>,
}

/// The log. Cheap to clone; clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    disk: Disk,
    memory: Arc<Mutex<Memory>>,
}

impl LogStore {
    pub(crate) fn new(disk: Disk, loaded: &mut Loaded) -> Self {
        let memory = Memory {
            vote: loaded.vote.clone(),
            committed: loaded.committed.clone(),
            purged: loaded.purged.clone(),
            entries: std::mem::take(&mut loaded.entries),
        };
        Self { disk, memory: Arc::new(Mutex::new(memory)) }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RaftLogReader<TC> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<LogEntry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        Ok(self.memory().entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.memory().vote.clone())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<LogEntry>, io::Error> {
        let memory = self.memory();
        Ok(memory.entries.range(start..end).take(READ_ENTRIES_MAX).map(|(_, entry)| entry.clone()).collect())
    }
}

impl RaftLogStorage<TC> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TC>, io::Error> {
        let memory = self.memory();
        let last = memory.entries.last_key_value().map(|(_, entry)| entry.log_id());
        Ok(LogState { last_purged_log_id: memory.purged.clone(), last_log_id: last.or_else(|| memory.purged.clone()) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.disk.vote(vote).await?;
        self.memory().vote = Some(vote.clone());
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.disk.committed(&committed)?;
        self.memory().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.memory().committed.clone())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TC>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<LogEntry> = entries.into_iter().collect();
        self.disk.append(&entries, callback)?;
        self.memory().entries.extend(entries.into_iter().map(|entry| (entry.index(), entry)));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let last = last.map(|id| id.index);
        self.memory().entries.split_off(&last.map_or(0, |index| index.saturating_add(1)));
        self.disk.truncate_after(last).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        {
            let mut memory = self.memory();
            let rest = memory.entries.split_off(&upto.index.saturating_add(1));
            memory.entries = rest;
            memory.purged = Some(upto.clone());
        }
        self.disk.purge(&upto).await
    }
}
