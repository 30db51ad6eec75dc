//! What an election asks of a member: to receive no more, and to say where its log is then. What was received counts, applied or
//! not; where it cannot be applied, it is read.

use crate::mysql::relay_log::may_hold_rows_of;
use crate::mysql::threads::LOOK_LIMIT;
use crate::mysql::{Error, Mysql, Result, Standing};
use dauphin_model::Position;
use std::time::Duration;

const DOING: &str = "applying what was received";

impl Mysql {
    /// Stops every receiver, applies what was received (an applier that was stopped is started), and says where the log is then:
    /// all that this member may vouch for. It acknowledges nothing to anybody any more. What is not applied within `limit`, or
    /// cannot be, counts as well, where it holds no leadership's beginning.
    ///
    /// # Errors
    /// [`Error::Unapplied`] when a leadership began in what is not applied: nobody can say on which timeline its end is.
    /// [`Error::TimedOut`], [`Error::File`], [`Error::Sql`].
    pub async fn freeze_at(&self, limit: Duration) -> Result<Position> {
        self.freeze(limit).await?;
        if self.is_late().await? {
            // it acknowledged nothing of what it has not applied, and receives that again
            return Ok(self.standing(LOOK_LIMIT).await?.place.position);
        }
        match self.drain(DOING, limit).await {
            Ok(_) => Ok(self.standing(LOOK_LIMIT).await?.place.position),
            Err(error @ Error::Unapplied { .. }) => self.held().await?.ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// Where the log ends with what was received and is not applied; `None` where that cannot be said.
    async fn held(&self) -> Result<Option<Position>> {
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
        let log = self.reach_of(&view).await?.and_then(|reached| view.log().reaching(reached));
        Ok(log.map(|log| log.place(&began).position))
    }
}
