//! How a server's main process is started: the guard does it, from what an engine says here.
//! It never holds a secret.

use std::ffi::OsString;
use std::path::PathBuf;

/// What shall end a server whose guard dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GuardDeath {
    /// SIGQUIT, which its first process passes on to its others.
    Quit,
    /// SIGKILL: it is one process, and takes SIGQUIT for an orderly stop.
    Kill,
}

/// A server's main process, for the guard to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCommand {
    /// Program.
    pub program: PathBuf,
    /// Arguments; no secrets.
    pub args: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Working directory.
    pub cwd: PathBuf,
    /// Where standard output and error go, appended.
    pub stderr_path: PathBuf,
    /// What ends it when its guard dies.
    pub on_guard_death: GuardDeath,
}
