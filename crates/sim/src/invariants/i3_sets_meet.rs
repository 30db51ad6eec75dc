//! I3: any `answers` published voters meet any `required` enforced ones, at every moment that something is acknowledged,
//! for every setting that some backend or sender may still use.

use crate::world::World;
use dauphin_model::Enforced;
use dauphin_model::sync_set::intersects;

impl World {
    pub(crate) fn i3_acknowledging(&mut self, at: usize) {
        if self.is_async() {
            return;
        }
        let Some(record) = self.stores.now.view.leadership.clone() else { return };
        if record.leader.name != self.nodes[at].name || record.timeline != self.nodes[at].db.timeline {
            return;
        }
        for enforced in self.enforced_of(at) {
            if !intersects(&record.published, &enforced) {
                let text = format!(
                    "I3: {} answers of {:?} need not meet {} of {:?}",
                    record.published.answers,
                    names(&Enforced { voters: record.published.voters.clone(), required: 0 }),
                    enforced.required,
                    names(&enforced)
                );
                self.watch.violate(text);
            }
        }
    }
}

fn names(set: &Enforced) -> Vec<String> {
    set.voters.iter().map(ToString::to_string).collect()
}
