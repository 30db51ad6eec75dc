//! Releases commits that a voter holds and never acknowledged: it received them while it did not count, and is not sent them again.
//! The next commit that it acknowledges releases all before it, so a row of Dauphin's is committed behind them. The leader's
//! heartbeat asks for it while commits wait.

use crate::mysql::client::Session;
use crate::mysql::observe::AcknowledgeView;
use crate::mysql::{Mysql, barrier};
use dauphin_model::Term;
use std::time::Duration;
use tokio::task::JoinSet;

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
        });
    }
}
