//! Lets clients in and keeps them out. Closed, a server lets nobody in but accounts with the right to pass (the agent's, root,
//! the members'), and the sessions of everybody else are ended. Every server boots closed; nothing of it is in a log.
//!
//! Who may write is another matter: a leader takes writes from its timeline's first transaction on, a replica never does.

use crate::mysql::client::literal;
use crate::mysql::{Error, Flavour, Mysql, Result};
use std::time::Duration;

const DOING: &str = "letting clients in or keeping them out";
/// How long ended sessions may take to be gone.
const EVICT_LIMIT: Duration = Duration::from_millis(5_000);

/// What a MariaDB server does first for whoever comes in without the right to pass: it fails, and the connection is closed.
pub(crate) const CLOSED: &str =
    "SIGNAL SQLSTATE '08004' SET MESSAGE_TEXT = 'Dauphin keeps clients out of this server now'";

/// Who may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// The agent and the members only.
    Closed,
    /// Clients too.
    Open,
}

impl Mysql {
    /// Lets clients in, or keeps them out and proves it: after closing, no session of a client is left. One whose commit waits
    /// for an acknowledgement is not ended by it on MariaDB, and on MySQL it is there until the wait ends.
    ///
    /// # Errors
    /// [`Error::CommitsWait`] when commits still wait; [`Error::TimedOut`] when sessions do not end. Nobody new comes in then.
    /// [`Error::NotTaken`], [`Error::Sql`].
    pub async fn set_access(&self, access: Access) -> Result<()> {
        self.set_access_within(access, EVICT_LIMIT).await
    }

    pub(crate) async fn set_access_within(&self, access: Access, limit: Duration) -> Result<()> {
        match (self.dialect().flavour(), access) {
            (Flavour::Mysql, Access::Open) => self.set_global(DOING, "offline_mode", "OFF").await,
            (Flavour::Mariadb, Access::Open) => self.set_global(DOING, "init_connect", "''").await,
            (Flavour::Mysql, Access::Closed) => {
                self.set_global(DOING, "offline_mode", "ON").await?;
                self.end_clients_after(Duration::ZERO, limit).await
            }
            (Flavour::Mariadb, Access::Closed) => {
                self.act(DOING, &format!("SET GLOBAL init_connect = {}", literal(CLOSED))).await?;
                if self.access().await? == Access::Open {
                    let (key, wanted) = ("init_connect".to_owned(), CLOSED.to_owned());
                    return Err(Error::NotTaken { key, wanted, found: String::new() });
                }
                self.end_clients_after(Duration::ZERO, limit).await
            }
        }
    }

    /// Whether clients are let in.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn access(&self) -> Result<Access> {
        let (asked, closed) = match self.dialect().flavour() {
            Flavour::Mysql => ("SELECT @@GLOBAL.offline_mode", "1"),
            Flavour::Mariadb => ("SELECT @@GLOBAL.init_connect", CLOSED),
        };
        let found = self.value(DOING, asked).await?;
        Ok(if found == closed { Access::Closed } else { Access::Open })
    }
}
