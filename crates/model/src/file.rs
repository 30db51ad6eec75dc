//! `dauphin.toml`: the cluster's specification and what is local to one machine, from text and back to text. The
//! binary, the agent and the lab use it. It never opens a file: text in, values out, every fault at once with its place.

pub mod check;
pub mod keys;
mod near;
mod notify;
pub mod owned;
mod read;
mod section;
pub mod unit;
mod write;

pub use near::nearest;

use crate::name::MemberName;
use crate::read_level::ReadLevel;
use crate::spec::{MemberSpec, Spec};
use crate::time::Span;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Longest file, in bytes; longer is no configuration.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;
/// Most faults that are told at once.
pub const FAULTS_MAX: usize = 50;

/// A whole `dauphin.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterFile {
    /// What all members share.
    pub spec: Spec,
    /// What is this machine's own; an operator's file may be without it.
    pub local: Option<Local>,
    /// The proxy's part, where one runs.
    pub proxy: Option<ProxyFile>,
}

/// What is one machine's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// Which member this machine is.
    pub member: MemberName,
    /// The database's folder; a witness has none.
    pub data_dir: Option<PathBuf>,
    /// The agent's own folder, as lasting as the data.
    pub state_dir: PathBuf,
    /// Sockets, locks, the guard's log.
    pub run_dir: PathBuf,
    /// Folder of the server's programs; `None`: it is searched for.
    pub bin_dir: Option<PathBuf>,
    /// Address to listen on; `None`: the member's host.
    pub listen: Option<String>,
    /// Folder with certificate, key and CA.
    pub identity: PathBuf,
    /// File with the passwords of Dauphin's own roles.
    pub secrets: PathBuf,
    /// File with the operators' token.
    pub token_file: PathBuf,
    /// Names that people reach the agent's HTTP by, besides the member's host.
    pub api_hosts: Vec<String>,
    /// A hardware watchdog.
    pub watchdog: Option<PathBuf>,
}

/// When a client's server serves others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Between transactions, unless the session has something on it that cannot be carried along.
    #[default]
    Transaction,
    /// Never: each client has a server of its own.
    Session,
}

/// Which clients must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientCertificates {
    /// None is asked for.
    #[default]
    Off,
    /// None must; but one that is shown must be good.
    Allow,
    /// All must.
    Require,
    /// All must, and its common name must be the user's name.
    RequireUser,
}

/// What a proxy listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyFile {
    /// Where clients reach the leader.
    pub listen_write: SocketAddr,
    /// Where clients reach a replica.
    pub listen_read: Option<SocketAddr>,
    /// How long a new connection waits for a leader.
    pub wait_limit: Span,
    /// Most client connections at a time.
    pub clients_max: u32,
    /// Most of one user.
    pub clients_max_user: Option<u32>,
    /// Most to one database.
    pub clients_max_database: Option<u32>,
    /// How long a client waits for a server before it is told for what; 0: it is not.
    pub notice_after: Span,
    /// When a client's server serves others.
    pub pool: Pooling,
    /// Connections to one server for one user and database, where clients share them.
    pub pool_size: u32,
    /// How long a client's host may be silent before its connection is given up.
    pub client_keepalive: Span,
    /// Which clients must show a certificate.
    pub client_certificates: ClientCertificates,
    /// The CAs that such a certificate may be of.
    pub client_ca: Option<PathBuf>,
    /// Where the proxy stands: replicas there are read from first.
    pub zone: Option<String>,
    /// How fresh what sessions on the write port read must be, unless they say otherwise.
    pub read_level: ReadLevel,
    /// How long a read waits for a replica before the leader serves it.
    pub read_wait: Span,
    /// Roles that may do everything on the console.
    pub admin_users: Vec<String>,
    /// Roles that may only look there.
    pub stats_users: Vec<String>,
    /// Where metrics are served.
    pub metrics_listen: Option<SocketAddr>,
    /// Statements that take this long are logged.
    pub log_slow: Option<Span>,
    /// How long clients may stay with a process that another one has taken over from.
    pub drain_limit: Span,
    /// Folder of the socket by which another process takes over; none: none can.
    pub run_dir: Option<PathBuf>,
    /// Threads; none: half of the processors.
    pub threads: Option<u32>,
    /// File with the token for the members' HTTP.
    pub token_file: Option<PathBuf>,
}

impl ClusterFile {
    /// Reads a file's text. `name` is how the file is called in messages.
    ///
    /// # Errors
    /// Every fault found, each with line and column.
    pub fn parse(name: &str, text: &str) -> Result<Self, FileErrors> {
        read::file(name, text)
    }

    /// Writes the file, with comments. [`Self::parse`] reads back the same.
    #[must_use]
    pub fn render(&self) -> String {
        write::file(self)
    }

    /// Makes relative paths start at `folder`, the one that the file lies in.
    pub fn resolve(&mut self, folder: &Path) {
        let whole = |path: &mut PathBuf| *path = folder.join(&*path);
        if let Some(local) = &mut self.local {
            [&mut local.state_dir, &mut local.run_dir, &mut local.identity, &mut local.secrets, &mut local.token_file]
                .into_iter()
                .for_each(whole);
            [&mut local.data_dir, &mut local.bin_dir, &mut local.watchdog].into_iter().flatten().for_each(whole);
        }
        if let Some(proxy) = &mut self.proxy {
            [&mut proxy.token_file, &mut proxy.client_ca, &mut proxy.run_dir].into_iter().flatten().for_each(whole);
        }
    }

    /// The member that this machine is.
    #[must_use]
    pub fn member(&self) -> Option<&MemberSpec> {
        self.spec.member(&self.local.as_ref()?.member)
    }
}

/// One fault of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong and what is allowed.
    pub message: String,
}

/// Everything that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileErrors {
    /// How the file is called.
    pub name: String,
    /// The faults, in the order of the text.
    pub faults: Vec<FileError>,
}

impl fmt::Display for FileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{}:{}:{}: {}", self.name, fault.line, fault.column, fault.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for FileErrors {}
