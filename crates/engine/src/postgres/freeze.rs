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
/// How often recovery must be seen at rest at one place, woken in between, before its log counts as read to the end.
const RESTS: u32 = 3;
/// How long a position in whole records is waited for; then what was received counts, to the byte. A long replay must
/// not hold up an election.
const DRAIN_PATIENCE: Duration = Duration::from_millis(60);

/// A frozen replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// How far its log reaches, in whole records unless replay is paused or far behind. It will not grow.
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
        let dir = &self.instance.data_dir;
        let begun = Instant::now();
        let mut rest: Option<(Lsn, u32)> = None;
        loop {
            let state = self.log_state(false, LOOK_LIMIT).await?;
            if !state.in_recovery {
                return Err(Error::PositionUnknown("the server is a leader; a leader is fenced, not frozen"));
            }
            let whole = read_to_the_end(&state, &mut rest);
            let busy = state.paused || begun.elapsed() >= DRAIN_PATIENCE;
            if whole || (busy && state.received.is_some()) {
                let end = if whole { state.replayed } else { state.flushed };
                let position = state.position_at(end, dir)?;
                return Ok(Frozen { position, replay_paused: state.paused, replayed: state.replayed });
            }
            if state.paused {
                let why =
                    "replay was paused before the replica had read its own log; run SELECT pg_wal_replay_resume()";
                return Err(Error::PositionUnknown(why));
            }
            if let Some(startup) = find(&postmaster.children(dir), " startup").and_then(|p| Process::in_dir(p, dir)) {
                // woken, it looks into the local log once more before it rests again
                startup.signal(Signal::HUP)?;
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
                // one that somebody stopped hears nothing before it goes on; to any other this means nothing
                receiver.signal(Signal::CONT)?;
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

/// Whether every whole record on disk is replayed: all that was received is, or recovery rests, was woken to look once
/// more, and rests at the same place.
fn read_to_the_end(state: &LogState, rest: &mut Option<(Lsn, u32)>) -> bool {
    if !state.on_replayed_timeline {
        return false;
    }
    if state.received.is_some_and(|received| state.replayed >= received) {
        return true;
    }
    let seen = match *rest {
        Some((at, seen)) if at == state.replayed => seen,
        Some(_) | None => 0,
    };
    let seen = if state.waits_for_log() { seen + 1 } else { 0 };
    *rest = Some((state.replayed, seen));
    seen >= RESTS
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
