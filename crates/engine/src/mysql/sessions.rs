//! Clients' sessions on a server that shall take no more writes: who is there, whose commit waits, and ending the others.
//! A session whose commit waits for an acknowledgement is never ended here: its client could be told that it is done.

use crate::mysql::client::{ClientError, Row};
use crate::mysql::threads::{LOOK_LIMIT, POLL};
use crate::mysql::{Error, Mysql, Result, accounts};
use std::collections::BTreeSet;
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
        self.end_clients_after(limit / 2, limit).await
    }

    /// The same; busy ones may go on for `patience`.
    pub(crate) async fn end_clients_after(&self, patience: Duration, limit: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            let clients = self.clients().await?;
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
            let patience_ends = begun.elapsed() >= patience;
            for (id, doing) in clients {
                if doing == Doing::Idle || (doing == Doing::Busy && patience_ends) {
                    self.end(id).await?;
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// How many sessions of clients do something now, or are in the middle of a transaction.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn busy_clients(&self) -> Result<u64> {
        let doing = "counting clients at work";
        let sql = "SELECT trx_mysql_thread_id FROM information_schema.INNODB_TRX";
        let rows = self.looks.query(sql, LOOK_LIMIT).await.map_err(Error::sql(doing))?;
        let open: BTreeSet<u64> = rows.iter().filter_map(|row| row.at(0)?.parse().ok()).collect();
        let clients = self.clients().await?;
        let busy = clients.iter().filter(|(id, doing)| *doing != Doing::Idle || open.contains(id));
        Ok(busy.count() as u64)
    }

    async fn clients(&self) -> Result<Vec<(u64, Doing)>> {
        let rows = self.looks.query("SHOW PROCESSLIST", LOOK_LIMIT).await.map_err(Error::sql(DOING))?;
        Ok(rows.iter().filter_map(|row| self.client(row)).collect())
    }

    pub(crate) async fn end(&self, id: u64) -> Result<()> {
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
        let ours = [own, accounts::MONITOR, accounts::COPY, "system user", "event_scheduler"];
        if ours.contains(&user)
            || accounts::replicates(user)
            || text("Command") == "Daemon"
            || text("Command").starts_with("Binlog Dump")
        {
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
