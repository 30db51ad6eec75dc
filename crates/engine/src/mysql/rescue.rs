//! Applies what lies in MariaDB's relay log though both threads are down: after a restart, or when the applier had stopped on
//! an error. By file and offset, because a start by GTID deletes the log first (docs/mysql-relay-logs.md).
//! MySQL needs none of it: with `relay_log_recovery` off it keeps its relay log, and says what is in it.

use crate::mysql::client::literal;
use crate::mysql::observe::View;
use crate::mysql::relay_log::{Unapplied, unapplied};
use crate::mysql::threads::{LOOK_LIMIT, POLL, why_unapplied};
use crate::mysql::{Channel, Error, Flavour, Mysql, Reached, Result, Thread};
use dauphin_model::{Held, MariaPosition};
use std::time::Duration;
use tokio::time::Instant;

const DOING: &str = "applying the relay log by file and offset";

impl Mysql {
    /// What a channel's relay log holds behind what was applied. The server's own word for it ends with each restart.
    pub(crate) async fn in_relay_log(&self, channel: &Channel) -> Result<Option<Unapplied>> {
        let (Flavour::Mariadb, Some(at)) = (self.dialect().flavour(), channel.relay_at.clone()) else {
            return Ok(None);
        };
        let text = self.value(DOING, "SELECT @@GLOBAL.gtid_slave_pos").await?;
        let applied: MariaPosition = text.parse().map_err(|_| Error::Answer { doing: DOING, answer: text.clone() })?;
        let data_dir = self.instance.data_dir.clone();
        let read = tokio::task::spawn_blocking(move || unapplied(&data_dir, &at, &applied)).await;
        let lost = |e: tokio::task::JoinError| Error::Answer { doing: DOING, answer: e.to_string() };
        Ok(read.map_err(lost)??)
    }

    /// Whether a channel received what is not applied.
    pub(crate) async fn has_unapplied(&self, channel: &Channel) -> Result<bool> {
        let applied = self.look(LOOK_LIMIT).await?.applied;
        Ok(!applied.holds(&channel.retrieved) || self.in_relay_log(channel).await?.is_some())
    }

    /// How far a server reaches whose receivers stand: received and executed together, its relay logs read where the server
    /// does not say.
    pub(crate) async fn reach_of(&self, view: &View) -> Result<Option<Reached>> {
        let mut reached = view.reached();
        for channel in &view.channels {
            if let Some(found) = self.in_relay_log(channel).await? {
                let found = Reached::Mariadb(found.reached);
                reached = reached.and_then(|all| all.join(&found));
            }
        }
        Ok(reached)
    }

    /// Starts a channel's applier without losing what was received. With both threads of MariaDB down and something
    /// unapplied in the relay log, the applier is set on the first such transaction by file and offset.
    pub(crate) async fn start_applier_of(&self, channel: &Channel) -> Result<()> {
        let down = channel.receiver == Thread::Stopped && channel.applier == Thread::Stopped;
        if let Some(found) = self.in_relay_log(channel).await?.filter(|_| down) {
            let from = format!("RELAY_LOG_FILE = '{}', RELAY_LOG_POS = {}", found.from.file(), found.from.offset());
            let change = self.change_master(&channel.name);
            self.act(DOING, &format!("{change} MASTER_USE_GTID = no, {from}")).await?;
        }
        self.act("starting the applier", &self.for_channel(self.dialect().start_applier(), &channel.name))
            .await
            .map(|_| ())
    }

    fn change_master(&self, name: &str) -> String {
        if name.is_empty() { "CHANGE MASTER TO".to_owned() } else { format!("CHANGE MASTER {} TO", literal(name)) }
    }

    /// Waits until an applier that was set on by file and offset has read its whole relay log, and sets the channel back on
    /// GTIDs: nothing is lost by that any more.
    ///
    /// # Errors
    /// [`Error::Unapplied`] when it stops before; [`Error::Sql`].
    pub(crate) async fn finish_rescue(&self, doing: &'static str, limit: Duration) -> Result<()> {
        if self.dialect().flavour() == Flavour::Mysql {
            return Ok(());
        }
        let until = Instant::now() + limit;
        loop {
            let view = self.look(LOOK_LIMIT).await?;
            let by_file = |c: &&Channel| !c.by_gtid && c.receiver == Thread::Stopped;
            let Some(channel) = view.channels.iter().find(by_file) else { return Ok(()) };
            let Some(left) = self.in_relay_log(channel).await? else {
                // at most half a transaction is left, of which nobody was told that it was received
                self.act(doing, &self.for_channel(self.dialect().stop_applier(), &channel.name)).await?;
                self.act(doing, &format!("{} MASTER_USE_GTID = slave_pos", self.change_master(&channel.name))).await?;
                continue;
            };
            if let Some(why) = why_unapplied(channel, until, limit) {
                return Err(Error::Unapplied { doing, unapplied: format!("what leads up to {}", left.reached), why });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
