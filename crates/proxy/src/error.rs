//! Why a proxy does not run, for people: the place, the value, and what to do. The service gives it to whoever starts it.

use crate::config::PROXY_ROLE;
use dauphin_model::Term;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use thiserror::Error;

/// Why the proxy does not run.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// A port cannot be listened on.
    #[error("cannot listen on {address}: {source}; is another program using it?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A secret that others can read.
    #[error("{} can be read by others: chmod 600 it", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
    },
    /// The password file is empty.
    #[error("{} holds no password: write the password of {PROXY_ROLE} into it", path.display())]
    NoPassword {
        /// The file.
        path: PathBuf,
    },
    /// Certificate or key for clients cannot be used.
    #[error("the certificate or key for clients cannot be used: {0}")]
    Tls(String),
    /// The CA that clients' certificates are checked against cannot be used.
    #[error("clients' certificates cannot be checked: {0}")]
    ClientTrust(String),
    /// The CA that servers' certificates are checked against cannot be used.
    #[error("servers' certificates cannot be checked: {0}")]
    Trust(String),
    /// The system gives no thread, or no way to wait for sockets.
    #[error("cannot start a thread: {0}")]
    Threads(io::Error),
    /// The certificates for the agents' links cannot be used.
    #[error("{0}")]
    Identity(#[from] dauphin_net::IdentityError),
    /// The folder for the private socket cannot be used.
    #[error("{} cannot be used as run_dir: {source}", path.display())]
    RunDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The configuration names no such folder.
    #[error("no process can take over from another one without a folder to meet in")]
    NoRunDir,
    /// A process runs already that takes clients.
    #[error("a proxy runs already that uses {} as its run_dir", path.display())]
    Runs {
        /// The folder.
        path: PathBuf,
    },
    /// The process that runs was not taken over from.
    #[error("nothing was taken over from {0}")]
    TakeOver(String),
    /// The agents did not say in time what the process that runs knows already.
    #[error(
        "nothing was taken over from process {pid}, which goes on: it knows of term {least}, and the agents told this one of \
         {heard} at most, or of no leader that is open"
    )]
    NotReady {
        /// Its number.
        pid: u32,
        /// The term that has to be heard of.
        least: Term,
        /// The highest that was.
        heard: Term,
    },
    /// An agent's name cannot be one.
    #[error("no agents are configured: nothing would tell the proxy where the leader is")]
    NoAgents,
}
