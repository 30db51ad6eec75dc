//! Stops the server, in order or at once, with escalation. The agent calls it, or has the guard kill.
//! Nothing here decides that a server should stop.

use crate::host::process::{Process, all_in};
use crate::mysql::threads::LOOK_LIMIT;
use crate::mysql::{Error, Mysql, Result};
use rustix::process::Signal;
use std::time::Duration;
use tokio::time::Instant;

/// How long killed processes may take to be gone before it is an error.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopMode {
    /// Ends sessions, writes everything out. Never while commits wait for replicas: it would report them as done.
    Orderly,
    /// SIGKILL; the next start recovers.
    Kill,
}

impl Mysql {
    /// Stops the server; after `limit` of an orderly stop it is killed. Gives the mode that did it.
    ///
    /// # Errors
    /// [`Error::CommitsWait`] for an orderly stop while commits wait; [`Error::TimedOut`] when even SIGKILL does not end it.
    pub async fn stop(&self, mode: StopMode, limit: Duration) -> Result<StopMode> {
        let instance = &self.instance;
        if mode == StopMode::Orderly {
            // one that does not answer can only be stopped
            let waiting = self.look(LOOK_LIMIT).await.map_or(0, |view| view.semi_sync.waiting);
            if waiting > 0 {
                return Err(Error::CommitsWait { sessions: waiting as usize });
            }
            self.forget_connections().await;
            let Some(process) = instance.process() else { return self.kill().await };
            process.signal(Signal::TERM)?;
            if process.ended(limit).await? {
                return Ok(StopMode::Orderly);
            }
        }
        self.kill().await
    }

    async fn kill(&self) -> Result<StopMode> {
        let data_dir = &self.instance.data_dir;
        self.forget_connections().await;
        let until = Instant::now() + KILL_LIMIT;
        loop {
            let left: Vec<Process> =
                all_in(data_dir).into_iter().filter_map(|pid| Process::in_dir(pid, data_dir)).collect();
            if left.is_empty() {
                return Ok(StopMode::Kill);
            }
            for process in &left {
                process.signal(Signal::KILL)?;
            }
            for process in &left {
                if !process.ended(until.saturating_duration_since(Instant::now())).await? {
                    let hint = "; it is stuck in the kernel: see to the disk, or restart the machine";
                    return Err(Error::TimedOut { doing: "killing the server", limit: KILL_LIMIT, hint });
                }
            }
        }
    }
}
