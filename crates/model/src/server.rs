//! What an agent sees of its own database server. The engine fills it in; the decision core reads it.

use crate::name::{Timeline, Voter};
use crate::position::{Lsn, Position};
use crate::remark::Remark;
use crate::time::Mono;
use serde::{Deserialize, Serialize};

/// Whether the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Run {
    /// No process.
    #[default]
    Stopped,
    /// A process that does not answer yet.
    Starting,
    /// It answers.
    Running,
    /// It ended without being asked to.
    Crashed,
    /// A process that stopped answering: frozen, or its disk hangs.
    Hung,
}

impl Run {
    /// Whether there is a process.
    #[must_use]
    pub const fn is_up(self) -> bool {
        match self {
            Self::Starting | Self::Running | Self::Hung => true,
            Self::Stopped | Self::Crashed => false,
        }
    }
}

/// A replica attached to this server, from `pg_stat_replication`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attached {
    /// Its `application_name`.
    pub application_name: String,
    /// The voter, when the name is one of ours.
    pub voter: Option<Voter>,
    /// Address it comes from.
    pub client_addr: Option<String>,
    /// `streaming`, `catchup`, `backup`…
    pub state: String,
    /// `sync`, `quorum`, `potential`, `async`, as the server says.
    pub sync_state: String,
    /// What it has received.
    pub write: Option<Lsn>,
    /// What it has safely on disk.
    pub flush: Option<Lsn>,
    /// What it has replayed.
    pub replay: Option<Lsn>,
    /// How long it has been behind; from the server itself: how long what it has replayed last took to be acknowledged.
    pub lag: Option<Lag>,
}

/// For how long a replica has been behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Lag {
    /// Since the leader's log went beyond what it has replayed, in milliseconds; 0: it has all.
    pub ms: u64,
    /// Its replay does not come on: this grows with time.
    pub stands: bool,
    /// How much more it is behind with every second, in bytes; below 0 it catches up. `None`: not seen for long enough.
    #[serde(default)]
    pub trend: Option<i64>,
    /// When that was so, by the clock of whoever tells.
    #[serde(skip)]
    pub at: Mono,
}

impl Lag {
    /// The same now: what stands has grown since.
    #[must_use]
    pub fn as_of(self, now: Mono) -> Self {
        let grown = if self.stands && self.ms > 0 { now.since(self.at).as_ms() } else { 0 };
        Self { ms: self.ms.saturating_add(grown), at: now, ..self }
    }
}

/// A replica that was attached to this leader and is not any more.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Away {
    /// Which.
    pub voter: Voter,
    /// Bytes of log beyond what it had replayed when it was seen last.
    pub behind: u64,
    /// For how long.
    pub lag: Lag,
}

/// What was seen of the server at one look.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct ServerView {
    /// Whether it runs.
    pub run: Run,
    /// Series of its programs, as a number that grows: a server of a smaller one cannot receive from it. 0: not known, or it
    /// does not matter, as on PostgreSQL, where all members have one.
    #[serde(default)]
    pub series: u32,
    /// Whether it is in recovery: a replica, or a fenced former leader started as one.
    pub in_recovery: Option<bool>,
    /// End of its safe log.
    pub position: Option<Position>,
    /// End of what it has replayed (a leader: written).
    pub replayed: Option<Lsn>,
    /// End of what it has received, where `position` counts only what is replayed: on MySQL and MariaDB.
    pub received: Option<Lsn>,
    /// Clients are let in.
    pub serves: bool,
    /// Whether its receiver streams, and on which timeline.
    pub streaming: Option<Timeline>,
    /// Timelines above its own that it has heard of and that its log leads into, while it is a replica that does not stream.
    /// Recovery aims at the newest that it hears of, and while it runs it goes on to those alone that descend from it.
    pub heard_of: Vec<Timeline>,
    /// Where its recovery is, while it starts and waits for log; other words mean that it comes on. `None`: it works.
    pub progress: Option<String>,
    /// Somebody paused its replay.
    pub replay_paused: bool,
    /// Age of the last replayed transaction while there is something left to replay, in milliseconds.
    pub replay_lag_ms: Option<u64>,
    /// Replicas attached.
    pub attached: Vec<Attached>,
    /// Replicas that were.
    pub away: Vec<Away>,
    /// Settings that wait for a restart.
    pub pending_restart: Vec<String>,
    /// What a person set by hand, or should know; reported, never undone.
    pub remarks: Vec<Remark>,
    /// The data directory's disk takes writes in time.
    pub disk_ok: bool,
}
