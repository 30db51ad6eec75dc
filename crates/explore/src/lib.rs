//! The model check: every way that the simulated cluster can go with a bounded number of turns from the usual one, walked by
//! stateright. The decision core, the fakes and the invariants are the simulator's; only chance is replaced by exhaustion.
//!
//! The bound is on turns, not on depth (delay-bounded scheduling: Emmi, Qadeer, Rakamaric, POPL 2011): every run is followed
//! to its end, which also shows that each state that was reached heals.

mod model;
mod report;
mod start;

pub use model::{Act, Ends, Explorer, State};
pub use report::{Bounds, Report, Violation, explore};
pub use start::{START_NAMES, start};
