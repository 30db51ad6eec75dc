//! The simulator: whole clusters in virtual time on one thread, running the real decision core against fake servers,
//! a fake store and a bad network. The same seed gives the same trace. Used by tests and `cargo xtask sim`.

mod coming;
mod config;
mod database;
mod fakes;
mod faults;
mod foretell;
mod gtid;
mod hands;
mod invariants;
mod people;
mod rng;
mod run;
mod servers;
mod shrink;
mod store;
mod streams;
mod struck;
mod trace;
mod turns;
mod weather;
mod world;

pub use config::{Config, Faults, Pace, Ways, spec};
pub use fakes::{FakeStream, Fakes};
pub use faults::Fault;
pub use foretell::{Blow, Condition, End, Standing, Unlike, foretell};
pub use run::{Outcome, run};
pub use shrink::{Shrunk, shrink};
pub use struck::{Asked, Change, How, Struck, What, Work};
pub use trace::Trace;
pub use turns::{Lasts, Turn};
pub use world::World;
