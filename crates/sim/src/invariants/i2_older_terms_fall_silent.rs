//! I2: once a later term has acknowledged, an older one acknowledges nothing that the later does not hold.

use crate::world::World;
use dauphin_model::Timeline;

impl World {
    pub(crate) fn i2_acknowledged(&mut self, at: usize, value: u64, timeline: Timeline) {
        match self.watch.newest {
            Some((newest, by)) if newest > timeline => {
                // with node-wide pauses and no hardware watchdog `async` cannot exclude this; the documentation says so
                let excused = self.is_async() && self.config.faults.pause_node > 0;
                if !self.nodes[by].db.holds(value) && !excused {
                    let text = format!(
                        "I2: {} acknowledged {value} on timeline {timeline} after timeline {newest} had acknowledged without it",
                        self.nodes[at].name
                    );
                    self.watch.violate(text);
                }
            }
            _ => self.watch.newest = Some((timeline, at)),
        }
    }
}
