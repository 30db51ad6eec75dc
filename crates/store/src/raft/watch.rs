//! Turns Raft's metrics into the store's health: one task, woken by Raft, waking others only when something changed.

use crate::health::{Standing, StoreHealth};
use crate::raft::campaign::Hearing;
use crate::raft::types::{NodeId, Raft, TC};
use openraft::RaftMetrics;
use openraft::async_runtime::WatchReceiver;
use openraft::metrics::SerdeInstant;
use std::sync::PoisonError;
use std::time::Instant;
use tokio::sync::watch;

/// Follows Raft's metrics until Raft ends.
pub(crate) async fn follow(me: NodeId, raft: Raft, hearing: Hearing, health: watch::Sender<StoreHealth>) {
    let mut metrics = raft.metrics();
    // Not to keep Raft alive: when it is dropped, the metrics end and so does this.
    drop(raft);
    loop {
        let heard = hearing.lock().unwrap_or_else(PoisonError::into_inner).leader;
        let now = health_of(&me, &metrics.borrow_watched(), heard, &health.borrow());
        health.send_if_modified(|held| {
            let moment = now.quorum_seen;
            held.quorum_seen = moment;
            let changed = *held != now;
            *held = now;
            changed
        });
        if metrics.changed().await.is_err() {
            health.send_if_modified(|held| {
                let stopping = held.failed.is_none();
                held.failed.get_or_insert_with(|| "it was shut down".to_owned());
                (held.leader, held.is_leader) = (None, false);
                stopping
            });
            return;
        }
    }
}

/// Health from metrics.
pub(crate) fn health_of(
    me: &NodeId,
    metrics: &RaftMetrics<TC>,
    heard: Option<Instant>,
    before: &StoreHealth,
) -> StoreHealth {
    let membership = metrics.membership_config.membership();
    let voters: Vec<NodeId> = membership.voter_ids().collect();
    let learners: Vec<NodeId> = membership.learner_ids().collect();
    let failed = metrics.running_state.as_ref().err().map(super::serve::fatal);
    let is_leader = failed.is_none() && metrics.current_leader.as_ref() == Some(me);
    let standing = if voters.contains(me) {
        Standing::Voter
    } else if learners.contains(me) {
        Standing::Learner
    } else if matches!(before.standing, Standing::Voter | Standing::Learner) || !voters.is_empty() {
        Standing::Removed
    } else {
        before.standing.clone()
    };
    let acked = metrics.last_quorum_acked.as_ref().map(moment);
    StoreHealth {
        standing,
        leader: metrics.current_leader.as_ref().filter(|_| failed.is_none()).map(|id| id.name.clone()),
        is_leader,
        term: metrics.current_term,
        voters: voters.into_iter().map(|id| id.name).collect(),
        learners: learners.into_iter().map(|id| id.name).collect(),
        quorum_seen: if is_leader { acked } else { heard },
        failed,
    }
}

/// A moment of Raft's clock on the standard library's.
pub(crate) fn moment<I: openraft::Instant>(then: &SerdeInstant<I>) -> Instant {
    let now = Instant::now();
    now.checked_sub(then.elapsed()).unwrap_or(now)
}
