//! What the store's members say to each other, and its form on the wire: a version byte and postcard.
//! The order of variants is the format: only append.

use crate::machine::Reply;
use crate::raft::types::{LogId, NodeId, SnapshotMeta, TC, Vote};
use crate::types::{ClusterIdentity, Txn};
use bytes::Bytes;
use dauphin_model::MemberName;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Version of the messages.
const VERSION: u8 = 1;
/// Largest message that is read: a snapshot of the largest state, with room.
pub(crate) const MESSAGE_BYTES_MAX: usize = crate::machine::STATE_BYTES_MAX * 3 / 2;

/// A question and where it belongs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Envelope {
    pub(crate) from: NodeId,
    /// `None`: whoever has that name.
    pub(crate) to: Option<NodeId>,
    /// The sender's cluster, once it knows.
    pub(crate) cluster: Option<ClusterIdentity>,
    pub(crate) ask: Ask,
}

/// Questions.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Who are you?
    Hello,
    Append(AppendEntriesRequest<TC>),
    Vote(VoteRequest<TC>),
    PreVote(VoteRequest<TC>),
    Snapshot {
        vote: Vote,
        meta: SnapshotMeta,
        data: Vec<u8>,
    },
    /// The Raft leader asks `to` to take over.
    Transfer {
        from_leader: Vote,
        to: NodeId,
        last_log_id: Option<LogId>,
    },
    /// To the leader: do this.
    Txn {
        txn: Txn,
        timeout_ms: u64,
    },
    /// To the leader: up to where must a member have applied to read what is true now?
    ReadIndex,
    /// To the leader: change the members.
    Admin {
        order: Order,
        timeout_ms: u64,
    },
}

/// Changes of the store's members.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Order {
    Add(MemberName),
    Remove(MemberName),
    HandTo(MemberName),
}

/// Answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Hello {
        node: NodeId,
        cluster: Option<ClusterIdentity>,
        has_log: bool,
    },
    Append(AppendEntriesResponse<TC>),
    Vote(VoteResponse<TC>),
    Snapshot(Vote),
    Transfer(bool),
    Reply(Reply),
    ReadIndex(u64),
    Done,
    /// Not the leader; nothing was done.
    NotLeader(Option<MemberName>),
    /// It may have been done.
    Unknown(String),
    /// Not done, and asking again changes nothing.
    Refused(String),
    /// Not done; try again later.
    Unavailable(String),
}

/// A message's bytes.
pub(crate) fn encode<T: Serialize>(message: &T) -> Result<Bytes, String> {
    let bytes = postcard::to_extend(message, vec![VERSION]).map_err(|e| format!("cannot encode: {e}"))?;
    Ok(bytes.into())
}

/// The message in `bytes`.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(format!("a store message of {} bytes; at most {MESSAGE_BYTES_MAX} are read", bytes.len()));
    }
    match bytes.split_first() {
        Some((&VERSION, body)) => postcard::from_bytes(body).map_err(|e| format!("not a store message: {e}")),
        Some((other, _)) => Err(format!("store messages of version {other}; this member speaks version {VERSION}")),
        None => Err("an empty store message".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_versions_and_noise_are_refused() {
        let bytes = encode(&Ask::Hello).expect("encodes");
        assert!(matches!(decode(&bytes), Ok(Ask::Hello)));
        assert!(decode::<Ask>(&[]).is_err());
        assert!(decode::<Ask>(&[9, 0]).is_err_and(|e| e.contains("version 9")));
        assert!(decode::<Ask>(&[VERSION, 200, 1, 2]).is_err());
    }
}
