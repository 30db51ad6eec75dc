//! What must not be forgotten when another agent speaks: what is raised, what was told, who silenced what. The agents keep
//! it in the store; it is small, and it changes only when there is news.

use crate::condition::Kind;
use dauphin_model::{Level, MemberName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most alerts at a time; further ones wait until one is over.
pub const ALERTS_MAX: usize = 200;
/// Most silences at a time.
pub const SILENCES_MAX: usize = 50;

/// The memory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Who wrote what is raised and told; people's wishes are anybody's.
    pub speaker: Option<MemberName>,
    /// The last number given to an alert or a silence.
    pub last_id: u64,
    /// The last number given to a notice.
    pub last_notice: u64,
    /// The alerts.
    pub alerts: Vec<KeptAlert>,
    /// The silences.
    pub silences: Vec<Silence>,
    /// Places that do not take what the speaker sends, and why.
    pub failing: BTreeMap<String, String>,
}

impl Memory {
    /// Whether both say the same of what is raised and told, whatever people wished meanwhile.
    #[must_use]
    pub fn tells_like(&self, other: &Self) -> bool {
        let told = |alerts: &[KeptAlert]| -> Vec<KeptAlert> {
            alerts.iter().map(|a| KeptAlert { acknowledged: None, ..a.clone() }).collect()
        };
        self.last_notice == other.last_notice && told(&self.alerts) == told(&other.alerts)
    }

    /// Takes in what another agent told while this memory could not be written: it would never be told to be over.
    pub fn take_in(&mut self, told: &Self) {
        self.last_id = self.last_id.max(told.last_id);
        self.last_notice = self.last_notice.max(told.last_notice);
        for alert in told.alerts.iter().filter(|a| a.told.is_some()) {
            let known = self.alerts.iter().any(|a| (a.kind, &a.member) == (alert.kind, &alert.member));
            if known || self.alerts.len() >= ALERTS_MAX {
                continue;
            }
            let mut alert = alert.clone();
            if self.alerts.iter().any(|a| a.id == alert.id) {
                self.last_id += 1;
                alert.id = self.last_id;
            }
            self.alerts.push(alert);
        }
    }
}

/// One alert, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAlert {
    /// Its number.
    pub id: u64,
    /// What it is.
    pub kind: Kind,
    /// Whom it is about.
    pub member: Option<MemberName>,
    /// How bad it is; `None`: over, which has yet to be told.
    pub level: Option<Level>,
    /// How bad people were told that it is; `None`: nothing yet.
    pub told: Option<Level>,
    /// In a sentence, when its level changed last.
    pub text: String,
    /// What to do about it.
    pub next: String,
    /// When it was raised, in seconds since 1970.
    pub raised_unix: u64,
    /// When people were told last, in seconds since 1970.
    pub told_unix: u64,
    /// Somebody has it in hand.
    pub acknowledged: Option<Acknowledged>,
}

/// Somebody has an alert in hand: no reminders until it gets worse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Who.
    pub by: String,
    /// When, in seconds since 1970.
    pub at_unix: u64,
    /// How bad it was then.
    pub level: Level,
}

/// Nobody is told of some alerts until some moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Its number.
    pub id: u64,
    /// Of whom; `None`: of all, the cluster itself included.
    pub member: Option<MemberName>,
    /// Of what; `None`: everything.
    pub kind: Option<Kind>,
    /// Until when, in seconds since 1970: a person's clock, as a person gave it.
    pub until_unix: u64,
    /// Who wanted it.
    pub by: String,
    /// Why.
    pub because: String,
}

impl Silence {
    /// Whether it is about that alert.
    #[must_use]
    pub fn covers(&self, kind: Kind, member: Option<&MemberName>) -> bool {
        self.kind.is_none_or(|k| k == kind) && (self.member.is_none() || self.member.as_ref() == member)
    }
}
