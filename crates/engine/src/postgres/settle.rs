//! Brings the last checkpoint of stopped data onto the timeline that its log ends on. A rewind calls it for what a winner
//! left that died before its first checkpoint. It serves nobody and never promotes: the timeline stays.

use crate::postgres::tool::Tool;
use crate::postgres::{ControlData, Instance, Result, files};
use std::time::Duration;

/// How long the server may take to recover alone: as long as a start may.
const RECOVERY_LIMIT: Duration = Duration::from_secs(24 * 3_600);
/// Nothing of the log may go: pg_rewind looks for the last common checkpoint in it, and what is cut off is archived from it.
const KEEPS_LOG: [&str; 2] = ["wal_keep_size=2147483647", "max_slot_wal_keep_size=-1"];
/// Nobody is there to acknowledge, nothing is shipped, and what it says goes to its caller.
const ALONE: [&str; 4] =
    ["synchronous_standby_names=", "archive_mode=off", "logging_collector=off", "shared_preload_libraries="];

impl ControlData {
    /// Whether the log goes on to a timeline on which no checkpoint was written: the server that was promoted died too soon.
    /// pg_rewind before PostgreSQL 16 looks at the checkpoint alone and takes such data for that of the timeline before.
    #[must_use]
    pub fn lacks_checkpoint(&self) -> bool {
        self.minimum_recovery_timeline > self.timeline
    }
}

impl Instance {
    /// Lets the stopped server recover its own log in single-user mode, as pg_rewind itself does with data that was not
    /// stopped cleanly; at its end it writes a checkpoint. What it adds to the log is that checkpoint alone.
    /// Cut off by a crash it is what any crashed server is.
    ///
    /// # Errors
    /// [`crate::postgres::Error::Tool`] with what the server said.
    pub(crate) async fn settle(&self) -> Result<()> {
        tracing::info!(data_dir = %self.data_dir.display(), "no checkpoint was written on the last timeline: recovers alone and writes one");
        for signal in ["standby.signal", "recovery.signal"] {
            files::remove(&self.data_dir.join(signal))?;
        }
        let mut single = Tool::new(&self.bin, "postgres").arg("--single").arg("-D").arg(&self.data_dir);
        for setting in KEEPS_LOG.iter().chain(&ALONE) {
            single = single.arg("-c").arg(setting);
        }
        single.arg("template1").run(RECOVERY_LIMIT).await?;
        Ok(())
    }
}
