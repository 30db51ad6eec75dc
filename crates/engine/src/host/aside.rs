//! A server that an act needs for a while beside the member's own, or before there is one. It is in a process group of its own
//! and is killed when whoever needed it is done or gives up. A member's own server is started by the guard, never here.

use crate::host::tool::{Group, end_of};
use crate::host::{FileError, ServerCommand};
use std::process::{ExitStatus, Stdio};

/// A running server; killed when dropped.
pub(crate) struct Aside(Group);

impl ServerCommand {
    /// Runs it aside.
    ///
    /// # Errors
    /// [`FileError`].
    pub(crate) fn run_aside(&self) -> Result<Aside, FileError> {
        let log = || {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(&self.stderr_path);
            file.map_err(FileError::at("write", &self.stderr_path))
        };
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.args).env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(&self.cwd).stdin(Stdio::null()).stdout(log()?).stderr(log()?);
        let child = command.process_group(0).kill_on_drop(true).spawn();
        Ok(Aside(Group { child: child.map_err(FileError::at("run", &self.program))? }))
    }
}

impl Aside {
    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.0.child.wait().await
    }
}

/// The end of a log, for an error.
pub(crate) fn end_of_log(path: &std::path::Path) -> String {
    end_of(&String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()))
}
