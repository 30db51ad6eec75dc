//! PostgreSQL 15 to 18. [`Postgres`] is one member's server: every mechanical act of the agent is a method of it.
//!
//! Each act can be repeated after a crash or a cancelled call at any point. No act decides whether it is time for it.

pub mod access;
pub mod barrier;
pub mod binaries;
pub mod change;
pub mod check;
pub mod client;
pub mod clone;
pub mod config;
pub mod control;
pub mod drain;
pub mod error;
pub mod follow;
pub mod freeze;
mod half_received;
pub mod hba;
pub mod history;
pub mod instance;
mod mend;
pub mod probe;
pub mod process;
pub mod promote;
pub mod provision;
pub mod reload;
pub mod rewind;
pub mod roles;
mod server;
pub mod session;
mod settle;
pub mod signs;
pub mod slots;
pub mod start;
pub mod sync;
pub mod tool;

pub use crate::host::files;
pub use barrier::BarrierProbe;
pub use binaries::Binaries;
pub use check::Refusal;
pub use config::{Live, Settings, Tls, Upstream};
pub use control::{ControlData, StopMode};
pub use error::Error;
pub use freeze::Frozen;
pub use hba::{Access, Networks};
pub use instance::Instance;
pub use process::Postmaster;
pub use roles::{Credentials, Secret};
pub use server::Postgres;
pub use start::ServerCommand;
pub use sync::SyncMethod;

/// What every fallible act here gives.
pub type Result<T> = std::result::Result<T, Error>;
