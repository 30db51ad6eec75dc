//! Copies a member's data from another one with pg_basebackup. The copy grows in a staging folder, starts over cleanly
//! after a crash, loses what made it another member, and is renamed into place whole.

pub use crate::host::Progress;
use crate::host::disk;
use crate::postgres::config::{FILE, Settings, Upstream, conninfo};
use crate::postgres::roles::Credentials;
use crate::postgres::tool::Tool;
use crate::postgres::{Error, Instance, Result, check, files, history};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long one copy may take in all: a year's worth of patience, the caller drops it sooner.
const CLONE_LIMIT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Takes what pg_basebackup says: `  12345/67890 kB (18%), 0/1 tablespace`.
fn hear(progress: &Progress, said: &str) {
    for line in said.split(['\r', '\n']) {
        let Some((done, total)) = line.split_once(" kB").and_then(|(numbers, _)| numbers.trim().split_once('/')) else {
            continue;
        };
        if let (Ok(done), Ok(total)) = (done.parse::<u64>(), total.parse::<u64>()) {
            progress.set(done << 10, total << 10);
        }
    }
}

impl Instance {
    /// Copies the data of `source` (its slot used, if it names one) into the empty data directory. Whatever an earlier
    /// copy left in the staging folder is thrown away first.
    ///
    /// # Errors
    /// [`Refusal::NotEmpty`](crate::postgres::Refusal::NotEmpty) when the data directory holds anything;
    /// [`Error::Tool`] with what pg_basebackup said; a refusal when the copy is of another version or cluster.
    pub async fn clone_from(
        &self,
        source: &Upstream,
        settings: &Settings,
        credentials: &Credentials,
        expected_system: Option<u64>,
        progress: Arc<Progress>,
    ) -> Result<()> {
        check::require_empty(&self.data_dir)?;
        self.make_dirs()?;
        credentials.write_passfile(&self.passfile())?;
        let staging = self.staging_dir();
        files::remove_dir(&staging)?;
        let mut tool = Tool::new(&self.bin, "pg_basebackup")
            .arg(format!("--dbname={}", conninfo(self, settings, source)))
            .arg("--pgdata")
            .arg(&staging)
            .arg("--wal-method=stream")
            .arg("--checkpoint=fast")
            .arg("--no-password")
            .arg("--progress");
        if let Some(slot) = &source.slot {
            tool = tool.arg("--slot").arg(slot);
        }
        tool.watch(move |said| hear(&progress, said)).run(CLONE_LIMIT).await?;
        let copied = Self { data_dir: staging.clone(), ..self.clone() };
        copied.check_data(expected_system)?;
        forget_source(&staging)?;
        self.take_into_place(&staging)
    }

    /// Throws the data away, for a copy to take its place. What no other member holds must have been archived before:
    /// that is the caller's promise.
    ///
    /// # Errors
    /// [`Error::Running`]; [`Error::File`].
    pub fn wipe(&self) -> Result<()> {
        self.require_stopped()?;
        // moved away first: half a removal must not look like data
        let doomed = self.member_dir.join("data.removing");
        files::remove_dir(&doomed)?;
        match std::fs::rename(&self.data_dir, &doomed) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("move away", &self.data_dir)(error));
            }
            Ok(()) | Err(_) => {}
        }
        files::remove(&self.rewind_marker())?;
        Ok(files::remove_dir(&doomed)?)
    }
}

/// Removes what belonged to the source alone.
pub(crate) fn forget_source(data_dir: &Path) -> Result<()> {
    for name in ["postmaster.pid", "postmaster.opts", FILE, "standby.signal", "recovery.signal", "promote", disk::FILE]
    {
        files::remove(&data_dir.join(name))?;
    }
    let slots = data_dir.join("pg_replslot");
    let entries = std::fs::read_dir(&slots).map_err(Error::file("look into", &slots))?;
    for entry in entries.flatten() {
        files::remove_dir(&entry.path())?;
    }
    history::remove_trailing_stubs(data_dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_from_what_pg_basebackup_says() {
        let progress = Progress::default();
        hear(&progress, "waiting for checkpoint\n");
        hear(&progress, "     1024/2048 kB (50%), 0/1 tablespace\r     2048/2048 kB (100%), 1/1 tablespace\n");
        assert_eq!((progress.done(), progress.total()), (2 << 20, 2 << 20));
    }
}
