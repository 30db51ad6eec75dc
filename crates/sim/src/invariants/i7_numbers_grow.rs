//! I7: terms, timelines and versions of the set only grow.

use crate::world::World;
use dauphin_model::Leadership;

impl World {
    pub(crate) fn i7_decided(&mut self, after: &Leadership) {
        let now = (after.term, after.timeline, after.published.version.0);
        if let Some(last) = self.watch.last
            && (now.0 < last.0 || now.1 < last.1 || now.2 < last.2)
        {
            self.watch.violate(format!("I7: {now:?} after {last:?}"));
        }
        self.watch.last = Some(now);
    }
}
