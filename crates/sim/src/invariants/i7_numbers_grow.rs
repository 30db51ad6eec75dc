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

    /// The store was restored from an old copy. What no member had noted of it by then is as if it had never been: nobody acted
    /// by it.
    pub(crate) fn i7_restored(&mut self) {
        let Some((term, timeline, version)) = self.watch.last else { return };
        let noted = self.nodes.iter().map(|n| (n.disk.term, n.disk.set_version.0));
        let (terms, versions): (Vec<_>, Vec<_>) = noted.unzip();
        let seen = |highest: Option<u64>| version.min(highest.unwrap_or_default());
        let term = term.min(terms.into_iter().max().unwrap_or_default());
        self.watch.last = Some((term, timeline, seen(versions.into_iter().max())));
    }
}
