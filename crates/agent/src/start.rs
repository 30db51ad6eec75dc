//! How this member's server is started, and watched until it is ready or has ended. The engine steps call it; it never
//! decides that it is time, or behind whom.

use crate::engine::Error;
use crate::server::{Server, lock};
use dauphin_engine::host::{GuardDeath, ServerCommand};
use dauphin_guard::protocol::StartServer;
use dauphin_ha::EngineOutcome;
use std::time::Duration;

/// How often is looked whether a server that starts has ended.
const END_POLL: Duration = Duration::from_millis(20);

impl Server {
    /// Starts the server's processes, and waits until it is `ready` or has ended.
    pub(crate) async fn bring_up(
        &self,
        command: ServerCommand,
        ready: impl Future<Output = Result<(), Error>>,
    ) -> Result<EngineOutcome, Error> {
        let life = self.spawn(command).await?;
        tokio::select! {
            ready = ready => ready?,
            // it may end before it was ever seen in its folder
            () = self.ends(life) => return Err(self.has_ended()),
        }
        Ok(EngineOutcome::Done)
    }

    /// Returns when that life of the server is over.
    async fn ends(&self, life: u64) {
        while self.life() == (true, life) {
            tokio::time::sleep(END_POLL).await;
        }
    }

    fn has_ended(&self) -> Error {
        Error::Ended { data_dir: self.engine.data_dir().to_owned() }
    }

    /// A start whose answer was lost on the way leaves a server that nobody knows of: it is ended before anything is done
    /// with its folder. One that the guard did not start is left alone, and refused by the step.
    pub(crate) async fn end_unknown(&self) {
        if !self.life().0 && self.engine.has_process() && self.guard().kill().await.is_ok() {
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
            on_guard_death: match command.on_guard_death {
                GuardDeath::Quit => dauphin_guard::GuardDeath::Quit,
                GuardDeath::Kill => dauphin_guard::GuardDeath::Kill,
            },
        };
        let refused = |error: dauphin_guard::GuardError| Error::Guard(error.to_string());
        lock(&self.lives).starts();
        let pid = self.guard().start(start).await.map_err(refused)?;
        self.closed();
        if !lock(&self.lives).started(pid) {
            self.tell_end();
            return Err(self.has_ended());
        }
        Ok(self.life().1)
    }
}
