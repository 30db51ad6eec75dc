//! Incoming messages: from other members' Raft, and from members that are not the leader and pass work on.
//! The caller has authenticated the sender; here its node, its cluster and the addressee are checked.

use crate::error::StoreError;
use crate::raft::campaign::Heard;
use crate::raft::node::Node;
use crate::raft::rpc::{Answer, Ask, Envelope, decode, encode};
use crate::raft::state::read_image;
use bytes::Bytes;
use dauphin_model::MemberName;
use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{Fatal, RaftError};
use openraft::raft::{AppendEntriesResponse, TransferLeaderRequest};
use std::fmt::Display;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

impl Node {
    /// Answers one message of `from`.
    pub(crate) async fn handle(&self, from: &MemberName, body: Bytes) -> Result<Bytes, StoreError> {
        let envelope: Envelope = decode(&body).map_err(StoreError::refused)?;
        let answer = match self.misdirected(from, &envelope) {
            Some(why) => Answer::Refused(why),
            None => Box::pin(self.answer(envelope.ask)).await?,
        };
        encode(&answer).map_err(StoreError::refused)
    }

    fn misdirected(&self, from: &MemberName, envelope: &Envelope) -> Option<String> {
        if envelope.from.name != *from {
            return Some(format!("{from} speaks in the name of {}", envelope.from.name));
        }
        if let Some(to) = &envelope.to
            && *to != self.id
        {
            return Some(format!(
                "{to} is not here any more: this is {}; remove the old one and add this one",
                self.id
            ));
        }
        let mine = self.state.borrow().identity.clone();
        match (&envelope.cluster, mine) {
            (Some(theirs), Some(mine)) if *theirs != mine => {
                Some(format!("{from} belongs to cluster {theirs}, this member to {mine}"))
            }
            _ => None,
        }
    }

    async fn answer(&self, ask: Ask) -> Result<Answer, StoreError> {
        Ok(match ask {
            Ask::Hello => {
                let has_log = self.raft.is_initialized().await.map_err(stopped)?;
                Answer::Hello { node: self.id.clone(), cluster: self.state.borrow().identity.clone(), has_log }
            }
            Ask::Append(rpc) => {
                let answer = self.raft.append_entries(rpc).await.map_err(stopped)?;
                if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
                    self.hear(|heard| heard.leader = Some(Instant::now()));
                }
                Answer::Append(answer)
            }
            Ask::Vote(rpc) => {
                let answer = self.raft.vote(rpc).await.map_err(stopped)?;
                if answer.vote_granted {
                    self.hear(|heard| heard.voted = Some(Instant::now()));
                }
                Answer::Vote(answer)
            }
            Ask::PreVote(rpc) => Answer::Vote(self.raft.pre_vote(rpc).await.map_err(stopped)?),
            Ask::Snapshot { vote, meta, data } => {
                // A snapshot that cannot be read must not reach Raft, which would stop for good.
                if let Err(why) = read_image(&data) {
                    return Ok(Answer::Refused(format!("the snapshot is damaged: {why}")));
                }
                let snapshot = openraft::alias::SnapshotOf::<crate::raft::types::TC, Vec<u8>> { meta, snapshot: data };
                Answer::Snapshot(self.raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?.vote)
            }
            Ask::Transfer { from_leader, to, last_log_id } => {
                let request = TransferLeaderRequest::new(from_leader, to, last_log_id);
                Answer::Transfer(self.raft.handle_transfer_leader(request).await.map_err(stopped)?.is_ok())
            }
            Ask::Txn { txn, timeout_ms } => self.lead_txn(txn, Duration::from_millis(timeout_ms)).await,
            Ask::ReadIndex => self.lead_read().await,
            Ask::Admin { order, timeout_ms } => self.lead_order(order, Duration::from_millis(timeout_ms)).await,
        })
    }

    fn hear(&self, what: impl FnOnce(&mut Heard)) {
        what(&mut self.hearing.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// On the leader: up to where a reader must have applied.
    pub(crate) async fn lead_read(&self) -> Answer {
        match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Answer::ReadIndex(linearizer.read_log_id().index()),
            Err(RaftError::Fatal(fatal)) => Answer::Unavailable(fatal.to_string()),
            Err(RaftError::APIError(error)) => self.not_leader(&error),
        }
    }

    pub(crate) fn not_leader(&self, error: &impl Display) -> Answer {
        tracing::debug!(%error, "not the store's leader");
        let leader = self.raft.metrics().borrow_watched().current_leader.clone();
        Answer::NotLeader(leader.filter(|id| *id != self.id).map(|id| id.name))
    }
}

fn stopped<E: Display>(error: E) -> StoreError {
    StoreError::stopped(error)
}

/// Why Raft has ended, for people.
pub(crate) fn fatal(error: &Fatal<crate::raft::types::TC>) -> String {
    error.to_string()
}
