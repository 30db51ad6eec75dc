//! Makes a leader take no more writes, in the one order that tells no client a lie: the caller has stopped serving; sessions
//! end, then writes are closed, and only then do commits stop waiting for replicas.

use crate::mysql::threads::LOOK_LIMIT;
use crate::mysql::{Error, Flavour, Mysql, Reached, Result, SemiSync, Writes};
use std::time::Duration;

impl Mysql {
    /// Closes the server to writes and says how far it reaches. Stop serving before (the proxy, the access rules): who comes
    /// in while it runs is ended too, but may have been let in by nobody's intention.
    ///
    /// # Errors
    /// [`Error::CommitsWait`] when commits wait for replicas: kill the server then, a clean end would report them as done.
    /// [`Error::TimedOut`] when sessions do not end or writes cannot be closed; commits go on waiting for replicas then.
    pub async fn demote(&self, limit: Duration) -> Result<Reached> {
        self.end_clients(limit).await?;
        self.close_writes(limit).await?;
        // who came in between found the server open
        self.end_clients(limit).await?;
        let view = self.look(LOOK_LIMIT).await?;
        if view.semi_sync.waiting > 0 {
            return Err(Error::CommitsWait { sessions: view.semi_sync.waiting as usize });
        }
        self.set_semi_sync(SemiSync::Off).await?;
        Ok(view.executed)
    }

    /// Closes the server to every write but the applier's. It waits behind commits under way.
    ///
    /// # Errors
    /// [`Error::Sql`] after `limit`; [`Error::NotTaken`].
    pub async fn close_writes(&self, limit: Duration) -> Result<()> {
        let doing = "closing the server to writes";
        self.acts.query(self.dialect().close_writes(), limit).await.map_err(Error::sql(doing))?;
        let wanted = self.closed();
        let found = self.look(LOOK_LIMIT).await?.writes;
        if found == wanted {
            return Ok(());
        }
        let key = self.dialect().closed_setting().to_owned();
        Err(Error::NotTaken { key, wanted: format!("{wanted:?}"), found: format!("{found:?}") })
    }

    /// Who may write on a server that is closed to writes.
    pub(crate) const fn closed(&self) -> Writes {
        match self.dialect().flavour() {
            Flavour::Mysql => Writes::Closed,
            Flavour::Mariadb => Writes::Administrators,
        }
    }
}
