//! Raft's outgoing messages, over the transport that the caller gave.
#![expect(clippy::wildcard_enum_match_arm, reason = "an answer to another question is no answer, whichever it is")]

use crate::raft::rpc::{Answer, Ask, Envelope, decode, encode};
use crate::raft::types::{NodeId, SnapshotMeta, TC, Vote};
use crate::transport::{RaftTransport, TransportError};
use crate::types::Snapshot;
use dauphin_model::MemberName;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{Backoff, RPCOption, RPCTypes};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::{EmptyNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Wait before a member that cannot be reached is tried again: short, because one that returns should catch up at once,
/// and a refused call on a link that is down costs next to nothing.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Sends one question to one member.
pub(crate) struct Wire {
    pub(crate) me: NodeId,
    pub(crate) transport: Arc<dyn RaftTransport>,
    pub(crate) state: watch::Receiver<Arc<Snapshot>>,
}

impl Wire {
    /// Asks the node `to`; another node of the same name refuses.
    pub(crate) async fn ask(&self, to: &NodeId, ask: Ask, timeout: Duration) -> Result<Answer, TransportError> {
        self.send(&to.name, Some(to.clone()), ask, timeout).await
    }

    /// Asks whoever has that name.
    pub(crate) async fn ask_name(
        &self,
        to: &MemberName,
        ask: Ask,
        timeout: Duration,
    ) -> Result<Answer, TransportError> {
        self.send(to, None, ask, timeout).await
    }

    async fn send(
        &self,
        name: &MemberName,
        to: Option<NodeId>,
        ask: Ask,
        timeout: Duration,
    ) -> Result<Answer, TransportError> {
        let cluster = self.state.borrow().identity.clone();
        let envelope = Envelope { from: self.me.clone(), to, cluster, ask };
        let unreachable = |why| TransportError::Unreachable { to: name.clone(), why };
        let body = encode(&envelope).map_err(unreachable)?;
        let call = self.transport.call(name, body, timeout);
        // The transport keeps time too; this is for one that does not.
        let answer = tokio::time::timeout(timeout, call).await;
        let answer = answer.unwrap_or_else(|_| Err(TransportError::TimedOut { to: name.clone() }))?;
        decode(&answer).map_err(|why| TransportError::Broken { to: name.clone(), why })
    }
}

/// Makes a [`Peer`] for each member that Raft talks to.
pub(crate) struct Peers(pub(crate) Arc<Wire>);

impl RaftNetworkFactory<TC> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: NodeId, _node: &EmptyNode) -> Peer {
        Peer { wire: self.0.clone(), target }
    }
}

/// One member, as Raft talks to it.
pub(crate) struct Peer {
    wire: Arc<Wire>,
    target: NodeId,
}

impl Peer {
    async fn ask(&self, kind: RPCTypes, ask: Ask, option: &RPCOption) -> Result<Answer, RPCError<TC>> {
        let timeout = option.soft_ttl();
        match self.wire.ask(&self.target, ask, timeout).await {
            Ok(answer) => Ok(answer),
            Err(TransportError::TimedOut { .. }) => Err(RPCError::Timeout(Timeout {
                action: kind,
                id: self.wire.me.clone(),
                target: self.target.clone(),
                timeout,
            })),
            Err(e @ TransportError::Unreachable { .. }) => Err(RPCError::Unreachable(Unreachable::new(&e))),
            Err(e @ TransportError::Broken { .. }) => Err(RPCError::Network(NetworkError::new(&e))),
        }
    }

    /// A refusal is as good as absence: another node has this member's name, or another cluster.
    fn odd<T>(&self, answer: Answer) -> Result<T, RPCError<TC>> {
        Err(RPCError::Unreachable(Unreachable::from_string(format!("{} answered {answer:?}", self.target))))
    }
}

impl RaftNetworkV2<TC> for Peer {
    type SnapshotData = Vec<u8>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TC>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TC>, RPCError<TC>> {
        match self.ask(RPCTypes::AppendEntries, Ask::Append(rpc), &option).await? {
            Answer::Append(answer) => Ok(answer),
            other => self.odd(other),
        }
    }

    async fn vote(&mut self, rpc: VoteRequest<TC>, option: RPCOption) -> Result<VoteResponse<TC>, RPCError<TC>> {
        match self.ask(RPCTypes::Vote, Ask::Vote(rpc), &option).await? {
            Answer::Vote(answer) => Ok(answer),
            other => self.odd(other),
        }
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<TC>, option: RPCOption) -> Result<VoteResponse<TC>, RPCError<TC>> {
        match self.ask(RPCTypes::Vote, Ask::PreVote(rpc), &option).await? {
            Answer::Vote(answer) => Ok(answer),
            other => self.odd(other),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: openraft::alias::SnapshotOf<TC, Vec<u8>>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TC>, StreamingError<TC>> {
        let meta: SnapshotMeta = snapshot.meta;
        let ask = Ask::Snapshot { vote, meta, data: snapshot.snapshot };
        let answer = tokio::select! {
            answer = self.ask(RPCTypes::InstallSnapshot, ask, &option) => answer?,
            closed = cancel => return Err(StreamingError::Closed(closed)),
        };
        match answer {
            Answer::Snapshot(vote) => Ok(SnapshotResponse::new(vote)),
            other => Ok(self.odd(other)?),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TC>,
        option: RPCOption,
    ) -> Result<openraft::raft::TransferLeaderResponse<TC>, RPCError<TC>> {
        let ask = Ask::Transfer {
            from_leader: req.from_leader().clone(),
            to: req.to_node_id().clone(),
            last_log_id: req.last_log_id().cloned(),
        };
        match self.ask(RPCTypes::TransferLeader, ask, &option).await? {
            Answer::Transfer(true) => Ok(Ok(())),
            Answer::Transfer(false) => Ok(Err(openraft::raft::TransferLeaderError::LogNotFlushed {
                expected: req.last_log_id().cloned(),
                actual: None,
            })),
            other => self.odd(other),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(RETRY_AFTER)))
    }
}
