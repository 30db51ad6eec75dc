//! The proxies that an agent hears.

use serde::{Deserialize, Serialize};

/// Proxies that this agent hears: `GET /v1/proxies`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Proxies {
    /// By name, host and process.
    pub proxies: Vec<Proxy>,
}

/// A proxy's process.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Proxy {
    /// The name in its certificate.
    pub name: String,
    /// Name of its host.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// Its program's version.
    pub program: String,
    /// Where it takes sessions that write.
    pub listen: String,
    /// Where it stands.
    pub zone: Option<String>,
    /// How long it has run.
    pub up_seconds: u64,
    /// How long ago it told all this.
    pub heard_seconds: f64,
    /// The term of the leader that it sends clients to.
    pub term: u64,
    /// That leader; null: none takes clients, as far as it knows.
    pub leader: Option<String>,
    /// Another process has taken over, and this one serves its clients to their end.
    pub drains: bool,
    /// How long the certificate that it shows the agents is valid yet, in days.
    pub certificate_days: i64,
    /// Clients that are connected.
    pub clients: u64,
    /// Most that it takes.
    pub clients_max: u64,
    /// Clients of the pools below that wait for a server.
    pub waiting: u64,
    /// What somebody should know of it; null: nothing.
    pub note: Option<String>,
    /// Whether its clients are worse off for that.
    pub critical: bool,
    /// Pools, those with clients that wait first. A proxy by port (MySQL, MariaDB) has none.
    pub pools: Vec<ProxyPool>,
    /// Pools that are not told.
    pub more_pools: u64,
}

/// What the clients of one user and database have at a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProxyPool {
    /// Database.
    pub database: String,
    /// User.
    pub user: String,
    /// Its clients.
    pub clients: u64,
    /// Those of them that wait for a server.
    pub waiting: u64,
    /// How long the one that waits for longest does.
    pub longest_wait_ms: u64,
    /// Connections to servers that a client has.
    pub servers_busy: u64,
    /// Those that are free.
    pub servers_idle: u64,
}
