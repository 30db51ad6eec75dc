//! The barrier of a new leader: a row of its term, committed under the setting that the leadership enforces, so that the required
//! voters hold the whole log up to there. It is written only once enough voters are attached: a commit that waits would hold up
//! the copies with which voters are made.

use crate::mysql::client::{Row, Session};
use crate::mysql::nudge;
use crate::mysql::threads::LOOK_LIMIT;
use crate::mysql::{Dialect, Error, Mysql, Result};
use dauphin_model::{Enforced, Term};
use std::path::PathBuf;
use std::time::Duration;

/// How often it is looked whether enough voters are attached.
const ATTACHED_POLL: Duration = Duration::from_millis(10);
/// How long the first row waits before another one is written behind it: a voter that received it before it counted will never
/// acknowledge it. Each next one waits twice as long, so that a voter that stands still costs few.
const FIRST_PATIENCE: Duration = Duration::from_secs(2);
/// Longest wait of a row. The agent drops it and raises another barrier when the election moves on.
const COMMIT_LIMIT: Duration = Duration::from_secs(24 * 3_600);

// A row for each barrier: one that still waits may hold its row's lock.
pub(crate) const TABLE: &str = "CREATE TABLE IF NOT EXISTS dauphin.barrier (id bigint unsigned AUTO_INCREMENT PRIMARY KEY, \
     term bigint unsigned NOT NULL) ENGINE = InnoDB";

/// How the statement begins that writes one.
pub(crate) const ROW: &str = "INSERT INTO dauphin.barrier (term)";

/// The statement that writes one.
pub(crate) fn row(term: Term) -> String {
    format!("{ROW} VALUES ({term})")
}

/// A barrier that is raised: the setting is in force.
#[derive(Debug)]
pub struct Barrier {
    term: Term,
    required: u32,
    dialect: Dialect,
    looks: Session,
    socket: PathBuf,
    user: String,
}

/// What the leader's side says of its commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    waits: bool,
    voters: u32,
    acknowledged: u64,
    unacknowledged: u64,
}

impl Mysql {
    /// Raises the barrier: sets what commits wait for. Nothing waits yet.
    ///
    /// # Errors
    /// Those of [`Mysql::set_sync`].
    pub async fn start_barrier(&self, term: Term, enforced: &Enforced) -> Result<Barrier> {
        self.set_sync(enforced).await?;
        let (socket, user) = (self.instance.socket(), self.agent_account());
        Ok(Barrier {
            term,
            required: enforced.required,
            dialect: self.dialect(),
            looks: Session::new(socket.clone(), user.clone()),
            socket,
            user,
        })
    }
}

impl Barrier {
    /// Waits until the required voters hold the log and a row of this term. Dropped before its end, it proves nothing.
    ///
    /// # Errors
    /// [`Error::Barrier`] when the commit came through without having waited for them, or the server went away.
    pub async fn done(self) -> Result<()> {
        let failed = |why: String| Error::Barrier(why);
        if self.required == 0 {
            return Ok(());
        }
        let mut patience = FIRST_PATIENCE;
        loop {
            // those of barriers that were given up, too: MariaDB logs nothing behind them
            nudge::end_own_waits(self.dialect, &self.looks).await.map_err(|e| failed(e.to_string()))?;
            let before = self.enough().await?;
            let writes = Session::logged(self.socket.clone(), self.user.clone());
            let written = tokio::time::timeout(patience, writes.query(&row(self.term), COMMIT_LIMIT)).await;
            let Ok(written) = written else {
                patience *= 2;
                continue;
            };
            written.map_err(|e| failed(e.to_string()))?;
            let after = self.counts().await?;
            let waited = after.acknowledged > before.acknowledged && after.unacknowledged == before.unacknowledged;
            writes.close(LOOK_LIMIT).await;
            self.looks.close(LOOK_LIMIT).await;
            let why = || failed(format!("{before:?} before, {after:?} after it"));
            return if after.waits && waited { Ok(()) } else { Err(why()) };
        }
    }

    /// Waits until enough voters are attached.
    async fn enough(&self) -> Result<Counts> {
        loop {
            let counts = self.counts().await?;
            if !counts.waits {
                return Err(Error::Barrier("commits do not wait any more".to_owned()));
            }
            if counts.voters >= self.required {
                return Ok(counts);
            }
            tokio::time::sleep(ATTACHED_POLL).await;
        }
    }

    async fn counts(&self) -> Result<Counts> {
        let rows = self.looks.query("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync%'", LOOK_LIMIT).await;
        let rows = rows.map_err(|e| Error::Barrier(e.to_string()))?;
        let prefix = self.dialect.semi_sync_leader();
        let value = |name: &str| {
            let wanted = format!("{prefix}_{name}");
            rows.iter().find(|row: &&Row| row.at(0).is_some_and(|n| n.eq_ignore_ascii_case(&wanted)))?.at(1)
        };
        let number = |name| value(name).and_then(|v| v.parse::<u64>().ok()).unwrap_or(0);
        Ok(Counts {
            waits: value("status") == Some("ON"),
            voters: u32::try_from(number("clients")).unwrap_or(u32::MAX),
            acknowledged: number("yes_tx"),
            unacknowledged: number("no_tx"),
        })
    }
}
