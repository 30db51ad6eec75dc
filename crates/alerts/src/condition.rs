//! The closed set of conditions that people are told of, and how bad one can be. Called by everything here; it looks at
//! nothing.

use dauphin_model::{Profile, Span};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! kinds {
    ($($(#[$about:meta])* $name:ident = $code:literal,)*) => {
        /// What is wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Kind {
            $($(#[$about])* $name,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// One word for programs and for `--kind`.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)*
                }
            }
        }
    };
}

kinds! {
    /// No leader takes writes.
    NoLeader = "no_leader",
    /// The agent that speaks sees no majority of the store.
    NoMajority = "no_majority",
    /// Fewer replicas than the durability needs: commits wait.
    CommitsWait = "commits_wait",
    /// Commits are acknowledged with fewer copies than promised.
    Degraded = "degraded",
    /// Fewer replicas run than should.
    FewReplicas = "few_replicas",
    /// Automatic failover has been off for long.
    FailoverPaused = "failover_paused",
    /// A member is not heard, or its server does not run.
    MemberDown = "member_down",
    /// A member does not come back by itself.
    Quarantined = "quarantined",
    /// A member's log parts from the leader's, and it is not back yet.
    Diverged = "diverged",
    /// A replica is behind.
    Lag = "lag",
    /// Somebody paused a replica's replay.
    ReplayPaused = "replay_paused",
    /// A certificate ends soon.
    CertificateEnds = "certificate_ends",
    /// Settings made by hand go before the shared ones.
    SetByHand = "set_by_hand",
    /// Two replicas under one name.
    SharedName = "shared_name",
    /// A member has no vote in the store.
    NoVote = "no_vote",
    /// A replica receives nothing.
    ReceiverDown = "receiver_down",
    /// A disk that a member needs is nearly full, or soon will be.
    DiskFills = "disk_fills",
    /// There is very much log on a member's disk.
    LogGrows = "log_grows",
    /// Nobody receives from a replication slot, and it keeps log.
    SlotIdle = "slot_idle",
    /// What a replication slot kept is gone.
    SlotLost = "slot_lost",
    /// A member's wall clock is not the others'.
    ClockApart = "clock_apart",
    /// Pages of a member's data are not what was written.
    ChecksumFailure = "checksum_failure",
    /// Somebody changed what is Dauphin's on a running server.
    SetBack = "set_back",
    /// A member holds transactions that no leader wrote.
    Errant = "errant",
    /// Commits were reported as done while too few replicas held them.
    Unacknowledged = "unacknowledged",
}

/// A pause is meant; one that was forgotten is not.
const PAUSE_FORGOTTEN: Span = Span::ms(600_000);
/// Going back to where logs part is ordinary work after a failover; this long it is not.
const REJOIN_IS_LONG: Span = Span::ms(120_000);
/// Whoever receives from a slot may come back in a moment.
const IDLE_IS_LONG: Span = Span::ms(30_000);
/// A receiver is looked at again before it is given up, in times of the profile's `suspect`.
const RECEIVER_SUSPECTS: u64 = 4;
/// An agent that has just started has not heard of every vote.
const VOTE_IS_LONG: Span = Span::ms(60_000);

impl Kind {
    /// How long it must hold at least, whatever was asked for: what is over by then is no news.
    #[must_use]
    pub fn holds_at_least(self, profile: Profile) -> Span {
        match self {
            // a takeover needs about a lease
            Self::NoLeader | Self::NoMajority | Self::CommitsWait => profile.lease().times(2),
            Self::FailoverPaused => PAUSE_FORGOTTEN,
            Self::Diverged => REJOIN_IS_LONG,
            Self::NoVote => VOTE_IS_LONG,
            Self::SlotIdle => IDLE_IS_LONG,
            Self::ReceiverDown => profile.suspect().times(RECEIVER_SUSPECTS),
            Self::Degraded
            | Self::FewReplicas
            | Self::MemberDown
            | Self::Quarantined
            | Self::Lag
            | Self::ReplayPaused
            | Self::CertificateEnds
            | Self::SetByHand
            | Self::SharedName
            | Self::DiskFills
            | Self::LogGrows
            | Self::SlotLost
            | Self::ClockApart
            | Self::ChecksumFailure
            | Self::SetBack
            | Self::Errant
            | Self::Unacknowledged => Span::ZERO,
        }
    }

    /// Whether it goes without saying while no leader is open: that is told, and this follows from it.
    #[must_use]
    pub const fn follows_from_no_leader(self) -> bool {
        matches!(self, Self::Lag | Self::CommitsWait | Self::FewReplicas | Self::Diverged | Self::ReceiverDown)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

/// A word that is no kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSuchKind(String);

impl fmt::Display for NoSuchKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<&str> = Kind::ALL.iter().map(|kind| kind.code()).collect();
        write!(f, "{:?} is no kind of alert; there are {}", self.0, all.join(", "))
    }
}

impl std::error::Error for NoSuchKind {}

impl FromStr for Kind {
    type Err = NoSuchKind;

    fn from_str(text: &str) -> Result<Self, NoSuchKind> {
        let found = Self::ALL.iter().find(|kind| kind.code() == text).copied();
        found.ok_or_else(|| NoSuchKind(text.chars().take(40).collect()))
    }
}
