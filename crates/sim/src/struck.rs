//! What went wrong in a run, one thing after the other: a list that says what happened and can be replayed, whole or in
//! part. `weather` writes and reads it, `shrink` leaves things out; it does nothing by itself.

use crate::faults::Fault;
use dauphin_ha::Command;
use dauphin_model::{Durability, Mono, OnShortage, Profile, Span};
use std::fmt;

/// One thing that went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Struck {
    /// When.
    pub at: Mono,
    /// Whom; the first member stands for all where the fault is everybody's.
    pub member: usize,
    /// What.
    pub what: What,
    /// For how long; zero: nothing to wait for.
    pub lasts: Span,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A fault hit a member.
    Hits(Fault),
    /// A person asked a member for something.
    Asks(Asked),
    /// People changed the specification.
    Sets(Change),
    /// The next work of this kind went another way. Replayed in another run it is the first that begins then or later.
    Bends(Work, How),
}

/// What people ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A planned change of leader.
    Switchover,
    /// A restart of the server.
    Restart,
    /// A fresh copy.
    Reinit,
    /// To take over, without a loss.
    Failover,
    /// That this member leads, whatever is lost. Stories ask for it, no seed does.
    FailoverWithLoss,
}

/// Work that a member hands out and waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// An engine step.
    Step,
    /// A fence that cuts an engine step off.
    Fence,
    /// A renewal of the lease.
    Renewal,
    /// Any other change of the store.
    Record,
    /// A write of its notes.
    Notes,
}

/// How work goes another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It fails, and nothing is changed.
    FailsBefore,
    /// It fails, and trying again does not help.
    Hopeless,
    /// It is done, and reported failed.
    FailsAfter,
    /// It is done, late.
    Late,
    /// Its end is told twice.
    Twice,
    /// It does not end before its own limit, if it has one.
    Never,
}

impl From<Asked> for Command {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::Switchover => Self::Switchover { to: None },
            Asked::Restart => Self::Restart,
            Asked::Reinit => Self::Reinit,
            Asked::Failover => Self::Failover { allow_data_loss: false },
            Asked::FailoverWithLoss => Self::Failover { allow_data_loss: true },
        }
    }
}

/// A change of the specification while the cluster runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// How durable a commit is.
    Durability(Durability),
    /// How many replicas must hold it.
    Required(Option<u32>),
    /// What happens when replicas are short.
    Shortage(OnShortage),
    /// How fast failures are believed.
    Profile(Profile),
    /// This member applies late on purpose from now on.
    Late(usize),
}

impl fmt::Display for Struck {
    /// `  12.345  m2 node killed, for 2.10 s`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9.3}  m{:<2} {}", self.at.0 as f64 / 1e6 - 1.0, self.member + 1, self.what)?;
        if self.lasts > Span::ZERO { write!(f, ", for {}", self.lasts) } else { Ok(()) }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hits(fault) => fault.fmt(f),
            Self::Asks(asked) => write!(f, "a person asks: {}", format!("{asked:?}").to_lowercase()),
            Self::Sets(change) => write!(f, "the specification is changed: {change:?}"),
            Self::Bends(work, how) => write!(f, "{work}: {how}"),
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Step => "its next engine step",
            Self::Fence => "the next step that a fence cuts off",
            Self::Renewal => "its next renewal of the lease",
            Self::Record => "its next change of the store",
            Self::Notes => "the next write of its notes",
        })
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FailsBefore => "fails before it is done",
            Self::Hopeless => "fails for good",
            Self::FailsAfter => "done, and reported failed",
            Self::Late => "late",
            Self::Twice => "told twice",
            Self::Never => "does not answer",
        })
    }
}
