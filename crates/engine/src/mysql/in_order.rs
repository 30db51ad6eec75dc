//! Stops a server so that nothing is left behind: clients are kept out, writes are closed, what is logged is sent to whoever is
//! attached, and only then does it end. A server whose commits wait cannot go so, and is killed.

use crate::host::files;
use crate::mysql::access::Access;
use crate::mysql::client::Row;
use crate::mysql::threads::{LOOK_LIMIT, POLL};
use crate::mysql::{Error, Mysql, Result, StopMode, Thread};
use dauphin_model::Position;
use std::time::Duration;
use tokio::time::Instant;

/// What a session says that streams the log and has nothing left to send; the rest of it differs.
const ALL_SENT: &str = "has sent all binlog to";

impl Mysql {
    /// Stops the server within about `patience`. Gives where its log ends: whoever holds that holds everything. `None`: it had to
    /// be killed, and nobody can say.
    ///
    /// # Errors
    /// [`Error::TimedOut`] when even SIGKILL does not end it.
    pub async fn stop_in_order(&self, patience: Duration) -> Result<Option<Position>> {
        let until = Instant::now() + patience;
        let ended = self.end_log(until).await;
        let left = until.saturating_duration_since(Instant::now());
        match &ended {
            // MySQL's own stop waits 2 s for sessions to end, for the patience where a replica comes back at once, and for the rest
            // of a transaction that will not come; nobody leads meanwhile. Killed, it loses nothing: nobody writes, and what is
            // logged or received is on the disk
            Ok((position, true)) => {
                self.stop(StopMode::Kill, left).await?;
                // as a stop of its own would: what is left of a crash is told by it
                files::remove(&self.instance.pid_path())?;
                Ok(Some(position.clone()))
            }
            Ok((position, false)) => match self.stop(StopMode::Orderly, left).await? {
                StopMode::Orderly => Ok(Some(position.clone())),
                StopMode::Kill => Ok(None),
            },
            Err(error) => {
                tracing::info!(%error, "the server cannot be stopped in order: it is killed");
                self.stop(StopMode::Kill, Duration::ZERO).await.map(|_| None)
            }
        }
    }

    /// Ends the log: nobody writes any more, and everything is sent. Gives where it ends, and whether a stop in words would wait
    /// for others.
    async fn end_log(&self, until: Instant) -> Result<(Position, bool)> {
        let left = || until.saturating_duration_since(Instant::now());
        let leads = self.look(LOOK_LIMIT).await?.leads();
        if leads {
            self.set_access_within(Access::Closed, left()).await?;
            self.close_writes(left()).await?;
            self.all_sent(until).await?;
        } else {
            self.freeze(left()).await?;
            // what is not applied yet on purpose is received again
            if self.look(LOOK_LIMIT).await?.is_applied() || self.is_late().await? {
                self.stop_appliers().await?;
            }
        }
        let standing = self.standing(LOOK_LIMIT).await?;
        if let (Some(stray), true) = (standing.place.stray, leads) {
            // whom it hands over to could not be held to it
            return Err(Error::Stray { stray });
        }
        let waits = standing.view.channels.iter().any(|channel| channel.applier != Thread::Stopped);
        match standing.view.semi_sync.waiting {
            0 => Ok((standing.place.position, waits || !self.senders().await?.is_empty())),
            sessions => Err(Error::CommitsWait { sessions: sessions as usize }),
        }
    }

    /// The sessions that stream the log.
    async fn senders(&self) -> Result<Vec<Row>> {
        let doing = "looking at who streams the log";
        let rows = self.looks.query("SHOW PROCESSLIST", LOOK_LIMIT).await.map_err(Error::sql(doing))?;
        let streams = |row: &Row| row.get("Command").is_some_and(|command| command.starts_with("Binlog Dump"));
        Ok(rows.into_iter().filter(streams).collect())
    }

    /// Waits until everything is sent to all who are attached. One that hangs costs the patience, and no more: whether enough
    /// members hold everything is told by where they stand.
    async fn all_sent(&self, until: Instant) -> Result<()> {
        while Instant::now() < until {
            let has_all = |row: &Row| row.get("State").is_some_and(|state| state.contains(ALL_SENT));
            if self.senders().await?.iter().all(has_all) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}
