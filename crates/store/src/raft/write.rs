//! Transactions and linearizable reads: on the leader at once, elsewhere passed on to it. What may have been applied is
//! never tried again.
#![expect(clippy::wildcard_enum_match_arm, reason = "an answer to another question is no answer, whichever it is")]

use crate::error::StoreError;
use crate::machine::{Command, Reply};
use crate::raft::node::Node;
use crate::raft::rpc::{Answer, Ask};
use crate::transport::TransportError;
use crate::types::{Rev, Snapshot, TXN_ITEMS_MAX, Txn, TxnOutcome, VALUE_BYTES_MAX};
use dauphin_model::MemberName;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// How long one try of a read may take: it changes nothing, so a lost message costs no more than this.
const READ_TRY_WITHIN: Duration = Duration::from_millis(500);
/// Pause before the next try when nothing tells that the leader has changed.
const RETRY_AFTER: Duration = Duration::from_millis(20);

impl Node {
    /// Does `txn`, wherever the leader is.
    pub(crate) async fn txn(&self, txn: Txn, within: Duration) -> Result<TxnOutcome, StoreError> {
        check(&txn)?;
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let answer = match self.leader() {
                Some(leader) if leader == self.id.name => self.lead_txn(txn.clone(), left).await,
                Some(leader) => {
                    let ask = Ask::Txn { txn: txn.clone(), timeout_ms: millis(left) };
                    self.pass_on(&leader, ask, left).await
                }
                None => Answer::NotLeader(None),
            };
            match answer {
                Answer::Reply(reply) => return outcome(reply),
                Answer::NotLeader(_) | Answer::Unavailable(_) => self.pause(deadline, &answer).await?,
                Answer::Refused(why) => return Err(StoreError::Refused { why }),
                Answer::Unknown(why) => return Err(StoreError::Unknown { why }),
                other => return Err(StoreError::unknown(format!("the leader answered {other:?}"))),
            }
        }
    }

    /// The state as it is now: nothing that was acknowledged before the call is missing.
    pub(crate) async fn read(&self, within: Duration) -> Result<Arc<Snapshot>, StoreError> {
        let deadline = Instant::now() + within;
        let index = loop {
            let left = deadline.saturating_duration_since(Instant::now()).min(READ_TRY_WITHIN);
            let answer = match self.leader() {
                Some(leader) if leader == self.id.name => {
                    let read = timeout(left, self.lead_read()).await;
                    read.unwrap_or_else(|_| Answer::Unavailable("no majority answered".to_owned()))
                }
                Some(leader) => self.pass_on(&leader, Ask::ReadIndex, left).await,
                None => Answer::NotLeader(None),
            };
            match answer {
                Answer::ReadIndex(index) => break Rev(index),
                // A read changes nothing: every failure can be tried again.
                other => self.pause(deadline, &other).await?,
            }
        };
        let mut state = self.state.clone();
        let applied = timeout_at(deadline, state.wait_for(|s| s.applied >= index)).await;
        match applied {
            Ok(Ok(snapshot)) => Ok(snapshot.clone()),
            Ok(Err(_)) => Err(StoreError::stopped("it was shut down")),
            Err(_) => Err(StoreError::unavailable("this member has not caught up in time")),
        }
    }

    /// On the leader: does `txn`.
    pub(crate) async fn lead_txn(&self, txn: Txn, within: Duration) -> Answer {
        if let Err(error) = check(&txn) {
            return Answer::Refused(error.to_string());
        }
        match timeout(within, self.raft.client_write(Command::Txn(txn))).await {
            Err(_) => Answer::Unknown("no majority confirmed it in time".to_owned()),
            Ok(Ok(done)) => Answer::Reply(done.data),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(e)))) => self.not_leader(&e),
            Ok(Err(error)) => Answer::Unknown(error.to_string()),
        }
    }

    /// Sends work to the leader.
    pub(crate) async fn pass_on(&self, leader: &MemberName, ask: Ask, within: Duration) -> Answer {
        let mut health = self.health.subscribe();
        let replaced = async {
            let _ = health.wait_for(|_| self.leader().is_some_and(|now| now != *leader)).await;
            // one that handed over may have its answer under way
            tokio::time::sleep(self.timings.heartbeat).await;
        };
        let answer = tokio::select! {
            answer = self.wire.ask_name(leader, ask, within) => answer,
            // one that froze would otherwise be waited for as long as the caller has
            () = replaced => return Answer::Unknown(format!("{leader} no longer leads the store, and has not answered")),
        };
        match answer {
            Ok(answer) => answer,
            Err(e @ TransportError::Unreachable { .. }) => Answer::Unavailable(e.to_string()),
            Err(e @ (TransportError::TimedOut { .. } | TransportError::Broken { .. })) => {
                Answer::Unknown(e.to_string())
            }
        }
    }

    /// The leader as this member knows it.
    pub(crate) fn leader(&self) -> Option<MemberName> {
        self.raft.metrics().borrow_watched().current_leader.as_ref().map(|id| id.name.clone())
    }

    /// Waits for another leader or a little while; an error when the time is up.
    pub(crate) async fn pause(&self, deadline: Instant, why: &Answer) -> Result<(), StoreError> {
        if let Err(error) = self.raft.metrics().borrow_watched().running_state.as_ref() {
            return Err(StoreError::stopped(error));
        }
        let now = Instant::now();
        if now >= deadline {
            return Err(StoreError::unavailable(match why {
                Answer::Unavailable(why) | Answer::Unknown(why) | Answer::Refused(why) => why.clone(),
                Answer::NotLeader(Some(leader)) => format!("{leader} does not lead the store yet"),
                _ => "the store has no leader".to_owned(),
            }));
        }
        let mut health = self.health.subscribe();
        health.mark_unchanged();
        let _ = timeout_at(deadline.min(now + RETRY_AFTER), health.changed()).await;
        Ok(())
    }
}

/// Whole milliseconds, for the wire.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn check(txn: &Txn) -> Result<(), StoreError> {
    let items = txn.expect.len() + txn.put.len() + txn.delete.len();
    if items > TXN_ITEMS_MAX {
        return Err(StoreError::refused(format!("{items} keys in one transaction; at most {TXN_ITEMS_MAX}")));
    }
    match txn.put.iter().find(|(_, value)| value.len() > VALUE_BYTES_MAX) {
        Some((key, value)) => {
            let bytes = value.len();
            Err(StoreError::refused(format!("{key} would hold {bytes} bytes; at most {VALUE_BYTES_MAX}")))
        }
        None => Ok(()),
    }
}

fn outcome(reply: Reply) -> Result<TxnOutcome, StoreError> {
    match reply {
        Reply::Committed(rev) => Ok(TxnOutcome::Committed { rev }),
        Reply::Conflict(current) => Ok(TxnOutcome::Conflict { current }),
        Reply::Full(why) => Err(StoreError::Refused { why }),
        Reply::Nothing | Reply::Founded(_) => Err(StoreError::unknown("the answer fits no transaction")),
    }
}
