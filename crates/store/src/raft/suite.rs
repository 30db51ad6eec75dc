//! openraft's own storage suite, on our log and state machine.

use crate::raft::disk::Disk;
use crate::raft::log::LogStore;
use crate::raft::open;
use crate::raft::state::StateStore;
use crate::raft::types::{NodeId, TC};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};

struct Builder;

impl StoreBuilder<TC, LogStore, StateStore, tempfile::TempDir> for Builder {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, StateStore), StorageError<TC>> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let node = NodeId::from(0);
        open::create(dir.path(), &node).expect("an empty folder");
        let (database, mut loaded) = open::load(dir.path(), &node.name).expect("a new store");
        let disk = Disk::spawn(database, &dir.path().join(open::FILE)).expect("a thread");
        let log = LogStore::new(disk.clone(), &mut loaded);
        let (state, _) = StateStore::new(disk, loaded.snapshot).expect("an empty state");
        Ok((dir, log, state))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_own_storage_suite_passes() {
    Suite::test_all(Builder).await.expect("the suite passes");
}
