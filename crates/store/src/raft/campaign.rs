//! When this member stands for the store's leadership: after a silence that every member times for itself, one member
//! after the other, so that two survivors do not take each other's votes. Whether it may win is Raft's: pre-vote, lease
//! and log decide as ever. Raft's own timer asks too early, is refused by the lease, and waits for another random
//! timeout: 1.2 to 1.5 s until there is a leader, where this takes 0.4 to 0.6 s (measured in `tests/cluster.rs`).

use crate::raft::node::Node;
use crate::raft::types::NodeId;
use crate::store::Timings;
use openraft::async_runtime::WatchReceiver;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// What was heard of other members that speaks against standing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Heard {
    /// When the leader was heard last.
    pub(crate) leader: Option<Instant>,
    /// When another member was given a vote.
    pub(crate) voted: Option<Instant>,
}

/// What was heard, shared with those who hear it.
pub(crate) type Hearing = Arc<Mutex<Heard>>;

/// Stands for election whenever that is due, until Raft ends.
pub(crate) async fn campaign(node: Weak<Node>) {
    let began = Instant::now();
    let (mut silent_since, mut tries) = (began, 0);
    while let Some(node) = node.upgrade() {
        let timings = node.timings;
        let heard = *node.hearing.lock().unwrap_or_else(PoisonError::into_inner);
        let (place, ended) = {
            let metrics = node.raft.metrics();
            let metrics = metrics.borrow_watched();
            let voters: Vec<NodeId> = metrics.membership_config.membership().voter_ids().collect();
            let leader = metrics.current_leader.clone();
            (Place::of(&node.id, leader.as_ref(), &voters), metrics.running_state.is_err())
        };
        if ended {
            return;
        }
        let since = heard.leader.unwrap_or(began).max(began);
        if since != silent_since {
            (silent_since, tries) = (since, 0);
        }
        let now = Instant::now();
        let Some(place) = place else {
            // it leads, or has no vote: a heartbeat later that may be different
            (silent_since, tries) = (now, 0);
            drop(node);
            tokio::time::sleep(timings.heartbeat).await;
            continue;
        };
        let voted = heard.voted.map_or(now, |voted| voted + timings.apart * 2);
        let due = (since + place.patience(timings, tries)).max(voted);
        if now < due {
            drop(node);
            // no longer than a heartbeat: the members may change meanwhile
            tokio::time::sleep((due - now).min(timings.heartbeat)).await;
            continue;
        }
        tracing::debug!(tries, "stands for election");
        if node.raft.trigger().elect(true).await.is_err() {
            return;
        }
        tries += 1;
    }
}

/// Where a member stands among those that may become leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// How many come before it.
    rank: u32,
    /// How many there are.
    of: u32,
}

impl Place {
    /// `None` for the leader itself and for who has no vote. The leader that is silent is not counted.
    fn of(me: &NodeId, leader: Option<&NodeId>, voters: &[NodeId]) -> Option<Self> {
        if leader == Some(me) {
            return None;
        }
        let mut all: Vec<&NodeId> = voters.iter().filter(|id| Some(*id) != leader).collect();
        all.sort();
        let rank = all.iter().position(|id| *id == me)?;
        Some(Self { rank: u32::try_from(rank).ok()?, of: u32::try_from(all.len()).ok()? })
    }

    /// The silence after which it stands for the `tries`-th time again. Later rounds last longer for later ranks: two
    /// that stood in the same moment, because they heard the leader at different ones, do not do so again.
    fn patience(self, timings: Timings, tries: u32) -> Duration {
        if self.of == 1 && tries == 0 {
            return Duration::ZERO;
        }
        timings.lease + timings.apart * self.rank + timings.apart * (self.of + self.rank) * tries
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use dauphin_model::MemberName;

    fn ids(n: u64) -> Vec<NodeId> {
        (1..=n).map(|i| NodeId { name: MemberName::new(&format!("m{i}")).unwrap(), nonce: i }).collect()
    }

    #[test]
    fn one_after_the_other_and_never_together_again() {
        let timings = Timings::default();
        let all = ids(3);
        let places: Vec<_> = all.iter().map(|me| Place::of(me, all.first(), &all)).collect();
        assert_eq!(places, [None, Some(Place { rank: 0, of: 2 }), Some(Place { rank: 1, of: 2 })]);
        assert_eq!(Place::of(&all[1], None, &all), Some(Place { rank: 1, of: 3 }));
        assert_eq!(Place::of(&all[1], None, &all[..1]), None, "no vote");

        // heard at moments that make the first tries fall together
        let [a, b] = [places[1].unwrap(), places[2].unwrap()];
        let late = b.patience(timings, 0) - a.patience(timings, 0);
        assert_eq!(late, timings.apart);
        for tries in 1..20 {
            assert_ne!(late + a.patience(timings, tries), b.patience(timings, tries));
        }
    }

    #[test]
    fn who_is_alone_does_not_wait() {
        let one = ids(1);
        let place = Place::of(&one[0], None, &one).unwrap();
        assert_eq!(place.patience(Timings::default(), 0), Duration::ZERO);
        assert!(place.patience(Timings::default(), 1) > Duration::ZERO);
    }
}
