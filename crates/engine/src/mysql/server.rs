//! [`Mysql`]: one member's server with its kept connections and the settings in force. The other modules add the acts;
//! nothing here knows what an act is for.

use crate::mysql::alone::Alone;
use crate::mysql::client::{Row, Session};
use crate::mysql::nudge::Nudges;
use crate::mysql::{Dialect, Error, Instance, Result, Settings, Version, accounts, config};
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long a statement of an act may take when nothing else is said.
pub(crate) const ACT_LIMIT: Duration = Duration::from_secs(20);

/// One member's MySQL or MariaDB server.
#[derive(Debug)]
pub struct Mysql {
    /// Where it lives.
    pub instance: Instance,
    pub(crate) settings: Mutex<Settings>,
    /// Looks, which must never wait behind an act.
    pub(crate) looks: Session,
    pub(crate) acts: Session,
    /// What is written through it is replicated: only where this server leads.
    pub(crate) writes: Session,
    pub(crate) nudges: Mutex<Nudges>,
    pub(crate) alone: Alone,
    /// The last look found a replica that takes writes.
    pub(crate) opened: AtomicBool,
    /// The row of a leadership is on its way into the log.
    pub(crate) beginning: AtomicBool,
}

impl Mysql {
    /// A server.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn new(instance: Instance, settings: Settings) -> Result<Self> {
        config::check_user(&settings.user)?;
        let user = accounts::agent(instance.dialect().flavour(), &instance.os_user).to_owned();
        let session = || Session::new(instance.socket(), user.clone());
        let writes = Session::logged(instance.socket(), user.clone());
        let (settings, nudges) = (Mutex::new(settings), Mutex::default());
        let (alone, beginning) = (Alone::default(), AtomicBool::new(false));
        let opened = AtomicBool::new(false);
        Ok(Self { settings, looks: session(), acts: session(), writes, nudges, alone, opened, beginning, instance })
    }

    /// The account that the agent connects as.
    pub(crate) fn agent_account(&self) -> String {
        accounts::agent(self.dialect().flavour(), &self.instance.os_user).to_owned()
    }

    /// The server's version, by its programs.
    #[must_use]
    pub const fn version(&self) -> &Version {
        &self.instance.bin.version
    }

    /// How to speak to it.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.instance.dialect()
    }

    /// The settings that it was given.
    pub async fn settings(&self) -> Settings {
        self.settings.lock().await.clone()
    }

    /// Reads the certificates again; connections that stand keep theirs.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn reload_tls(&self) -> Result<()> {
        self.act("reading the certificates again", self.dialect().reload_tls()).await.map(|_| ())
    }

    /// Takes other settings; they are written at the next start.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub async fn set_settings(&self, settings: Settings) -> Result<()> {
        config::check_user(&settings.user)?;
        *self.settings.lock().await = settings;
        Ok(())
    }

    /// Drops the kept connections; after a stop or start they lead nowhere.
    pub async fn forget_connections(&self) {
        self.looks.forget().await;
        self.acts.forget().await;
        self.writes.forget().await;
        *self.nudges.lock().await = Nudges::default();
        self.alone.forget();
    }

    /// Runs a statement of an act.
    pub(crate) async fn act(&self, doing: &'static str, sql: &str) -> Result<Vec<Row>> {
        self.acts.query(sql, ACT_LIMIT).await.map_err(Error::sql(doing))
    }

    /// The first column of the first row; NULL and no row are empty.
    pub(crate) async fn value(&self, doing: &'static str, sql: &str) -> Result<String> {
        let rows = self.act(doing, sql).await?;
        Ok(rows.first().and_then(|row| row.at(0)).unwrap_or_default().to_owned())
    }

    /// Sets a global variable and reads it back.
    pub(crate) async fn set_global(&self, doing: &'static str, key: &str, value: &str) -> Result<()> {
        self.act(doing, &format!("SET GLOBAL {key} = {value}")).await?;
        let found = self.value(doing, &format!("SELECT @@GLOBAL.{key}")).await?;
        if is_in_force(value, &found) {
            return Ok(());
        }
        Err(Error::NotTaken { key: key.to_owned(), wanted: value.to_owned(), found })
    }
}

/// Whether a variable that was set to `value`, in the words of a statement, is what the server says that it is.
pub(crate) fn is_in_force(value: &str, found: &str) -> bool {
    match value {
        "ON" => found == "1",
        "OFF" => found == "0",
        other => found == other.trim_matches('\''),
    }
}
