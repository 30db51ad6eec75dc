//! I4: no promotion without revocation: enough published voters receive nothing from the old leader any more, or the
//! leader of the last open term is fenced (`async`: or its lease has ended, and its server with it).

use crate::world::World;
use dauphin_model::{Evidence, Leadership, Timeline};

impl World {
    /// A server becomes a leader only on a timeline that the store gave to its member.
    pub(crate) fn i4_promoting(&mut self, at: usize, timeline: Timeline) {
        if self.watch.decided.get(&timeline) != Some(&self.nodes[at].name) {
            let text = format!(
                "I4: {} is promoted to timeline {timeline}, which the store did not give it",
                self.nodes[at].name
            );
            self.watch.violate(text);
        }
    }

    pub(crate) fn i4_decided(&mut self, before: Option<&Leadership>, after: &Leadership, by: usize) {
        let Some(before) = before else { return };
        if matches!(after.evidence, Evidence::Bootstrap | Evidence::DataLossAccepted) {
            return;
        }
        let old = self.nodes.iter().position(|n| n.name == before.leader.name);
        let writes = |at: usize| {
            self.nodes[at].db.running.as_ref().is_some_and(|r| !r.in_recovery && r.access)
                && self.nodes[at].db.timeline == before.timeline
        };
        let old_writes = old.is_some_and(writes);
        let text = match &after.evidence {
            Evidence::FencedLeader { leader } => {
                let fenced = self.nodes.iter().position(|n| n.name == leader.name);
                fenced.is_some_and(writes).then(|| format!("I4: {} is said to be fenced and writes", leader.name))
            }
            Evidence::LeaseEnded => {
                let frozen = old.is_some_and(|o| self.now < self.nodes[o].frozen_until);
                (old_writes && !frozen)
                    .then(|| format!("I4: the lease is said to have ended and {} writes", before.leader.name))
            }
            Evidence::Frozen { .. } => {
                // in recovery it acknowledges nothing: from a former leader that is fenced, a frozen member may catch up
                let old_leads = old.is_some_and(|o| self.nodes[o].db.running.as_ref().is_some_and(|r| !r.in_recovery));
                let frozen = |voter: &&dauphin_model::Voter| {
                    let node = self.nodes.iter().find(|n| n.name == voter.name);
                    node.is_some_and(|n| {
                        let receives =
                            n.db.running
                                .as_ref()
                                .and_then(|r| r.upstream.as_ref())
                                .is_some_and(|(u, _)| Some(*u) == old);
                        n.disk.pledge >= after.term && !(receives && old_leads && n.db.timeline == before.timeline)
                    })
                };
                let held = before.published.voters.iter().filter(frozen).count();
                (held < before.published.answers as usize).then(|| {
                    format!(
                        "I4: term {} was decided by {} with {held} of {} voters frozen",
                        after.term, self.nodes[by].name, before.published.answers
                    )
                })
            }
            Evidence::Bootstrap | Evidence::DataLossAccepted => None,
        };
        if let Some(text) = text {
            self.watch.violate(text);
        }
    }
}
