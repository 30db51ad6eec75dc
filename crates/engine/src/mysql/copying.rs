//! A copy on its way to becoming a member's data. It grows in the staging folder; a server of its own, behind a private socket
//! and without a port, opens it once and forgets what was the source's; only then is it renamed into place, whole. What a
//! crash leaves in the staging folder is no data and is thrown away by the next copy.

use crate::host::aside::{Aside, end_of_log};
use crate::host::files;
use crate::host::tool::ToolError;
use crate::mysql::threads::LOOK_LIMIT;
use crate::mysql::{Error, Flavour, Instance, Mysql, Reached, Refusal, Result, StopMode};
use dauphin_model::{BinlogState, Held, MariaPosition};
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

const DOING: &str = "opening the copy";
/// How long one copy may take in all: a month's worth of patience, the caller drops it sooner.
pub(crate) const COPY_LIMIT: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How long a server may take to open a copy: it recovers what was written during the copying.
const READY_LIMIT: Duration = Duration::from_secs(6 * 3_600);
/// How long it may take to write everything out and stop.
const STOP_LIMIT: Duration = Duration::from_secs(3_600);
/// How long a killed one may take.
const KILL_LIMIT: Duration = Duration::from_secs(20);

/// What a copy holds, now that it is the member's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Everything that it has executed, by the source's numbers.
    pub reached: Reached,
    /// MySQL's UUID of the new server.
    pub uuid: Option<String>,
}

/// What MariaDB's copies must be told; MySQL's know it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Place {
    /// Where the copy stands in the source's log.
    pub(crate) position: MariaPosition,
    /// What the source's log holds of each server up to there.
    pub(crate) state: BinlogState,
}

/// A server of an act's own, behind a private socket.
pub(crate) struct Private {
    pub(crate) sql: Mysql,
    process: Aside,
}

impl Private {
    /// Starts it, without a port, and waits until it answers.
    pub(crate) async fn start(sql: Mysql, more: &[&str]) -> Result<Self> {
        let mut command = sql.prepare_start().await?;
        command.args.extend(["--skip-networking"].iter().chain(more).map(Into::into));
        let mut process = command.run_aside()?;
        tokio::select! {
            ready = sql.wait_ready(READY_LIMIT) => ready?,
            ended = process.ended() => {
                let status = ended.map_err(Error::file("run", &command.program))?.to_string();
                let said = end_of_log(&sql.instance.log_path());
                return Err(ToolError::Failed { tool: sql.dialect().server_program(), status, said }.into());
            }
        }
        Ok(Self { sql, process })
    }

    /// Stops it in order: everything is written out.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.sql.act("stopping the copy's server", "SHUTDOWN").await?;
        self.sql.forget_connections().await;
        let Ok(ended) = tokio::time::timeout(STOP_LIMIT, self.process.ended()).await else {
            let hint = "; its log is in the staging folder";
            return Err(Error::TimedOut { doing: "stopping the copy's server", limit: STOP_LIMIT, hint });
        };
        let status = ended.map_err(Error::file("wait for", &self.sql.instance.bin.server))?;
        if status.success() {
            return Ok(());
        }
        let said = end_of_log(&self.sql.instance.log_path());
        let tool = self.sql.dialect().server_program();
        Err(ToolError::Failed { tool, status: status.to_string(), said }.into())
    }
}

impl Mysql {
    /// A server of this member in the staging folder, with this member's settings.
    pub(crate) async fn beside(&self, name: &str) -> Result<Self> {
        let Instance { bin, cluster, member, port, os_user, .. } = self.instance.clone();
        let dir = self.instance.staging_dir().join(name);
        let settings = self.settings.lock().await.clone();
        Self::new(Instance::new(bin, cluster, member, &dir, port, &os_user), settings)
    }

    /// Throws away what an earlier copy left, its servers first. Refuses when the member has data or a server, or no room for
    /// `bytes`.
    pub(crate) async fn begin_copy(&self, bytes: u64) -> Result<()> {
        self.instance.require_stopped()?;
        self.instance.require_empty()?;
        self.instance.make_dirs()?;
        self.end_copy().await?;
        let dir = &self.instance.member_dir;
        let system = rustix::fs::statvfs(dir).map_err(|e| Error::file("look at the disk of", dir)(e.into()))?;
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        if free < bytes { Err(Refusal::Room { dir: dir.clone(), bytes, free }.into()) } else { Ok(()) }
    }

    async fn end_copy(&self) -> Result<()> {
        for name in [COPIER, COPY] {
            let left = self.beside(name).await?;
            left.stop(StopMode::Kill, KILL_LIMIT).await?;
            // it lies outside where the path would be too long
            files::remove_dir(&left.instance.run_dir)?;
        }
        Ok(files::remove_dir(&self.instance.staging_dir())?)
    }

    /// Opens the copy once, forgets what was the source's, and makes it this member's data.
    pub(crate) async fn settle(&self, copy: Self, source_uuid: Option<&str>, place: &Place) -> Result<Copied> {
        let server = Private::start(copy, &[]).await?;
        match self.dialect().flavour() {
            Flavour::Mysql => drop(server.sql.act(DOING, server.sql.dialect().forget_source()).await?),
            Flavour::Mariadb => server.sql.set_place(place).await?,
        }
        let view = server.sql.look(LOOK_LIMIT).await?;
        if !view.channels.is_empty() || (view.uuid.is_some() && view.uuid.as_deref() == source_uuid) {
            let answer = format!("UUID {:?}, channels {:?}", view.uuid, view.channels);
            return Err(Error::Answer { doing: DOING, answer });
        }
        let data_dir = server.sql.instance.data_dir.clone();
        server.stop().await?;
        // files that were streamed in were never synced one by one
        let sync = || File::open(&data_dir).and_then(|dir| rustix::fs::syncfs(&dir).map_err(Into::into));
        sync().map_err(Error::file("sync", &data_dir))?;
        self.instance.take_into_place(&data_dir)?;
        self.end_copy().await?;
        Ok(Copied { reached: view.executed, uuid: view.uuid })
    }

    /// Tells a copy of MariaDB where it stands. With the source's state in its log it counts on in each domain, refuses
    /// replicas that need what it has not, and what it lacks can be told from what is errant.
    async fn set_place(&self, place: &Place) -> Result<()> {
        self.act(DOING, self.dialect().forget_source()).await?;
        self.act(DOING, self.dialect().forget_log()).await?;
        let text = self.value(DOING, "SELECT @@GLOBAL.gtid_slave_pos").await?;
        let applied: MariaPosition = text.parse().map_err(|_| Error::Answer { doing: DOING, answer: text.clone() })?;
        let clash =
            || Error::Answer { doing: DOING, answer: format!("{applied} applied and {} copied", place.position) };
        let position = place.position.join(&applied).ok_or_else(clash)?;
        self.act(DOING, &format!("SET GLOBAL gtid_slave_pos = '{position}'")).await?;
        self.act(DOING, &format!("SET GLOBAL gtid_binlog_state = '{}'", place.state)).await.map(|_| ())
    }
}

/// The server that fetches a copy, in the staging folder.
pub(crate) const COPIER: &str = "copier";
/// The copy itself.
pub(crate) const COPY: &str = "copy";

impl Instance {
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
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::file("move away", &self.data_dir)(error));
            }
            Ok(()) | Err(_) => {}
        }
        files::remove_dir(&doomed)?;
        self.forget_version()
    }

    /// Renames a finished data directory into the place of one that is empty or not there.
    pub(crate) fn take_into_place(&self, from: &Path) -> Result<()> {
        let rename = || -> std::io::Result<()> {
            match std::fs::remove_dir(&self.data_dir) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            std::fs::rename(from, &self.data_dir)?;
            files::sync_parent(&self.data_dir)
        };
        rename().map_err(Error::file("move the new data to", &self.data_dir))
    }
}
