//! The shared specification of a cluster: what a person asked for. It lives in the store after `init`.

use crate::alerts::{AlertSpec, TargetSpec};
use crate::health::HealthSpec;
use crate::name::{ClusterName, MemberName};
use crate::time::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Which database the members run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// PostgreSQL.
    #[default]
    Postgres,
    /// MySQL.
    Mysql,
    /// MariaDB.
    Mariadb,
}

impl EngineKind {
    /// Whether its log is one of global transaction identifiers, and its replicas have relay logs.
    #[must_use]
    pub const fn has_gtids(self) -> bool {
        match self {
            Self::Postgres => false,
            Self::Mysql | Self::Mariadb => true,
        }
    }

    /// As files and programs write it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Mariadb => "mariadb",
        }
    }

    /// As people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Mysql => "MySQL",
            Self::Mariadb => "MariaDB",
        }
    }

    /// The section of the file that holds its part of the specification.
    #[must_use]
    pub const fn section(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql | Self::Mariadb => "mysql",
        }
    }

    /// Whether the proxy reads its protocol. Otherwise it gives each client a connection of its own, by port.
    #[must_use]
    pub const fn is_read_by_proxy(self) -> bool {
        match self {
            Self::Postgres => true,
            Self::Mysql | Self::Mariadb => false,
        }
    }

    /// What goes on with a replay that somebody paused, in the server's own words.
    #[must_use]
    pub const fn resumes_replay(self) -> &'static str {
        match self {
            Self::Postgres => "SELECT pg_wal_replay_resume()",
            Self::Mysql => "START REPLICA SQL_THREAD",
            Self::Mariadb => "START SLAVE SQL_THREAD",
        }
    }

    /// Most replicas that its server can make a commit wait for; `None`: any number.
    #[must_use]
    pub const fn acknowledgements_max(self) -> Option<u32> {
        match self {
            Self::Postgres | Self::Mysql => None,
            Self::Mariadb => Some(1),
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// When a commit is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// At once; what was not yet replicated when the leader dies is lost.
    Async,
    /// When the named replicas hold it.
    Sync,
    /// When any k of the replicas hold it.
    Quorum,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Async => "async",
            Self::Sync => "sync",
            Self::Quorum => "quorum",
        })
    }
}

/// What to do when fewer replicas are there than the durability needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnShortage {
    /// Commits wait.
    #[default]
    Wait,
    /// Commits go on with fewer copies; that is published first.
    Degrade,
}

/// How fast failures are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// One rack, dedicated machines.
    Fast,
    /// The default.
    #[default]
    Standard,
    /// Between regions.
    Wan,
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fast => "fast",
            Self::Standard => "standard",
            Self::Wan => "wan",
        })
    }
}

impl Profile {
    /// How long a renewal gives the right to write.
    #[must_use]
    pub const fn lease(self) -> Span {
        match self {
            Self::Fast => Span::ms(2_000),
            Self::Standard => Span::ms(3_000),
            Self::Wan => Span::ms(15_000),
        }
    }

    /// How often agents tell each other how they are, and the leader renews.
    #[must_use]
    pub const fn beat(self) -> Span {
        match self {
            Self::Fast => Span::ms(250),
            Self::Standard => Span::ms(500),
            Self::Wan => Span::ms(3_000),
        }
    }

    /// Silence after which a member is suspected.
    #[must_use]
    pub const fn suspect(self) -> Span {
        match self {
            Self::Fast => Span::ms(750),
            Self::Standard => Span::ms(1_500),
            Self::Wan => Span::ms(8_000),
        }
    }

    /// Safety margin of the lease: covers the guard's reaction and the kill, and drift between two clocks.
    #[must_use]
    pub const fn margin(self) -> Span {
        match self {
            Self::Fast => Span::ms(300),
            Self::Standard => Span::ms(400),
            Self::Wan => Span::ms(1_000),
        }
    }
}

/// What a member is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberKind {
    /// A database server and its agent.
    #[default]
    Data,
    /// A vote in the store and no data.
    Witness,
}

/// One member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MemberSpec {
    /// Its name.
    pub name: MemberName,
    /// Data or witness.
    pub kind: MemberKind,
    /// Host that the other members reach it by: an address or a name.
    pub host: String,
    /// The database server's port. A witness has none: 0.
    pub sql_port: u16,
    /// The HTTP port.
    pub api_port: u16,
    /// The port of the members' own mutual-TLS link.
    pub link_port: u16,
    /// The higher, the sooner it is chosen among equals. Default 100.
    pub priority: u32,
    /// Never becomes leader (and never elects itself).
    pub never_leader: bool,
    /// For people and analytics: never in the sync set, never leader unless nothing else is left to choose by hand.
    pub reporting: bool,
    /// Where it stands: among equals, an election prefers the zone of the leader before.
    pub zone: Option<String>,
    /// Replicates from this member instead of the leader, while it is there.
    pub follow: Option<MemberName>,
    /// Applies what it receives so much later, on purpose; it never leads, and no commit waits for it.
    #[serde(default)]
    pub delay: Option<Span>,
    /// Its own limits of lag, as an age; `None`: those of all.
    #[serde(default)]
    pub alert_lag: Option<[Span; 3]>,
    /// Its own limits of lag, in bytes; `None`: those of all.
    #[serde(default)]
    pub alert_lag_bytes: Option<[u64; 3]>,
}

impl MemberSpec {
    /// Whether it holds data.
    #[must_use]
    pub fn holds_data(&self) -> bool {
        self.kind == MemberKind::Data
    }

    /// Whether an election may choose it.
    #[must_use]
    pub fn may_lead(&self) -> bool {
        self.holds_data() && !self.never_leader && !self.reporting && self.delay.is_none()
    }

    /// Whether it may stand in the sync set.
    #[must_use]
    pub fn may_vote(&self) -> bool {
        self.holds_data() && !self.reporting && self.follow.is_none() && self.delay.is_none()
    }
}

/// PostgreSQL's part of the specification.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct PostgresSpec {
    /// Settings that the user asks for. Those that Dauphin owns are refused.
    pub parameters: BTreeMap<String, String>,
    /// Networks (CIDR) that replication and Dauphin's own roles come from.
    pub replication_networks: Vec<String>,
    /// Networks (CIDR) that clients come from, once a leader is open.
    pub client_networks: Vec<String>,
    /// `hostssl` only (`require`), or both (`off`).
    pub sql_tls: bool,
    /// Most log kept for an absent replica, in MiB (`max_slot_wal_keep_size`).
    pub slot_wal_keep_mib: u64,
    /// Locale given to initdb.
    pub locale: String,
}

/// MySQL's and MariaDB's part of the specification.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MysqlSpec {
    /// Settings that the user asks for. Those that Dauphin owns are refused.
    pub parameters: BTreeMap<String, String>,
    /// Whether clients must use TLS (`require`) or may (`off`).
    pub sql_tls: bool,
}

impl Default for MysqlSpec {
    fn default() -> Self {
        Self { parameters: BTreeMap::new(), sql_tls: true }
    }
}

/// What a person asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Spec {
    /// The cluster's name.
    pub cluster: ClusterName,
    /// Which database the members run.
    #[serde(default)]
    pub engine: EngineKind,
    /// When a commit is acknowledged.
    pub durability: Durability,
    /// How many replicas must hold a commit; `None`: the durability's default.
    pub required: Option<u32>,
    /// What to do when replicas are short.
    pub on_shortage: OnShortage,
    /// How fast failures are believed.
    pub profile: Profile,
    /// Copy a member's data again when it cannot be rewound. What would be cut off is archived first.
    pub allow_reclone: bool,
    /// The members, in the order of the file.
    pub members: Vec<MemberSpec>,
    /// PostgreSQL's part.
    pub postgres: PostgresSpec,
    /// MySQL's and MariaDB's part.
    #[serde(default)]
    pub mysql: MysqlSpec,
    /// Lag beyond which a replica takes no reads through the proxy, in bytes.
    pub read_lag_max_bytes: u64,
    /// What people are told of, and when.
    #[serde(default)]
    pub alerts: AlertSpec,
    /// What agents mend by themselves.
    #[serde(default)]
    pub health: HealthSpec,
    /// Where notices are sent.
    #[serde(default)]
    pub notify: Vec<TargetSpec>,
}

impl Spec {
    /// The member of that name.
    #[must_use]
    pub fn member(&self, name: &MemberName) -> Option<&MemberSpec> {
        self.members.iter().find(|m| m.name == *name)
    }

    /// Whether clients must use TLS.
    #[must_use]
    pub const fn sql_tls(&self) -> bool {
        match self.engine {
            EngineKind::Postgres => self.postgres.sql_tls,
            EngineKind::Mysql | EngineKind::Mariadb => self.mysql.sql_tls,
        }
    }

    /// Members that hold data.
    pub fn data_members(&self) -> impl Iterator<Item = &MemberSpec> {
        self.members.iter().filter(|m| m.holds_data())
    }

    /// How many replicas must hold a commit before it is acknowledged, with `voters` there to vouch.
    /// `quorum` counts the cluster's data members (k = ⌊members / 2⌋); `sync` waits for every voter; `async` for none.
    #[must_use]
    pub fn required_of(&self, voters: usize) -> u32 {
        let as_u32 = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        match self.durability {
            Durability::Async => 0,
            Durability::Sync => self.required.unwrap_or(as_u32(voters)),
            Durability::Quorum => self.required.unwrap_or(as_u32(self.data_members().count() / 2)),
        }
    }

    /// The fewest replicas that keep the promise; below it the cluster waits or degrades.
    #[must_use]
    pub fn required_min(&self) -> u32 {
        match self.durability {
            Durability::Async => 0,
            Durability::Sync => self.required.unwrap_or(1).max(1),
            Durability::Quorum => self.required_of(0).max(1),
        }
    }
}
