//! The nouns of Dauphin: names, terms, positions, durability, the sync set, the specification, the leadership record.
//!
//! Every other crate speaks in these types. This crate never does I/O, never reads a clock, never rolls dice.

pub mod alerts;
pub mod file;
pub mod gtid;
pub mod health;
pub mod name;
pub mod position;
pub mod proxies;
pub mod read_level;
pub mod record;
pub mod remark;
pub mod route;
pub mod server;
pub mod spec;
pub mod sync_set;
pub mod time;
pub mod token;
pub mod words;

pub use alerts::{AlertSpec, EmailSpec, Level, MailTls, TargetKind, TargetSpec};
pub use file::{ClientCertificates, ClusterFile, FileErrors, Local, Pooling, ProxyFile};
pub use gtid::{
    BinlogState, FilePosition, Furthest, Gtid, GtidSet, Held, MariaGtid, MariaPosition, Standing, furthest,
};
pub use health::{FixKind, HealthSpec};
pub use name::{BadName, ClusterName, Incarnation, MemberName, SetVersion, Term, Timeline, Voter};
pub use position::{BadLsn, Branch, Lsn, Position, Relation};
pub use read_level::ReadLevel;
pub use record::{Evidence, Leadership, LeadershipState, Lease, PastTerm, SwitchPoint, Wrote};
pub use remark::Remark;
pub use route::{Fence, ReplicaTarget, Route, RouteState, Target};
pub use server::{Attached, Away, Lag, Run, ServerView};
pub use spec::{Durability, EngineKind, MemberKind, MemberSpec, MysqlSpec, OnShortage, PostgresSpec, Profile, Spec};
pub use sync_set::{Enforced, Published};
pub use time::{Mono, Span};
pub use token::CommitToken;
