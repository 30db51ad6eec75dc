//! One member's agent: it looks at its server and its peers, feeds the decision core, and carries its steps out.
//!
//! `dauphin agent` calls [`run`]. Decisions are `dauphin-ha`'s; this crate joins them to the store, the link, the engine
//! and the guard, and never decides who leads.

mod alerts;
mod asks;
mod care;
mod change;
mod desk;
mod durable;
mod engine;
mod error;
mod failpoint;
mod instance;
mod journal;
mod keys;
mod lag;
mod lengths;
mod links;
mod lives;
mod looks;
mod metrics;
mod mind;
mod operations;
mod phases;
mod picture;
mod proxies;
mod pulse;
mod route;
mod secrets;
mod server;
mod setup;
mod shared;
mod standing;
mod start;
mod steps;
mod store_leader;
mod view;
mod vigil;
mod what_if;
mod why;

pub use error::AgentError;
pub use setup::run;
