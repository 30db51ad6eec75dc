//! Makes the running server read its files again, and proves that it did.
//! A new connection is forked from the postmaster: it shows what the postmaster has loaded, and when.

use crate::postgres::client::{Client, Row};
use crate::postgres::config::{FILE, Live, render};
use crate::postgres::control::POLL;
use crate::postgres::session::{CONNECT_LIMIT, login};
use crate::postgres::{Error, Postgres, Result, files};
use rustix::process::Signal;
use std::time::Duration;
use tokio::time::Instant;

/// How long a reload may take before the postmaster counts as frozen.
const RELOAD_LIMIT: Duration = Duration::from_millis(5_000);

/// Run-time settings that we own, in the order of [`LOADED`]'s columns after the first.
const OURS: [&str; 4] = ["synchronous_standby_names", "primary_conninfo", "primary_slot_name", "restore_command"];
/// What a fork of the postmaster shows: when it loaded its files, and what it runs with.
const LOADED: &str = "SELECT pg_conf_load_time(), current_setting('synchronous_standby_names'), \
     current_setting('primary_conninfo'), current_setting('primary_slot_name'), current_setting('restore_command')";
/// Where a setting comes from.
const SOURCE: &str = "SELECT coalesce(sourcefile, source) FROM pg_settings WHERE name = ";

impl Postgres {
    /// Writes `dauphin.conf` anew with a change to what is in force at run time. Nothing is reloaded yet.
    pub(crate) async fn write_live(&self, change: impl FnOnce(&mut Live)) -> Result<()> {
        let mut config = self.config.lock().await;
        let (settings, live) = &mut *config;
        let mut next = live.clone();
        change(&mut next);
        let text = render(&self.instance, settings, &next);
        files::replace(&self.instance.data_dir.join(FILE), &text, false)?;
        *live = next;
        Ok(())
    }

    /// Writes, reloads, and proves that the postmaster runs with it.
    pub(crate) async fn apply_live(&self, change: impl FnOnce(&mut Live)) -> Result<()> {
        self.write_live(change).await?;
        self.reload().await
    }

    /// Reloads the server's files and proves that the postmaster has loaded them: every process it forks from now on has
    /// them, and every one it has was sent the signal.
    ///
    /// # Errors
    /// [`Error::Overridden`] when a setting on which safety rests is not the one we wrote; [`Error::TimedOut`] when the
    /// postmaster does not react; [`Error::NotRunning`]; [`Error::Sql`].
    pub async fn reload(&self) -> Result<()> {
        let until = Instant::now() + RELOAD_LIMIT;
        // taken after the files were written: any later load has read them
        let before = self.loaded().await?;
        self.instance.running()?.process.signal(Signal::HUP)?;
        loop {
            let now = self.loaded().await?;
            if now.get(0) != before.get(0) {
                return self.check_effective(&now).await;
            }
            if Instant::now() >= until {
                let hint = "; the postmaster is frozen, or a file of it has an error: see the server's log";
                return Err(Error::TimedOut { doing: "reloading", limit: RELOAD_LIMIT, hint });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn loaded(&self) -> Result<Row> {
        let doing = "asking what the server has loaded";
        let login = login("dauphin_reload", false, "");
        let mut client =
            Client::connect(&self.instance.socket(), &login, CONNECT_LIMIT).await.map_err(Error::sql(doing))?;
        let rows = client.query(LOADED, CONNECT_LIMIT).await.map_err(Error::sql(doing))?.rows;
        rows.into_iter().next().ok_or(Error::Answer { doing, answer: String::new() })
    }

    async fn check_effective(&self, loaded: &Row) -> Result<()> {
        let live = self.config.lock().await.1.clone();
        let wanted = [live.sync_names.as_str(), live.conninfo.as_str(), live.slot.as_str(), ""];
        for (column, (key, wanted)) in OURS.into_iter().zip(wanted).enumerate() {
            let found = loaded.get(column + 1).unwrap_or_default();
            if found != wanted {
                let sql = format!("{SOURCE}'{key}'");
                let rows = self.acts.query(&sql, CONNECT_LIMIT).await.map_or_else(|_| Vec::new(), |a| a.rows);
                return Err(Error::Overridden {
                    key: key.to_owned(),
                    wanted: wanted.to_owned(),
                    found: found.to_owned(),
                    by: rows.first().and_then(|r| r.get(0)).unwrap_or("an unknown place").to_owned(),
                });
            }
        }
        Ok(())
    }
}
