//! What may be mended on a running replica without anybody's election: a receiver that is down, a paused replay, a session that
//! holds replay up. The agent calls it as the specification allows; nothing here decides that it is time.

use crate::postgres::client::Row;
use crate::postgres::control::POLL;
use crate::postgres::roles::literal;
use crate::postgres::{Error, Postgres, Result};
use rustix::process::Signal;
use std::time::Duration;
use tokio::time::Instant;

/// How long one statement may take.
const MEND_LIMIT: Duration = Duration::from_millis(5_000);
/// How long a session may take to end what it was told to end.
const END_LIMIT: Duration = Duration::from_millis(2_000);

/// Who holds up replay: of a lock its holders; of rows that replay takes away whoever has looked at the oldest ones.
const BLOCKER: &str = "SELECT a.pid, a.backend_start FROM pg_stat_activity AS s \
     JOIN pg_stat_activity AS a ON a.pid = ANY(pg_blocking_pids(s.pid)) OR (s.wait_event = 'RecoveryConflictSnapshot' \
     AND a.backend_type = 'client backend' AND a.backend_xmin IS NOT NULL) \
     WHERE s.backend_type = 'startup' AND (s.wait_event_type = 'Lock' OR s.wait_event LIKE 'RecoveryConflict%') \
     AND a.pid <> pg_backend_pid() ORDER BY age(a.backend_xmin) DESC NULLS LAST, a.backend_start LIMIT 1";

impl Postgres {
    /// The process that holds up replay, and when its session began.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn blocker(&self, limit: Duration) -> Result<Option<(i32, String)>> {
        let rows = self.aside.query(BLOCKER, limit).await.map_err(Error::sql("looking what holds up replay"))?.rows;
        Ok(rows.first().and_then(|r: &Row| Some((r.parse(0)?, r.get(1)?.to_owned()))))
    }

    /// Cancels the statement of that session; the session itself where it runs none, or goes on holding replay up. Nothing
    /// happens to another one that has its number now.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn end_blocker(&self, pid: i32, began: &str) -> Result<()> {
        let doing = "ending what holds up replay";
        let of = format!("FROM pg_stat_activity WHERE pid = {pid} AND backend_start = {}::timestamptz", literal(began));
        let cancel = format!("SELECT CASE WHEN state = 'active' THEN pg_cancel_backend(pid) END {of}");
        self.aside.query(&cancel, MEND_LIMIT).await.map_err(Error::sql(doing))?;
        let until = Instant::now() + END_LIMIT;
        while self.blocker(MEND_LIMIT).await?.is_some_and(|(other, its)| (other, its.as_str()) == (pid, began)) {
            if Instant::now() >= until {
                let end = format!("SELECT pg_terminate_backend(pid) {of}");
                return self.aside.query(&end, MEND_LIMIT).await.map(drop).map_err(Error::sql(doing));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Lets replay go on.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn resume_replay(&self) -> Result<()> {
        let sql = "SELECT pg_wal_replay_resume()";
        self.aside.query(sql, MEND_LIMIT).await.map(drop).map_err(Error::sql("resuming the replay"))
    }

    /// Writes once more whom it follows, has the server read it, and ends a receiver that receives nothing: recovery starts
    /// another one.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::File`], [`Error::Sql`].
    pub async fn restart_receiver(&self) -> Result<()> {
        self.write_live(|_| {}).await?;
        self.instance.running()?.process.signal(Signal::HUP)?;
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'walreceiver'";
        self.aside.query(sql, MEND_LIMIT).await.map(drop).map_err(Error::sql("restarting the receiver"))
    }
}
