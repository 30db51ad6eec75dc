//! List-append: transactions append unique values to lists and read whole lists, so that a read shows the order of every
//! write before it. From that follow the dependencies between transactions, and a cycle among them is an anomaly.
//! Adya, "Weak consistency", 1999; Kingsbury and Alvaro, "Elle", VLDB 2020.

mod cycles;
mod graph;
mod order;

pub use cycles::{Cycle, Edge, Kind};

use crate::{During, Outcome};
use std::fmt;

/// One transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Txn {
    /// Whose; a session's transactions do not overlap.
    pub session: u32,
    /// When.
    pub during: During,
    /// What came of it.
    pub outcome: Outcome,
    /// What it did, in order.
    pub ops: Vec<Op>,
}

/// One operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// A value, unique for its key, is appended.
    Append {
        /// The list.
        key: u64,
        /// The value.
        value: u64,
    },
    /// The whole list is read; only those of transactions that are [`Outcome::Ok`] are looked at.
    Read {
        /// The list.
        key: u64,
        /// What it held.
        values: Vec<u64>,
    },
}

/// What is wrong with a history, from the worst to what only strong levels forbid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Anomaly {
    /// A list holds a value twice.
    Duplicate,
    /// A read holds a value that nobody wrote.
    Unwritten,
    /// Two reads of a list, neither the beginning of the other: what split brain and lost commits look like.
    IncompatibleOrder,
    /// An acknowledged append is missing from a later read, and from every one after.
    Lost,
    /// A transaction contradicts itself.
    Internal,
    /// A write of a transaction that certainly failed was read.
    G1a,
    /// A value was read that its own transaction went on to write over.
    G1b,
    /// Writes depend on each other in a circle.
    G0,
    /// Writes and reads of them do.
    G1c,
    /// The same with exactly one write that a read came before: read skew, lost update.
    GSingle,
    /// With more of those, none next to another: long fork.
    GNonadjacent,
    /// With two of those in a row: write skew.
    G2Item,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Duplicate => "duplicate",
            Self::Unwritten => "unwritten",
            Self::IncompatibleOrder => "incompatible order",
            Self::Lost => "lost append",
            Self::Internal => "internal",
            Self::G1a => "G1a",
            Self::G1b => "G1b",
            Self::G0 => "G0",
            Self::G1c => "G1c",
            Self::GSingle => "G-single",
            Self::GNonadjacent => "G-nonadjacent",
            Self::G2Item => "G2-item",
        })
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub anomaly: Anomaly,
    /// In words, with transactions by their place in the history.
    pub text: String,
    /// The shortest circle, where it is one.
    pub cycle: Option<Cycle>,
}

/// Which orders count beside the data's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Orders {
    /// A session's transactions follow each other (the strong-session variants).
    pub session: bool,
    /// What ended before another began comes before it (the strict variants).
    pub real_time: bool,
}

/// Checks a history. At most one circle of each kind is told, the shortest found.
#[must_use]
pub fn check(history: &[Txn], orders: Orders) -> Vec<Finding> {
    let known = order::Known::of(history);
    let mut found = order::direct(history, &known);
    let graph = graph::of(history, &known, orders);
    found.extend(cycles::find(&graph));
    found.sort_by_key(|finding| finding.anomaly);
    found
}
