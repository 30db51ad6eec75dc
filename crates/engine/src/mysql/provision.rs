//! Makes a new data directory: initialised, with Dauphin's accounts in it and no account without an owner, before any server
//! runs on it. It refuses to touch a folder that holds anything.

use crate::host::files;
use crate::host::tool::Tool;
use crate::mysql::accounts::{Credentials, statements};
use crate::mysql::binaries::setting;
use crate::mysql::{Error, Flavour, Instance, Mysql, Result};
use std::path::Path;
use std::time::Duration;

/// How long it may take; slow disks need most of it.
const INITIALIZE_LIMIT: Duration = Duration::from_secs(300);

/// Settings that shape a data directory when it is made, and can be no other ones later.
const SHAPE: [&str; 5] = [
    "innodb_page_size",
    "innodb_data_file_path",
    "innodb_undo_tablespaces",
    "innodb_checksum_algorithm",
    "lower_case_table_names",
];

impl Mysql {
    /// Makes the data directory. It grows in the staging folder and is renamed into place, so that a crash leaves nothing
    /// that looks like data. Nothing of it is in the binary log: members that were made apart replicate from the first
    /// transaction on.
    ///
    /// # Errors
    /// [`Refusal::NotEmpty`](crate::mysql::Refusal::NotEmpty) when the data directory holds anything; [`Error::Tool`];
    /// [`Error::Setting`] for a password that cannot be.
    pub async fn initialize(&self, credentials: &Credentials) -> Result<()> {
        credentials.check()?;
        let instance = &self.instance;
        instance.require_empty()?;
        instance.make_dirs()?;
        let staging = instance.staging_dir();
        files::remove_dir(&staging)?;
        let flavour = self.dialect().flavour();
        let accounts = statements(flavour, &instance.os_user, credentials);
        let user = self.settings.lock().await.user.clone();
        let shape: Vec<String> = user
            .iter()
            .filter(|(name, _)| SHAPE.contains(&name.as_str()))
            .map(|(name, value)| format!("--{name}={value}"))
            .collect();
        match flavour {
            Flavour::Mysql => instance.initialize_mysql(&staging, &accounts, &shape).await?,
            Flavour::Mariadb => instance.initialize_mariadb(&staging, accounts, &shape).await?,
        }
        instance.take_into_place(&staging)
    }
}

impl Instance {
    /// The server makes its tables and runs the statements of a file, which only the system user can read and which is gone
    /// afterwards.
    async fn initialize_mysql(&self, staging: &Path, accounts: &str, shape: &[String]) -> Result<()> {
        let path = self.member_dir.join("accounts.sql");
        files::replace(&path, accounts, false)?;
        let made = self.bin.server_tool().arg("--initialize-insecure").arg("--secure-file-priv=NULL");
        let made = shape.iter().fold(made, Tool::arg).arg(setting("tmpdir", &self.tmp_dir()));
        let made = made.arg(setting("datadir", staging)).arg(setting("init-file", &path)).run(INITIALIZE_LIMIT).await;
        files::remove(&path)?;
        made.map(|_| ()).map_err(Error::from)
    }

    /// A script makes the tables; the server then runs statements from its standard input, without a socket or a port.
    async fn initialize_mariadb(&self, staging: &Path, accounts: String, shape: &[String]) -> Result<()> {
        let script = self.bin.program("mariadb-install-db")?;
        let made = Tool::of(&script, "mariadb-install-db", None).path(&["/usr/bin", "/bin"]).arg("--no-defaults");
        shape
            .iter()
            .fold(made, Tool::arg)
            .args(["--skip-test-db", "--auth-root-authentication-method=socket"])
            .arg(format!("--auth-root-socket-user={}", self.os_user))
            .arg(setting("basedir", &self.bin.prefix))
            .arg(setting("tmpdir", &self.tmp_dir()))
            .arg(setting("datadir", staging))
            .run(INITIALIZE_LIMIT)
            .await?;
        let run = self.bin.server_tool().arg("--bootstrap").arg(setting("tmpdir", &self.tmp_dir()));
        let run = run.arg(setting("datadir", staging)).input(accounts);
        shape.iter().fold(run, Tool::arg).run(INITIALIZE_LIMIT).await.map(|_| ()).map_err(Error::from)
    }
}
