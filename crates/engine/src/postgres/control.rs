//! Stops the server, in each mode and with escalation, waits for it to be ready, and reads pg_control.
//! Starting is the guard's work. Nothing here decides that a server should stop.

use crate::postgres::client::{Client, ClientError};
use crate::postgres::process::{Postmaster, Process, all_in};
use crate::postgres::session::login;
use crate::postgres::tool::Tool;
use crate::postgres::{Error, Instance, Postgres, Result};
use dauphin_model::{Lsn, Timeline};
use rustix::process::Signal;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// How often a server that starts is asked though it does not say that it is ready.
const ASK_ANYWAY: Duration = Duration::from_secs(2);
/// How long it may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How often a state that has no event is looked at again.
pub(crate) const POLL: Duration = Duration::from_millis(3);
/// How long pg_controldata may take.
const CONTROLDATA_LIMIT: Duration = Duration::from_secs(10);
/// How long killed processes may take to be gone before it is an error.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopMode {
    /// Waits for clients to leave.
    Smart,
    /// Ends sessions, writes a checkpoint, waits for replicas to receive it.
    Fast,
    /// Ends at once; the next start recovers.
    Immediate,
    /// SIGKILL to every process of the server.
    Kill,
}

impl StopMode {
    fn next(self) -> Option<Self> {
        match self {
            Self::Smart => Some(Self::Fast),
            Self::Fast => Some(Self::Immediate),
            Self::Immediate => Some(Self::Kill),
            Self::Kill => None,
        }
    }
}

/// What pg_control says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlData {
    /// Identity given by initdb; equal on all members of a cluster.
    pub system_identifier: u64,
    /// `in production`, `shut down`, `in archive recovery`…
    pub state: String,
    /// Latest checkpoint.
    pub checkpoint: Lsn,
    /// Its redo point.
    pub redo: Lsn,
    /// Its timeline.
    pub timeline: Timeline,
    /// Recovery must reach this before the data is consistent.
    pub minimum_recovery: Lsn,
    /// The timeline of that.
    pub minimum_recovery_timeline: Timeline,
    /// Data pages carry checksums.
    pub checksums: bool,
    /// Hint bits are logged: pg_rewind may work without checksums.
    pub wal_log_hints: bool,
    /// `max_connections` and its like that a replica must not trail, as last written.
    pub max_settings: Vec<(String, u64)>,
}

impl ControlData {
    /// The server ended in order: no recovery is needed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.state.starts_with("shut down")
    }
}

impl Instance {
    /// Reads pg_control with pg_controldata.
    ///
    /// # Errors
    /// [`Error::Tool`] without a readable control file.
    pub async fn control_data(&self) -> Result<ControlData> {
        let said = Tool::new(&self.bin, "pg_controldata").arg("-D").arg(&self.data_dir).run(CONTROLDATA_LIMIT).await?;
        parse_control(&said.stdout).ok_or(Error::Answer { doing: "reading pg_controldata", answer: said.stdout })
    }

    /// The server's main process, if one runs.
    #[must_use]
    pub fn postmaster(&self) -> Option<Postmaster> {
        Postmaster::find(&self.data_dir)
    }

    /// The server's main process, or the error that says there is none.
    pub(crate) fn running(&self) -> Result<Postmaster> {
        self.postmaster().ok_or_else(|| Error::NotRunning { data_dir: self.data_dir.clone() })
    }

    /// Refuses while any process of a server works in the data directory.
    ///
    /// # Errors
    /// [`Error::Running`].
    pub fn require_stopped(&self) -> Result<()> {
        all_in(&self.data_dir)
            .first()
            .map_or(Ok(()), |pid| Err(Error::Running { pid: *pid, data_dir: self.data_dir.clone() }))
    }

    /// Stops the server in `mode`; when `patience` is over, in the next harder mode, down to SIGKILL. Gives the mode
    /// that worked; at its end no process of the server is left. Done at once if none was there.
    ///
    /// # Errors
    /// [`Error::TimedOut`] when processes survive SIGKILL (a hanging disk), [`Error::File`].
    pub async fn stop(&self, mode: StopMode, patience: Duration) -> Result<StopMode> {
        let mut mode = mode;
        if let Some(postmaster) = self.postmaster() {
            loop {
                let signal = match mode {
                    StopMode::Smart => Signal::TERM,
                    StopMode::Fast => Signal::INT,
                    StopMode::Immediate => Signal::QUIT,
                    StopMode::Kill => break,
                };
                postmaster.process.signal(signal)?;
                if postmaster.process.ended(patience).await? {
                    break;
                }
                mode = mode.next().unwrap_or(StopMode::Kill);
            }
        }
        self.kill_rest().await?;
        Ok(mode)
    }

    /// SIGKILLs every process that works in the data directory until none is left.
    async fn kill_rest(&self) -> Result<()> {
        let until = Instant::now() + KILL_LIMIT;
        loop {
            let left: Vec<Process> =
                all_in(&self.data_dir).into_iter().filter_map(|pid| Process::in_dir(pid, &self.data_dir)).collect();
            if left.is_empty() {
                return Ok(());
            }
            for process in &left {
                process.signal(Signal::KILL)?;
            }
            for process in &left {
                process.ended(until.saturating_duration_since(Instant::now())).await?;
            }
            if Instant::now() >= until {
                let hint = "; processes survive SIGKILL: the disk hangs, or a debugger holds them";
                return Err(Error::TimedOut { doing: "killing the server", limit: KILL_LIMIT, hint });
            }
        }
    }
}

impl Postgres {
    /// Waits until the server answers queries.
    ///
    /// # Errors
    /// [`Error::TimedOut`]; [`Error::NotRunning`] when the process ended meanwhile; [`Error::Sql`] when the server
    /// refuses us for good.
    pub async fn wait_ready(&self, limit: Duration) -> Result<()> {
        let until = Instant::now() + limit;
        let login = login("dauphin_start", false, "");
        let mut seen = false;
        let mut asked = Instant::now();
        loop {
            // asked seldom before: every refused attempt is a line in the server's log. And asked all the same, as a disk
            // that was full when the server became ready has kept it from saying so
            if Postmaster::says_ready(&self.instance.data_dir) || (seen && asked.elapsed() >= ASK_ANYWAY) {
                asked = Instant::now();
                match Client::connect(&self.instance.socket(), &login, limit.min(ANSWER_WITHIN)).await {
                    Ok(_) => return Ok(()),
                    Err(ClientError::Connect(_) | ClientError::Lost(_) | ClientError::TimedOut(_)) => {}
                    Err(error) if error.is_not_ready() => {}
                    Err(error) => return Err(Error::sql("waiting for the server")(error)),
                }
            }
            let there = self.instance.postmaster().is_some();
            if seen && !there {
                return Err(Error::NotRunning { data_dir: self.instance.data_dir.clone() });
            }
            seen |= there;
            if Instant::now() >= until {
                let hint = "; its log says how far recovery has come";
                return Err(Error::TimedOut { doing: "starting the server", limit, hint });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

fn parse_control(text: &str) -> Option<ControlData> {
    let of = |name: &str| {
        let line = text.lines().find(|l| l.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let max =
        ["max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_xacts", "max_locks_per_xact"];
    Some(ControlData {
        system_identifier: of("Database system identifier")?.parse().ok()?,
        state: of("Database cluster state")?,
        checkpoint: of("Latest checkpoint location")?.parse().ok()?,
        redo: of("Latest checkpoint's REDO location")?.parse().ok()?,
        timeline: Timeline(of("Latest checkpoint's TimeLineID")?.parse().ok()?),
        minimum_recovery: of("Minimum recovery ending location")?.parse().ok()?,
        minimum_recovery_timeline: Timeline(of("Min recovery ending loc's timeline")?.parse().ok()?),
        checksums: of("Data page checksum version")? != "0",
        wal_log_hints: of("wal_log_hints setting")? == "on",
        max_settings: max
            .iter()
            .filter_map(|name| {
                let value = of(&format!("{name} setting"))?.parse().ok()?;
                let setting = name.replace("_xacts", "_transactions").replace("_xact", "_transaction");
                Some((setting, value))
            })
            .collect(),
    })
}

/// The data directory's system identifier and major version from its files alone, for checks before any tool runs.
///
/// # Errors
/// What the system says when PG_VERSION or pg_control cannot be read.
pub fn identity_on_disk(data_dir: &Path) -> std::io::Result<(u32, u64)> {
    let version = std::fs::read_to_string(data_dir.join("PG_VERSION"))?;
    let control = std::fs::read(data_dir.join("global/pg_control"))?;
    let bad = |what| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    let major = version.trim().parse().map_err(|_| bad("PG_VERSION holds no major version"))?;
    let bytes = control.first_chunk::<8>().ok_or_else(|| bad("pg_control is too short"))?;
    Ok((major, u64::from_ne_bytes(*bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pg_controldata_is_read() {
        let text = "pg_control version number:            1300\nDatabase system identifier:           7435\n\
            Database cluster state:               shut down in recovery\nLatest checkpoint location:           0/3000060\n\
            Latest checkpoint's REDO location:    0/3000028\nLatest checkpoint's TimeLineID:       4\n\
            Minimum recovery ending location:     0/30000D8\nMin recovery ending loc's timeline:   4\nwal_log_hints setting:                on\n\
            max_connections setting:              100\nmax_prepared_xacts setting:           0\n\
            max_locks_per_xact setting:           64\nData page checksum version:           1\n";
        let control = parse_control(text).expect("all fields are there");
        assert!(control.is_clean() && control.checksums && control.wal_log_hints);
        assert_eq!((control.system_identifier, control.timeline), (7435, Timeline(4)));
        assert_eq!(control.redo, Lsn(0x300_0028));
        assert!(control.max_settings.contains(&("max_prepared_transactions".to_owned(), 0)));
        assert!(control.max_settings.contains(&("max_locks_per_transaction".to_owned(), 64)));
    }
}
