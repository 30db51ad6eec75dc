//! Changes of the user's settings: what differs, what needs a restart, what cannot be had; applied with a check that takes
//! a bad file back. The agent decides when; a rolling restart is its work.

use crate::postgres::client::Row;
use crate::postgres::config::{FILE, Settings, check_user, quote, render};
use crate::postgres::tool::{Tool, ToolError};
use crate::postgres::{Error, Postgres, Result, files};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long one question may take.
const ASK_LIMIT: Duration = Duration::from_millis(5_000);

/// How long PostgreSQL may take to read its files.
const CHECK_LIMIT: Duration = Duration::from_secs(10);

/// Settings in which a replica must not trail its leader (it stops replaying when it does), and PostgreSQL's defaults.
const NOT_BELOW_LEADER: [(&str, u64); 5] = [
    ("max_connections", 100),
    ("max_worker_processes", 8),
    ("max_wal_senders", 10),
    ("max_prepared_transactions", 0),
    ("max_locks_per_transaction", 64),
];

/// PostgreSQL's default of one of the settings that replicas must not trail.
pub(crate) fn default_of(name: &str) -> Option<u64> {
    NOT_BELOW_LEADER.iter().find(|(n, _)| *n == name).map(|(_, default)| *default)
}

/// One setting that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// What the user asked for before; `None`: nothing.
    pub from: Option<String>,
    /// What is asked for now; `None`: PostgreSQL's default.
    pub to: Option<String>,
    /// It takes a restart.
    pub restart: bool,
}

/// Whether this value is less than what runs, of a setting that replicas must not trail. `None` stands for the default.
fn falls_below(name: &str, to: Option<&str>, running: u64) -> bool {
    let number = |default| to.map_or(Some(default), |v| v.trim().parse::<u64>().ok());
    default_of(name).and_then(number).is_some_and(|wanted| wanted < running)
}

impl Postgres {
    /// What would change if the user's settings were `wanted`.
    ///
    /// # Errors
    /// [`Error::Setting`] for one that Dauphin owns, this PostgreSQL does not know, or that would fall below what runs though
    /// replicas must not trail it; [`Error::Sql`].
    pub async fn changes_to(&self, wanted: &BTreeMap<String, String>) -> Result<Vec<Change>> {
        check_user(wanted)?;
        let now = self.settings().await.user;
        let names: BTreeSet<&String> = now.keys().chain(wanted.keys()).collect();
        let differing: Vec<&String> = names.into_iter().filter(|n| now.get(*n) != wanted.get(*n)).collect();
        let sql = "SELECT name, context = 'postmaster', setting FROM pg_settings";
        let rows = self.acts.query(sql, ASK_LIMIT).await.map_err(Error::sql("reading the settings"))?.rows;
        let known: BTreeMap<&str, &Row> = rows.iter().filter_map(|r| Some((r.get(0)?, r))).collect();
        let mut changes = Vec::new();
        for name in differing {
            let row = known.get(name.as_str());
            // a setting with a dot belongs to a module that may not be loaded yet
            if row.is_none() && !name.contains('.') {
                let why = format!("PostgreSQL {} has no such setting", self.instance.bin.version);
                return Err(Error::Setting { key: name.clone(), why });
            }
            let (from, to) = (now.get(name).cloned(), wanted.get(name).cloned());
            if let Some(running) =
                row.and_then(|r| r.parse(2)).filter(|running| falls_below(name, to.as_deref(), *running))
            {
                let why = format!(
                    "it can be raised while the cluster runs, not lowered below {running}: a replica must not have less \
                     than its log was written with, and every server here starts as a replica"
                );
                return Err(Error::Setting { key: name.clone(), why });
            }
            changes.push(Change { name: name.clone(), restart: row.is_some_and(|r| r.is_true(1)), from, to });
        }
        Ok(changes)
    }

    /// Whether PostgreSQL can read these settings. Nothing is changed.
    ///
    /// # Errors
    /// [`Error::Setting`] with its complaint; [`Error::File`].
    pub async fn check_settings(&self, wanted: &BTreeMap<String, String>) -> Result<()> {
        check_user(wanted)?;
        let instance = &self.instance;
        // in a file: values may be nobody else's business
        let path = instance.run_dir.join("settings.check");
        let lines: Vec<String> = wanted.iter().map(|(name, value)| format!("{name} = {}\n", quote(value))).collect();
        files::replace(&path, &lines.concat(), false)?;
        let tool = Tool::new(&instance.bin, "postgres").arg("-D").arg(&instance.data_dir);
        let config = format!("config_file={}", path.display());
        let checked = tool.args(["-C", "max_connections", "-c", &config]).run(CHECK_LIMIT).await;
        files::remove(&path)?;
        match checked {
            Ok(_) => Ok(()),
            Err(ToolError::Failed { said, .. }) => Err(setting_in(&said)),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes new settings and reloads. What needs a restart waits for one ([`Postgres::pending_restart`]). When
    /// PostgreSQL cannot read a value, the file before is put back.
    ///
    /// # Errors
    /// [`Error::Setting`] with PostgreSQL's complaint; those of [`Postgres::reload`].
    pub async fn change_settings(&self, settings: Settings) -> Result<()> {
        check_user(&settings.user)?;
        let path = self.instance.data_dir.join(FILE);
        let mut config = self.config.lock().await;
        let before = files::read_or_empty(&path)?;
        files::replace(&path, &render(&self.instance, &settings, &config.1), false)?;
        let checked = Tool::new(&self.instance.bin, "postgres").arg("-D").arg(&self.instance.data_dir);
        let refused = match checked.args(["-C", "max_connections"]).run(CHECK_LIMIT).await {
            Ok(_) => None,
            Err(ToolError::Failed { said, .. }) => Some(setting_in(&said)),
            Err(error) => Some(error.into()),
        };
        if let Some(refused) = refused {
            files::replace(&path, &before, false)?;
            return Err(refused);
        }
        config.0 = settings;
        drop(config);
        self.reload().await
    }
}

/// `LOG:  invalid value for parameter "work_mem": "a lot"` and what follows.
fn setting_in(said: &str) -> Error {
    let key = said.split_once("parameter \"").and_then(|(_, rest)| rest.split_once('"')).map_or("settings", |k| k.0);
    // the first line says it; where the file lies helps nobody
    let line = said.lines().next().unwrap_or(said);
    let why = line.split_once(":  ").map_or(line, |(_, text)| text);
    let why = why.split_once(" in file \"").map_or(why, |(text, _)| text);
    Error::Setting { key: key.to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_replicas_must_not_trail_is_raised_and_never_lowered() {
        let falls = |name, to, running| falls_below(name, to, running);
        assert!(falls("max_connections", Some("50"), 200));
        assert!(falls("max_connections", None, 200), "the default is 100");
        assert!(!falls("max_connections", Some("200"), 200));
        assert!(!falls("max_connections", Some("500"), 200));
        assert!(!falls("work_mem", Some("1"), 200));
    }
}
