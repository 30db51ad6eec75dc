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
    /// A replica receives nothing.
    ReceiverDown,
    /// A disk is nearly full, or soon will be.
    DiskFills {
        /// How bad.
        level: Level,
        /// A folder on it.
        folder: String,
        /// How much of it is used, in percent.
        used: u8,
        /// Bytes that are free.
        free: u64,
        /// How soon it is full.
        full_in: Option<Span>,
    },
    /// There is very much log.
    LogGrows {
        /// How bad.
        level: Level,
        /// How much, in bytes.
        bytes: u64,
        /// How much more in an hour.
        per_hour: Option<i64>,
    },
    /// Nobody receives from these slots.
    SlotIdle {
        /// Their names, and the log that each keeps, in bytes.
        slots: Vec<(String, u64)>,
    },
    /// What these slots kept is gone.
    SlotLost {
        /// Their names.
        slots: Vec<String>,
    },
    /// Its wall clock is not the others'.
    ClockApart {
        /// How far it is ahead, in milliseconds; below 0: behind.
        ms: i64,
    },
    /// Pages are not what was written.
    PagesDamaged {
        /// How many times that was noticed.
        pages: u64,
    },
    /// The cluster's CA ends soon.
    AuthorityEnds {
        /// Days that are left.
        days: i64,
    },
    /// Certificates of proxies end soon.
    ProxyCertificateEnds {
        /// The name in the one that ends first.
        proxy: String,
        /// Days that are left; negative once it has ended.
        days: i64,
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
            Self::ReceiverDown => Kind::ReceiverDown,
            Self::DiskFills { .. } => Kind::DiskFills,
            Self::LogGrows { .. } => Kind::LogGrows,
            Self::SlotIdle { .. } => Kind::SlotIdle,
            Self::SlotLost { .. } => Kind::SlotLost,
            Self::ClockApart { .. } => Kind::ClockApart,
            Self::PagesDamaged { .. } => Kind::ChecksumFailure,
            Self::AuthorityEnds { .. }
            | Self::ProxyCertificateEnds { .. }
            | Self::Remark(Remark::CertificateEnds { .. }) => Kind::CertificateEnds,
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
            Self::MemberDown { .. } | Self::Diverged | Self::ReceiverDown => Level::Warning,
            Self::SlotIdle { .. } | Self::ClockApart { .. } => Level::Warning,
            Self::SlotLost { .. } | Self::PagesDamaged { .. } => Level::Critical,
            Self::Lag { level, .. } | Self::DiskFills { level, .. } | Self::LogGrows { level, .. } => *level,
            Self::AuthorityEnds { days }
            | Self::ProxyCertificateEnds { days, .. }
            | Self::Remark(Remark::CertificateEnds { days })
                if *days <= CERTIFICATE_DAYS_CRITICAL =>
            {
                Level::Critical
            }
            Self::AuthorityEnds { .. } | Self::ProxyCertificateEnds { .. } => Level::Warning,
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
            Self::ProxyCertificateEnds { proxy, days } => {
                format!("certificates of proxies end soon: the first, of {proxy}, in {days} days")
            }
            Self::MemberDown { state } => format!("{who} is {state}"),
            Self::Quarantined => format!("{who} does not come back by itself and needs a person"),
            Self::Diverged => format!("the log of {who} parts from the leader's, and it is not back yet"),
            Self::Lag { age, bytes, .. } => format!("{who} is behind: {}", age_and_bytes(*age, *bytes)),
            Self::Remark(remark) => format!("{who}: {remark}"),
            Self::ReceiverDown
            | Self::DiskFills { .. }
            | Self::LogGrows { .. }
            | Self::SlotIdle { .. }
            | Self::SlotLost { .. }
            | Self::ClockApart { .. }
            | Self::PagesDamaged { .. }
            | Self::AuthorityEnds { .. } => format!("{who}: {}", self.strain()),
        }
    }

    /// What a member's machine or server suffers from, without its name.
    #[must_use]
    pub fn strain(&self) -> String {
        match self {
            Self::ReceiverDown => "it receives nothing, though a leader is there".to_owned(),
            Self::DiskFills { folder, used, free, full_in, .. } => {
                let soon = full_in.map(|span| format!(", full in {} if it goes on like this", about(span)));
                let (free, soon) = (shown_bytes(*free), soon.unwrap_or_default());
                format!("the disk of {folder} is {used} % used, {free} are free{soon}")
            }
            Self::LogGrows { bytes, per_hour, .. } => {
                let more = per_hour.filter(|more| *more > 0).map(|more| shown_bytes(more.unsigned_abs()));
                let more = more.map(|more| format!(", {more} more in an hour")).unwrap_or_default();
                format!("its log takes {}{more}", shown_bytes(*bytes))
            }
            Self::SlotIdle { slots } => {
                let each = slots.iter().map(|(name, held)| format!("{name} (keeps {})", shown_bytes(*held)));
                format!("nobody receives from {}", each.collect::<Vec<_>>().join(", "))
            }
            Self::SlotLost { slots } => {
                format!("what was kept for {} is gone: whoever receives from it begins anew", slots.join(", "))
            }
            Self::ClockApart { ms } => {
                let seconds = ms.unsigned_abs() as f64 / 1_000.0;
                format!("its clock is {seconds:.1} s {} the others'", if *ms > 0 { "ahead of" } else { "behind" })
            }
            Self::PagesDamaged { pages } => format!("pages whose checksum failed: {pages}"),
            Self::AuthorityEnds { days } => format!("the cluster's CA ends in {days} days"),
            other => other.text(None),
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
            Self::ProxyCertificateEnds { .. } => {
                let take = if engine == EngineKind::Postgres { "send them SIGHUP" } else { "start them anew" };
                format!("dauphin proxies shows all; dauphin init --renew, replace their files, {take}")
            }
            Self::MemberDown { state: "unreachable" } => {
                format!("look at the machine of {who}, start its agent: dauphin agent --config FILE")
            }
            Self::MemberDown { .. } | Self::Diverged => {
                "dauphin explain, and the log of its agent and server".to_owned()
            }
            Self::Quarantined => format!("dauphin explain; dauphin reinit {who} copies its data again"),
            Self::Lag { .. } => "look for long queries, slow disks or a slow network there: dauphin lag".to_owned(),
            Self::ReceiverDown => {
                "its server's log says why; is the leader's SQL port reached from there? dauphin explain".to_owned()
            }
            Self::DiskFills { .. } => {
                "make room, or make the disk larger; dauphin lag tells who holds up log".to_owned()
            }
            Self::LogGrows { .. } => {
                "find what keeps it: pg_replication_slots, archive_command, wal_keep_size, max_wal_size".to_owned()
            }
            Self::SlotIdle { .. } => {
                "start what receives from it, or drop it: SELECT pg_drop_replication_slot('NAME')".to_owned()
            }
            Self::SlotLost { .. } => {
                "drop it, SELECT pg_drop_replication_slot('NAME'), and have its consumer begin anew".to_owned()
            }
            Self::ClockApart { .. } => "see to the machine's time service: chronyc tracking, timedatectl".to_owned(),
            Self::PagesDamaged { .. } => {
                format!(
                    "the server's log names the page; dauphin reinit {who} copies the data again, once it does not lead"
                )
            }
            Self::AuthorityEnds { .. } => {
                "put a new CA beside it in every ca.pem, renew all certificates, then take the old one out".to_owned()
            }
            Self::Remark(remark) => remark.next(engine),
        }
    }
}

/// How far something is behind.
pub(crate) fn age_and_bytes(age: Option<Span>, bytes: Option<u64>) -> String {
    let both = age.map(shown_span).into_iter().chain(bytes.filter(|bytes| *bytes > 0).map(shown_bytes));
    both.collect::<Vec<_>>().join(", ")
}

/// A time that has passed.
pub(crate) fn shown_span(span: Span) -> String {
    format!("{:.1} s", span.as_ms() as f64 / 1_000.0)
}

/// A time to come, as roughly as it is known.
fn about(span: Span) -> String {
    let minutes = span.as_ms() / 60_000;
    match minutes {
        0..120 => format!("{minutes} min"),
        120..2_880 => format!("{} h", minutes / 60),
        _ => format!("{} days", minutes / 1_440),
    }
}

fn shown_bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    UNITS
        .iter()
        .find(|(factor, _)| bytes >= *factor)
        .map_or_else(|| format!("{bytes} B"), |(factor, name)| format!("{:.1} {name}", bytes as f64 / *factor as f64))
}
