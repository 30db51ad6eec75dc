//! Changes of who takes part: adding, removing, handing the lead over. Carried out on the Raft leader, one at a time;
//! a new member has the whole log before it votes, and no removal may cost the majority.
#![expect(clippy::wildcard_enum_match_arm, reason = "an answer to another question is no answer, whichever it is")]

use crate::error::StoreError;
use crate::raft::node::Node;
use crate::raft::rpc::{Answer, Ask, Order};
use crate::raft::types::NodeId;
use crate::raft::write::millis;
use dauphin_model::MemberName;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::raft::TransferLeaderRequest;
use openraft::{ChangeMembers, EmptyNode};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

type WriteError = RaftError<crate::raft::types::TC, ClientWriteError<crate::raft::types::TC>>;

/// How long a member that is to be added may take to say who it is.
const HELLO_WITHIN: Duration = Duration::from_secs(2);
/// Heartbeats that a member may miss before it no longer counts as present.
const BEATS_MISSED_MAX: u32 = 4;
/// How long one try of an election may take: two rounds of messages, each with a disk write.
const ELECT_WITHIN: Duration = Duration::from_millis(60);
/// How much longer each voter waits than the one before it, so that they do not stand together again.
const ELECT_APART: Duration = Duration::from_millis(25);
/// Tries of an immediate election; after that the ordinary one takes over.
const ELECT_TRIES_MAX: usize = 5;

impl Node {
    /// Carries out `order`, wherever the leader is.
    pub(crate) async fn order(&self, order: Order, within: Duration) -> Result<(), StoreError> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let answer = match self.leader() {
                Some(leader) if leader == self.id.name => self.lead_order(order.clone(), left).await,
                Some(leader) => {
                    let ask = Ask::Admin { order: order.clone(), timeout_ms: millis(left) };
                    self.pass_on(&leader, ask, left).await
                }
                None => Answer::NotLeader(None),
            };
            match answer {
                Answer::Done => return Ok(()),
                Answer::NotLeader(_) | Answer::Unavailable(_) => self.pause(deadline, &answer).await?,
                Answer::Refused(why) => return Err(StoreError::Refused { why }),
                Answer::Unknown(why) => return Err(StoreError::Unknown { why }),
                other => return Err(StoreError::unknown(format!("the leader answered {other:?}"))),
            }
        }
    }

    /// On the leader: carries out `order`.
    pub(crate) async fn lead_order(&self, order: Order, within: Duration) -> Answer {
        if self.leader().as_ref() != Some(&self.id.name) {
            return Answer::NotLeader(self.leader());
        }
        let Ok(_one_at_a_time) = self.changing.try_lock() else {
            return Answer::Refused("another change of the store's members is under way: wait for it".to_owned());
        };
        let work = async {
            match order {
                Order::Add(name) => self.add(name).await,
                Order::Remove(name) => self.remove(name).await,
                Order::HandTo(name) => self.hand_to(name).await,
            }
        };
        match timeout(within, work).await {
            Ok(Ok(())) => Answer::Done,
            Ok(Err(answer)) => answer,
            Err(_) => Answer::Unknown("not finished in time; see `dauphin store status`".to_owned()),
        }
    }

    fn members(&self) -> (BTreeSet<NodeId>, BTreeSet<NodeId>) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        (membership.voter_ids().collect(), membership.learner_ids().collect())
    }

    async fn add(&self, name: MemberName) -> Result<(), Answer> {
        let node = self.newcomer(&name).await?;
        let (voters, learners) = self.members();
        if voters.contains(&node) {
            return Ok(());
        }
        if !learners.contains(&node) {
            // Waits until the newcomer has the log.
            self.raft.add_learner(node.clone(), EmptyNode {}, true).await.map_err(|e| self.refusal(&e))?;
        }
        // A member that comes back with a new disk takes the place of its former self in the same step.
        let mut after: BTreeSet<NodeId> = voters.into_iter().filter(|id| id.name != name).collect();
        after.insert(node);
        self.raft.change_membership(after, false).await.map_err(|e| self.refusal(&e))?;
        Ok(())
    }

    /// Who answers to that name, and whether it may be added here.
    async fn newcomer(&self, name: &MemberName) -> Result<NodeId, Answer> {
        if *name == self.id.name {
            return Ok(self.id.clone());
        }
        match self.wire.ask_name(name, Ask::Hello, HELLO_WITHIN).await {
            Ok(Answer::Hello { node, .. }) if node.name == *name => Ok(node),
            Ok(Answer::Refused(why)) => Err(Answer::Refused(format!("{name} cannot be added: {why}"))),
            Ok(other) => Err(Answer::Refused(format!("{name} cannot be added: it answered {other:?}"))),
            Err(e) => Err(Answer::Refused(format!("{name} cannot be added: {e}; start its agent first"))),
        }
    }

    async fn remove(&self, name: MemberName) -> Result<(), Answer> {
        let (voters, learners) = self.members();
        let after: BTreeSet<NodeId> = voters.iter().filter(|id| id.name != name).cloned().collect();
        if after.len() < voters.len() {
            self.keeps_majority(&name, &after)?;
            self.raft.change_membership(after, false).await.map_err(|e| self.refusal(&e))?;
            return Ok(());
        }
        let gone: BTreeSet<NodeId> = learners.into_iter().filter(|id| id.name == name).collect();
        if gone.is_empty() {
            return Err(Answer::Refused(format!("{name} is no member of the store")));
        }
        let change = ChangeMembers::RemoveNodes(gone);
        self.raft.change_membership(change, false).await.map_err(|e| self.refusal(&e))?;
        Ok(())
    }

    /// Who answered lately. Only the leader knows.
    fn present(&self) -> impl Fn(&NodeId) -> bool {
        let patience = self.timings.heartbeat * BEATS_MISSED_MAX;
        let beats = self.raft.metrics().borrow_watched().heartbeat.clone().unwrap_or_default();
        let lately = move |id: &NodeId| {
            let beat = beats.get(id).and_then(Option::as_ref);
            beat.is_some_and(|t| openraft::Instant::elapsed(&**t) < patience)
        };
        let me = self.id.clone();
        move |id| *id == me || lately(id)
    }

    /// Refuses a removal after which the members that are present would be no majority.
    fn keeps_majority(&self, name: &MemberName, after: &BTreeSet<NodeId>) -> Result<(), Answer> {
        let present = self.present();
        let present = |id: &&NodeId| present(id);
        let there = after.iter().filter(present).count();
        if there > after.len() / 2 {
            return Ok(());
        }
        let absent: Vec<&str> = after.iter().filter(|id| !present(id)).map(|id| id.name.as_str()).collect();
        Err(Answer::Refused(format!(
            "without {name} the store would have {there} of {} members present, which is no majority: bring {} back first",
            after.len(),
            if absent.is_empty() { "another member".to_owned() } else { absent.join(", ") },
        )))
    }

    async fn hand_to(&self, name: MemberName) -> Result<(), Answer> {
        if name == self.id.name {
            return Ok(());
        }
        let (voters, _) = self.members();
        let Some(to) = voters.into_iter().find(|id| id.name == name) else {
            return Err(Answer::Refused(format!("{name} has no vote in the store, so it cannot lead it")));
        };
        // a leader that hands over serves no more, and to nobody it would do so for an election's time
        if !self.present()(&to) {
            return Err(Answer::Refused(format!("{name} did not answer the store's leader lately: it cannot lead")));
        }
        let stopped = |e: openraft::errors::Fatal<crate::raft::types::TC>| Answer::Unavailable(e.to_string());
        self.raft.trigger().transfer_leader(to.clone()).await.map_err(stopped)?;
        let mut metrics = self.raft.metrics();
        loop {
            if metrics.borrow_watched().current_leader.as_ref() == Some(&to) {
                return Ok(());
            }
            if metrics.changed().await.is_err() {
                return Err(Answer::Unavailable("the store was shut down".to_owned()));
            }
        }
    }

    fn refusal(&self, error: &WriteError) -> Answer {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(e)) => self.not_leader(e),
            RaftError::APIError(ClientWriteError::ChangeMembershipError(e)) => Answer::Refused(e.to_string()),
            other => Answer::Unknown(other.to_string()),
        }
    }

    /// Stands for election now, over the head of a leader that is known to be dead: voters do not wait for its lease.
    /// The lease only spares a living leader disturbance; reads never rely on it.
    pub(crate) async fn elect_now(&self) -> Result<(), StoreError> {
        let (voters, _) = self.members();
        let Some(rank) = voters.iter().position(|id| *id == self.id) else {
            return Err(StoreError::refused("this member has no vote in the store, so it cannot lead it"));
        };
        let gone = self.leader();
        if gone.as_ref() == Some(&self.id.name) {
            return Ok(());
        }
        // Survivors that stand in the same moment may take each other's votes; none tries again when another does.
        let patience = ELECT_WITHIN + ELECT_APART * u32::try_from(rank).unwrap_or(u32::MAX);
        let mut health = self.health.subscribe();
        for _ in 0..ELECT_TRIES_MAX {
            let vote = self.raft.metrics().borrow_watched().vote.clone();
            // A transfer to oneself is Raft's own way past the lease. It counts only if the vote is still the one seen.
            let request = TransferLeaderRequest::new(vote, self.id.clone(), None);
            let stood = self.raft.handle_transfer_leader(request).await.map_err(StoreError::stopped)?;
            tracing::debug!(?stood, "stood for election");
            let led = health.wait_for(|h| h.leader.is_some() && h.leader != gone);
            if let Ok(Ok(_)) = timeout(patience, led).await {
                return Ok(());
            }
        }
        Err(StoreError::unavailable("no majority of the store's members voted"))
    }

    /// Waits until the store has a leader, or a given one.
    pub(crate) async fn leader_within(&self, deadline: Instant, who: Option<&MemberName>) -> Option<MemberName> {
        let mut health = self.health.subscribe();
        let led = health.wait_for(|h| h.leader.is_some() && (who.is_none() || h.leader.as_ref() == who));
        match timeout_at(deadline, led).await {
            Ok(Ok(health)) => health.leader.clone(),
            Ok(Err(_)) | Err(_) => None,
        }
    }
}
