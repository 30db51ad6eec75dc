//! What can go wrong with one server, each telling what to do next. Every module here returns it.
//! It never carries a secret: statements with passwords in them are named, not quoted.

use crate::host::FileError;
use crate::host::tool::ToolError;
use crate::mysql::client::ClientError;
use crate::mysql::dialect::SUPPORTED;
use crate::mysql::{Flavour, Version};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why an act on the server failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// One of the server's own tools failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
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
        /// One of its processes.
        pid: i32,
        /// Its data directory.
        data_dir: PathBuf,
    },
    /// No programs were found.
    #[error("no programs of {flavour} found; looked in {looked}. Install {SUPPORTED}, or name the folder (--bin)")]
    NoBinaries {
        /// Of which server.
        flavour: Flavour,
        /// Where it was looked.
        looked: String,
    },
    /// The server is too old, too new, or another one.
    #[error("{} has {found:?}; Dauphin runs {SUPPORTED}. Name another folder (--bin)", prefix.display())]
    Version {
        /// The build's folder.
        prefix: PathBuf,
        /// What it says of itself.
        found: String,
    },
    /// A setting that Dauphin owns, that cannot be written down, or that this server cannot do.
    #[error("setting {key}: {why}")]
    Setting {
        /// Its name.
        key: String,
        /// Why it is refused, and what to use instead.
        why: String,
    },
    /// What is on disk is not what this member should have.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What was received is not applied yet, and the act would throw it away.
    #[error("{doing}: {unapplied} was received and is not applied; {why}. Nothing was changed")]
    Unapplied {
        /// What was wanted.
        doing: &'static str,
        /// What would be lost.
        unapplied: String,
        /// Why it is not applied, and what to do.
        why: String,
    },
    /// Commits wait for replicas to acknowledge them. Ending their sessions would tell clients that they are done.
    #[error(
        "{sessions} commits wait for replicas to acknowledge them, and ending their sessions could report them as done; \
         kill the server instead"
    )]
    CommitsWait {
        /// How many.
        sessions: usize,
    },
    /// A stream between two agents broke.
    #[error("{doing}: {source}")]
    Stream {
        /// What was on its way.
        doing: &'static str,
        /// What broke.
        source: io::Error,
    },
    /// Commits wait for replicas to acknowledge them, and a backup would wait for those commits.
    #[error(
        "{sessions} commits wait for replicas, and mariadb-backup would wait for them and hold all others up; copy a replica \
         instead, or see to it first that they are acknowledged"
    )]
    BackupWaits {
        /// How many.
        sessions: u32,
    },
    /// The server waits for room on its disk, and there is some.
    #[error(
        "the server found its disk full and waits by itself, though there is room again; it was ended, and starts anew"
    )]
    WaitsForRoom,
    /// A leadership did not begin.
    #[error("leadership {wanted} does not begin here: {why}")]
    Timeline {
        /// Its number.
        wanted: u32,
        /// Why.
        why: String,
    },
    /// The log holds what is in no leadership's chain.
    #[error("this member holds what no leader wrote: {stray}; copy it anew from one that does not")]
    Stray {
        /// What.
        stray: String,
    },
    /// The barrier proves nothing.
    #[error("the barrier proves nothing: {0}; raise it again")]
    Barrier(String),
    /// A setting did not take.
    #[error("{key} is {found:?} instead of {wanted:?}; look at the server's log")]
    NotTaken {
        /// Which.
        key: String,
        /// What was set.
        wanted: String,
        /// What is in force.
        found: String,
    },
}

/// Why data or a source is not taken. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Something where nothing was expected.
    #[error(
        "{} is not empty (it holds {found}) and is no data of this member's; nothing was changed in it. Move it away or \
         name another folder (`data_dir` under [local])", data_dir.display()
    )]
    NotEmpty {
        /// The folder.
        data_dir: PathBuf,
        /// One of the names in it.
        found: String,
    },
    /// Empty, or not there, where data was expected.
    #[error("{} holds no data though this member had some; is its disk mounted?", data_dir.display())]
    NoData {
        /// The folder.
        data_dir: PathBuf,
    },
    /// Two members with one number.
    #[error(
        "{one} and {other} both have server_id {id}: replicas would drop each other's transactions as their own; rename one of them"
    )]
    ServerId {
        /// A member.
        one: String,
        /// Another.
        other: String,
        /// The number that they share.
        id: u32,
    },
    /// A copy would not fit.
    #[error("{} has room for {free} bytes, and the copy has about {bytes}; make room there", dir.display())]
    Room {
        /// The member's folder.
        dir: PathBuf,
        /// About how many bytes there are to copy.
        bytes: u64,
        /// How many may be written.
        free: u64,
    },
    /// The source runs a plugin that this member's programs have not.
    #[error(
        "the source runs the plugin {name}, and this member cannot ({said}); put {library} into its plugins' folder"
    )]
    Plugin {
        /// Its name.
        name: String,
        /// Its file.
        library: String,
        /// What the server said.
        said: String,
    },
    /// The member's data cannot be copied here.
    #[error("a copy of {source_version} onto {own} is refused: {why}. Nothing was changed")]
    Copy {
        /// Ours.
        own: Version,
        /// The source's.
        source_version: Version,
        /// Why it does not go, and what to do.
        why: String,
    },
    /// The data is another server's.
    #[error("{} holds data of {theirs} and the programs are {own}: {why}. Nothing was changed", data_dir.display())]
    Data {
        /// The data directory.
        data_dir: PathBuf,
        /// The programs'.
        own: Version,
        /// The data's.
        theirs: String,
        /// Why that does not go, and what to do.
        why: &'static str,
    },
    /// Members that are there could not follow this one.
    #[error(
        "this server is {own} and {member} runs {theirs}, which could not follow it; have a member of the older version lead, or \
         upgrade {member} first. Nothing was changed"
    )]
    Promotion {
        /// Ours.
        own: Version,
        /// Who could not follow.
        member: String,
        /// Theirs.
        theirs: Version,
    },
    /// Commits wait for replicas where the copy should come from.
    #[error(
        "{sessions} commits wait for replicas there, and a copy would wait for them; it is tried again, and goes on once they are \
         acknowledged. Nothing was changed"
    )]
    CopyWaits {
        /// How many.
        sessions: u32,
    },
    /// The source's server is another one or a newer one.
    #[error("this server is {own} and the source {source_version}: {why}")]
    SourceVersion {
        /// Ours.
        own: Version,
        /// Theirs.
        source_version: Version,
        /// Why that does not go.
        why: &'static str,
    },
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let at = FileError::at(doing, path);
        move |source| Self::File(at(source))
    }

    /// For `map_err` on streams.
    pub(crate) fn stream(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Stream { doing, source }
    }

    /// For `map_err` on queries.
    pub(crate) fn sql(doing: &'static str) -> impl FnOnce(ClientError) -> Self {
        move |source| Self::Sql { doing, source }
    }
}
