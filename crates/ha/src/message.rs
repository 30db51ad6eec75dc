//! What members tell each other directly. Any of it may be lost, repeated or late; nothing here decides.

use crate::roles::Role;
use dauphin_model::{
    Away, Incarnation, Lag, LeadershipState, Lsn, MemberName, Position, Remark, Run, SetVersion, Term, Voter,
};
use serde::{Deserialize, Serialize};

/// How a member is, sent every beat and at once when something changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Beat {
    /// Which copy of its data.
    pub incarnation: Incarnation,
    /// Its role.
    pub role: Role,
    /// The term of the record it sees.
    pub term: Term,
    /// The term it is pledged to.
    pub pledge: Term,
    /// It has seen more than its store holds: that was restored from an old copy.
    #[serde(default)]
    pub refuses_store: bool,
    /// It hears the record's leader.
    pub hears_leader: bool,
    /// It is the leader of this term in the store, and is not and will not be leading.
    pub gave_up: Option<Term>,
    /// It gave leadership up on purpose and runs the election itself: nobody else needs to.
    pub handing_over: bool,
    /// Its server.
    pub run: Run,
    /// How far its log reaches.
    pub position: Option<Position>,
    /// How far it has received, where `position` counts only what is replayed: on MySQL and MariaDB.
    #[serde(default)]
    pub received: Option<Lsn>,
    /// How far it has replayed, in bytes behind its own log.
    pub replay_behind: u64,
    /// Age of the last replayed transaction, in milliseconds.
    pub replay_lag_ms: Option<u64>,
    /// Series of its server: see [`dauphin_model::ServerView::series`].
    #[serde(default)]
    pub series: u32,
    /// It receives a stream.
    pub streaming: bool,
    /// Settings that wait for a restart.
    pub pending_restart: u32,
    /// Its server lets clients in.
    pub serves: bool,
    /// Whom it receives from.
    pub upstream: Option<MemberName>,
    /// What a person set by hand, or should know, of its server.
    pub remarks: Vec<Remark>,
    /// What it does as leader.
    pub leading: Option<Leading>,
    /// Which engine step is under way, for people.
    pub busy: Option<String>,
}

/// The leader's part of a beat.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Leading {
    /// Its term.
    pub term: Term,
    /// How far it has come.
    pub state: LeadershipState,
    /// Its server takes base backups.
    pub clone_ok: bool,
    /// Voters may attach: what the server waits for is proved.
    pub attach: bool,
    /// Its server lets clients in.
    pub accepting: bool,
    /// A switchover is under way: no new transactions, please.
    pub draining: bool,
    /// Fewer replicas than the durability needs are there: commits wait.
    pub short: bool,
    /// The replicas it sees.
    pub replicas: Vec<ReplicaSeen>,
    /// Those that it saw and sees no more.
    #[serde(default)]
    pub away: Vec<Away>,
}

/// A replica as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReplicaSeen {
    /// Who.
    pub name: MemberName,
    /// `sync`, `quorum`, `potential` or `async`.
    pub sync_state: String,
    /// Bytes that it has not replayed yet.
    pub lag_bytes: u64,
    /// Of those, what it has not received yet, and what it has not on disk yet.
    #[serde(default)]
    pub unreceived_bytes: Option<u64>,
    /// The same on its disk.
    #[serde(default)]
    pub unflushed_bytes: Option<u64>,
    /// For how long it has been behind, by the leader's clock.
    #[serde(default)]
    pub lag: Option<Lag>,
    /// Address it comes from.
    pub client_addr: Option<String>,
}

/// A message between members.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Message {
    /// How I am.
    Beat(Box<Beat>),
    /// Do you agree that the leader of this term is gone?
    PreVote {
        /// The record's term.
        term: Term,
    },
    /// The answer.
    PreVoteReply {
        /// The term asked about.
        term: Term,
        /// Whether I agree.
        agree: bool,
    },
    /// Stop receiving and pledge yourself to this term.
    Freeze {
        /// The term.
        term: Term,
    },
    /// Done: nothing of an older term reaches my log any more.
    Frozen {
        /// The term pledged to.
        term: Term,
        /// Which copy answers.
        voter: Voter,
        /// How far its log reaches.
        position: Position,
        /// The version of the set that it knows.
        set_version: SetVersion,
        /// It led the last open term and is fenced.
        holder: bool,
        /// Its log holds something besides that no leadership wrote.
        stray: bool,
    },
    /// I will not.
    FreezeRefused {
        /// The term asked for.
        term: Term,
        /// My pledge, when it is higher.
        pledge: Term,
        /// I lead, and I am well; or my notes say more than the store, and nobody should decide by it.
        alive: bool,
    },
    /// Stream what you lack from this member, then answer the freeze again.
    CatchUp {
        /// The term you are frozen for.
        term: Term,
        /// From whom.
        from: MemberName,
        /// How far.
        until: Position,
    },
}
