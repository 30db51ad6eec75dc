//! Why something was decided, as a type: log, command line, console and journal show the same one.
//! Every variant stands in docs/reasons.md; text is made here and nowhere else.

use crate::roles::Role;
use dauphin_model::{EngineKind, Evidence, Lsn, MemberName, Position, SetVersion, Span, Term, Timeline, Voter};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a leader is believed gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gone {
    /// Its own agent says that it does not lead any more.
    GaveUp,
    /// Both its ports refuse connections.
    Refused,
    /// Nothing was heard of it for longer than the profile's `suspect`.
    Silent,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GaveUp => "its agent reports that it no longer leads",
            Self::Refused => "both its ports refuse connections",
            Self::Silent => "nothing is heard of it",
        })
    }
}

fn names<T: fmt::Display>(list: &[T]) -> String {
    if list.is_empty() {
        return "nobody".to_owned();
    }
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

macro_rules! reasons {
    (in the words of $engine:ident; $($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident : $type:ty),* } $code:literal => ($($text:tt)*);)*) => {
        /// Why something was decided.
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case", tag = "reason")]
        pub enum Reason {
            $($(#[$doc])* $name { $($(#[$fdoc])* $field: $type),* },)*
        }

        impl Reason {
            /// Short stable code, for programs.
            #[must_use]
            pub fn code(&self) -> &'static str {
                match self { $(Self::$name { .. } => $code,)* }
            }

            /// Every code there is.
            pub const CODES: &'static [&'static str] = &[$($code),*];
        }

        impl fmt::Display for Told<'_> {
            #[allow(unused_variables)]
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let $engine = self.engine;
                match self.reason { $(Reason::$name { $($field),* } => write!(f, $($text)*),)* }
            }
        }
    };
}

/// A reason in the words of an engine.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    reason: &'a Reason,
    engine: EngineKind,
}

impl Reason {
    /// For people who run this engine.
    #[must_use]
    pub const fn told(&self, engine: EngineKind) -> Told<'_> {
        Told { reason: self, engine }
    }
}

/// In PostgreSQL's words, which the simulator's fakes speak as well.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.told(EngineKind::Postgres).fmt(f)
    }
}

reasons! {
    in the words of engine;
    /// A role changed.
    RoleChanged {
        /// Before.
        from: Role,
        /// After.
        to: Role,
        /// The table's comment.
        because: String
    } "role_changed" => ("{from} -> {to}: {because}");
    /// The leader is believed gone.
    LeaderGone {
        /// Who.
        leader: MemberName,
        /// Its term.
        term: Term,
        /// How that is known.
        how: Gone
    } "leader_gone" => ("leader {leader} of term {term} is believed gone: {how}");
    /// A majority agreed; voters are asked to freeze.
    ElectionStarted {
        /// The new term.
        term: Term,
        /// Who agreed.
        agreed: Vec<MemberName>
    } "election_started" => ("election for term {term}: {} agree that the leader is gone", names(agreed));
    /// Nobody else saw the leader gone.
    ElectionDropped {
        /// The term.
        term: Term,
        /// Why.
        because: String
    } "election_dropped" => ("election for term {term} dropped: {because}");
    /// Not enough voters answered for a promotion without loss.
    TooFewAnswers {
        /// The term.
        term: Term,
        /// Who answered.
        answered: Vec<Voter>,
        /// Whose answers are missing.
        missing: Vec<Voter>,
        /// How many are needed.
        needed: u32
    } "too_few_answers" => (
        "term {term}: {} answered and {needed} of the sync set are needed; waiting for {} (dauphin failover --allow-data-loss gives up what only they hold)",
        names(answered), names(missing));
    /// A member vouches for commits that no candidate holds, and nobody may lead with its log or receive from it.
    HeldBesideStray {
        /// The term.
        term: Term,
        /// Who.
        voter: Voter,
        /// How far it vouches.
        position: Position
    } "held_beside_stray" => (
        "term {term}: {voter} alone holds the log up to {position}, and beside it what no leader wrote; waiting for another that holds as much (dauphin failover --allow-data-loss gives up what only {voter} holds)",
        position = engine.position(position));
    /// A member of a newer series holds commits that nobody else does, and others are there that could not follow it.
    HeldByNewer {
        /// The term.
        term: Term,
        /// Who.
        voter: Voter,
        /// How far its log reaches.
        position: Position,
        /// One that could not follow it.
        older: MemberName
    } "held_by_newer" => (
        "term {term}: {voter} alone holds the log up to {position}, and {older}, which runs an older series, could not follow it; {voter} leads once {older} is upgraded or its agent stopped (dauphin failover --allow-data-loss gives up what only {voter} holds)",
        position = engine.position(position));
    /// The winner was chosen.
    Decided {
        /// The new term.
        term: Term,
        /// The winner.
        leader: Voter,
        /// How far its log reaches.
        position: Position,
        /// The others' positions.
        others: Vec<(Voter, Position)>,
        /// What allowed it.
        evidence: Evidence
    } "decided" => ("term {term}: {leader} leads from {position}; {evidence}", position = engine.position(position));
    /// The store names this member as its winner, and too few members are there that go by this store.
    LeadsNotYet {
        /// The term that it was elected for.
        term: Term,
        /// How many members must be there, itself counted.
        needed: u32,
        /// Who is not heard, or has not said anything of a leadership yet.
        missing: Vec<MemberName>,
        /// Who has seen more than the store holds.
        refusing: Vec<MemberName>
    } "leads_not_yet" => (
        "term {term}: elected, and waits until {needed} members are there and go by this store; not heard: {}; have seen more than it holds: {}",
        names(missing), names(refusing));
    /// What may be lost by a promotion that a person forced, or with `async` durability.
    RangeAtRisk {
        /// The new term.
        term: Term,
        /// First byte that may be lost.
        from: Lsn,
        /// End of the old leader's log, when known.
        to: Option<Lsn>,
        /// Who may hold it.
        held_by: Vec<Voter>
    } "range_at_risk" => ("term {term}: commits after {from} that only {} may hold are given up", names(held_by), from = engine.place(*from));
    /// The winner is promoted.
    Promoted {
        /// The term.
        term: Term,
        /// The new timeline.
        timeline: Timeline,
        /// Where it begins.
        at: Lsn
    } "promoted" => ("term {term}: promoted to {timeline} at {at}; closed until enough replicas hold the whole log", timeline = engine.timeline(*timeline), at = engine.place(*at));
    /// Clients are let in.
    Opened {
        /// The term.
        term: Term,
        /// Who vouches.
        voters: Vec<Voter>,
        /// How many answers an election needs from now on.
        answers: u32
    } "opened" => ("term {term} is open; sync set: {} (an election needs {answers})", names(voters));
    /// The cluster goes on with fewer copies than promised.
    Degraded {
        /// The term.
        term: Term
    } "degraded" => ("term {term}: replicas are short and the specification says degrade: commits are acknowledged with fewer copies");
    /// Commits wait for replicas.
    ShortOfReplicas {
        /// The term.
        term: Term,
        /// How many are there.
        there: u32,
        /// How many must hold a commit.
        required: u32
    } "short_of_replicas" => ("term {term}: {there} replicas can vouch and {required} must: commits wait (on_shortage = \"degrade\" would let them through)");
    /// The published sync set changed.
    SyncSetChanged {
        /// Its version.
        version: SetVersion,
        /// Who vouches.
        voters: Vec<Voter>,
        /// How many answers an election needs.
        answers: u32,
        /// Why.
        because: String
    } "sync_set_changed" => ("sync set {version}: {} (an election needs {answers}): {because}", names(voters));
    /// Leadership was confirmed under a higher term, because voters had pledged to one.
    Reaffirmed {
        /// The new term.
        term: Term,
        /// The highest pledge seen.
        pledge: Term
    } "reaffirmed" => ("voters had pledged to term {pledge} and no leader came of it: going on as term {term}");
    /// This member stops being able to acknowledge.
    Fencing {
        /// Its term.
        term: Term,
        /// Why.
        because: String
    } "fencing" => ("fenced itself as leader of term {term}: {because}");
    /// This voter froze.
    FrozenHere {
        /// Pledged to.
        term: Term,
        /// At.
        position: Position
    } "frozen" => ("pledged to term {term} at {position}: receives nothing of an older term", position = engine.position(position));
    /// It follows a leader.
    Following {
        /// Whom.
        upstream: MemberName,
        /// The leader's term.
        term: Term
    } "following" => ("follows {upstream} in term {term}");
    /// Its log parted from the leader's.
    Diverged {
        /// Where they agree up to.
        at: Lsn,
        /// How far ours goes.
        ours: Position,
        /// The leader.
        leader: MemberName
    } "diverged" => ("own log {ours} parts from {leader}'s at {at}: what lies beyond is archived and cut off", ours = engine.position(ours), at = engine.place(*at));
    /// Recovery aims at a timeline that came to nothing: it had heard of it while its leader lived, and received nothing of it.
    AimsElsewhere {
        /// At which.
        timeline: Timeline,
        /// Whose log it should receive.
        leader: MemberName
    } "aims_elsewhere" => ("starts its server anew: its recovery aims at {timeline}, which {leader}'s log does not hold", timeline = engine.timeline(*timeline));
    /// The data cannot be rewound.
    Recloning {
        /// From whom.
        from: MemberName,
        /// Why.
        because: String
    } "recloning" => ("copies its data again from {from}: {because}");
    /// A step failed.
    StepFailed {
        /// Which.
        step: String,
        /// Why.
        because: String
    } "step_failed" => ("{step} failed: {because}");
    /// A person is needed.
    Quarantined {
        /// Why.
        because: String
    } "quarantined" => ("this member needs a person: {because}");
    /// The store is older than what this member has seen.
    StoreRolledBack {
        /// What this member has seen.
        seen: Term,
        /// What the store holds.
        store: Term
    } "store_rolled_back" => ("the store holds term {store} and this member has seen term {seen}: it was restored from an old copy; this member does nothing until the newer store is back, or its own folders are emptied and it is added again (dauphin store add)");
    /// The store was older than what this member has seen, and has grown since.
    StoreWentOn {
        /// Whose leadership this member has seen.
        leader: Voter,
        /// The timeline that it wrote.
        timeline: Timeline,
        /// What the store holds.
        store: Term
    } "store_went_on" => ("this member has seen {leader} write {timeline} and the store, now at term {store}, knows nothing of it: it was restored from an old copy and went on from there; this member does nothing until the other store is back, or its own folders are emptied and it is added again (dauphin store add)", timeline = engine.timeline(*timeline));
    /// A switchover began.
    SwitchoverStarted {
        /// To whom.
        to: MemberName
    } "switchover_started" => ("switchover to {to}: no new transactions, running ones end");
    /// A switchover was given up.
    SwitchoverFailed {
        /// To whom.
        to: MemberName,
        /// Why.
        because: String
    } "switchover_failed" => ("switchover to {to} given up: {because}");
    /// It was given as a target and cannot be one.
    NotFit {
        /// Who.
        member: MemberName,
        /// Why.
        because: String
    } "not_fit" => ("{member} cannot lead: {because}");
    /// A person paused or resumed automatic failover.
    Paused {
        /// Now.
        paused: bool
    } "paused" => ("automatic failover is {}", if *paused { "paused: `dauphin resume` switches it on again" } else { "on" });
    /// Nothing can be done just now.
    Busy {
        /// With what.
        with: String
    } "busy" => ("busy with {with}; try again when it is done");
    /// Promoting here would lose acknowledged commits.
    WouldLose {
        /// What stands in the way.
        because: String
    } "would_lose" => ("refused: acknowledged commits could be lost: {because}; `--allow-data-loss` accepts that");
    /// A person asked for something to be done here.
    Asked {
        /// What.
        what: String
    } "asked" => ("a person asked for {what}");
    /// A server is not restarted now.
    KeepsRunning {
        /// What stands in the way.
        because: String
    } "keeps_running" => ("the server is not restarted: {because}");
    /// A copy of the data is not thrown away now.
    KeepsData {
        /// What stands in the way.
        because: String
    } "keeps_data" => ("refused: the data stays as it is: {because}");
    /// Timed out.
    TooSlow {
        /// What.
        what: String,
        /// After.
        after: Span
    } "too_slow" => ("{what} took longer than {after}");
}
