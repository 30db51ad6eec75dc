//! One real database server: provision, start, stop, probe, configure, promote, follow, rewind, clone.
//!
//! The agent calls it and decides *when*; this crate knows *how* and proves that it happened. It never decides, never
//! talks to the store, and never starts the server's main process: the guard does that from a [`ServerCommand`].
//!
//! [`ServerCommand`]: host::ServerCommand

pub mod host;
pub mod mysql;
pub mod postgres;
