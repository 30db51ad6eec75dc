//! What an election asks of a member: to receive no more, and to say where its log is then. What was received counts, applied or
//! not; where it cannot be applied, it is read.

use crate::mysql::relay_log::may_hold_rows_of;
use crate::mysql::threads::LOOK_LIMIT;
use crate::mysql::timelines::{Began, Log};
use crate::mysql::{Error, Mysql, Reached, Result, Standing};
use dauphin_model::Position;
use std::time::Duration;

const DOING: &str = "applying what was received";

/// What a frozen member may vouch for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// Up to here it holds what leaderships wrote.
    pub position: Position,
    /// What it holds besides, for people: nobody may lead with it, or receive from it.
    pub stray: Option<String>,
}

impl Frozen {
    fn of(log: &Log, began: &[Began]) -> Result<Self> {
        let place = log.place(began);
        let Some(stray) = place.stray else { return Ok(Self { position: place.position, stray: None }) };
        let position = log.chain_end(began).ok_or_else(|| Error::Stray { stray: stray.clone() })?;
        Ok(Self { position, stray: Some(stray) })
    }
}

impl Mysql {
    /// Stops every receiver, applies what was received (an applier that was stopped is started), and says where the log is then:
    /// all that this member may vouch for. It acknowledges nothing to anybody any more. What is not applied within `limit`, or
    /// cannot be, counts as well, where it holds no leadership's beginning.
    ///
    /// # Errors
    /// [`Error::Unapplied`] when a leadership began in what is not applied: nobody can say on which timeline its end is.
    /// [`Error::Stray`] when it holds something else besides, and nobody can say how much of the chain.
    /// [`Error::TimedOut`], [`Error::File`], [`Error::Sql`].
    pub async fn freeze_at(&self, limit: Duration) -> Result<Frozen> {
        self.stop_receivers(limit).await?;
        // who is late acknowledged nothing of what it has not applied, and receives that again
        let late = self.is_late().await?;
        match if late { Ok(()) } else { self.drain(DOING, limit).await.map(|_| ()) } {
            Ok(()) => {
                let standing = self.standing(LOOK_LIMIT).await?;
                Frozen::of(&standing.view.log(), &standing.began)
            }
            Err(error @ Error::Unapplied { .. }) => self.held().await?.ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// Where the log ends with what was received and is not applied; `None` where that cannot be said.
    async fn held(&self) -> Result<Option<Frozen>> {
        let before = self.standing(LOOK_LIMIT).await?;
        for channel in &before.view.channels {
            let Some(at) = channel.relay_at.clone() else { return Ok(None) };
            let (data_dir, applied) = (self.instance.data_dir.clone(), before.view.applied.clone());
            let read = move || may_hold_rows_of(&data_dir, &at, &applied, ("dauphin", "timelines"));
            let read = tokio::task::spawn_blocking(read).await;
            let lost = |e: tokio::task::JoinError| Error::Answer { doing: DOING, answer: e.to_string() };
            if read.map_err(lost)?? {
                return Ok(None);
            }
        }
        // looked at again: a beginning that was applied while the log was read is in neither
        let Standing { view, began, .. } = self.standing(LOOK_LIMIT).await?;
        if began != before.began {
            return Ok(None);
        }
        let mut log = view.log();
        if let Some(reached) = self.reach_of(&view).await?.and_then(|reached| log.clone().reaching(reached)) {
            log = reached;
        }
        // each part by itself as well: of MariaDB's transactions with one number, or of a lower one, the whole says nothing
        for channel in &view.channels {
            log.received(&channel.retrieved);
            if let Some(found) = self.in_relay_log(channel).await? {
                log.received(&Reached::Mariadb(found.reached));
            }
        }
        Frozen::of(&log, &began).map(Some)
    }
}
