//! Makes a new data directory: initialised, with Dauphin's accounts in it and no account without an owner, before any server
//! runs on it. It refuses to touch a folder that holds anything.

use crate::host::files;
use crate::host::tool::Tool;
use crate::mysql::accounts::{Credentials, statements};
use crate::mysql::binaries::setting;
use crate::mysql::{Error, Flavour, Instance, Result};
use std::path::Path;
use std::time::Duration;

/// How long it may take; slow disks need most of it.
const INITIALIZE_LIMIT: Duration = Duration::from_secs(300);

impl Instance {
    /// Makes the data directory. It grows in the staging folder and is renamed into place, so that a crash leaves nothing
    /// that looks like data. Nothing of it is in the binary log: members that were made apart replicate from the first
    /// transaction on.
    ///
    /// # Errors
    /// [`Refusal::NotEmpty`](crate::mysql::Refusal::NotEmpty) when the data directory holds anything; [`Error::Tool`];
    /// [`Error::Setting`] for a password that cannot be.
    pub async fn initialize(&self, credentials: &Credentials) -> Result<()> {
        credentials.check()?;
        self.require_empty()?;
        self.make_dirs()?;
        let staging = self.staging_dir();
        files::remove_dir(&staging)?;
        let flavour = self.dialect().flavour();
        let accounts = statements(flavour, &self.os_user, credentials);
        match flavour {
            Flavour::Mysql => self.initialize_mysql(&staging, &accounts).await?,
            Flavour::Mariadb => self.initialize_mariadb(&staging, accounts).await?,
        }
        self.take_into_place(&staging)
    }

    /// The server makes its tables and runs the statements of a file, which only the system user can read and which is gone
    /// afterwards.
    async fn initialize_mysql(&self, staging: &Path, accounts: &str) -> Result<()> {
        let path = self.member_dir.join("accounts.sql");
        files::replace(&path, accounts, false)?;
        let made = self.bin.server_tool().arg("--initialize-insecure").arg("--secure-file-priv=NULL");
        let made = made.arg(setting("datadir", staging)).arg(setting("init-file", &path)).run(INITIALIZE_LIMIT).await;
        files::remove(&path)?;
        made.map(|_| ()).map_err(Error::from)
    }

    /// A script makes the tables; the server then runs statements from its standard input, without a socket or a port.
    async fn initialize_mariadb(&self, staging: &Path, accounts: String) -> Result<()> {
        let script = self.bin.program("mariadb-install-db")?;
        let made = Tool::of(&script, "mariadb-install-db", None).path(&["/usr/bin", "/bin"]).arg("--no-defaults");
        made.args(["--skip-test-db", "--auth-root-authentication-method=socket"])
            .arg(format!("--auth-root-socket-user={}", self.os_user))
            .arg(setting("basedir", &self.bin.prefix))
            .arg(setting("datadir", staging))
            .run(INITIALIZE_LIMIT)
            .await?;
        let run = self.bin.server_tool().arg("--bootstrap").arg(setting("datadir", staging)).input(accounts);
        run.run(INITIALIZE_LIMIT).await.map(|_| ()).map_err(Error::from)
    }
}
