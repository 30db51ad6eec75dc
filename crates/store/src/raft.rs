//! The embedded backend: openraft over redb, inside every agent. `store.rs` drives it; nothing outside this crate
//! sees its types.

pub(crate) mod admin;
pub(crate) mod bootstrap;
pub(crate) mod campaign;
pub(crate) mod disk;
#[cfg(test)]
mod disk_test;
pub(crate) mod log;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod open;
pub(crate) mod record;
pub(crate) mod rpc;
pub(crate) mod serve;
pub(crate) mod state;
#[cfg(test)]
mod suite;
pub(crate) mod types;
pub(crate) mod watch;
pub(crate) mod write;
