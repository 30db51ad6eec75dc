//! What clients saw, and whether a database that keeps its promise could have shown it. Pure: workloads record histories,
//! these check them, and each finding is the shortest witness there is. It never talks to a database.
//!
//! One module a workload: `set` (unique inserts), `append` (list-append, the strongest), `bank` (a constant total),
//! `sessions` (nobody reads backwards), `fork` (two readers agree on an order). `allowed` is the table of what an engine
//! itself permits.

pub mod allowed;
pub mod append;
pub mod bank;
pub mod fork;
pub mod sessions;
pub mod set;

/// What a client knows of its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Ok,
    /// It was certainly not done.
    Failed,
    /// Nobody knows: the connection was lost, the time ran out, or the server warned that replicas may lack it.
    Unknown,
}

/// When an operation began and ended, on one clock of all clients, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct During {
    /// Its beginning.
    pub from: u64,
    /// Its end.
    pub to: u64,
}

impl During {
    /// Whether it had ended when `later` began.
    #[must_use]
    pub const fn before(self, later: Self) -> bool {
        self.to < later.from
    }
}
