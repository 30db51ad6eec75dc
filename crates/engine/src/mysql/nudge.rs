//! Releases commits that a voter holds and never acknowledged: it received them while it did not count, and is not sent them again.
//! The next commit that it acknowledges releases all before it, so a row of Dauphin's is committed behind them. The leader's
//! heartbeat asks for it while commits wait.
//!
//! MariaDB logs no more than one group behind a commit that waits. Once the voter has received that too, nothing can be logged
//! that it would acknowledge. So there the wait of a commit is ended which a voter is known to hold, by the very statement.

use crate::mysql::client::{ClientError, Session};
use crate::mysql::observe::AcknowledgeView;
use crate::mysql::threads::{LOOK_LIMIT, POLL};
use crate::mysql::{Dialect, Error, Flavour, Mysql, Result, barrier};
use dauphin_model::{Lsn, Term};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

const DOING: &str = "releasing commits that a voter holds";
/// How long no commit is acknowledged before what a voter holds is released without it.
const STANDS_AFTER: Duration = Duration::from_millis(1_000);
/// How long the agent's own rows may take to end.
const END_LIMIT: Duration = Duration::from_secs(5);
/// There is no such statement any more.
const NO_SUCH_QUERY: u16 = 1957;

/// Most rows that wait at a time: each has a connection.
const WAITING_MAX: usize = 8;
/// How long one may wait; it goes with its server.
const WAIT_LIMIT: Duration = Duration::from_secs(24 * 3_600);

/// Rows that wait.
#[derive(Debug, Default)]
pub(crate) struct Nudges {
    /// How many replicas acknowledged when the last one was written.
    replicas: u32,
    waiting: JoinSet<()>,
    /// How many commits had been acknowledged when that last changed, and when that was.
    acknowledged: Option<(u64, Instant)>,
}

impl Mysql {
    /// Commits a row behind those that wait, once for each time that another replica came to acknowledge. It waits with them
    /// in the background.
    pub(crate) async fn nudge(&self, term: Term, seen: AcknowledgeView) {
        let mut nudges = self.nudges.lock().await;
        while nudges.waiting.try_join_next().is_some() {}
        let came = seen.replicas > nudges.replicas || (seen.replicas > 0 && nudges.waiting.is_empty());
        nudges.replicas = seen.replicas;
        if !came || nudges.waiting.len() >= WAITING_MAX {
            return;
        }
        let session = Session::logged(self.instance.socket(), self.agent_account());
        nudges.waiting.spawn(async move {
            if let Err(error) = session.query(&barrier::row(term), WAIT_LIMIT).await {
                tracing::debug!(%error, "a nudge did not come through");
            }
            session.close(LOOK_LIMIT).await;
        });
    }

    /// Releases what waits and cannot be acknowledged any more, where a voter that counts says that it holds the log up to `held`.
    /// Gives how many waits were ended. Nothing to do on MySQL.
    ///
    /// # Errors
    /// [`Error::Sql`], and those of [`Mysql::standing`].
    pub async fn release_held(&self, held: Lsn) -> Result<usize> {
        if self.dialect().flavour() == Flavour::Mysql || !self.stands().await? {
            return Ok(0);
        }
        // first who waits, then where the log ends: each of their commits is logged before that
        let waits = waiting_statements(self.dialect(), &self.looks, "").await?;
        let end = self.standing(LOOK_LIMIT).await?.place.position.lsn;
        if held < end {
            return Ok(0);
        }
        for statement in &waits {
            end_statement(&self.looks, statement).await?;
        }
        if !waits.is_empty() {
            tracing::info!(waits = waits.len(), %held, "released: a voter holds what it received before it counted");
        }
        Ok(waits.len())
    }

    /// Whether commits wait, and none was acknowledged for a while.
    async fn stands(&self) -> Result<bool> {
        let seen = self.look(LOOK_LIMIT).await?.semi_sync;
        let mut nudges = self.nudges.lock().await;
        match nudges.acknowledged {
            Some((acknowledged, since)) if acknowledged == seen.acknowledged && seen.waiting > 0 => {
                Ok(since.elapsed() >= STANDS_AFTER)
            }
            _ => {
                nudges.acknowledged = Some((seen.acknowledged, Instant::now()));
                Ok(false)
            }
        }
    }
}

/// Statements whose commit waits for an acknowledgement, by the number that no other statement ever has.
async fn waiting_statements(dialect: Dialect, looks: &Session, of: &str) -> Result<Vec<String>> {
    let sql =
        format!("SELECT QUERY_ID FROM information_schema.PROCESSLIST WHERE STATE = '{}' {of}", dialect.waiting_state());
    let rows = looks.query(&sql, LOOK_LIMIT).await.map_err(Error::sql(DOING))?;
    Ok(rows.iter().filter_map(|row| row.at(0).map(str::to_owned)).collect())
}

async fn end_statement(looks: &Session, id: &str) -> Result<()> {
    match looks.query(&format!("KILL QUERY ID {id}"), LOOK_LIMIT).await {
        Ok(_) | Err(ClientError::Server { code: NO_SUCH_QUERY, .. }) => Ok(()),
        Err(error) => Err(Error::sql(DOING)(error)),
    }
}

/// Ends the waits of the agent's own rows, which nobody is told of, where nothing can be logged behind them.
pub(crate) async fn end_own_waits(dialect: Dialect, looks: &Session) -> Result<()> {
    if dialect.flavour() == Flavour::Mysql {
        return Ok(());
    }
    let until = Instant::now() + END_LIMIT;
    let own = format!("AND INFO LIKE '{}%'", barrier::ROW);
    let any = format!(
        "SELECT QUERY_ID FROM information_schema.PROCESSLIST WHERE COMMAND = 'Query' AND ID <> CONNECTION_ID() {own}"
    );
    loop {
        for statement in waiting_statements(dialect, looks, &own).await? {
            end_statement(looks, &statement).await?;
        }
        // one behind another waits in its turn
        if looks.query(&any, LOOK_LIMIT).await.map_err(Error::sql(DOING))?.is_empty() {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(Error::TimedOut { doing: DOING, limit: END_LIMIT, hint: "; stop the server instead" });
        }
        tokio::time::sleep(POLL).await;
    }
}
