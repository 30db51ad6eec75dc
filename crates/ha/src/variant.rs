//! Deliberately broken variants of the protocol, for the simulator to catch. Outside tests the feature is off and
//! every question here is answered `false` at compile time.

/// One rule of PROTOCOL.md left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variant {
    /// A voter answers without having stopped receiving.
    SkipFreeze,
    /// A pledge is kept in memory only: a restart forgets it.
    ForgetPledge,
    /// Fewer voters are published before the server is configured for them.
    PublishBeforeConfigure,
    /// More voters are enforced before they are published.
    ConfigureBeforePublish,
    /// The winner promotes before the compare-and-set has decided.
    PromoteBeforeDecide,
    /// The longest log wins, whatever its history.
    IgnoreBranch,
    /// Clients are let in before the barrier.
    SkipBarrier,
    /// One answer fewer than the published set asks for.
    FewerAnswers,
    /// A smaller set is published before its voters hold everything acknowledged.
    SkipHolders,
    /// A deposed leader goes on until its lease ends, and promotes itself in place.
    WinInPlace,
    /// An `async` election does not wait for the lease.
    IgnoreLease,
    /// It waits as long as its own specification says, not the holder's.
    OwnLeaseLength,
    /// A frozen voter follows the old leader again when its election failed.
    UnfreezeToOldLeader,
    /// A voter's own word that it led the last open term is believed.
    BelieveHolder,
    /// A setting counts as enforced as soon as it was asked for.
    UnconfirmedReload,
    /// Degraded is enforced before it is published.
    DegradeBeforePublish,
    /// After a start the first state of the store is believed, though this member may have applied less than it had. The
    /// agent keeps this rule; the simulator breaks it in the agent's place.
    OldFirstView,
    /// The winner's set is in force from its election on, before it is enforced.
    NewSetAtDecision,
    /// The decision does not ask that the record is still the one that was seen.
    DecideByTermAlone,
    /// A leader's change of the record does not ask that the record is still the one that was seen.
    PublishBlindly,
    /// A winner takes the next timeline of its own log, whoever used that.
    ReuseTimeline,
    /// A member follows whatever its log holds.
    FollowDiverged,
    /// Pledges that came to nothing are never taken back.
    NoReaffirm,
    /// The end of any barrier opens, also of one that another term began.
    AnyBarrier,
    /// A stream counts as long as it stands.
    TrustStreams,
    /// One member's silence is enough to begin an election.
    AloneIsEnough,
    /// A store whose numbers are high enough is taken for the one that was seen before.
    TrustNumbers,
    /// The winner that the store names leads, whoever goes by that store.
    LeadByAnyStore,
}

impl Variant {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 28] = [
        Self::SkipFreeze,
        Self::ForgetPledge,
        Self::PublishBeforeConfigure,
        Self::ConfigureBeforePublish,
        Self::PromoteBeforeDecide,
        Self::IgnoreBranch,
        Self::SkipBarrier,
        Self::FewerAnswers,
        Self::SkipHolders,
        Self::WinInPlace,
        Self::IgnoreLease,
        Self::OwnLeaseLength,
        Self::UnfreezeToOldLeader,
        Self::BelieveHolder,
        Self::UnconfirmedReload,
        Self::DegradeBeforePublish,
        Self::OldFirstView,
        Self::NewSetAtDecision,
        Self::DecideByTermAlone,
        Self::PublishBlindly,
        Self::ReuseTimeline,
        Self::FollowDiverged,
        Self::NoReaffirm,
        Self::AnyBarrier,
        Self::TrustStreams,
        Self::AloneIsEnough,
        Self::TrustNumbers,
        Self::LeadByAnyStore,
    ];

    /// In words, for the documentation.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::SkipFreeze => "a voter answers without having stopped receiving",
            Self::ForgetPledge => "a pledge is kept in memory only: a restart forgets it",
            Self::PublishBeforeConfigure => "fewer voters are published before the server is configured for them",
            Self::ConfigureBeforePublish => "more voters are enforced before they are published",
            Self::PromoteBeforeDecide => "the winner promotes before the compare-and-set has decided",
            Self::IgnoreBranch => "the longest log wins, whatever its history",
            Self::SkipBarrier => "clients are let in before the barrier",
            Self::FewerAnswers => "one answer fewer than the published set asks for",
            Self::SkipHolders => "a smaller set is published before its voters hold everything acknowledged",
            Self::WinInPlace => "a deposed leader goes on until its lease ends, and promotes itself in place",
            Self::IgnoreLease => "an `async` election does not wait for the lease",
            Self::OwnLeaseLength => {
                "an `async` election waits as long as its own specification says, not the lease's holder's"
            }
            Self::UnfreezeToOldLeader => "a frozen voter follows the old leader again when its election failed",
            Self::BelieveHolder => "a voter's own word that it led the last open term is believed",
            Self::UnconfirmedReload => "a setting counts as enforced as soon as it was asked for",
            Self::DegradeBeforePublish => "degraded is enforced before it is published",
            Self::OldFirstView => "after a start the first state of the store is believed, however old",
            Self::NewSetAtDecision => "the winner's set is published with the decision, before anything is enforced",
            Self::DecideByTermAlone => "a decision does not ask that the record is still the one that was seen",
            Self::PublishBlindly => {
                "a leader's change of the record does not ask that it is still the one that was seen"
            }
            Self::ReuseTimeline => "the winner takes the number after its own timeline, whoever used that",
            Self::FollowDiverged => "a member follows whatever its own log holds",
            Self::NoReaffirm => "pledges to an election that came to nothing are never overtaken",
            Self::AnyBarrier => "the end of an earlier barrier counts for a later one",
            Self::TrustStreams => "a stream counts as long as it stands, carrying anything or not",
            Self::AloneIsEnough => "one member's silence is enough to begin an election",
            Self::TrustNumbers => "a store that was restored from an old copy is believed once its numbers have grown",
            Self::LeadByAnyStore => "the winner that the store names leads, whoever goes by that store",
        }
    }
}
