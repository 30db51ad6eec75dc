//! What can go wrong with one server, each telling what to do next. Every module here returns it.
//! It never carries a secret: statements with verifiers in them are named, not quoted.

use crate::host::FileError;
use crate::host::tool::ToolError;
use crate::postgres::check::Refusal;
use crate::postgres::client::ClientError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why an act on the server failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be used.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A conversation with the server failed.
    #[error("{doing}: {source}")]
    Sql {
        /// What was tried.
        doing: &'static str,
        /// What the server or the connection said.
        source: ClientError,
    },
    /// The server answered with something that makes no sense here.
    #[error("{doing}: the server answered {answer:?}; look at its log")]
    Answer {
        /// What was asked.
        doing: &'static str,
        /// What came back.
        answer: String,
    },
    /// A wait had its limit.
    #[error("{doing} did not end within {} ms{hint}", limit.as_millis())]
    TimedOut {
        /// What was waited for.
        doing: &'static str,
        /// How long.
        limit: Duration,
        /// What to do next, beginning with "; ", or empty.
        hint: &'static str,
    },
    /// No server process.
    #[error("no server runs on {}; start it first", data_dir.display())]
    NotRunning {
        /// Its data directory.
        data_dir: PathBuf,
    },
    /// A server process runs where none may.
    #[error("a server (pid {pid}) runs on {}; stop it first", data_dir.display())]
    Running {
        /// Its main process, or one of those it left behind.
        pid: i32,
        /// Its data directory.
        data_dir: PathBuf,
    },
    /// pg_rewind sees one history until the leader has written a checkpoint on its timeline.
    #[error("the leader has not written a checkpoint on its timeline yet")]
    LeaderNotReady,
    /// One of PostgreSQL's own tools failed.
    #[error("{tool} failed ({status}): {said}")]
    Tool {
        /// Its name.
        tool: &'static str,
        /// How it ended.
        status: String,
        /// The end of what it wrote to standard error.
        said: String,
    },
    /// No programs of PostgreSQL were found.
    #[error("no PostgreSQL programs found; looked in {looked}. Install PostgreSQL 15 to 18 or name the folder (--bin)")]
    NoBinaries {
        /// Where it was looked.
        looked: String,
    },
    /// PostgreSQL is too old or too new.
    #[error("{} is PostgreSQL {found}; Dauphin runs 15 to 18. Name another folder (--bin)", dir.display())]
    Version {
        /// Folder of its programs.
        dir: PathBuf,
        /// The version as it names itself.
        found: String,
    },
    /// A setting of the user that Dauphin owns, or that cannot be written down.
    #[error("setting {key}: {why}")]
    Setting {
        /// Its name.
        key: String,
        /// Why it is refused, and what to use instead.
        why: String,
    },
    /// Something overrides a setting on which safety rests.
    #[error(
        "{key} is {found:?} instead of {wanted:?}: overridden in {by}; remove it there (ALTER SYSTEM RESET {key}) and reload"
    )]
    Overridden {
        /// The setting.
        key: String,
        /// What Dauphin wrote.
        wanted: String,
        /// What is in force.
        found: String,
        /// The file or command line that says so.
        by: String,
    },
    /// pg_hba.conf has a line that PostgreSQL cannot read, so the rules were not loaded.
    #[error("pg_hba.conf line {line}: {said}; correct it, the rules before the change are still in force")]
    AccessRules {
        /// Line number.
        line: String,
        /// PostgreSQL's complaint.
        said: String,
    },
    /// What is on disk is not what this member should have.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The replica's position cannot be known.
    #[error("the position cannot be known: {0}")]
    PositionUnknown(&'static str),
    /// Promotion would not give what was asked.
    #[error("cannot promote to timeline {wanted}: {why}")]
    Promotion {
        /// The timeline asked for.
        wanted: u32,
        /// Why not, and what to do.
        why: String,
    },
    /// The barrier's record was not confirmed by replicas.
    #[error("the barrier did not hold: {0}; the leader stays closed, raise it again")]
    Barrier(String),
}

impl From<FileError> for Error {
    fn from(FileError { doing, path, source }: FileError) -> Self {
        Self::File { doing, path, source }
    }
}

impl From<ToolError> for Error {
    fn from(error: ToolError) -> Self {
        match error {
            ToolError::Failed { tool, status, said } => Self::Tool { tool, status, said },
            ToolError::TimedOut { tool, limit } => Self::TimedOut { doing: tool, limit, hint: "" },
            ToolError::Stream { tool, source, said } => Self::Tool { tool, status: source.to_string(), said },
            ToolError::File(error) => error.into(),
        }
    }
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { doing, path, source }
    }

    /// For `map_err` on queries.
    pub(crate) fn sql(doing: &'static str) -> impl FnOnce(ClientError) -> Self {
        move |source| Self::Sql { doing, source }
    }
}
