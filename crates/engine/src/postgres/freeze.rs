//! Freezes a replica: it stops receiving, provably, and its position is read. The election's voters are frozen before
//! they pledge. Only following another leader, or promotion, ends it.

use crate::postgres::control::POLL;
use crate::postgres::probe::LogState;
use crate::postgres::process::{Child, Postmaster, Process};
use crate::postgres::{Error, Postgres, Result};
use dauphin_model::{Lsn, Position};
use rustix::process::Signal;
use std::time::Duration;
use tokio::time::Instant;

/// How long one look at the server may take while freezing.
const LOOK_LIMIT: Duration = Duration::from_millis(1_000);
/// The receiver counts as gone when it was not there for this long.
const GONE_FOR: Duration = Duration::from_millis(10);

/// A frozen replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// How far its log reaches. It will not grow.
    pub position: Position,
    /// Somebody paused replay; promotion goes on by itself.
    pub replay_paused: bool,
    /// How far replay is.
    pub replayed: Lsn,
}

impl Postgres {
    /// Stops receiving and reads the position. Can be repeated: a frozen replica answers at once.
    ///
    /// # Errors
    /// [`Error::PositionUnknown`] for a leader, or a replica whose replay was paused before it had read its own log;
    /// [`Error::TimedOut`] after `limit`; [`Error::NotRunning`]; [`Error::Sql`].
    pub async fn freeze(&self, limit: Duration) -> Result<Frozen> {
        let until = Instant::now() + limit;
        self.write_live(|live| {
            live.conninfo.clear();
            live.slot.clear();
        })
        .await?;
        let postmaster = self.instance.running()?;
        postmaster.process.signal(Signal::HUP)?;
        self.stop_receiver(&postmaster, until).await?;
        loop {
            let state = self.log_state(false, LOOK_LIMIT).await?;
            if !state.in_recovery {
                return Err(Error::PositionUnknown("the server is a leader; a leader is fenced, not frozen"));
            }
            if state.received.is_some() || drained(&state) {
                let position = state.position(&self.instance.data_dir)?;
                return Ok(Frozen { position, replay_paused: state.paused, replayed: state.replayed });
            }
            if state.paused {
                let why =
                    "replay was paused before the replica had read its own log; run SELECT pg_wal_replay_resume()";
                return Err(Error::PositionUnknown(why));
            }
            wait(until, limit, "reading the local log to its end").await?;
        }
    }

    /// Ends the receiver and proves that it stays gone: it is not there, was not there a while ago, and the startup
    /// process, which alone asks for it, has been seen at rest after it was told to read the new settings.
    async fn stop_receiver(&self, postmaster: &Postmaster, until: Instant) -> Result<()> {
        let dir = &self.instance.data_dir;
        let limit = until.saturating_duration_since(Instant::now());
        let (mut told, mut gone_since, mut replayed) = (false, None, None);
        loop {
            let children = postmaster.children(dir);
            let receiver = find(&children, " walreceiver").and_then(|pid| Process::in_dir(pid, dir));
            if let (false, Some(startup)) = (told, find(&children, " startup").and_then(|p| Process::in_dir(p, dir))) {
                startup.signal(Signal::HUP)?;
                told = true;
            }
            if let Some(receiver) = receiver {
                receiver.signal(Signal::TERM)?;
                receiver.ended(POLL).await?;
                gone_since = None;
            } else {
                let since = *gone_since.get_or_insert_with(Instant::now);
                let state = self.log_state(false, LOOK_LIMIT).await?;
                if !state.in_recovery {
                    return Ok(());
                }
                let before = *replayed.get_or_insert(state.replayed);
                let at_rest = state.startup_wait.as_ref().is_some_and(|w| !w.starts_with("IO:"));
                if told && since.elapsed() >= GONE_FOR && (at_rest || state.replayed > before) {
                    return Ok(());
                }
                wait(until, limit, "stopping the receiver").await?;
            }
            if Instant::now() >= until {
                return Err(timed_out("stopping the receiver", limit));
            }
        }
    }
}

/// Whether the local log is read to its end. Recovery reads what is on disk first, and comes to this wait only then;
/// where a receiver ran, what it received counts instead.
fn drained(state: &LogState) -> bool {
    state.startup_wait.as_deref().is_some_and(|w| w.contains("RecoveryRetrieveRetryInterval"))
}

/// `postgres: lab_m1: walreceiver streaming 0/3000148`: the part after the cluster's name is the kind.
pub(crate) fn find(children: &[Child], kind: &str) -> Option<i32> {
    children.iter().find(|c| c.title.splitn(3, ':').nth(2).is_some_and(|k| k.starts_with(kind))).map(|c| c.pid)
}

fn timed_out(doing: &'static str, limit: Duration) -> Error {
    Error::TimedOut { doing, limit, hint: "; the server or its disk is slow: ask again" }
}

async fn wait(until: Instant, limit: Duration, doing: &'static str) -> Result<()> {
    if Instant::now() >= until {
        return Err(timed_out(doing, limit));
    }
    tokio::time::sleep(POLL).await;
    Ok(())
}
