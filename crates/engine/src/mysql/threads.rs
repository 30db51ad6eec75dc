//! The receiver and the applier: stopped with proof, started, and waited for. A repoint, a freeze and a promotion are made of
//! these. What was received is data: nothing here deletes any of it.

use crate::mysql::client::Row;
use crate::mysql::observe::View;
use crate::mysql::{Channel, Error, Flavour, Mysql, Reached, Result, Thread};
use dauphin_model::Held;
use std::time::Duration;
use tokio::time::Instant;

/// How often a state that has no event is looked at again.
pub(crate) const POLL: Duration = Duration::from_millis(5);
/// How long one look may take.
pub(crate) const LOOK_LIMIT: Duration = Duration::from_millis(2_000);

/// How long idle appliers may take to end before they are stopped in words.
const END_LIMIT: Duration = Duration::from_millis(1_000);
/// As whom MySQL's appliers run, and what one says that has read its whole relay log: words of all versions that Dauphin runs.
const APPLIER: &str = "system user";
const READ_ALL: &str = "has read all relay log";

/// What is done when receivers end.
const STOPPING: &str = "stopping the receivers";

impl Mysql {
    /// Stops every receiver, those that only try to connect too, and says how far the server reaches then: received and
    /// executed together. From then on it acknowledges nothing to anybody. The appliers go on.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Sql`]; [`Error::Answer`] when received and executed cannot be parts of one log.
    pub async fn freeze(&self, limit: Duration) -> Result<Reached> {
        let view = self.stop_receivers(limit).await?;
        let answer = || format!("{:?}, executed {}", view.channels, view.executed);
        let clash = || Error::Answer { doing: STOPPING, answer: answer() };
        self.reach_of(&view).await?.ok_or_else(clash)
    }

    /// Stops every receiver, and looks at the server then.
    pub(crate) async fn stop_receivers(&self, limit: Duration) -> Result<View> {
        let doing = STOPPING;
        let until = Instant::now() + limit;
        loop {
            let view = self.look(LOOK_LIMIT).await?;
            let running: Vec<&Channel> = view.channels.iter().filter(|c| c.receiver != Thread::Stopped).collect();
            if running.is_empty() {
                return Ok(view);
            }
            if Instant::now() >= until {
                return Err(Error::TimedOut { doing, limit, hint: "; stop the server instead" });
            }
            for channel in running {
                let stop = self.for_channel(self.dialect().stop_receiver(), &channel.name);
                let left = until.saturating_duration_since(Instant::now());
                self.acts.query(&stop, left).await.map_err(Error::sql(doing))?;
            }
        }
    }

    /// Starts every receiver. On MariaDB, with the applier down too, what was received before is applied first: the server
    /// would delete it.
    ///
    /// # Errors
    /// [`Error::Unapplied`] when it cannot be applied; [`Error::Sql`].
    pub async fn start_receivers(&self, limit: Duration) -> Result<()> {
        let doing = "starting the receivers";
        if self.dialect().flavour() == Flavour::Mariadb {
            let down = |c: &Channel| c.receiver == Thread::Stopped && c.applier == Thread::Stopped;
            if self.look(LOOK_LIMIT).await?.channels.iter().any(down) {
                self.drain(doing, limit).await?;
            }
        }
        self.each(doing, self.dialect().start_receiver()).await
    }

    /// Starts every applier.
    ///
    /// # Errors
    /// [`Error::Sql`], [`Error::File`].
    pub async fn start_appliers(&self) -> Result<()> {
        for channel in self.look(LOOK_LIMIT).await?.channels {
            self.start_applier_of(&channel).await?;
        }
        Ok(())
    }

    /// Stops every applier.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn stop_appliers(&self) -> Result<()> {
        let doing = "stopping the appliers";
        if self.dialect().flavour() == Flavour::Mysql {
            self.end_idle_appliers(doing).await?;
        }
        self.each(doing, self.dialect().stop_applier()).await
    }

    /// Ends MySQL's appliers that have read all there is. Where the receiver was stopped in the middle of a transaction, a stop
    /// in words would wait a minute for the rest of it. Half a transaction is rolled back, and nobody was told that it was here.
    async fn end_idle_appliers(&self, doing: &'static str) -> Result<()> {
        let until = Instant::now() + END_LIMIT;
        loop {
            let view = self.look(LOOK_LIMIT).await?;
            let at_rest = |c: &Channel| c.receiver == Thread::Stopped && view.applied.holds(&c.retrieved);
            let runs = view.channels.iter().any(|channel| channel.applier != Thread::Stopped);
            if !runs || !view.channels.iter().all(at_rest) || Instant::now() >= until {
                return Ok(());
            }
            let rows = self.looks.query("SHOW PROCESSLIST", LOOK_LIMIT).await.map_err(Error::sql(doing))?;
            let idle = |row: &&Row| {
                let has = |name: &str, text: &str| row.get(name).is_some_and(|found| found.contains(text));
                has("User", APPLIER) && has("State", READ_ALL)
            };
            for id in rows.iter().filter(idle).filter_map(|row| row.parse("Id")) {
                self.end(id).await?;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn each(&self, doing: &'static str, statement: &str) -> Result<()> {
        for channel in self.look(LOOK_LIMIT).await?.channels {
            self.act(doing, &self.for_channel(statement, &channel.name)).await?;
        }
        Ok(())
    }

    /// A statement for one channel: MySQL names it at the end, MariaDB behind the word it is about.
    pub(crate) fn for_channel(&self, statement: &str, name: &str) -> String {
        if name.is_empty() {
            return statement.to_owned();
        }
        let name = crate::mysql::client::literal(name);
        match self.dialect().flavour() {
            Flavour::Mysql => format!("{statement} FOR CHANNEL {name}"),
            Flavour::Mariadb => statement.replacen(" SLAVE", &format!(" SLAVE {name}"), 1),
        }
    }

    /// Waits until everything received is applied; `doing` says for what.
    ///
    /// # Errors
    /// [`Error::Unapplied`] when an applier stands, or after `limit`.
    pub async fn wait_applied(&self, doing: &'static str, limit: Duration) -> Result<View> {
        let until = Instant::now() + limit;
        loop {
            let view = self.look(LOOK_LIMIT).await?;
            let Some(channel) = view.channels.iter().find(|c| !view.applied.holds(&c.retrieved)) else {
                return Ok(view);
            };
            if let Some(why) = why_unapplied(channel, until, limit) {
                let unapplied = channel.retrieved.beyond(&view.applied);
                return Err(Error::Unapplied { doing, unapplied, why });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Why a channel's events will not be applied, or not in time; `None`: it is at work.
pub(crate) fn why_unapplied(channel: &Channel, until: Instant, limit: Duration) -> Option<String> {
    match (channel.applier, &channel.applier_fault) {
        (Thread::Stopped, Some(fault)) => Some(format!("the applier stopped on {fault}")),
        (Thread::Stopped, None) => Some("the applier is stopped; start it".to_owned()),
        (Thread::Connecting | Thread::Running, _) => (Instant::now() >= until)
            .then(|| format!("the applier did not come to it within {} ms; wait longer", limit.as_millis())),
    }
}
