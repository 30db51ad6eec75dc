//! What people asked to be told of: the `[alerts]` part of the specification. The alerts crate decides by it; it holds
//! limits and times, never a secret.

use crate::name::MemberName;
use crate::spec::{MemberSpec, Spec};
use crate::time::Span;
use serde::{Deserialize, Serialize};

/// Lag from which on people are told, as an age: warning, critical, emergency.
pub const LAG_LIMITS: [Span; 3] = [Span::ms(10_000), Span::ms(60_000), Span::ms(300_000)];
/// The same in bytes of log that is not replayed.
pub const LAG_BYTES_LIMITS: [u64; 3] = [256 << 20, 1 << 30, 4 << 30];
/// Replicas that are advised: one to fail over to, one beside it.
pub const REPLICAS_ADVISED: u32 = 2;

/// When people are told, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AlertSpec {
    /// Age of the last replayed transaction: warning, critical, emergency.
    pub lag: [Span; 3],
    /// Log that is not replayed, in bytes: warning, critical, emergency.
    pub lag_bytes: [u64; 3],
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

impl Default for AlertSpec {
    fn default() -> Self {
        Self {
            lag: LAG_LIMITS,
            lag_bytes: LAG_BYTES_LIMITS,
            replicas: None,
            raise_after: Span::ms(10_000),
            clear_after: Span::ms(30_000),
            group_within: Span::ms(5_000),
            remind_every: Span::ms(4 * 3_600_000),
        }
    }
}

impl AlertSpec {
    /// The limits of a member's lag, as an age.
    #[must_use]
    pub fn lag_of(&self, member: &MemberSpec) -> [Span; 3] {
        member.alert_lag.unwrap_or(self.lag)
    }

    /// The limits of a member's lag, in bytes.
    #[must_use]
    pub fn lag_bytes_of(&self, member: &MemberSpec) -> [u64; 3] {
        member.alert_lag_bytes.unwrap_or(self.lag_bytes)
    }

    /// How many replicas should run. A leader is not counted: `data` members hold data.
    #[must_use]
    pub fn replicas_wanted(&self, data: usize) -> u32 {
        let possible = u32::try_from(data.saturating_sub(1)).unwrap_or(u32::MAX);
        self.replicas.unwrap_or(REPLICAS_ADVISED).min(possible)
    }
}

impl Spec {
    /// How bad a member's lag is: nothing, or the number of the highest limit that it is beyond (0 warning, 1 critical, 2
    /// emergency), of age and bytes the worse.
    #[must_use]
    pub fn lag_beyond(&self, name: &MemberName, age: Option<Span>, bytes: Option<u64>) -> Option<usize> {
        let member = self.member(name)?;
        let ages = self.alerts.lag_of(member);
        let sizes = self.alerts.lag_bytes_of(member);
        let by_age = age.and_then(|age| ages.iter().rposition(|limit| age > *limit));
        let by_bytes = bytes.and_then(|bytes| sizes.iter().rposition(|limit| bytes > *limit));
        by_age.max(by_bytes)
    }
}
