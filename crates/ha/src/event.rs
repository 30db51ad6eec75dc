//! Everything that can happen to the decision core. Made by the agent and the simulator from what they see.

use crate::message::Message;
use crate::reason::Reason;
use crate::step::{Intent, OpId, Rev};
use dauphin_model::{Leadership, Lease, Lsn, MemberName, Mono, Position, ServerView, Spec, SwitchPoint, Wrote};
use std::fmt;

/// Leaderships that came to be open and that the store remembers; older ones are dropped.
pub const PAST_MAX: usize = 200;

/// What the store holds, as applied here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct StoreView {
    /// Identity of the cluster; empty until the store is initialised.
    pub cluster_id: String,
    /// The leadership record and its revision (0: none yet).
    pub leadership: Option<Leadership>,
    /// Revision of the leadership record.
    pub leadership_rev: Rev,
    /// The lease.
    pub lease: Option<Lease>,
    /// Revision of the lease.
    pub lease_rev: Rev,
    /// When this process saw the lease's counter move last.
    pub lease_seen: Mono,
    /// What the leader works on.
    pub intent: Option<Intent>,
    /// Since when, on a wall clock: for people.
    pub intent_since: Option<String>,
    /// Automatic failover is off.
    pub paused: bool,
    /// The specification, when it is newer than the one given.
    pub spec: Option<Spec>,
    /// Who wrote which timeline, of the leaderships that came to be open: oldest first, the last [`PAST_MAX`].
    pub past: Vec<Wrote>,
}

/// How far a copy of a member's data has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Copying {
    /// Bytes copied.
    pub done: u64,
    /// Bytes there are, as the source estimates.
    pub total: u64,
    /// Bytes a second.
    pub rate: u64,
}

impl fmt::Display for Copying {
    /// `120 of 900 MiB, 45 MiB/s, 17 s left`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} MiB, {} MiB/s", self.done >> 20, self.total >> 20, self.rate >> 20)?;
        match self.total.saturating_sub(self.done).checked_div(self.rate) {
            Some(seconds) => write!(f, ", {seconds} s left"),
            None => Ok(()),
        }
    }
}

/// How a store operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreResult {
    /// It is in the log; the revision of what it wrote.
    Committed(Rev),
    /// An expectation did not hold; nothing was written.
    Conflict,
    /// Certainly not written.
    Failed,
    /// Nobody knows: it may be written later.
    Unknown,
}

/// How an engine step ended well.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EngineOutcome {
    /// Done.
    Done,
    /// Copied or rewound. The data is consistent only once it has received its source's log up to here.
    Copied {
        /// `None`: it is whole.
        needs: Option<Position>,
    },
    /// Frozen.
    Frozen {
        /// Up to here it holds what leaderships wrote.
        position: Position,
        /// Its log holds something else besides: it vouches for that much, and nobody may lead with it or receive from it.
        stray: bool,
    },
    /// Stopped in order: a log that reaches this far holds everything.
    Stopped(Option<Position>),
    /// Promoted here.
    Promoted(SwitchPoint),
    /// The setting is enforced everywhere; everything acknowledged under an earlier one lies before this.
    SyncSet(Lsn),
}

/// How an engine step ended badly.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EngineFailure {
    /// What happened, for people.
    pub because: String,
    /// The data is to blame, or what it was to be copied from: the server itself would not run with it, it cannot be
    /// rewound, it is of another version. Trying again changes nothing. Anything else says nothing about the data.
    pub bad_data: bool,
}

impl EngineFailure {
    /// A failure that says nothing about the data.
    #[must_use]
    pub fn new(because: impl Into<String>) -> Self {
        Self { because: because.into(), bad_data: false }
    }
}

/// Why a person's command was refused. The code decides the exit status.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It would lose data or is not safe (exit 3).
    Unsafe(Reason),
    /// It cannot be done as asked (exit 1).
    NotNow(Reason),
    /// This member does not lead: ask that one.
    AskLeader(Option<MemberName>),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsafe(reason) | Self::NotNow(reason) => write!(f, "{reason}"),
            Self::AskLeader(Some(leader)) => write!(f, "only the leader can do this; ask {leader}"),
            Self::AskLeader(None) => write!(f, "only the leader can do this, and there is none"),
        }
    }
}

/// What a person asks of this member.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Command {
    /// Hand leadership over; only the leader does it.
    Switchover {
        /// To whom; the best replica if not said.
        to: Option<MemberName>,
    },
    /// Make this member the leader now, whoever led before.
    Failover {
        /// Accept that commits nobody present holds are lost.
        allow_data_loss: bool,
    },
    /// Restart this member's server.
    Restart,
    /// Throw this member's data away and copy it again.
    Reinit,
    /// No automatic failover.
    Pause,
    /// Automatic failover again.
    Resume,
}

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// Time passed.
    Tick,
    /// The store's state, as applied here.
    Store(Box<StoreView>),
    /// A store operation ended.
    StoreResult {
        /// Which.
        op: OpId,
        /// How.
        result: StoreResult,
    },
    /// A message came.
    Message {
        /// From whom.
        from: MemberName,
        /// What.
        message: Box<Message>,
    },
    /// Both of that member's ports, the link's and the server's, refuse connections.
    Refused {
        /// Whose.
        member: MemberName,
    },
    /// A look at our own server.
    Server(Box<ServerView>),
    /// Our server's process tree is gone.
    ServerExited,
    /// The engine step under way ended.
    Engine(Result<EngineOutcome, EngineFailure>),
    /// How far the copy under way has come.
    Copying(Copying),
    /// The barrier's commit came through (`Ok`), or its wait was cut (`Err`).
    BarrierPassed {
        /// Which barrier.
        serial: u64,
        /// It was acknowledged without a warning.
        ok: bool,
    },
    /// The durable state asked for last is on the disk.
    Saved,
    /// It could not be written; what is on the disk is the state before, or this one.
    SaveFailed {
        /// What the disk said.
        because: String,
    },
    /// A person's command.
    Command {
        /// Its identity.
        id: u64,
        /// What.
        command: Command,
    },
    /// The agent is asked to end: hand over first.
    Shutdown,
}
