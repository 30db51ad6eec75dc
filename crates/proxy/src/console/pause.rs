//! PAUSE, RESUME and RECONNECT: told to every shard; PAUSE then waits for running transactions to end. Only the console calls it. It
//! ends no transaction and no client.

use super::{Console, Refusal};
use crate::survey;
use std::time::Duration;
use tokio::time::Instant;

/// How long PAUSE waits for running transactions. The pause holds all the same, and a second PAUSE waits on.
const PAUSE_WAIT_MAX: Duration = Duration::from_secs(60);

/// How often it is looked whether they have ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Most names of databases in an error.
const NAMES_MAX: usize = 10;

impl Console {
    /// Holds new transactions and waits until none runs.
    pub(super) async fn pause(&mut self, name: Option<String>) -> Result<(), Refusal> {
        self.known(name.as_deref()).await?;
        let formers: u64 = self.hub.succession.formers().iter().map(|process| process.clients).sum();
        if formers > 0 {
            let text = format!(
                "{formers} clients are still with the process that this one took over from: nothing pauses them"
            );
            return Err(Refusal::new("55000", text).hint(
                "SHOW FORMER tells its pid and how long they may stay. SIGTERM to it ends idle ones at once, and the others \
                 after their transaction.",
            ));
        }
        let was = self.is_paused(name.clone()).await;
        self.set_paused(name.clone(), true).await;
        tracing::info!(user = self.user(), database = name.as_deref().unwrap_or("all"), "paused");
        let until = Instant::now() + PAUSE_WAIT_MAX;
        loop {
            let of = name.clone();
            let running = self.shards.gather(move |shard| survey::running(shard, of.as_deref())).await;
            let running: usize = running.into_iter().sum();
            if running == 0 {
                return Ok(());
            }
            if self.gives_up(LOOK_EVERY).await {
                // What was paused before stays so.
                if !was {
                    self.resume(name).await?;
                }
                return Err(Refusal::new("57014", "the wait for running transactions was cancelled".into())
                    .hint("Nothing is paused by it any more. SHOW CLIENTS tells by xact_us which transactions run."));
            }
            if Instant::now() >= until {
                let text = format!("{running} transactions still run after {} s", PAUSE_WAIT_MAX.as_secs());
                return Err(Refusal::new("55000", text).hint(
                    "The pause holds: new transactions wait. SHOW CLIENTS tells by xact_us which transactions run; PAUSE \
                     waits on, RESUME ends the pause.",
                ));
            }
        }
    }

    /// Lets transactions begin.
    pub(super) async fn resume(&mut self, name: Option<String>) -> Result<(), Refusal> {
        self.known(name.as_deref()).await?;
        self.set_paused(name.clone(), false).await;
        tracing::info!(user = self.user(), database = name.as_deref().unwrap_or("all"), "resumed");
        Ok(())
    }

    /// Has connections to servers made anew as they become free.
    pub(super) async fn reconnect(&self, name: Option<String>) -> Result<(), Refusal> {
        self.known(name.as_deref()).await?;
        let of = name.clone();
        self.shards.gather(move |shard| shard.reconnect(of.as_deref())).await;
        tracing::info!(user = self.user(), database = name.as_deref().unwrap_or("all"), "reconnects");
        Ok(())
    }

    async fn is_paused(&self, name: Option<String>) -> bool {
        let paused = move |shard: &crate::shard::Shard| match &name {
            Some(name) => shard.databases(Some(name)).iter().any(|database| database.paused.get()),
            None => shard.is_paused(),
        };
        self.shards.gather(paused).await.into_iter().any(|paused| paused)
    }

    async fn set_paused(&self, name: Option<String>, paused: bool) {
        // Also where nobody has come for it yet: who comes next may be another shard's.
        self.shards
            .gather(move |shard| {
                if let Some(name) = &name {
                    shard.database(name);
                }
                shard.pause(name.as_deref(), paused);
            })
            .await;
        self.hub.stir();
    }

    /// Whether clients came for it: a name that is not spelt right would pause nothing.
    async fn known(&self, name: Option<&str>) -> Result<(), Refusal> {
        let Some(name) = name else { return Ok(()) };
        let known = super::show::known(&self.shards).await;
        if known.iter().any(|known| known.name == name) {
            return Ok(());
        }
        let names: Vec<&str> = known.iter().map(|known| known.name.as_str()).take(NAMES_MAX).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let text = format!("no client has come for a database \"{name}\" since this proxy started");
        Err(Refusal::new("3D000", text)
            .hint(&format!("Known are: {names}. Write a name with capitals in double quotes.")))
    }
}
