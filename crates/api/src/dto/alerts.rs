//! The documents about alerts: what is wrong, what people silenced, and what they wish.

use serde::{Deserialize, Serialize};

/// `GET /v1/alerts`, `dauphin alerts --json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Alerts {
    /// The member whose agent says this.
    pub reporter: String,
    /// The member whose agent tells people, as the reporter sees it.
    pub speaker: Option<String>,
    /// What is wrong, the worst first.
    pub alerts: Vec<Alert>,
    /// What nobody is told of.
    pub silences: Vec<Silence>,
    /// Where people are told.
    #[serde(default)]
    pub places: Vec<NotifyPlace>,
}

/// One place that notices are sent to, in [`Alerts`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NotifyPlace {
    /// Its name.
    pub name: String,
    /// `webhook`, `slack`, `alertmanager` or `command`.
    pub kind: String,
    /// From which level on it is told.
    pub level: String,
    /// Why the speaker's last attempt failed; null: it did not.
    pub failing: Option<String>,
    /// Notices that wait in the reporter's own outbox.
    pub waiting: usize,
}

/// `POST /v1/alerts/test`: what each place answered to a test message.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NotifyTest {
    /// The member whose agent sent it.
    pub reporter: String,
    /// The answers.
    pub places: Vec<NotifyAnswer>,
}

/// What a place answered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NotifyAnswer {
    /// Its name.
    pub name: String,
    /// It took the message.
    pub delivered: bool,
    /// In its words, or why it did not.
    pub answer: String,
}

/// One alert, in [`Alerts`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Alert {
    /// Its number, for `dauphin alerts ack`.
    pub id: u64,
    /// What it is: docs/alerts.md lists them.
    pub kind: String,
    /// Whom it is about; null: the cluster.
    pub member: Option<String>,
    /// `warning`, `critical` or `emergency`.
    pub level: String,
    /// In a sentence.
    pub text: String,
    /// What to do about it.
    pub next: String,
    /// When it was raised (RFC 3339).
    pub since: String,
    /// When people were told of it last (RFC 3339); null: not yet.
    pub told: Option<String>,
    /// Who has it in hand.
    pub acknowledged_by: Option<String>,
    /// A silence keeps it from being told.
    pub silenced: bool,
}

/// One silence, in [`Alerts`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Silence {
    /// Its number, for `dauphin alerts unsilence`.
    pub id: u64,
    /// Of whom; null: of all.
    pub member: Option<String>,
    /// Of what; null: everything.
    pub kind: Option<String>,
    /// Until when (RFC 3339).
    pub until: String,
    /// Who wanted it.
    pub by: String,
    /// Why.
    pub because: String,
}

/// `POST /v1/alerts/silence`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SilenceRequest {
    /// Of whom; null: of all.
    #[serde(default)]
    pub member: Option<String>,
    /// Of what; null: everything.
    #[serde(default)]
    pub kind: Option<String>,
    /// For how long, in seconds.
    pub seconds: u64,
    /// Who wants it.
    #[serde(default)]
    pub by: String,
    /// Why.
    pub because: String,
}

/// `POST /v1/alerts/unsilence`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnsilenceRequest {
    /// The silence's number.
    pub id: u64,
}

/// `POST /v1/alerts/ack`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcknowledgeRequest {
    /// The alert's number.
    pub id: u64,
    /// Who has it in hand.
    #[serde(default)]
    pub by: String,
}
