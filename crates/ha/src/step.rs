//! Everything the decision core can ask for: a closed set, each of which ends in an event and can be repeated.
//! The agent and the simulator carry them out; nothing here decides.

use crate::event::Refusal;
use crate::message::Message;
use crate::reason::Reason;
use dauphin_model::{
    Enforced, Incarnation, Leadership, Lease, MemberName, Mono, PastTerm, Position, SetVersion, Term, Timeline, Voter,
    Wrote,
};
use serde::{Deserialize, Serialize};

/// Revision of a key in the store; 0 where the key does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Rev(pub u64);

/// Identity of one store operation: its answer carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct OpId(pub u64);

/// What a member keeps on its own disk beside the data; it outlives a re-clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Durable {
    /// The cluster's identity; empty before the first contact with the store.
    pub cluster_id: String,
    /// Highest term seen in the store.
    pub term: Term,
    /// Highest term pledged to: nothing of an older term is received any more.
    pub pledge: Term,
    /// Highest version of the published set seen.
    pub set_version: SetVersion,
    /// Who was elected to write which timeline, by the last record seen.
    #[serde(default)]
    pub elected: Option<Wrote>,
    /// The same, of the last record seen that was open.
    #[serde(default)]
    pub opened: Option<Wrote>,
    /// Which copy of the data this is; 0: there is none yet.
    pub incarnation: Incarnation,
    /// The data directory was being cloned or rewound: it must not be started as it is.
    pub half_done: bool,
    /// This copy was whole once: an empty folder in its place is a disk that is not mounted, or a loss.
    #[serde(default)]
    pub whole_once: bool,
    /// The data was rewound, and is consistent only once the log up to here has been received.
    #[serde(default)]
    pub needs: Option<Position>,
}

/// What a person asked for and the leader works on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Intent {
    /// What.
    pub kind: IntentKind,
    /// The member that is to lead.
    pub to: Option<MemberName>,
}

/// Kinds of intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentKind {
    /// A planned change of leader.
    Switchover,
}

/// One compare-and-set on the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct StoreTxn {
    /// The leadership record must still have this revision.
    pub expect_leadership: Option<Rev>,
    /// The lease must still have this revision.
    pub expect_lease: Option<Rev>,
    /// The new leadership record.
    pub leadership: Option<Leadership>,
    /// The new lease.
    pub lease: Option<Lease>,
    /// One more term for the history.
    pub past: Option<PastTerm>,
    /// The new intent, or none.
    pub intent: Option<Option<Intent>>,
    /// Automatic failover switched off or on.
    pub paused: Option<bool>,
}

/// What the database server is asked to do. One at a time; `Fence` alone goes past it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EngineStep {
    /// Create the cluster's first database, start it closed, and make the roles.
    Bootstrap {
        /// The timeline it writes.
        timeline: Timeline,
    },
    /// Start as a replica of nobody: it recovers its own log and receives nothing.
    StartDetached,
    /// Start as a replica of this one, which has log without which the data is not whole; ends when it is.
    StartBehind {
        /// Whom.
        upstream: MemberName,
        /// As whom.
        voter: Voter,
    },
    /// Stop in order; ends with the end of the log.
    Stop,
    /// Stop receiving, drain, and say how far the log reaches.
    Freeze,
    /// Receive from this member, under this name.
    Follow {
        /// Whom.
        upstream: MemberName,
        /// As whom.
        voter: Voter,
    },
    /// Keep everybody out but ourselves, wait for these voters, and become a leader on this timeline.
    Promote {
        /// The never-used timeline.
        timeline: Timeline,
        /// What to wait for from the first commit on.
        enforced: Enforced,
    },
    /// Begin the barrier's commit and see it wait: proof that the server enforces the setting. Ends when it is seen; the
    /// commit's own end comes as [`crate::Event::BarrierPassed`].
    StartBarrier {
        /// The term that the record is written in.
        term: Term,
        /// Which barrier of that term: its end carries the same number.
        serial: u64,
        /// What must be enforced.
        enforced: Enforced,
    },
    /// Wait for these voters from now on; ends when no backend or sender uses an older setting.
    SetSync {
        /// What to wait for.
        enforced: Enforced,
    },
    /// Let clients in.
    OpenAccess,
    /// Let running transactions end (bounded), keep clients out, end their sessions.
    CloseAccess,
    /// Copy the data from this member.
    Clone {
        /// Whom.
        from: MemberName,
        /// The copy's name.
        voter: Voter,
    },
    /// Archive what is cut off, then go back to where this member's log parted from ours.
    Rewind {
        /// Whom.
        from: MemberName,
    },
}

impl EngineStep {
    /// The step's name, for people.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bootstrap { .. } => "bootstrap",
            Self::StartDetached => "start",
            Self::StartBehind { .. } => "start-behind",
            Self::Stop => "stop",
            Self::Freeze => "freeze",
            Self::Follow { .. } => "follow",
            Self::Promote { .. } => "promote",
            Self::StartBarrier { .. } => "barrier",
            Self::SetSync { .. } => "set-sync",
            Self::OpenAccess => "open",
            Self::CloseAccess => "close",
            Self::Clone { .. } => "clone",
            Self::Rewind { .. } => "rewind",
        }
    }
}

/// What the core asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// Write this to the disk, then answer [`crate::Event::Saved`] or [`crate::Event::SaveFailed`]. The last one asked for counts.
    Save(Durable),
    /// Send to one member; may be lost.
    Send {
        /// Whom.
        to: MemberName,
        /// What.
        message: Message,
    },
    /// Change the store; answered by [`crate::Event::Store`] results with the same id.
    Commit {
        /// Its identity.
        op: OpId,
        /// The compare-and-set.
        txn: Box<StoreTxn>,
    },
    /// Ask the server.
    Engine(EngineStep),
    /// Kill the server's whole process tree now, whatever else is under way.
    Fence,
    /// The guard kills the server at this moment unless told a later one. `None`: no lease to lose.
    Deadline(Option<Mono>),
    /// Keep in the journal.
    Journal(Reason),
    /// The answer to a person's command.
    Reply {
        /// The command's identity.
        id: u64,
        /// Done, or why not.
        result: Result<Option<Reason>, Refusal>,
    },
    /// A majority of the members agrees that this one is gone: should it lead the store too, the store elects now, as
    /// the election's decision must be written there.
    ElectStore {
        /// Who is gone.
        gone: MemberName,
    },
    /// The agent may end now.
    Exit,
}

impl Step {
    /// Every name that [`Self::name`] can give.
    pub const NAMES: [&'static str; 30] = [
        "save",
        "beat",
        "pre-vote",
        "pre-vote-reply",
        "freeze-ask",
        "frozen",
        "freeze-refused",
        "catch-up",
        "commit-record",
        "commit-lease",
        "commit-other",
        "bootstrap",
        "start",
        "start-behind",
        "stop",
        "freeze",
        "follow",
        "promote",
        "barrier",
        "set-sync",
        "open",
        "close",
        "clone",
        "rewind",
        "fence",
        "deadline",
        "journal",
        "reply",
        "elect-store",
        "exit",
    ];

    /// What kind of step it is, for traces and failpoints: a new kind must be named here.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Save(_) => "save",
            Self::Send { message, .. } => match message {
                Message::Beat(_) => "beat",
                Message::PreVote { .. } => "pre-vote",
                Message::PreVoteReply { .. } => "pre-vote-reply",
                Message::Freeze { .. } => "freeze-ask",
                Message::Frozen { .. } => "frozen",
                Message::FreezeRefused { .. } => "freeze-refused",
                Message::CatchUp { .. } => "catch-up",
            },
            Self::Commit { txn, .. } if txn.leadership.is_some() => "commit-record",
            Self::Commit { txn, .. } if txn.lease.is_some() => "commit-lease",
            Self::Commit { .. } => "commit-other",
            Self::Engine(step) => step.name(),
            Self::Fence => "fence",
            Self::Deadline(_) => "deadline",
            Self::Journal(_) => "journal",
            Self::Reply { .. } => "reply",
            Self::ElectStore { .. } => "elect-store",
            Self::Exit => "exit",
        }
    }
}
