//! How this member's server is started, and watched until it is ready, has ended, or turns out to need log that somebody
//! else has. The engine steps call it; it never decides that it is time.

use crate::server::{Server, lock};
use dauphin_engine::postgres::{Error, ServerCommand, Upstream};
use dauphin_guard::protocol::StartServer;
use dauphin_ha::EngineOutcome;
use dauphin_model::Voter;
use std::path::PathBuf;
use std::time::Duration;

/// How long a server may take to start: it may have to recover a lot of log. The core can fence it sooner.
const START_LIMIT: Duration = Duration::from_secs(3_600);
/// How often is looked whether a server that starts has ended.
const END_POLL: Duration = Duration::from_millis(20);
/// How often is looked who leads, while a copy waits for log.
const LEADER_POLL: Duration = Duration::from_millis(250);

impl Server {
    pub(crate) async fn start(&self) -> Result<EngineOutcome, Error> {
        let needs_log = self.needs_log().exists();
        let behind = lock(&self.start_behind).clone();
        if let Some(upstream) = &behind {
            match self.postgres.follow(upstream).await {
                // the file is written; the server reads it when it starts
                Ok(()) | Err(Error::NotRunning { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.take_settings().await;
        let command =
            self.postgres.prepare_start(&self.networks(), &self.secrets.credentials, behind.is_some()).await?;
        let life = self.spawn(command).await?;
        tokio::select! {
            ready = self.postgres.wait_ready(START_LIMIT) => ready?,
            // it may end before it was ever seen in its folder
            () = self.ends(life) => return Err(self.not_running()),
            () = self.goes_behind_who_leads(behind.as_ref()), if needs_log => {}
        }
        *lock(&self.start_behind) = None;
        let _ = std::fs::remove_file(self.needs_log());
        Ok(EngineOutcome::Done)
    }

    /// Says that the data is consistent only once it has received something, over an end of this agent.
    fn needs_log(&self) -> PathBuf {
        self.postgres.instance.member_dir.join("needs-log")
    }

    pub(crate) fn starts_behind(&self, upstream: Upstream) {
        *lock(&self.start_behind) = Some(upstream);
        if let Err(error) = std::fs::write(self.needs_log(), "received log makes this copy whole\n") {
            tracing::warn!(%error, "it cannot be noted that this copy needs log");
        }
    }

    /// A copy that needs log receives it from whoever leads: the one it was made from may have been deposed meanwhile, or
    /// be unknown since this agent was started again. Nothing of a term before our pledge is received. Never ends.
    async fn goes_behind_who_leads(&self, first: Option<&Upstream>) {
        let mut behind = first.cloned();
        loop {
            tokio::time::sleep(LEADER_POLL).await;
            let wanted = {
                let picture = self.picture.borrow();
                let record = picture.store.leadership.as_ref().filter(|r| r.term >= picture.durable.pledge);
                let leader = record.map(|r| r.leader.name.clone()).filter(|name| *name != picture.me);
                leader.map(|name| (name, Voter::new(picture.me.clone(), picture.durable.incarnation)))
            };
            let Some(upstream) = wanted.and_then(|(name, voter)| self.upstream(&name, &voter, true).ok()) else {
                continue;
            };
            if behind.as_ref() != Some(&upstream) && self.postgres.follow(&upstream).await.is_ok() {
                tracing::info!(host = %upstream.host, port = upstream.port, "what this copy needs comes from who leads now");
                behind = Some(upstream);
            }
        }
    }

    /// Returns when that life of the server is over.
    async fn ends(&self, life: u64) {
        while self.life() == (true, life) {
            tokio::time::sleep(END_POLL).await;
        }
    }

    pub(crate) fn not_running(&self) -> Error {
        Error::NotRunning { data_dir: self.postgres.instance.data_dir.clone() }
    }

    /// A start whose answer was lost on the way leaves a server that nobody knows of: it is ended before anything is done
    /// with its folder. One that the guard did not start is left alone, and refused by the step.
    pub(crate) async fn end_unknown(&self) {
        if !self.life().0 && self.postgres.instance.postmaster().is_some() && self.guard().kill().await.is_ok() {
            tracing::info!("a server ran that was not known of: it was ended");
        }
    }

    /// Starts the server's processes; the life that this begins.
    async fn spawn(&self, command: ServerCommand) -> Result<u64, Error> {
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        let start = StartServer {
            program: command.program,
            args: command.args.into_iter().map(text).collect(),
            env: command.env.into_iter().map(|(k, v)| (text(k), text(v))).collect(),
            cwd: command.cwd,
            stderr_path: command.stderr_path,
        };
        let refused = |error: dauphin_guard::GuardError| Error::Guard(error.to_string());
        lock(&self.lives).starts();
        let pid = self.guard().start(start).await.map_err(refused)?;
        self.closed();
        if !lock(&self.lives).started(pid) {
            self.tell_end();
            return Err(self.not_running());
        }
        Ok(self.life().1)
    }
}
