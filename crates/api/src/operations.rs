//! What an agent can be asked over HTTP. The agent implements it, the server calls it, tests fake it.
//! Every method may be called at any time and from several connections at once.

use crate::dto;
use crate::error::ApiError;
use crate::health::HealthView;
use std::future::Future;
use tokio::sync::{broadcast, mpsc};

/// Most progress lines that wait for a slow reader, in lines; further ones are dropped, the result never is.
const PROGRESS_WAITING_MAX: usize = 64;

/// Where a long command tells what it is doing.
#[derive(Debug, Clone, Default)]
pub struct Progress(Option<mpsc::Sender<String>>);

impl Progress {
    /// Nobody listens.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// A progress and the end at which it is read.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<String>) {
        let (sender, receiver) = mpsc::channel(PROGRESS_WAITING_MAX);
        (Self(Some(sender)), receiver)
    }

    /// Says what is being done now, in a sentence. Never waits.
    pub fn say(&self, text: impl Into<String>) {
        if let Some(sender) = &self.0 {
            let _ = sender.try_send(text.into());
        }
    }
}

/// What may befall a cluster: `GET /v1/what-if`, and the command line's words for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suppose {
    /// This member's agent, guard and server die.
    Kill(String),
    /// This member stands still.
    Freeze(String),
    /// All members of this zone die.
    Zone(String),
    /// These members are cut off from the others.
    CutOff(Vec<String>),
}

/// The result of an operation.
pub type Answer<T> = Result<T, ApiError>;

/// The agent, as seen by the HTTP server. Commands return when done and open; they go on when the caller goes away.
pub trait Operations: Send + Sync + 'static {
    /// The cluster as this agent sees it. Never waits.
    fn cluster(&self) -> dto::Cluster;
    /// This member, for load balancers. Never waits.
    fn health(&self) -> HealthView;
    /// OpenMetrics text, `# EOF` included. Never waits.
    fn metrics_text(&self) -> String;
    /// Changes from now on.
    fn events(&self) -> broadcast::Receiver<dto::Event>;
    /// All leaderships, oldest first.
    fn history(&self) -> impl Future<Output = Answer<dto::History>> + Send;
    /// At most `limit` decisions after this id (the newest ones when none is given), oldest first.
    fn journal(&self, after: Option<u64>, limit: usize) -> impl Future<Output = Answer<dto::Journal>> + Send;
    /// Why this decision was taken, or the last one that changed something.
    fn explain(&self, id: Option<u64>) -> impl Future<Output = Answer<dto::Explanation>> + Send;

    /// Why a member leads, or does not.
    fn explain_member(&self, name: String) -> impl Future<Output = Answer<dto::Explanation>> + Send;
    /// What would happen if this befell the cluster as it is.
    fn what_if(&self, suppose: Suppose) -> impl Future<Output = Answer<dto::WhatIf>> + Send;
    /// The shared specification.
    fn config(&self) -> impl Future<Output = Answer<dto::Config>> + Send;
    /// Its earlier versions.
    fn config_history(&self) -> impl Future<Output = Answer<dto::ConfigHistory>> + Send;
    /// The proxies that are heard.
    fn proxies(&self) -> impl Future<Output = Answer<dto::Proxies>> + Send;
    /// The consensus store.
    fn store_status(&self) -> impl Future<Output = Answer<dto::StoreStatus>> + Send;
    /// What people are told of, and what is silenced.
    fn alerts(&self) -> impl Future<Output = Answer<dto::Alerts>> + Send;

    /// Sends a test message to each place.
    fn alerts_test(&self) -> impl Future<Output = Answer<dto::NotifyTest>> + Send;
    /// Keeps some alerts from being told for a while.
    fn alerts_silence(&self, request: dto::SilenceRequest) -> impl Future<Output = Answer<dto::Done>> + Send;
    /// Ends a silence.
    fn alerts_unsilence(&self, request: dto::UnsilenceRequest) -> impl Future<Output = Answer<dto::Done>> + Send;
    /// Somebody has an alert in hand.
    fn alerts_ack(&self, request: dto::AcknowledgeRequest) -> impl Future<Output = Answer<dto::Done>> + Send;
    /// Hands leadership over.
    fn switchover(
        &self,
        request: dto::SwitchoverRequest,
        progress: Progress,
    ) -> impl Future<Output = Answer<dto::Done>> + Send;
    /// Promotes a chosen replica while the leader is gone.
    fn failover(
        &self,
        request: dto::FailoverRequest,
        progress: Progress,
    ) -> impl Future<Output = Answer<dto::Done>> + Send;
    /// Restarts one server, or all of them one after the other.
    fn restart(
        &self,
        request: dto::RestartRequest,
        progress: Progress,
    ) -> impl Future<Output = Answer<dto::Done>> + Send;
    /// Wipes and clones a replica.
    fn reinit(&self, request: dto::ReinitRequest, progress: Progress)
    -> impl Future<Output = Answer<dto::Done>> + Send;
    /// Stops automatic acts.
    fn pause(&self) -> impl Future<Output = Answer<dto::Done>> + Send;
    /// Takes automatic acts up again.
    fn resume(&self) -> impl Future<Output = Answer<dto::Done>> + Send;
    /// Checks, shows and (unless it is a dry run) applies a change of the specification.
    fn config_set(
        &self,
        request: dto::ConfigSetRequest,
        progress: Progress,
    ) -> impl Future<Output = Answer<dto::ConfigChange>> + Send;
    /// Takes the last change of the specification back.
    fn config_undo(&self, progress: Progress) -> impl Future<Output = Answer<dto::ConfigChange>> + Send;
    /// Gives a member a copy of the store and a vote.
    fn store_add(&self, request: dto::StoreMemberRequest) -> impl Future<Output = Answer<dto::Done>> + Send;
    /// Takes a member's copy and vote away.
    fn store_remove(&self, request: dto::StoreMemberRequest) -> impl Future<Output = Answer<dto::Done>> + Send;
    /// Writes a snapshot of the store and drops the log before it.
    fn store_snapshot(&self) -> impl Future<Output = Answer<dto::Done>> + Send;
}
