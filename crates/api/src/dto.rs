//! What is said over HTTP and printed by `--json`: CONTRACT.md's documents as types. Fields are added, never removed.
//! The agent fills them, the command line shows them; unknown values are null.

mod alerts;
mod proxies;
mod what_if;

pub use alerts::{
    AcknowledgeRequest, Alert, Alerts, NotifyAnswer, NotifyPlace, NotifyTest, Silence, SilenceRequest, UnsilenceRequest,
};
pub use proxies::{Proxies, Proxy, ProxyPool};
pub use what_if::{Foretold, WhatIf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The cluster as one of its agents sees it: `status --json`, `GET /v1/cluster`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Cluster {
    /// The cluster's name.
    pub cluster: String,
    /// `postgres`, `mysql` or `mariadb`.
    pub engine: String,
    /// The current term.
    pub term: Option<u64>,
    /// The current leader.
    pub leader: Option<String>,
    /// Whether clients are let in.
    pub open: bool,
    /// `async`, `sync` or `quorum`.
    pub durability: String,
    /// Whether commits are acknowledged with fewer copies than the durability promises.
    pub degraded: bool,
    /// `healthy`, `investigate`, `failover`, `repair` or `rejoin`.
    pub health: String,
    /// Whether automatic acts are paused.
    pub paused: bool,
    /// The members, in the order of the configuration.
    pub members: Vec<Member>,
    /// What is under way.
    pub intent: Option<Intent>,
    /// The member whose agent says this.
    #[serde(default)]
    pub reporter: Option<String>,
    /// `fast`, `standard` or `wan`.
    #[serde(default)]
    pub profile: Option<String>,
    /// The server's version, as it names itself.
    #[serde(default)]
    pub engine_version: Option<String>,
    /// Why the cluster is not healthy, a sentence each.
    #[serde(default)]
    pub problems: Vec<String>,
    /// Fewer replicas than the durability needs are there: commits wait for one.
    #[serde(default)]
    pub commits_wait: bool,
    /// How many published voters an election must hear.
    #[serde(default)]
    pub answers: Option<u32>,
    /// Why [`Cluster::health`] is what it is, in a sentence.
    #[serde(default)]
    pub health_reason: Option<String>,
    /// For how long it has been so, in seconds, as far as the reporter saw.
    #[serde(default)]
    pub health_seconds: Option<u64>,
}

/// One member, in [`Cluster`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// `leader`, `replica` or `witness`.
    pub role: String,
    /// `running`, `starting`, `stopped`, `crashed`, `cloning`, `rewinding`, `rejoining`, `fenced` or `unreachable`.
    pub state: String,
    /// `sync`, `quorum`, `potential`, `async` or null.
    pub sync_state: Option<String>,
    /// Its timeline.
    pub timeline: Option<u64>,
    /// How far its log reaches, as the engine writes it.
    pub position: Option<String>,
    /// Where its replication connection comes from.
    pub client_addr: Option<String>,
    /// How far it is behind, in bytes; null with engines that count transactions.
    pub lag_bytes: Option<u64>,
    /// How far it is behind, in transactions; null with engines that count bytes.
    #[serde(default)]
    pub lag_transactions: Option<u64>,
    /// For how long it has been behind, in seconds; by the leader's clock where the leader sees it.
    pub lag_seconds: Option<f64>,
    /// Of [`Member::lag_bytes`], what it has not received yet.
    #[serde(default)]
    pub unreceived_bytes: Option<u64>,
    /// Of [`Member::lag_bytes`], what it has not safely on disk yet.
    #[serde(default)]
    pub unflushed_bytes: Option<u64>,
    /// By how many bytes more it is behind with every second; below 0 it catches up.
    #[serde(default)]
    pub lag_trend: Option<i64>,
    /// How long until it has all, if it goes on like this.
    #[serde(default)]
    pub catch_up_seconds: Option<f64>,
    /// `ok`, `warning`, `critical` or `emergency`.
    pub alert: String,
    /// `priority`, `never_leader`, `zone`, `reporting`, `follow`, `delay`: as far as they are set.
    pub tags: BTreeMap<String, Value>,
    /// Where clients reach its server.
    #[serde(default)]
    pub host: Option<String>,
    /// Its server's port.
    #[serde(default)]
    pub sql_port: Option<u16>,
    /// Its agent's HTTP port.
    #[serde(default)]
    pub api_port: Option<u16>,
    /// Settings that wait for a restart.
    #[serde(default)]
    pub pending_restart: bool,
    /// Whom it receives from; another replica in a cascade.
    #[serde(default)]
    pub upstream: Option<String>,
    /// What somebody set by hand, or should know, of its server: reported, never undone.
    #[serde(default)]
    pub remarks: Vec<Remark>,
    /// What it is doing or what is wrong, for people (progress of a clone, why it is fenced).
    #[serde(default)]
    pub detail: Option<String>,
    /// `healthy`, `investigate`, `failover`, `repair` or `rejoin`; empty where an older agent says nothing of it.
    #[serde(default)]
    pub health: String,
    /// Why, in a sentence.
    #[serde(default)]
    pub health_reason: Option<String>,
    /// For how long it has been so, in seconds, as far as the reporter saw.
    #[serde(default)]
    pub health_seconds: Option<u64>,
}

/// One thing worth knowing of a member: reported, never acted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    /// One word: `set_by_hand`, `replay_paused`, `certificate_ends`, `shared_name`, `no_vote`, `set_back`, `errant`,
    /// `unacknowledged`, or an alert's kind: `disk_fills`, `log_grows`, `slot_idle`, `slot_lost`, `clock_apart`, `checksum_failure`.
    pub code: String,
    /// In words.
    pub text: String,
    /// What to do about it.
    pub next: String,
    /// It takes the promise away that an acknowledged commit is safe, or is critical by its alert's level.
    pub critical: bool,
}

/// A planned act under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// `switchover`, `failover`, `restart`, `reinit`, …
    pub kind: String,
    /// The member it is about.
    pub to: Option<String>,
    /// When it was asked for (RFC 3339).
    pub since: String,
}

/// `lag --json`: the members alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lag {
    /// As in [`Cluster`].
    pub members: Vec<Member>,
}

/// One leadership of the past or the present: `GET /v1/history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Its term.
    pub term: u64,
    /// Who led.
    pub leader: String,
    /// The timeline it was given.
    pub timeline: Option<u64>,
    /// `bootstrap`, `failover`, `switchover` or `restart`.
    pub kind: String,
    /// When it was decided (RFC 3339, the deciding member's clock).
    pub at: String,
    /// Where the log branched off.
    pub switch_position: Option<String>,
    /// Why, in a sentence.
    pub reason: String,
    /// What was acknowledged before and is gone, if anything may be: a range of the log.
    pub lost: Option<String>,
}

/// `GET /v1/history`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// Oldest first.
    pub history: Vec<HistoryEntry>,
}

/// One decision with its evidence: `GET /v1/journal`, `explain`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Grows; `explain ID` asks for it.
    pub id: u64,
    /// When (RFC 3339, the member's clock; for people, decides nothing).
    pub at: String,
    /// The term it belongs to.
    pub term: u64,
    /// Who decided.
    pub member: String,
    /// The reason's code.
    pub reason: String,
    /// The reason as a sentence.
    pub text: String,
    /// What it rests on.
    pub evidence: Value,
}

/// `GET /v1/journal`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Journal {
    /// Oldest first.
    pub entries: Vec<JournalEntry>,
}

/// Why something was done: `GET /v1/explain`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Explanation {
    /// In one sentence.
    pub summary: String,
    /// The decisions that led there, oldest first.
    pub entries: Vec<JournalEntry>,
}

/// `POST /v1/switchover`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SwitchoverRequest {
    /// The next leader; null: the best replica.
    pub to: Option<String>,
}

/// `POST /v1/failover`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailoverRequest {
    /// The next leader.
    pub to: String,
    /// Accept that acknowledged commits may be lost; what may be lost is recorded.
    #[serde(default)]
    pub allow_data_loss: bool,
}

/// `POST /v1/restart`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestartRequest {
    /// The member; null: all, one after the other, in the order that is safe.
    pub member: Option<String>,
    /// Only where a setting waits for it.
    pub if_pending: bool,
}

/// `POST /v1/reinit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReinitRequest {
    /// The member whose data is wiped and cloned again. Never the leader.
    pub member: String,
}

/// The body of commands that take nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NoArguments {}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Done {
    /// In a sentence.
    pub message: String,
    /// The leader afterwards.
    #[serde(default)]
    pub leader: Option<String>,
    /// The term afterwards.
    #[serde(default)]
    pub term: Option<u64>,
    /// How long clients could not write, in milliseconds, as far as it is known.
    #[serde(default)]
    pub gap_ms: Option<u64>,
    /// What may have been lost, where the request accepted that.
    #[serde(default)]
    pub lost: Option<String>,
}

/// The shared specification: `GET /v1/config`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Config {
    /// Version of the specification.
    pub version: u64,
    /// As the file would say it (TOML).
    pub text: String,
    /// Every key with its value, `section.key`.
    pub values: BTreeMap<String, String>,
    /// Settings that wait for a restart, by member.
    #[serde(default)]
    pub pending_restart: BTreeMap<String, Vec<String>>,
}

/// `POST /v1/config`: either single keys or a whole text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigSetRequest {
    /// Keys to set, `section.key`.
    pub set: BTreeMap<String, String>,
    /// Keys to give back to their default.
    pub unset: Vec<String>,
    /// The whole shared part as TOML, from an editor.
    pub text: Option<String>,
    /// Refuse if the specification is no longer of this version.
    pub expect_version: Option<u64>,
    /// Check and show the difference, change nothing.
    pub dry_run: bool,
}

/// One difference between two specifications.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Difference {
    /// `section.key`.
    pub key: String,
    /// Before; null: default.
    pub from: Option<String>,
    /// After; null: default.
    pub to: Option<String>,
    /// `at once`, `reload` or `rolling restart`.
    pub applies: String,
}

/// What a change of the specification did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConfigChange {
    /// The version after the change (before it, for a dry run).
    pub version: u64,
    /// What differs.
    pub differences: Vec<Difference>,
    /// Whether it was applied.
    pub applied: bool,
    /// In a sentence.
    pub message: String,
}

/// One version of the specification.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConfigVersion {
    /// Its number.
    pub version: u64,
    /// When it was published (RFC 3339).
    pub at: String,
    /// What differed from the one before.
    pub differences: Vec<Difference>,
}

/// `GET /v1/config/history`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConfigHistory {
    /// Oldest first.
    pub versions: Vec<ConfigVersion>,
}

/// One member of the consensus store.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StoreMember {
    /// Its name.
    pub name: String,
    /// Where the others reach it.
    pub address: String,
    /// `leader`, `voter` or `learner`.
    pub role: String,
    /// The last entry known to stand in its log.
    pub matched: Option<u64>,
}

/// The consensus store: `GET /v1/store`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StoreStatus {
    /// `raft`, `etcd`, …
    pub kind: String,
    /// Who leads the store (not the cluster).
    pub leader: Option<String>,
    /// The store's own term.
    pub term: Option<u64>,
    /// The last entry applied here.
    pub applied: Option<u64>,
    /// The last entry in the snapshot here.
    pub snapshot: Option<u64>,
    /// Who holds a copy.
    pub members: Vec<StoreMember>,
}

/// `POST /v1/store/add`, `/v1/store/remove`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreMemberRequest {
    /// The member to add or remove.
    pub member: String,
}

/// One event of `GET /v1/events`: `cluster` (the whole document, first and on every change) or `journal` (an entry).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// What it is.
    pub kind: String,
    /// Its document.
    pub data: Value,
}

/// One line of a command's answer when the caller asked for `application/x-ndjson`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// What is being done now.
    Progress(String),
    /// It is done: the document that a plain answer would hold.
    Done(Value),
    /// It was not done.
    Error(crate::error::ApiError),
}
