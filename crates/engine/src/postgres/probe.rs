//! Looks at the server: is it there, does it answer, how far does its log reach. The agent calls it at every beat.
//! It changes nothing, and a hanging server costs it the time limit, never more.

use crate::postgres::client::{Client, ClientError, Row};
use crate::postgres::process::ticks_at_rest;
use crate::postgres::session::login;
use crate::postgres::{Error, Postgres, Result, history};
use dauphin_model::{Attached, Lag, Lsn, Position, Run, ServerView, Timeline, Voter};
use std::path::Path;
use std::time::Duration;

/// State of the log and the receiver, then attached replicas, each row tagged by its first column.
const STATE: &str = "SELECT 's', r, CASE WHEN r THEN pg_last_wal_receive_lsn() END, \
     CASE WHEN r THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, \
     CASE WHEN r THEN pg_is_wal_replay_paused() END, w.received_tli, w.status, \
     CASE WHEN r AND pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn() THEN \
     greatest(0, extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000)::bigint \
     WHEN r THEN 0 END, pg_size_bytes(current_setting('wal_segment_size')), \
     (SELECT wait_event_type || ':' || wait_event FROM pg_stat_activity WHERE backend_type = 'startup'), \
     (SELECT a.wait_event = 'WalReceiverMain' OR (clock_timestamp() - a.backend_start > '0.5 s' \
     AND coalesce(a.wait_event, '') NOT ILIKE 'libpqwalreceiver%') \
     FROM pg_stat_get_activity(coalesce(w.pid, 0)) AS a) \
     FROM (SELECT pg_is_in_recovery() AS r) AS x LEFT JOIN pg_stat_wal_receiver AS w ON true";
/// What a function of recovery answers on a leader.
const NOT_IN_RECOVERY: &str = "55000";
const ATTACHED: &str = "SELECT 'a', application_name, host(client_addr), state, sync_state, flush_lsn, replay_lsn, write_lsn, \
     greatest(0, extract(epoch FROM replay_lag) * 1000)::bigint \
     FROM pg_stat_replication WHERE application_name <> 'dauphin_probe' ORDER BY application_name";
const PENDING: &str = "SELECT name FROM pg_settings WHERE pending_restart ORDER BY name";

/// Where the log stands, as one consistent look.
#[derive(Debug, Clone)]
pub(crate) struct LogState {
    pub(crate) in_recovery: bool,
    /// End of the safe log.
    pub(crate) timeline: Timeline,
    pub(crate) flushed: Lsn,
    /// What the receiver has received since the server started; `None` if it never ran.
    pub(crate) received: Option<Lsn>,
    pub(crate) replayed: Lsn,
    /// Nothing was received on a later timeline than replay has reached.
    pub(crate) on_replayed_timeline: bool,
    pub(crate) paused: bool,
    /// The receiver streams, on this timeline. It calls itself streaming before it has been answered: one that is refused
    /// and tries again ten times a second does so each time.
    pub(crate) streaming: Option<Timeline>,
    pub(crate) lag_ms: Option<u64>,
    /// What the startup process waits for.
    pub(crate) startup_wait: Option<String>,
    pub(crate) attached: Vec<Attached>,
}

impl LogState {
    /// Whether recovery has read all the log that is there and waits for more.
    pub(crate) fn waits_for_log(&self) -> bool {
        let wait = self.startup_wait.as_deref().unwrap_or_default();
        wait.ends_with("RecoveryRetrieveRetryInterval") || wait.ends_with("RecoveryWalStream")
    }

    /// The position at the end of the last whole record where that is known. The bytes received end anywhere, often in
    /// the middle of a record (leaders send whole pages), and half a record would look like a branch of its own.
    pub(crate) fn position(&self, data_dir: &Path) -> Result<Position> {
        let replayed = self.in_recovery && self.on_replayed_timeline && self.waits_for_log();
        self.position_at(if replayed { self.replayed } else { self.flushed }, data_dir)
    }

    pub(crate) fn position_at(&self, lsn: Lsn, data_dir: &Path) -> Result<Position> {
        let history = history::read(data_dir, self.timeline)?;
        Ok(Position { history, timeline: self.timeline, lsn })
    }
}

/// Clock ticks in half a second; `/proc` counts a hundred a second on every architecture that people run servers on.
const HALF_A_SECOND: u64 = 50;

impl Postgres {
    /// One look, bounded by `limit`. It never fails: what cannot be learned is missing from the view. `disk_ok` is left
    /// true; the disk has a probe of its own.
    pub async fn look(&self, limit: Duration) -> ServerView {
        let mut view = ServerView { disk_ok: true, ..ServerView::default() };
        if self.instance.postmaster().is_some_and(|p| p.process.is_stopped()) {
            view.run = Run::Hung;
            return view;
        }
        match self.log_state(true, limit).await {
            Ok(state) => {
                view.run = Run::Running;
                view.position = state.position(&self.instance.data_dir).ok();
                view.in_recovery = Some(state.in_recovery);
                view.replayed = Some(state.replayed);
                view.streaming = state.streaming;
                if state.in_recovery && state.streaming.is_none() {
                    view.heard_of = history::heard_of(&self.instance.data_dir, state.timeline, state.replayed);
                }
                view.replay_paused = state.paused;
                view.replay_lag_ms = state.lag_ms;
                view.attached = state.attached;
            }
            Err(error) => {
                view.run = self.run_from(&error);
                if view.run == Run::Starting {
                    view.progress = self.progress();
                }
            }
        }
        view
    }

    /// Which segment recovery is at, how far the receiver has come, and how much it has worked, in halves of a second: what
    /// is seen from outside, as nothing can be asked before the data is consistent. `None` while recovery works: it runs, or
    /// waits for the disk.
    fn progress(&self) -> Option<String> {
        let children = self.instance.postmaster()?.children(&self.instance.data_dir);
        let of = |kind: &str| children.iter().find(|c| c.title.contains(kind));
        let startup = of(": startup")?;
        let ticks = ticks_at_rest(startup.pid)?;
        let receiver = of(": walreceiver streaming").map(|c| c.title.as_str()).unwrap_or_default();
        Some(format!("{}; {receiver}; {}", startup.title, ticks / HALF_A_SECOND))
    }

    /// Settings that wait for a restart. Costs more than a look: ask for it now and then.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn pending_restart(&self, limit: Duration) -> Result<Vec<String>> {
        let rows = self.probe.query(PENDING, limit).await.map_err(Error::sql("reading pending settings"))?.rows;
        Ok(rows.iter().filter_map(|r| r.get(0).map(str::to_owned)).collect())
    }

    /// Settings that somebody set with ALTER SYSTEM: they go before Dauphin's own. Costs more than a look.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn set_by_hand(&self, limit: Duration) -> Result<Vec<String>> {
        // pg_settings shows what this session set for itself instead
        let sql =
            "SELECT DISTINCT name FROM pg_file_settings WHERE sourcefile LIKE '%/postgresql.auto.conf' ORDER BY name";
        let rows = self.probe.query(sql, limit).await.map_err(Error::sql("reading the settings"))?.rows;
        Ok(rows.iter().filter_map(|r| r.get(0).map(str::to_owned)).collect())
    }

    /// Whether recovery waits, as it is meant to, until a commit is old enough (`recovery_min_apply_delay`). It asks a new upstream for
    /// more only once it has applied what is there.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn is_late(&self, limit: Duration) -> Result<bool> {
        let sql = "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'startup' AND wait_event = 'RecoveryApplyDelay'";
        let rows = self.probe.query(sql, limit).await.map_err(Error::sql("looking what recovery waits for"))?.rows;
        Ok(!rows.is_empty())
    }

    /// Whether the postmaster still takes new connections: kept ones go on answering when it alone is frozen.
    ///
    /// # Errors
    /// [`Error::Sql`] with the reason why not.
    pub async fn takes_connections(&self, limit: Duration) -> Result<()> {
        let login = login("dauphin_knock", false, "");
        let client = Client::connect(&self.instance.socket(), &login, limit).await;
        client.map(|_| ()).map_err(Error::sql("connecting to the server"))
    }

    fn run_from(&self, error: &Error) -> Run {
        if self.instance.postmaster().is_none() {
            return self.instance.run_without_process();
        }
        let Error::Sql { source, .. } = error else { return Run::Running };
        match source {
            ClientError::TimedOut(_) => Run::Hung,
            ClientError::Server { code, .. } if code != "57P03" => Run::Running,
            ClientError::Server { .. } | ClientError::Connect(_) | ClientError::Lost(_) => Run::Starting,
            ClientError::Password | ClientError::Protocol(_) => Run::Running,
        }
    }

    /// Where the log stands. The replication command knows the timeline, which no SQL function tells on a replica.
    pub(crate) async fn log_state(&self, attached: bool, limit: Duration) -> Result<LogState> {
        let doing = "looking at the server";
        let sql = if attached { format!("{STATE}; {ATTACHED}") } else { STATE.to_owned() };
        let mut answer = self.probe.query(&sql, limit).await;
        if matches!(&answer, Err(ClientError::Server { code, .. }) if code == NOT_IN_RECOVERY) {
            // promotion ended between two functions of the one statement; it cannot do so again
            answer = self.probe.query(&sql, limit).await;
        }
        let rows = answer.map_err(Error::sql(doing))?.rows;
        let state = rows.iter().find(|r| r.get(0) == Some("s"));
        // asked second, so that on the same timeline it is never behind what was received
        let ident = self.probe.query("IDENTIFY_SYSTEM", limit).await.map_err(Error::sql(doing))?.rows;
        let unclear = |row: Option<&Row>| Error::Answer { doing, answer: format!("{row:?}") };
        let state = state.ok_or_else(|| unclear(None))?;
        let ident = ident.first().ok_or_else(|| unclear(None))?;
        let (Some(timeline), Some(flushed)) = (ident.parse(1).map(Timeline), ident.parse::<Lsn>(2)) else {
            return Err(unclear(Some(ident)));
        };
        let mut found = LogState {
            in_recovery: state.is_true(1),
            timeline,
            flushed,
            received: state.parse(2),
            replayed: state.parse(3).unwrap_or(flushed),
            on_replayed_timeline: true,
            paused: state.is_true(4),
            streaming: state.parse(5).filter(|_| state.get(6) == Some("streaming") && state.is_true(10)).map(Timeline),
            lag_ms: state.parse(7),
            startup_wait: state.get(9).map(str::to_owned),
            attached: rows.iter().filter(|r| r.get(0) == Some("a")).map(attached_replica).collect(),
        };
        if let Some(received) = found.received.filter(|r| found.in_recovery && *r > found.flushed) {
            // received on a later timeline than replay has reached
            let segment = state.parse(8).unwrap_or(16 << 20);
            let by_files = || history::received_on(&self.instance.data_dir, timeline, received, segment);
            found.timeline = state.parse(5).map(Timeline).filter(|t| *t > timeline).unwrap_or_else(by_files);
            found.flushed = received;
            found.on_replayed_timeline = found.timeline == timeline;
        }
        Ok(found)
    }
}

impl crate::postgres::Instance {
    /// Stopped in order, or crashed, by pg_control's own word.
    fn run_without_process(&self) -> Run {
        /// Where the state stands in pg_control, in bytes, in all versions from 15 to 18.
        const STATE_AT: usize = 16;
        let control = std::fs::read(self.data_dir.join("global/pg_control")).unwrap_or_default();
        let state = control.get(STATE_AT..STATE_AT + 4).and_then(|b| b.first_chunk::<4>()).copied();
        match state.map(u32::from_ne_bytes) {
            // DB_STARTUP (just made), DB_SHUTDOWNED, DB_SHUTDOWNED_IN_RECOVERY
            Some(0..=2) | None => Run::Stopped,
            Some(_) => Run::Crashed,
        }
    }
}

fn attached_replica(row: &Row) -> Attached {
    let text = |column| row.get(column).unwrap_or_default().to_owned();
    let name = text(1);
    Attached {
        voter: Voter::from_application_name(&name),
        application_name: name,
        client_addr: row.get(2).map(str::to_owned),
        state: text(3),
        sync_state: text(4),
        write: row.parse(7),
        flush: row.parse(5),
        replay: row.parse(6),
        lag: row.parse(8).map(|ms| Lag { ms, ..Lag::default() }),
    }
}
