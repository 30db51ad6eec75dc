//! Counts clients that are in the middle of something: a switchover waits for them for a moment. It ends nobody.

use crate::postgres::{Error, Postgres, Result};
use std::time::Duration;

/// How long one look may take.
const LOOK_LIMIT: Duration = Duration::from_millis(1_000);
/// Sessions of clients with a statement or a transaction under way.
const BUSY: &str = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND state <> 'idle' \
     AND usename NOT IN ('dauphin', 'dauphin_rewind', 'dauphin_monitor', 'dauphin_proxy', 'dauphin_replication')";

impl Postgres {
    /// How many clients have a statement or a transaction under way.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn busy_clients(&self) -> Result<u64> {
        let rows = self.acts.query(BUSY, LOOK_LIMIT).await.map_err(Error::sql("counting busy clients"))?.rows;
        Ok(rows.first().and_then(|r| r.parse(0)).unwrap_or(0))
    }
}
