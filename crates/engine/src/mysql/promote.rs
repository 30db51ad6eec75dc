//! Makes a replica a server of its own: everything received is applied, then the source is forgotten. It stays closed: opening
//! it is an act of its own, behind the barrier.

use crate::mysql::threads::LOOK_LIMIT;
use crate::mysql::{Acknowledges, Error, Mysql, Reached, Result, Writes};
use std::time::Duration;

const DOING: &str = "promoting the replica";

impl Mysql {
    /// Applies everything received, forgets the source, and says how far the server reaches. The relay log goes with the
    /// source: only once nothing in it is wanted any more.
    ///
    /// # Errors
    /// [`Error::Unapplied`] when something received cannot be applied: nothing is forgotten then. [`Error::Sql`].
    pub async fn promote(&self, limit: Duration) -> Result<Reached> {
        self.freeze(limit).await?;
        self.drain(DOING, limit).await?;
        self.stop_appliers().await?;
        // looked at again with both threads down: from here on nothing can come in
        let view = self.wait_applied(DOING, Duration::ZERO).await?;
        for channel in &view.channels {
            self.act(DOING, &self.for_channel(self.dialect().forget_source(), &channel.name)).await?;
        }
        self.set_acknowledges(Acknowledges::No).await?;
        Ok(self.look(LOOK_LIMIT).await?.executed)
    }

    /// Lets clients write.
    ///
    /// # Errors
    /// [`Error::NotTaken`], [`Error::Sql`].
    pub async fn open_writes(&self) -> Result<()> {
        let doing = "opening the server for writes";
        self.act(doing, self.dialect().open_writes()).await?;
        let found = self.look(LOOK_LIMIT).await?.writes;
        if found == Writes::Open {
            return Ok(());
        }
        Err(Error::NotTaken { key: "read_only".to_owned(), wanted: "OFF".to_owned(), found: format!("{found:?}") })
    }
}
