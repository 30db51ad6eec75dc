//! Makes a new data directory with initdb: checksums, SCRAM, the locale given. Used once in a cluster's life; every
//! other member is cloned. It refuses to touch a folder that holds anything.

use crate::postgres::session::SUPERUSER;
use crate::postgres::tool::Tool;
use crate::postgres::{Instance, Refusal, Result, check, files};
use std::time::Duration;

/// How long initdb may take; slow disks need most of it for the final sync.
const INITDB_LIMIT: Duration = Duration::from_secs(300);

impl Instance {
    /// Makes the data directory of a new cluster and gives its system identifier. It grows in the staging folder and is
    /// renamed into place, so that a crash leaves nothing that looks like data.
    ///
    /// # Errors
    /// [`Refusal::NotEmpty`] when the data directory holds anything; [`Error::Tool`](crate::postgres::Error::Tool).
    pub async fn initdb(&self, locale: &str) -> Result<u64> {
        check::require_empty(&self.data_dir)?;
        self.make_dirs()?;
        let staging = self.staging_dir();
        files::remove_dir(&staging)?;
        let locale = if locale.is_empty() { "C.UTF-8" } else { locale };
        Tool::new(&self.bin, "initdb")
            .arg("--pgdata")
            .arg(&staging)
            .arg("--data-checksums")
            .arg("--encoding=UTF8")
            .arg(format!("--locale={locale}"))
            .arg(format!("--username={SUPERUSER}"))
            .arg("--auth-local=peer")
            .arg("--auth-host=scram-sha-256")
            .run(INITDB_LIMIT)
            .await?;
        self.take_into_place(&staging)?;
        let (_, system) = crate::postgres::control::identity_on_disk(&self.data_dir)
            .map_err(|_| Refusal::NoData { data_dir: self.data_dir.clone() })?;
        Ok(system)
    }

    /// Renames a finished staging folder to the data directory (which is empty or not there).
    pub(crate) fn take_into_place(&self, staging: &std::path::Path) -> Result<()> {
        let rename = || -> std::io::Result<()> {
            match std::fs::remove_dir(&self.data_dir) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            std::fs::rename(staging, &self.data_dir)?;
            files::sync_parent(&self.data_dir)
        };
        rename().map_err(crate::postgres::Error::file("move the new data to", &self.data_dir))
    }
}
