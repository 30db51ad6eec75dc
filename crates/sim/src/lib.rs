//! The simulator: whole clusters in virtual time on one thread, running the real decision core against fake servers,
//! a fake store and a bad network. The same seed gives the same trace. Used by tests and `cargo xtask sim`.

mod config;
mod fakes;
mod faults;
mod hands;
mod invariants;
mod people;
mod pg;
mod rng;
mod run;
mod servers;
mod store;
mod trace;
mod turns;
mod world;

pub use config::{Config, Faults, Pace, spec};
pub use fakes::{FakeStream, Fakes};
pub use faults::Fault;
pub use run::{Outcome, run};
pub use trace::Trace;
pub use turns::{Lasts, Turn};
pub use world::World;
