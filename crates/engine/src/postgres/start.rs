//! Prepares a data directory for a start and says which command the guard shall run. A server always starts as a
//! replica, closed to clients: promotion is an act of its own. Nothing is started here.

use crate::postgres::config::{FILE, Live, pinned, render, with_include};
use crate::postgres::hba::{Access, Networks};
use crate::postgres::roles::Credentials;
use crate::postgres::{Postgres, Refusal, Result, change, files, half_received, history};
use dauphin_model::Timeline;
use std::ffi::OsString;

use crate::host::GuardDeath;
pub use crate::host::ServerCommand;

impl Postgres {
    /// Makes the stopped data directory ready to start as a fenced replica: our files rendered, clients kept out,
    /// standby.signal there, left-over stub histories and half-received files gone. `keep_upstream` false starts it following nobody.
    ///
    /// # Errors
    /// [`Refusal::HalfRewound`] after an unfinished rewind; [`Error::Running`](crate::postgres::Error::Running);
    /// [`Error::File`](crate::postgres::Error::File).
    pub async fn prepare_start(
        &self,
        networks: &Networks,
        credentials: &Credentials,
        keep_upstream: bool,
    ) -> Result<ServerCommand> {
        let instance = &self.instance;
        instance.require_stopped()?;
        if instance.rewind_marker().exists() {
            return Err(Refusal::HalfRewound { data_dir: instance.data_dir.clone() }.into());
        }
        instance.make_dirs()?;
        credentials.write_passfile(&instance.passfile())?;
        {
            let mut config = self.config.lock().await;
            let (settings, live) = &mut *config;
            let kept = if keep_upstream { live.clone() } else { Live::default() };
            *live = Live { sync_names: Live::default().sync_names, ..kept };
            files::replace(&instance.data_dir.join(FILE), &render(instance, settings, live), true)?;
        }
        let user_conf = instance.data_dir.join("postgresql.conf");
        let text = files::read_or_empty(&user_conf)?;
        let included = with_include(&text);
        if included != text {
            files::replace(&user_conf, &included, true)?;
        }
        instance.write_access(Access::Closed, networks)?;
        files::replace(&instance.data_dir.join("standby.signal"), "", true)?;
        for name in ["recovery.signal", "promote", "backup_label.old", "postmaster.pid"] {
            files::remove(&instance.data_dir.join(name))?;
        }
        // nothing runs here: a lock that names a number some other process has by now would stop the start
        files::remove(&instance.socket())?;
        files::remove(&instance.socket().with_extension(format!("{}.lock", instance.port)))?;
        history::remove_trailing_stubs(&instance.data_dir)?;
        half_received::remove(&instance.data_dir, Timeline(0)).await?;
        let raised = self.raised_settings().await?;
        self.forget_connections().await;
        Ok(self.command(&raised))
    }

    /// Settings in which a replica must not trail what its log was written with, where the files say less.
    async fn raised_settings(&self) -> Result<Vec<String>> {
        let control = self.instance.control_data().await?;
        let config = self.config.lock().await;
        let written = render(&self.instance, &config.0, &config.1);
        let raised = control.max_settings.into_iter().filter(|(name, least)| {
            let in_file = written.lines().find_map(|l| l.strip_prefix(name.as_str())?.strip_prefix(" = '"));
            let ours = in_file.and_then(|v| v.trim_end_matches('\'').parse::<u64>().ok());
            ours.or_else(|| change::default_of(name)).is_some_and(|ours| ours < *least)
        });
        Ok(raised.map(|(name, least)| format!("{name}={least}")).collect())
    }

    fn command(&self, raised: &[String]) -> ServerCommand {
        let bin = &self.instance.bin;
        let mut args: Vec<OsString> = vec!["-D".into(), self.instance.data_dir.clone().into()];
        for setting in pinned().into_iter().chain(raised.iter().map(String::as_str)) {
            args.extend(["-c".into(), setting.into()]);
        }
        let mut env: Vec<(OsString, OsString)> = vec![
            ("LC_ALL".into(), "C".into()),
            ("PATH".into(), bin.dir.clone().into()),
            ("TZ".into(), "UTC".into()),
            ("HOME".into(), "/nonexistent".into()),
        ];
        if let Some(path) = &bin.library_path {
            env.push(("LD_LIBRARY_PATH".into(), path.into()));
        }
        ServerCommand {
            program: bin.program("postgres"),
            args,
            env,
            cwd: self.instance.member_dir.clone(),
            stderr_path: self.instance.stderr_path(),
            on_guard_death: GuardDeath::Quit,
        }
    }
}
