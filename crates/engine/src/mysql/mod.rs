//! MySQL 8.0, 8.4 and 9, MariaDB 10.11 and 11. [`Mysql`] is one member's server: every mechanical act is a method of it.
//!
//! Each act can be repeated after a crash or a cancelled call at any point. No act decides whether it is time for it.
//! What the servers call things is in [`dialect`]; it is chosen from the programs' own version, never by trial.

pub mod access;
pub mod accounts;
mod alone;
mod attached;
pub mod backup;
pub mod barrier;
pub mod begin;
pub mod binaries;
mod binlog;
mod by_hand;
pub mod client;
pub mod clone;
pub mod config;
pub mod copying;
pub mod cut_off;
pub mod demote;
pub mod dialect;
mod did;
pub mod errant;
pub mod error;
mod events;
pub mod follow;
pub mod freeze;
pub mod grants;
pub mod heartbeat;
pub mod in_order;
pub mod instance;
pub mod lag;
mod nudge;
pub mod observe;
pub mod offer;
pub mod position;
pub mod promote;
pub mod provision;
pub mod rejoin;
mod relay_log;
mod rescue;
pub mod room;
pub mod semi_sync;
mod server;
pub mod server_id;
pub mod server_view;
pub mod sessions;
pub mod standing;
pub mod start;
pub mod status;
pub mod stop;
mod stream;
pub mod threads;
pub mod timelines;
pub mod upstream;
pub mod version;
pub mod voters;
mod written_by;

pub use access::Access;
pub use accounts::Credentials;
pub use barrier::Barrier;
pub use binaries::Binaries;
pub use clone::CloneSource;
pub use config::{Settings, Tls};
pub use copying::Copied;
pub use cut_off::CutOff;
pub use dialect::Dialect;
pub use errant::{Errant, Logged};
pub use error::{Error, Refusal};
pub use follow::{Check, Source, SourceTls, check_promotion, check_versions};
pub use instance::Instance;
pub use observe::{View, Writes};
pub use offer::{Offer, check_copy};
pub use position::Reached;
pub use room::RoomWatch;
pub use semi_sync::{Acknowledges, SemiSync};
pub use server::Mysql;
pub use server_id::ServerId;
pub use standing::Standing;
pub use status::{Channel, Fault, Thread};
pub use stop::StopMode;
pub use timelines::{Began, NOWHERE, Place, Writer};
pub use upstream::Upstream;
pub use version::{Flavour, Version};

/// What every fallible act here gives.
pub type Result<T> = std::result::Result<T, Error>;
