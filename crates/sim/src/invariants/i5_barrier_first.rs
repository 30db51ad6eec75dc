//! I5: clients are let in only behind the barrier: `required` of the published voters hold the whole recovered log.

use crate::world::World;

impl World {
    pub(crate) fn i5_opening(&mut self, at: usize) {
        if self.is_async() {
            return;
        }
        let Some(record) = self.stores.now.view.leadership.clone() else { return };
        if record.leader.name != self.nodes[at].name || record.published.degraded {
            return;
        }
        let switch = record.switch.map_or(0, |s| usize::try_from(s.lsn.0).unwrap_or(usize::MAX));
        let log = &self.nodes[at].db.log;
        let holds = |voter: &&dauphin_model::Voter| {
            let node = self.nodes.iter().find(|n| n.name == voter.name);
            // among what it has: somebody may have written beside it
            let all = |n: &crate::coming::Node| {
                let mut due = log[..=switch].iter().peekable();
                for record in n.db.on_disk() {
                    due.next_if_eq(&record);
                }
                due.peek().is_none()
            };
            log.len() > switch && node.is_some_and(all)
        };
        let held = record.published.voters.iter().filter(holds).count();
        let required = (record.published.voters.len() + 1).saturating_sub(record.published.answers as usize);
        if held < required {
            let text = format!(
                "I5: {} opens term {} with its log on {held} of {required} voters",
                self.nodes[at].name, record.term
            );
            self.watch.violate(text);
        }
    }
}
