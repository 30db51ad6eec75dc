//! Changes of the user's settings: what differs, what needs a restart, in which order members restart; applied with a
//! check that takes a bad file back. The agent decides when; a rolling restart is its work.

use crate::postgres::client::Row;
use crate::postgres::config::{FILE, Settings, check_user, quote, render};
use crate::postgres::tool::Tool;
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

/// In which order members must restart for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartOrder {
    /// Replicas before the leader: the value grows.
    ReplicasFirst,
    /// The leader before the replicas, once they have replayed its restart: the value shrinks.
    LeaderFirst,
    /// Any.
    Any,
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
    /// In which order.
    pub order: RestartOrder,
}

/// In which order members restart for this change; `None` stands for PostgreSQL's default.
#[must_use]
pub fn restart_order(name: &str, from: Option<&str>, to: Option<&str>) -> RestartOrder {
    let Some(default) = default_of(name) else { return RestartOrder::Any };
    let number = |value: Option<&str>| value.map_or(Some(default), |v| v.trim().parse().ok());
    match (number(from), number(to)) {
        (Some(from), Some(to)) if to > from => RestartOrder::ReplicasFirst,
        (Some(from), Some(to)) if to < from => RestartOrder::LeaderFirst,
        _ => RestartOrder::Any,
    }
}

impl Postgres {
    /// What would change if the user's settings were `wanted`.
    ///
    /// # Errors
    /// [`Error::Setting`] for one that Dauphin owns or this PostgreSQL does not know; [`Error::Sql`].
    pub async fn changes_to(&self, wanted: &BTreeMap<String, String>) -> Result<Vec<Change>> {
        check_user(wanted)?;
        let now = self.settings().await.user;
        let names: BTreeSet<&String> = now.keys().chain(wanted.keys()).collect();
        let differing: Vec<&String> = names.into_iter().filter(|n| now.get(*n) != wanted.get(*n)).collect();
        let sql = "SELECT name, context = 'postmaster' FROM pg_settings";
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
            let order = restart_order(name, from.as_deref(), to.as_deref());
            changes.push(Change { name: name.clone(), restart: row.is_some_and(|r| r.is_true(1)), order, from, to });
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
            Err(Error::Tool { said, .. }) => Err(setting_in(&said)),
            Err(error) => Err(error),
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
            Err(Error::Tool { said, .. }) => Some(setting_in(&said)),
            Err(error) => Some(error),
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
    fn what_replicas_must_not_trail_restarts_in_a_safe_order() {
        let order = |from, to| restart_order("max_connections", from, to);
        assert_eq!(order(None, Some("200")), RestartOrder::ReplicasFirst);
        assert_eq!(order(Some("200"), None), RestartOrder::LeaderFirst);
        assert_eq!(order(Some("200"), Some("200")), RestartOrder::Any);
        assert_eq!(restart_order("shared_buffers", None, Some("1GB")), RestartOrder::Any);
    }
}
