//! One condition as it was found, with what is needed to say it: level, sentence, what to do next. Every face shows these
//! texts; docs/alerts.md explains them.

use crate::condition::Kind;
use dauphin_model::{EngineKind, Level, MemberName, Remark, Span};

/// Days that are left from which on a certificate's end is critical.
const CERTIFICATE_DAYS_CRITICAL: i64 = 7;

/// A condition that holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// No leader takes writes.
    NoLeader,
    /// No majority of the store answers.
    NoMajority,
    /// Commits wait.
    CommitsWait,
    /// Fewer copies than promised.
    Degraded,
    /// Fewer replicas than should run.
    FewReplicas {
        /// How many run.
        running: u32,
        /// How many should.
        wanted: u32,
    },
    /// Automatic failover is off.
    FailoverPaused,
    /// A member is not there, in one word of `status`.
    MemberDown {
        /// `unreachable`, `stopped`, `crashed` or `fenced`.
        state: &'static str,
    },
    /// A member needs a person.
    Quarantined,
    /// A member's log parts from the leader's.
    Diverged,
    /// A replica is behind.
    Lag {
        /// How bad.
        level: Level,
        /// For how long it has been.
        age: Option<Span>,
        /// What it has not replayed.
        bytes: Option<u64>,
    },
    /// What its agent found odd.
    Remark(Remark),
}

impl Finding {
    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::NoLeader => Kind::NoLeader,
            Self::NoMajority => Kind::NoMajority,
            Self::CommitsWait => Kind::CommitsWait,
            Self::Degraded => Kind::Degraded,
            Self::FewReplicas { .. } => Kind::FewReplicas,
            Self::FailoverPaused => Kind::FailoverPaused,
            Self::MemberDown { .. } => Kind::MemberDown,
            Self::Quarantined => Kind::Quarantined,
            Self::Diverged => Kind::Diverged,
            Self::Lag { .. } => Kind::Lag,
            Self::Remark(Remark::CertificateEnds { .. }) => Kind::CertificateEnds,
            Self::Remark(Remark::ReplayPaused) => Kind::ReplayPaused,
            Self::Remark(Remark::SetByHand { .. }) => Kind::SetByHand,
            Self::Remark(Remark::SharedName { .. }) => Kind::SharedName,
            Self::Remark(Remark::NoVote { .. }) => Kind::NoVote,
            Self::Remark(Remark::SetBack { .. }) => Kind::SetBack,
            Self::Remark(Remark::Errant { .. }) => Kind::Errant,
            Self::Remark(Remark::Unacknowledged { .. }) => Kind::Unacknowledged,
        }
    }

    /// How bad it is.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::NoLeader => Level::Emergency,
            Self::NoMajority | Self::CommitsWait | Self::Quarantined => Level::Critical,
            Self::FewReplicas { running: 0, .. } => Level::Critical,
            Self::FewReplicas { .. } | Self::Degraded | Self::FailoverPaused => Level::Warning,
            Self::MemberDown { .. } | Self::Diverged => Level::Warning,
            Self::Lag { level, .. } => *level,
            Self::Remark(Remark::CertificateEnds { days }) if *days <= CERTIFICATE_DAYS_CRITICAL => Level::Critical,
            Self::Remark(remark) if remark.endangers_commits() => Level::Critical,
            Self::Remark(_) => Level::Warning,
        }
    }

    /// In a sentence. `member`: whom it is about, if it is about one.
    #[must_use]
    pub fn text(&self, member: Option<&MemberName>) -> String {
        let who = member.map_or("the cluster", MemberName::as_str);
        match self {
            Self::NoLeader => "no leader takes writes".to_owned(),
            Self::NoMajority => {
                "no majority of the store answers: nothing can be decided, no takeover either".to_owned()
            }
            Self::CommitsWait => "commits wait: too few replicas are there to hold them".to_owned(),
            Self::Degraded => "degraded: commits are acknowledged with fewer copies than promised".to_owned(),
            Self::FewReplicas { running, wanted } => format!("replicas that run: {running}; there should be {wanted}"),
            Self::FailoverPaused => "automatic failover is paused".to_owned(),
            Self::MemberDown { state } => format!("{who} is {state}"),
            Self::Quarantined => format!("{who} does not come back by itself and needs a person"),
            Self::Diverged => format!("the log of {who} parts from the leader's, and it is not back yet"),
            Self::Lag { age, bytes, .. } => {
                let age = age.map(|age| format!("{:.1} s", age.as_ms() as f64 / 1_000.0));
                let bytes = bytes.filter(|bytes| *bytes > 0).map(shown_bytes);
                let both: Vec<String> = age.into_iter().chain(bytes).collect();
                format!("{who} is behind: {}", both.join(", "))
            }
            Self::Remark(remark) => format!("{who}: {remark}"),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn next(&self, member: Option<&MemberName>, engine: EngineKind) -> String {
        let who = member.map_or("the member", MemberName::as_str);
        match self {
            Self::NoLeader => "dauphin explain tells why; bring members back, or dauphin failover --to M".to_owned(),
            Self::NoMajority => {
                "bring members back until more than half of the votes are there: dauphin status".to_owned()
            }
            Self::CommitsWait | Self::Degraded | Self::FewReplicas { .. } => {
                "bring the missing replicas back: dauphin status names them".to_owned()
            }
            Self::FailoverPaused => "dauphin resume switches it on again".to_owned(),
            Self::MemberDown { state: "unreachable" } => {
                format!("look at the machine of {who}, start its agent: dauphin agent --config FILE")
            }
            Self::MemberDown { .. } | Self::Diverged => {
                "dauphin explain, and the log of its agent and server".to_owned()
            }
            Self::Quarantined => format!("dauphin explain; dauphin reinit {who} copies its data again"),
            Self::Lag { .. } => "look for long queries, slow disks or a slow network there: dauphin lag".to_owned(),
            Self::Remark(remark) => remark.next(engine),
        }
    }
}

fn shown_bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    UNITS
        .iter()
        .find(|(factor, _)| bytes >= *factor)
        .map_or_else(|| format!("{bytes} B"), |(factor, name)| format!("{:.1} {name}", bytes as f64 / *factor as f64))
}
