//! Makes a running replica follow a leader, or another one, without a restart. Ends a freeze.
//! Whom to follow is the agent's decision.

use crate::postgres::config::{Upstream, conninfo};
use crate::postgres::control::POLL;
use crate::postgres::freeze::find;
use crate::postgres::process::Process;
use crate::postgres::{Error, Postgres, Result};
use dauphin_model::Timeline;
use rustix::process::Signal;
use std::time::Duration;
use tokio::time::Instant;

/// How long one look at the server may take while waiting for the stream.
const LOOK_LIMIT: Duration = Duration::from_millis(1_000);

impl Postgres {
    /// Points the replica at `upstream`. Returns when the server was told; [`Postgres::wait_streaming`] waits for the
    /// stream. Nothing happens when it follows it already.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::File`].
    pub async fn follow(&self, upstream: &Upstream) -> Result<()> {
        let text = conninfo(&self.instance, &self.config.lock().await.0, upstream);
        let slot = upstream.slot.clone().unwrap_or_default();
        self.write_live(|live| {
            live.conninfo = text;
            live.slot = slot;
        })
        .await?;
        let postmaster = self.instance.running()?;
        postmaster.process.signal(Signal::HUP)?;
        // told directly too: it wakes from the wait between two attempts at once
        let startup = find(&postmaster.children(&self.instance.data_dir), " startup");
        if let Some(startup) = startup.and_then(|pid| Process::in_dir(pid, &self.instance.data_dir)) {
            startup.signal(Signal::HUP)?;
        }
        Ok(())
    }

    /// Waits until the receiver streams on `timeline`.
    ///
    /// # Errors
    /// [`Error::TimedOut`] with what to try next; [`Error::Sql`].
    pub async fn wait_streaming(&self, timeline: Timeline, limit: Duration) -> Result<()> {
        let until = Instant::now() + limit;
        loop {
            if self.log_state(false, LOOK_LIMIT).await?.streaming == Some(timeline) {
                return Ok(());
            }
            if Instant::now() >= until {
                let hint = "; its log says why. A replica that had learned of a timeline that came to nothing needs a \
                            restart, one with records the leader lacks needs a rewind";
                return Err(Error::TimedOut { doing: "waiting for the stream", limit, hint });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
