//! What a text of SQL can leave behind in its session, as types. `sql` makes them, the proxy decides by them.

use super::Ending;
use std::fmt;

/// What [`Lasting::Set`] names SET SESSION CHARACTERISTICS, which sets any of several settings.
pub const CHARACTERISTICS: &[u8] = b"session characteristics";

/// State that cannot be carried to another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// Temporary tables, views or sequences.
    Temporary,
    /// Session-level advisory locks.
    AdvisoryLock,
    /// LISTEN.
    Listen,
    /// PREPARE in SQL.
    Prepare,
    /// A cursor WITH HOLD.
    HoldCursor,
    /// SET ROLE or SET SESSION AUTHORIZATION.
    Role,
    /// A setting changed in a way that cannot be repeated.
    Setting,
    /// LOAD.
    Load,
    /// DO, CALL, or a function called by number: it may have done anything.
    Code,
    /// A connection of the session's own to another server.
    Connection,
    /// A statement that is not known here.
    Unknown,
    /// Text that may be read in two ways.
    Doubt,
    /// More or longer prepared statements than are kept.
    TooMuch,
    /// A replication connection.
    Replication,
    /// COPY in a pipeline: its end cannot be told for sure.
    Copy,
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Temporary => "temporary tables",
            Self::AdvisoryLock => "advisory locks",
            Self::Listen => "LISTEN",
            Self::Prepare => "statements prepared in SQL",
            Self::HoldCursor => "a cursor WITH HOLD",
            Self::Role => "SET ROLE or SET SESSION AUTHORIZATION",
            Self::Setting => "settings that cannot be repeated",
            Self::Load => "a loaded library",
            Self::Code => "DO, CALL or a function called by number",
            Self::Connection => "a connection to another server",
            Self::Unknown => "a statement the proxy does not know",
            Self::Doubt => "a text that can be read in two ways",
            Self::TooMuch => "more prepared statements than the proxy keeps",
            Self::Replication => "replication",
            Self::Copy => "COPY in a pipeline",
        })
    }
}

/// A statement that changes what is remembered of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lasting {
    /// SET of this setting.
    Set(Vec<u8>),
    /// RESET of this setting.
    Reset(Vec<u8>),
    /// RESET ALL.
    ResetAll,
    /// DISCARD ALL.
    DiscardAll,
    /// DEALLOCATE of this statement.
    Deallocate(Vec<u8>),
    /// DEALLOCATE ALL.
    DeallocateAll,
}

/// What a text does to the transaction that it runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Control {
    /// It may end one with a commit.
    pub may_commit: bool,
    /// It may end one, either way.
    pub ends: bool,
    /// It begins one, and does nothing else.
    pub begins: bool,
    /// It only reads, as far as its text tells, and is a transaction of its own where none is open; or it begins one that
    /// only reads.
    pub reads: bool,
    /// How it ends one, if that is all it does.
    pub ending: Option<Ending>,
}

impl Control {
    /// What is not known may do anything.
    pub const ANY: Self = Self { may_commit: true, ends: true, begins: false, reads: false, ending: None };

    /// What one of both may do.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            may_commit: self.may_commit || other.may_commit,
            ends: self.ends || other.ends,
            begins: self.begins && other.begins,
            reads: self.reads && other.reads,
            ending: self.ending.filter(|ending| other.ending == Some(*ending)),
        }
    }
}

/// What a text leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effects {
    /// Why the session cannot move after it.
    pub pin: Option<Pin>,
    /// What it changes, in order. A SET stands alone in its text.
    pub changes: Vec<Lasting>,
    /// It uses savepoints, which may take back part of a transaction's settings.
    pub savepoint: bool,
    /// What it does to the transaction that it runs in.
    pub control: Control,
    /// It may change which messages the server sends: see [`crate::postgres::warnings`].
    pub messages: bool,
}
