//! Prepares a start and says which command the guard shall run. A server always starts closed to writes and with replication
//! stopped: following and leading are acts of their own. Nothing is started here.

use crate::host::{GuardDeath, ServerCommand, files};
use crate::mysql::config::{pinned, render};
use crate::mysql::{Error, Mysql, Refusal, Result};
use std::ffi::OsString;
use std::time::Duration;
use tokio::time::Instant;

/// How often a server that starts is asked whether it is ready.
const POLL: Duration = Duration::from_millis(20);
/// How long one of those questions may take.
const ASK_LIMIT: Duration = Duration::from_millis(2_000);

impl Mysql {
    /// Writes our file and gives the server's command.
    ///
    /// # Errors
    /// [`Refusal::NoData`], [`Refusal::Data`], [`Error::Running`], [`Error::File`].
    pub async fn prepare_start(&self) -> Result<ServerCommand> {
        let instance = &self.instance;
        instance.require_stopped()?;
        if !instance.has_data() {
            return Err(Refusal::NoData { data_dir: instance.data_dir.clone() }.into());
        }
        instance.require_own_data()?;
        instance.make_dirs()?;
        files::replace(&instance.config_path(), &render(instance, &*self.settings.lock().await), true)?;
        // nothing runs here: a lock that names a number some other process has by now would stop the start
        for path in [instance.socket(), instance.socket().with_extension("sock.lock"), instance.pid_path()] {
            files::remove(&path)?;
        }
        self.forget_connections().await;
        let mut file = OsString::from("--defaults-file=");
        file.push(instance.config_path());
        let mut args = vec![file];
        args.extend(pinned(instance.dialect()).into_iter().map(OsString::from));
        let own = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        Ok(ServerCommand {
            program: instance.bin.server.clone(),
            args,
            env: vec![own("LC_ALL", "C"), own("TZ", "UTC"), own("HOME", "/nonexistent"), own("PATH", "/usr/bin:/bin")],
            cwd: instance.member_dir.clone(),
            stderr_path: instance.stderr_path(),
            on_guard_death: GuardDeath::Kill,
        })
    }

    /// Waits until the server answers.
    ///
    /// # Errors
    /// [`Error::TimedOut`].
    pub async fn wait_ready(&self, limit: Duration) -> Result<()> {
        let until = Instant::now() + limit;
        while self.looks.query("SELECT 1", ASK_LIMIT).await.is_err() {
            if Instant::now() >= until {
                let hint = "; its log says what it does";
                return Err(Error::TimedOut { doing: "waiting for the server to be ready", limit, hint });
            }
            tokio::time::sleep(POLL).await;
        }
        self.instance.note_version()
    }
}
