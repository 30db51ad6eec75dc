//! What a running server says of itself that no election needs: slots of others, pages whose checksum failed. The agent asks
//! every few seconds; it changes nothing.

use crate::postgres::client::Row;
use crate::postgres::{Error, Postgres, Result};
use std::time::Duration;

/// Slots of others, on a leader alone: a replica's may be idle by design. Then what the statistics count.
const SIGNS: &str = "SELECT 's', slot_name, active, wal_status = 'lost', greatest(0, CASE WHEN pg_is_in_recovery() THEN 0 \
     ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) END)::bigint FROM pg_replication_slots \
     WHERE NOT pg_is_in_recovery() AND NOT temporary AND NOT (slot_type = 'physical' AND left(slot_name, 8) = 'dauphin_') \
     ORDER BY slot_name; SELECT 'd', coalesce(sum(checksum_failures), 0)::bigint FROM pg_stat_database; \
     SELECT 'c', (extract(epoch FROM flush_lag) * 1000000)::bigint FROM pg_stat_replication \
     WHERE sync_state IN ('sync', 'quorum') AND flush_lag IS NOT NULL ORDER BY flush_lag";

/// A slot that is not Dauphin's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherSlot {
    /// Its name.
    pub name: String,
    /// Somebody receives from it.
    pub active: bool,
    /// What it kept is gone.
    pub lost: bool,
    /// Log that it keeps, in bytes.
    pub held: u64,
}

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signs {
    /// Slots of others; of a leader.
    pub slots: Vec<OtherSlot>,
    /// How often a page's checksum was found to be wrong since the statistics began.
    pub damaged: u64,
    /// How long the last flush took to be acknowledged, of each replica that commits wait for, in microseconds, the fastest first.
    /// None where nothing was written lately.
    pub acknowledged_us: Vec<u64>,
}

impl Postgres {
    /// Asks.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn signs(&self, limit: Duration) -> Result<Signs> {
        let rows = self.aside.query(SIGNS, limit).await.map_err(Error::sql("reading slots and statistics"))?.rows;
        let slot = |r: &Row| {
            let of_slots = r.get(0) == Some("s");
            let name = r.get(1).filter(|_| of_slots)?.to_owned();
            // one that never kept anything has no place to count from
            Some(OtherSlot { name, active: r.is_true(2), lost: r.is_true(3), held: r.parse(4).unwrap_or(0) })
        };
        let damaged = rows.iter().find(|r| r.get(0) == Some("d")).and_then(|r| r.parse(1));
        let waited = rows.iter().filter(|r| r.get(0) == Some("c")).filter_map(|r| r.parse(1));
        Ok(Signs {
            slots: rows.iter().filter_map(slot).collect(),
            damaged: damaged.unwrap_or(0),
            acknowledged_us: waited.collect(),
        })
    }
}
