//! Physical slots: every member keeps one for every other, so that whoever leads next keeps the log that they need.
//! Only names of ours are touched. How much they may keep is bounded by `max_slot_wal_keep_size`.

use crate::postgres::client::Row;
use crate::postgres::roles::literal;
use crate::postgres::{Error, Postgres, Result};
use dauphin_model::{Lsn, Voter};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long one statement about slots may take.
const SLOTS_LIMIT: Duration = Duration::from_millis(5_000);

/// One of our slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Its name: the voter's application name.
    pub name: String,
    /// Whose it is, when the name is one of ours.
    pub voter: Option<Voter>,
    /// A walsender uses it.
    pub active: bool,
    /// The log is kept from here on.
    pub restart: Option<Lsn>,
    /// Its log was cut: whoever needs it must be copied again or catch up from elsewhere.
    pub lost: bool,
}

impl Postgres {
    /// Our slots as they are.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn slots(&self) -> Result<Vec<Slot>> {
        let sql = "SELECT slot_name, active, restart_lsn, wal_status = 'lost' FROM pg_replication_slots \
                   WHERE slot_type = 'physical' AND left(slot_name, 8) = 'dauphin_' ORDER BY slot_name";
        let rows = self.acts.query(sql, SLOTS_LIMIT).await.map_err(Error::sql("reading the slots"))?.rows;
        let slot = |r: &Row| {
            let name = r.get(0)?.to_owned();
            let voter = Voter::from_application_name(&name);
            Some(Slot { voter, active: r.is_true(1), restart: r.parse(2), lost: r.is_true(3), name })
        };
        Ok(rows.iter().filter_map(slot).collect())
    }

    /// Makes missing slots for `voters` and drops those of ours that no voter has and nobody uses. A lost slot is
    /// dropped and made again: it protects nothing. Works on leaders and replicas.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn ensure_slots(&self, voters: &[Voter]) -> Result<()> {
        let wanted: BTreeSet<String> = voters.iter().map(Voter::application_name).collect();
        let slots = self.slots().await?;
        for slot in &slots {
            if !slot.active && (slot.lost || !wanted.contains(&slot.name)) {
                self.slot_act(&format!("SELECT pg_drop_replication_slot({})", literal(&slot.name))).await?;
            }
        }
        let kept: BTreeSet<&str> = slots.iter().filter(|s| !s.lost || s.active).map(|s| s.name.as_str()).collect();
        for name in wanted.iter().filter(|n| !kept.contains(n.as_str())) {
            let sql = format!("SELECT pg_create_physical_replication_slot({}, true)", literal(name));
            self.slot_act(&sql).await?;
        }
        Ok(())
    }

    /// Lets go of log that the voters have: moves each idle slot up to its voter's position, never beyond what this
    /// member has replayed. Replicas call it now and then; on a leader active slots move by themselves.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn advance_slots(&self, positions: &BTreeMap<Voter, Lsn>) -> Result<()> {
        for slot in self.slots().await? {
            let Some(lsn) = slot.voter.as_ref().and_then(|v| positions.get(v)) else { continue };
            if slot.active || slot.lost || slot.restart.is_some_and(|r| r >= *lsn) {
                continue;
            }
            let sql = format!(
                "SELECT pg_replication_slot_advance({name}, target) FROM (SELECT least('{lsn}'::pg_lsn, CASE WHEN \
                 pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END) AS target) AS x, \
                 pg_replication_slots AS s WHERE s.slot_name = {name} AND s.restart_lsn < target",
                name = literal(&slot.name),
            );
            self.slot_act(&sql).await?;
        }
        Ok(())
    }

    async fn slot_act(&self, sql: &str) -> Result<()> {
        self.acts.query(sql, SLOTS_LIMIT).await.map(|_| ()).map_err(Error::sql("keeping slots"))
    }
}
