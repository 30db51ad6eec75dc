//! Clients' sessions on a server that shall take no more writes: who is there, whose commit waits, and ending the others.
//! A session whose commit waits for an acknowledgement is never ended here: its client could be told that it is done.

use crate::mysql::client::{ClientError, Row};
use crate::mysql::threads::{LOOK_LIMIT, POLL};
use crate::mysql::{Error, Mysql, Result, accounts};
use std::time::Duration;
use tokio::time::Instant;

const DOING: &str = "ending clients' sessions";
/// There is no such session (any more).
const NO_SUCH_SESSION: u16 = 1094;

/// What a client's session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Nothing: it waits for its client.
    Idle,
    /// A statement.
    Busy,
    /// Its commit waits for replicas.
    Waiting,
}

impl Mysql {
    /// Ends every client's session: idle ones at once, busy ones after half of `limit`, so that what runs may end. Sessions of
    /// the agent, the monitor and of replicas stay.
    ///
    /// # Errors
    /// [`Error::CommitsWait`] when commits still wait at the end; [`Error::TimedOut`] when sessions do not end.
    pub async fn end_clients(&self, limit: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            let rows = self.looks.query("SHOW PROCESSLIST", LOOK_LIMIT).await.map_err(Error::sql(DOING))?;
            let clients: Vec<(u64, Doing)> = rows.iter().filter_map(|row| self.client(row)).collect();
            if clients.is_empty() {
                return Ok(());
            }
            if begun.elapsed() >= limit {
                let waiting = clients.iter().filter(|(_, doing)| *doing == Doing::Waiting).count();
                let hint = "; a session hangs: stop the server instead";
                return Err(match waiting {
                    0 => Error::TimedOut { doing: DOING, limit, hint },
                    sessions => Error::CommitsWait { sessions },
                });
            }
            let patience_ends = begun.elapsed() >= limit / 2;
            for (id, doing) in clients {
                if doing == Doing::Idle || (doing == Doing::Busy && patience_ends) {
                    self.end(id).await?;
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn end(&self, id: u64) -> Result<()> {
        match self.acts.query(&format!("KILL CONNECTION {id}"), LOOK_LIMIT).await {
            Ok(_) | Err(ClientError::Server { code: NO_SUCH_SESSION, .. }) => Ok(()),
            Err(error) => Err(Error::sql(DOING)(error)),
        }
    }

    /// A row of the list, if it is a client's.
    fn client(&self, row: &Row) -> Option<(u64, Doing)> {
        let text = |name: &str| row.get(name).unwrap_or_default();
        let user = text("User");
        let own = accounts::agent(self.dialect().flavour(), &self.instance.os_user);
        let ours = [own, accounts::REPLICATION, accounts::MONITOR, accounts::COPY, "system user", "event_scheduler"];
        if ours.contains(&user) || text("Command") == "Daemon" || text("Command").starts_with("Binlog Dump") {
            return None;
        }
        let doing = if text("State") == self.dialect().waiting_state() {
            Doing::Waiting
        } else if text("Command") == "Sleep" {
            Doing::Idle
        } else {
            Doing::Busy
        };
        Some((row.parse("Id")?, doing))
    }
}
