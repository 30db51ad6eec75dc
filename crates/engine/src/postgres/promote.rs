//! Promotes a replica to a timeline that we choose. The election decided before; what is proved here is that the server
//! left recovery on exactly that timeline. It stays closed, and waits for nobody's acknowledgement until told whose.

use crate::postgres::control::POLL;
use crate::postgres::{Error, Postgres, Result, half_received, history};
use dauphin_model::{SwitchPoint, Timeline};
use std::time::Duration;
use tokio::time::Instant;

/// How long one question may take while promoting.
const ASK_LIMIT: Duration = Duration::from_millis(2_000);

impl Postgres {
    /// Promotes to `timeline` and waits until the server takes writes on it. Can be repeated: a server that leads on
    /// that timeline already just says where it began.
    ///
    /// # Errors
    /// [`Error::Promotion`] when the number is taken, too low or not the one that came out; [`Error::TimedOut`] while
    /// local log is still replayed: ask again.
    pub async fn promote(&self, timeline: Timeline, limit: Duration) -> Result<SwitchPoint> {
        let until = Instant::now() + limit;
        let doing = "promoting";
        let dir = &self.instance.data_dir;
        let refuse = |why: String| Err(Error::Promotion { wanted: timeline.0, why });
        let state_before = self.log_state(false, ASK_LIMIT).await?;
        let state = &state_before;
        if state.in_recovery {
            if timeline <= state.timeline {
                return refuse(format!("the server is on timeline {} already; choose a higher one", state.timeline));
            }
            if timeline.0 - state.timeline.0 > history::SKIP_MAX {
                return refuse(format!("more than {} numbers would be skipped", history::SKIP_MAX));
            }
            if history::path(dir, timeline).exists() {
                return refuse("the number was used before; choose a higher one".to_owned());
            }
            half_received::remove(dir, state.timeline).await?;
            // numbers up to where recovery aims, which may lie above where it is, need no stub but harm none
            history::write_stubs(dir, state.timeline, timeline)?;
            self.acts.query("SELECT pg_promote(false)", ASK_LIMIT).await.map_err(Error::sql(doing))?;
        }
        loop {
            let state = self.log_state(false, ASK_LIMIT).await?;
            if !state.in_recovery {
                if state.timeline != timeline {
                    return refuse(format!("the server leads on timeline {}; rewind or copy it again", state.timeline));
                }
                let point = self.switch_point(timeline).await?;
                // found promoted: ids may have been given out since, and nobody must take one of those for an older one
                return Ok(if state_before.in_recovery { point } else { SwitchPoint { next_xid: 0, ..point } });
            }
            if Instant::now() >= until {
                let hint = "; it still replays its log: ask again";
                return Err(Error::TimedOut { doing, limit, hint });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Where the leadership on `timeline` began, and the next transaction id as it is now.
    ///
    /// # Errors
    /// [`Error::PositionUnknown`] without the history, [`Error::Sql`].
    pub async fn switch_point(&self, timeline: Timeline) -> Result<SwitchPoint> {
        let doing = "reading the next transaction id";
        let branches = history::read(&self.instance.data_dir, timeline)?;
        let Some(last) = branches.last() else {
            return Err(Error::PositionUnknown("timeline 1 began with initdb, it has no switch point"));
        };
        let sql = "SELECT pg_snapshot_xmax(pg_current_snapshot())";
        let rows = self.acts.query(sql, ASK_LIMIT).await.map_err(Error::sql(doing))?.rows;
        let next_xid = rows.first().and_then(|r| r.parse(0));
        let next_xid = next_xid.ok_or_else(|| Error::Answer { doing, answer: format!("{rows:?}") })?;
        Ok(SwitchPoint { from: last.timeline, lsn: last.end, next_xid })
    }
}
