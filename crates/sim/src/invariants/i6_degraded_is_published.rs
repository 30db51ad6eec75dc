//! I6: a commit on fewer copies than the durability promises is acknowledged only while `degraded` is published.

use crate::world::World;

impl World {
    pub(crate) fn i6_acknowledged(&mut self, at: usize, value: u64) {
        if self.is_async() {
            return;
        }
        let promised = self.watch.least_promised.unwrap_or_else(|| self.config.spec.required_min()) as usize;
        let copies = self.nodes.iter().enumerate().filter(|(i, n)| *i != at && n.db.holds(value)).count();
        let degraded = self.stores.now.view.leadership.as_ref().is_some_and(|r| r.published.degraded);
        if copies < promised && !degraded {
            let text = format!(
                "I6: {} acknowledged {value} with {copies} of {promised} copies and nothing says degraded",
                self.nodes[at].name
            );
            self.watch.violate(text);
        }
    }
}
