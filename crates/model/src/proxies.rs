//! What a proxy tells every agent of itself: where it runs, whom it sends clients to, and how full its pools are. The proxy makes it, the
//! agents show it to people; nothing is decided by it.

use crate::name::{MemberName, Term};
use serde::{Deserialize, Serialize};

/// Number of the link's channel on which proxies tell [`ProxyNews`] as JSON.
pub const PROXY_CHANNEL: u8 = 6;

/// Largest encoded news, in bytes.
pub const PROXY_BYTES_MAX: usize = 64 * 1024;

/// Most pools that are told, those with the most clients first: names of users and databases are the clients' choice.
pub const POOLS_TOLD_MAX: usize = 40;

/// What a proxy is and does just now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProxyNews {
    /// Name of its host.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// Its program's version.
    pub program: String,
    /// How long it has run, in seconds.
    pub up_s: u64,
    /// Where it takes sessions that write.
    pub listen: String,
    /// Where it stands.
    pub zone: Option<String>,
    /// The term of the leader that it sends clients to.
    pub term: Term,
    /// That leader; `None`: none takes clients, as far as it knows.
    pub leader: Option<MemberName>,
    /// Another process has taken over: it serves the clients it has to their end.
    pub drains: bool,
    /// How long the certificate that it shows the agents is valid yet, in days.
    pub certificate_days: i64,
    /// Clients that are connected.
    pub clients: u64,
    /// Most that it takes.
    pub clients_max: u64,
    /// Pools, by database and user. A proxy by port has none.
    pub pools: Vec<PoolNews>,
    /// Pools that are not told.
    pub more_pools: u64,
}

/// What the clients of one user and database have.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PoolNews {
    /// Database.
    pub database: String,
    /// User.
    pub user: String,
    /// Its clients.
    pub clients: u64,
    /// Those of them that wait for a server.
    pub waiting: u64,
    /// How long the one that waits for longest does, in milliseconds.
    pub longest_ms: u64,
    /// Connections to servers that a client has.
    pub busy: u64,
    /// Those that are free.
    pub idle: u64,
}
