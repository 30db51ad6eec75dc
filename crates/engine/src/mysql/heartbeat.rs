//! A row that the leader's engine writes and replicas read: how old the data of a replica is, whatever its threads say. It is
//! written by an open leader alone; on a replica it would be an errant transaction.

use crate::mysql::client::{ClientError, Row, literal};
use crate::mysql::lag::Beat;
use crate::mysql::threads::LOOK_LIMIT;
use crate::mysql::{Error, Mysql, Result, Writes};
use dauphin_model::Term;
use std::time::Duration;

const DOING: &str = "writing the heartbeat";
/// There is no such table, or database.
const NOT_THERE: [u16; 2] = [1146, 1049];

pub(crate) const TABLE: &str = "CREATE TABLE IF NOT EXISTS dauphin.heartbeat (one tinyint PRIMARY KEY, \
     beats bigint unsigned NOT NULL, term bigint unsigned NOT NULL, writer varchar(64) NOT NULL, \
     at_us bigint unsigned NOT NULL) ENGINE = InnoDB DEFAULT CHARACTER SET ascii";
const READ: &str = "SELECT beats, term, writer, at_us, CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS unsigned) AS now_us FROM dauphin.heartbeat";

impl Mysql {
    /// Writes the heartbeat of a leader of `term`. Call it once in a [`PERIOD`](crate::mysql::lag::PERIOD), and when another
    /// voter acknowledges.
    ///
    /// # Errors
    /// [`Error::Setting`] on a server that is closed: nothing is written. [`Error::CommitsWait`] while commits wait for
    /// replicas: it would only wait with them. They are nudged then. [`Error::Sql`].
    pub async fn beat(&self, term: Term, limit: Duration) -> Result<()> {
        let view = self.look(LOOK_LIMIT).await?;
        if view.writes != Writes::Open {
            let why = "this server is closed; the leader alone writes it".to_owned();
            return Err(Error::Setting { key: "heartbeat".to_owned(), why });
        }
        if view.semi_sync.waiting > 0 {
            self.nudge(term, view.semi_sync).await;
            return Err(Error::CommitsWait { sessions: view.semi_sync.waiting as usize });
        }
        let writer = literal(self.instance.member.as_str());
        // closed in between, it writes nothing: MariaDB's read_only does not keep us out
        let write = format!(
            "INSERT INTO dauphin.heartbeat SELECT 1, 1, {term}, {writer}, CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS unsigned) \
             FROM DUAL WHERE @@GLOBAL.read_only = 0 ON DUPLICATE KEY UPDATE beats = beats + 1, term = {term}, writer = {writer}, \
             at_us = CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS unsigned)"
        );
        self.writes.query(&write, limit).await.map(|_| ()).map_err(Error::sql(DOING))
    }

    /// The heartbeat as it was applied here; `None` if none was ever written.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn heartbeat(&self, limit: Duration) -> Result<Option<Beat>> {
        match self.looks.query(READ, limit).await {
            Ok(rows) => Ok(rows.first().and_then(beat_of)),
            Err(ClientError::Server { code, .. }) if NOT_THERE.contains(&code) => Ok(None),
            Err(error) => Err(Error::sql("reading the heartbeat")(error)),
        }
    }
}

fn beat_of(row: &Row) -> Option<Beat> {
    Some(Beat {
        beats: row.parse("beats")?,
        term: Term(row.parse("term")?),
        writer: row.get("writer")?.to_owned(),
        at_us: row.parse("at_us")?,
        now_us: row.parse("now_us")?,
    })
}
