//! What people asked to be told of: the `[alerts]` part of the specification. The alerts crate decides by it; it holds
//! limits and times, never a secret.

use crate::name::MemberName;
use crate::spec::{MemberSpec, Spec};
use crate::time::Span;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// Lag from which on people are told, as the time that a replica has been behind: warning, critical, emergency.
pub const LAG_LIMITS: [Span; 3] = [Span::ms(10_000), Span::ms(60_000), Span::ms(300_000)];
/// The same in bytes of log that is not replayed.
pub const LAG_BYTES_LIMITS: [u64; 3] = [256 << 20, 1 << 30, 4 << 30];
/// How much of a disk is used, in percent: warning, critical, emergency.
pub const DISK_LIMITS: [u8; 3] = [80, 90, 95];
/// How soon it will be full, if it goes on like this.
pub const DISK_FULL_IN_LIMITS: [Span; 3] = [Span::ms(24 * 3_600_000), Span::ms(4 * 3_600_000), Span::ms(3_600_000)];
/// Log on a member's disk, in bytes.
pub const LOG_SIZE_LIMITS: [u64; 3] = [16 << 30, 64 << 30, 256 << 30];
/// How far a wall clock may be from the others'.
pub const CLOCKS_APART_LIMIT: Span = Span::ms(2_000);
/// Replicas that are advised: one to fail over to, one beside it.
pub const REPLICAS_ADVISED: u32 = 2;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Look at it today.
    Warning,
    /// Look at it now.
    Critical,
    /// Get up for it.
    Emergency,
}

impl Level {
    /// All, the mildest first.
    pub const ALL: [Self; 3] = [Self::Warning, Self::Critical, Self::Emergency];

    /// One word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Emergency => "emergency",
        }
    }

    /// As a metric: 1, 2, 3.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Emergency => 3,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// When people are told, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AlertSpec {
    /// For how long a replica has been behind: warning, critical, emergency.
    pub lag: [Span; 3],
    /// Log that is not replayed, in bytes: warning, critical, emergency.
    pub lag_bytes: [u64; 3],
    /// How much of a member's disk is used, in percent: warning, critical, emergency.
    #[serde(default = "disk_limits")]
    pub disk: [u8; 3],
    /// How soon it will be full: warning, critical, emergency; each less than the one before.
    #[serde(default = "disk_full_in_limits")]
    pub disk_full_in: [Span; 3],
    /// Log on a member's disk, in bytes: warning, critical, emergency.
    #[serde(default = "log_size_limits")]
    pub log_size: [u64; 3],
    /// How far a member's wall clock may be from the others'.
    #[serde(default = "clocks_apart_limit")]
    pub clocks_apart: Span,
    /// Fewest replicas that should run; `None`: two, or as many as there can be.
    pub replicas: Option<u32>,
    /// How long a condition holds before it is raised.
    pub raise_after: Span,
    /// How long it is gone before it is cleared.
    pub clear_after: Span,
    /// How long a notification waits for what comes with it.
    pub group_within: Span,
    /// How often what is critical is told again; zero: never.
    pub remind_every: Span,
}

// specifications that older agents put into the store have none of these
const fn disk_limits() -> [u8; 3] {
    DISK_LIMITS
}

const fn disk_full_in_limits() -> [Span; 3] {
    DISK_FULL_IN_LIMITS
}

const fn log_size_limits() -> [u64; 3] {
    LOG_SIZE_LIMITS
}

const fn clocks_apart_limit() -> Span {
    CLOCKS_APART_LIMIT
}

impl Default for AlertSpec {
    fn default() -> Self {
        Self {
            lag: LAG_LIMITS,
            lag_bytes: LAG_BYTES_LIMITS,
            disk: disk_limits(),
            disk_full_in: disk_full_in_limits(),
            log_size: log_size_limits(),
            clocks_apart: clocks_apart_limit(),
            replicas: None,
            raise_after: Span::ms(10_000),
            clear_after: Span::ms(30_000),
            group_within: Span::ms(5_000),
            remind_every: Span::ms(4 * 3_600_000),
        }
    }
}

impl AlertSpec {
    /// The limits of a member's lag, as an age: behind what it is late on purpose.
    #[must_use]
    pub fn lag_of(&self, member: &MemberSpec) -> [Span; 3] {
        let later = member.delay.unwrap_or_default();
        member.alert_lag.unwrap_or_else(|| self.lag.map(|limit| Span(limit.0.saturating_add(later.0))))
    }

    /// The limits of a member's lag, in bytes. One that is late on purpose has none of its own accord.
    #[must_use]
    pub fn lag_bytes_of(&self, member: &MemberSpec) -> [u64; 3] {
        let of_all = if member.delay.is_some() { [u64::MAX; 3] } else { self.lag_bytes };
        member.alert_lag_bytes.unwrap_or(of_all)
    }

    /// How many replicas should run. A leader is not counted: `data` members hold data.
    #[must_use]
    pub fn replicas_wanted(&self, data: usize) -> u32 {
        let possible = u32::try_from(data.saturating_sub(1)).unwrap_or(u32::MAX);
        self.replicas.unwrap_or(REPLICAS_ADVISED).min(possible)
    }
}

impl Spec {
    /// How bad a member's lag is, by age or bytes, the worse of the two; `None`: within its limits.
    #[must_use]
    pub fn lag_beyond(&self, name: &MemberName, age: Option<Span>, bytes: Option<u64>) -> Option<Level> {
        let member = self.member(name)?;
        let ages = self.alerts.lag_of(member);
        let sizes = self.alerts.lag_bytes_of(member);
        let by_age = age.and_then(|age| ages.iter().rposition(|limit| age > *limit));
        let by_bytes = bytes.and_then(|bytes| sizes.iter().rposition(|limit| bytes > *limit));
        Level::ALL.get(by_age.max(by_bytes)?).copied()
    }
}

/// What kind of place notices are sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// Dauphin's own JSON by HTTP.
    Webhook,
    /// A text, as Slack's incoming webhooks take it.
    Slack,
    /// Alertmanager, API version 2.
    Alertmanager,
    /// A program of this machine.
    Command,
    /// E-mail, by SMTP.
    Email,
}

impl TargetKind {
    /// All, with their words.
    pub const WORDS: [(&str, Self); 5] = [
        ("webhook", Self::Webhook),
        ("slack", Self::Slack),
        ("alertmanager", Self::Alertmanager),
        ("command", Self::Command),
        ("email", Self::Email),
    ];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }
}

/// How a connection to a mail server is kept private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailTls {
    /// It becomes TLS before anything is said: STARTTLS.
    Starttls,
    /// It is TLS from its first byte on.
    Implicit,
    /// It is not: for a mail server on the same machine.
    Off,
}

impl MailTls {
    /// All, with their words.
    pub const WORDS: [(&str, Self); 3] =
        [("starttls", Self::Starttls), ("implicit", Self::Implicit), ("off", Self::Off)];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, tls)| *tls == self).map_or("", |(word, _)| word)
    }
}

/// Most addresses that one place's mail goes to.
pub const MAIL_TO_MAX: usize = 20;

/// Who sends mail to whom, through which server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EmailSpec {
    /// The server's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept private.
    pub tls: MailTls,
    /// Who sends.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
    /// Who logs in; `None`: nobody has to.
    pub user: Option<String>,
    /// File with the password.
    pub password_file: Option<PathBuf>,
}

/// Most places that notices are sent to.
pub const TARGETS_MAX: usize = 10;

/// Where notices are sent: one `[[notify]]`. What is secret lies in files on each machine; only their paths are here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TargetSpec {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: TargetKind,
    /// Where it is reached.
    pub url: Option<String>,
    /// File with the URL, where that is itself a secret.
    pub url_file: Option<PathBuf>,
    /// File with the key that bodies are signed with.
    pub secret_file: Option<PathBuf>,
    /// File with a token that is sent along.
    pub token_file: Option<PathBuf>,
    /// The CAs that its certificate may be of; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// The program, for a command.
    pub command: Option<PathBuf>,
    /// The mail server and the addresses, for e-mail.
    #[serde(default)]
    pub email: Option<EmailSpec>,
    /// From which level on it is told.
    pub level: Level,
}
