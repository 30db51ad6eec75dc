//! The proxy's configuration and its limits. The binary fills it from `dauphin.toml`; nothing here reads a file.

use dauphin_model::{ClusterName, MemberName, Pooling, ReadLevel};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The role under which the proxy reads verifiers.
pub const PROXY_ROLE: &str = "dauphin_proxy";

/// Where an agent's link is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentLink {
    /// The member.
    pub member: MemberName,
    /// Address or name.
    pub host: String,
    /// Port of its mutual-TLS link.
    pub port: u16,
}

/// Certificate and key shown to clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientTls {
    /// PEM file with the certificate chain.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
    /// Refuse clients without TLS.
    pub required: bool,
    /// Certificates of clients; none: they are not asked for.
    pub certificates: Option<Certificates>,
}

/// How clients show certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificates {
    /// PEM file with the CAs that clients' certificates may be of.
    pub ca: PathBuf,
    /// Who must show one.
    pub demand: Demand,
}

/// Who must show a certificate. The password has to be proved all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Demand {
    /// Nobody; but one that is shown must be good.
    Allowed,
    /// Everybody.
    Required,
    /// Everybody, and its common name must be the user's name.
    OfUser,
}

/// How servers prove who they are. Connections to them are never without TLS then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerTls {
    /// PEM file with the cluster's CAs. A server's certificate must be of one of them and name the member.
    pub ca: PathBuf,
}

/// What bounds the proxy. Times are lengths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Clients at once, both ports together.
    pub clients: usize,
    /// Those of one user; none: as many as all.
    pub clients_user: Option<usize>,
    /// Those of one database; none: as many as all.
    pub clients_database: Option<usize>,
    /// Connections at once that have not logged in yet.
    pub logins: usize,
    /// Connections to one server for one user and database, where clients share them.
    pub pool: usize,
    /// How long a client may wait for a server that takes its statement.
    pub wait: Duration,
    /// How long it does before it is told for what; 0: it is not told.
    pub notice: Duration,
    /// How long a client may take to say what it needs to say to log in.
    pub handshake: Duration,
    /// How long a client's host may say nothing at all before its connection is given up.
    pub client_keepalive: Duration,
    /// How long running transactions may go on when the proxy is told to stop.
    pub stop: Duration,
    /// How long clients may stay once another process has taken over; their transactions may end for as long again.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients: 10_000,
            clients_user: None,
            clients_database: None,
            logins: 5_000,
            pool: 20,
            wait: Duration::from_secs(10),
            notice: Duration::from_secs(1),
            handshake: Duration::from_secs(10),
            client_keepalive: Duration::from_secs(60),
            stop: Duration::from_secs(5),
            drain: Duration::from_secs(3600),
        }
    }
}

/// How a session on the write port reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reads {
    /// From where.
    pub level: ReadLevel,
    /// How long a read waits for a replica that is fresh enough before the leader serves it.
    pub wait: Duration,
}

/// Who may use the console. Both lists empty: nobody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Operators {
    /// Roles that may do everything there.
    pub admins: Vec<String>,
    /// Roles that may only look.
    pub watchers: Vec<String>,
}

/// What sessions go by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// What bounds them.
    pub limits: Limits,
    /// When a client's server serves others.
    pub pooling: Pooling,
    /// Whether the leader takes reads while no replica can.
    pub read_from_leader: bool,
    /// How sessions on the write port read, unless they say otherwise.
    pub reads: Reads,
    /// Where the proxy stands: replicas there are read from first.
    pub zone: Option<String>,
    /// Who may use the console.
    pub operators: Operators,
    /// Statements that take this long are logged, and those that are refused; none: neither.
    pub slow: Option<Duration>,
}

impl Default for Rules {
    fn default() -> Self {
        let reads = Reads { level: ReadLevel::Leader, wait: Duration::from_millis(20) };
        Self {
            limits: Limits::default(),
            pooling: Pooling::default(),
            read_from_leader: true,
            reads,
            zone: None,
            operators: Operators::default(),
            slow: None,
        }
    }
}

/// Everything the proxy needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The cluster it serves.
    pub cluster: ClusterName,
    /// Where it listens for sessions that write.
    pub listen_write: Vec<SocketAddr>,
    /// Where it listens for sessions that only read.
    pub listen_read: Vec<SocketAddr>,
    /// Where its metrics are served; by whom it is run serves them.
    pub listen_metrics: Option<SocketAddr>,
    /// The agents' links.
    pub agents: Vec<AgentLink>,
    /// Folder with the certificates for the agents' links.
    pub identity: PathBuf,
    /// File (mode 0600) with the password of [`PROXY_ROLE`].
    pub password_file: PathBuf,
    /// Database in which `dauphin.scram_verifier(text)` is.
    pub auth_database: String,
    /// TLS for clients; none: clients that ask for it are told no.
    pub tls: Option<ClientTls>,
    /// TLS to servers; none: connections to them are plain.
    pub server_tls: Option<ServerTls>,
    /// Folder with the socket by which another process takes over; none: none can.
    pub run_dir: Option<PathBuf>,
    /// Threads that sessions live on.
    pub shards: usize,
    /// What sessions go by.
    pub rules: Rules,
}
