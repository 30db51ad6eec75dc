//! Stops a server so that nothing is left behind: clients are kept out, writes are closed, what is logged is sent to whoever is
//! attached, and only then does it end. A server whose commits wait cannot go so, and is killed.

use crate::mysql::access::Access;
use crate::mysql::threads::{LOOK_LIMIT, POLL};
use crate::mysql::{Error, Mysql, Result, StopMode};
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
            Ok(position) => match self.stop(StopMode::Orderly, left).await? {
                StopMode::Orderly => Ok(Some(position.clone())),
                StopMode::Kill => Ok(None),
            },
            Err(error) => {
                tracing::info!(%error, "the server cannot be stopped in order: it is killed");
                self.stop(StopMode::Kill, Duration::ZERO).await.map(|_| None)
            }
        }
    }

    /// Ends the log: nobody writes any more, and everything is sent.
    async fn end_log(&self, until: Instant) -> Result<Position> {
        let left = || until.saturating_duration_since(Instant::now());
        if self.look(LOOK_LIMIT).await?.leads() {
            self.set_access_within(Access::Closed, left()).await?;
            self.close_writes(left()).await?;
            self.all_sent(until).await?;
        } else {
            self.freeze(left()).await?;
        }
        let standing = self.standing(LOOK_LIMIT).await?;
        match standing.view.semi_sync.waiting {
            0 => Ok(standing.place.position),
            sessions => Err(Error::CommitsWait { sessions: sessions as usize }),
        }
    }

    /// Waits until everything is sent to all who are attached. One that hangs costs the patience, and no more: whether enough
    /// members hold everything is told by where they stand.
    async fn all_sent(&self, until: Instant) -> Result<()> {
        while Instant::now() < until {
            let doing = "looking at who streams the log";
            let rows = self.looks.query("SHOW PROCESSLIST", LOOK_LIMIT).await.map_err(Error::sql(doing))?;
            let behind = |row: &&crate::mysql::client::Row| {
                let text = |name: &str| row.get(name).unwrap_or_default();
                text("Command").starts_with("Binlog Dump") && !text("State").contains(ALL_SENT)
            };
            if rows.iter().find(behind).is_none() {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}
