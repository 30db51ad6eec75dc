//! The barrier of a new leader: a record of this term, committed under the enforced setting, so that `required` voters
//! hold the whole recovered log. The probe is first seen waiting for nobody: that proves that commits wait at all.

use crate::postgres::client::{Answer, Client, ClientError, Row};
use crate::postgres::config::nobody;
use crate::postgres::control::POLL;
use crate::postgres::session::{CONNECT_LIMIT, login};
use crate::postgres::sync::{SyncMethod, names};
use crate::postgres::{Error, Postgres, Result};
use dauphin_model::{Enforced, Term};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long one look may take.
const LOOK_LIMIT: Duration = Duration::from_millis(2_000);
/// How long the probe may take until it is seen waiting.
const SEEN_LIMIT: Duration = Duration::from_millis(3_000);
/// Longest wait of one probe. The agent drops it and raises another one when the election moves on.
const PROBE_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// A record that waits for its acknowledgements.
#[derive(Debug)]
pub struct BarrierProbe {
    commit: Option<JoinHandle<std::result::Result<Answer, ClientError>>>,
}

impl BarrierProbe {
    /// Waits until the required voters hold the record. Dropped before its end, it proves nothing.
    ///
    /// # Errors
    /// [`Error::Barrier`] when the wait was cancelled or the server went away.
    pub async fn done(mut self) -> Result<()> {
        let Some(commit) = self.commit.as_mut() else { return Ok(()) };
        let answer = match commit.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(Error::Barrier(error.to_string())),
            Err(error) => return Err(Error::Barrier(error.to_string())),
        };
        // the server also answers "done" when the wait was cancelled, with a warning
        match answer.notices.iter().find(|n| n.severity == "WARNING") {
            Some(warning) => Err(Error::Barrier(warning.message.clone())),
            None => Ok(()),
        }
    }
}

impl Drop for BarrierProbe {
    fn drop(&mut self) {
        if let Some(commit) = &self.commit {
            commit.abort();
        }
    }
}

impl Postgres {
    /// Raises the barrier: proves that commits wait, then sets what they wait for. Returns the record that is waiting;
    /// with nothing required it is done at once.
    ///
    /// # Errors
    /// [`Error::Barrier`] when the probe did not wait; those of [`Postgres::reload`].
    pub async fn start_barrier(&self, term: Term, enforced: &Enforced, method: SyncMethod) -> Result<BarrierProbe> {
        if enforced.required == 0 {
            self.set_sync(enforced, method).await?;
            return Ok(BarrierProbe { commit: None });
        }
        if self.live().await.sync_names != nobody() {
            self.apply_live(|live| live.sync_names = nobody()).await?;
        }
        let doing = "raising the barrier";
        let login = login("dauphin_barrier", false, "-c statement_timeout=0 -c synchronous_commit=on");
        let mut client =
            Client::connect(&self.instance.socket(), &login, CONNECT_LIMIT).await.map_err(Error::sql(doing))?;
        let pid = client.pid();
        let sql = format!("SELECT pg_logical_emit_message(true, 'dauphin', 'term {term}')");
        let commit = tokio::spawn(async move { client.query(&sql, PROBE_LIMIT).await });
        let probe = BarrierProbe { commit: Some(commit) };
        self.seen_waiting(pid, &probe).await?;
        let names = names(enforced, method);
        self.apply_live(|live| live.sync_names = names).await?;
        // whoever is attached by now has reported this record already, under the names of nobody
        self.hear_replicas_again().await?;
        Ok(probe)
    }

    async fn seen_waiting(&self, pid: i32, probe: &BarrierProbe) -> Result<()> {
        let until = Instant::now() + SEEN_LIMIT;
        let sql = format!("SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = {pid}");
        loop {
            let rows = self.acts.query(&sql, LOOK_LIMIT).await.map_err(Error::sql("watching the barrier"))?.rows;
            if rows.first().is_some_and(|r: &Row| r.is_true(0)) {
                return Ok(());
            }
            let ended = probe.commit.as_ref().is_some_and(JoinHandle::is_finished);
            if ended || Instant::now() >= until {
                let why = if ended { "a commit did not wait though nobody acknowledged it" } else { "the probe hangs" };
                return Err(Error::Barrier(why.to_owned()));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
