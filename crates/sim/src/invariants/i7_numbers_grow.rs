//! I7: terms, timelines and versions of the set only grow, and two logs whose numbers say that one is the other's beginning
//! are so. A store that was restored from an old copy may count again what most members have not seen; whoever has seen it
//! must not take the one for the other.

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
        let more = self.nodes.iter().map(|n| &n.disk).filter(|notes| {
            let timeline = notes.elected.as_ref().map(|wrote| wrote.timeline);
            notes.term > now.0 || timeline > Some(now.1) || notes.set_version.0 > now.2
        });
        if self.stores.restored && more.count() * 2 > self.nodes.len() {
            self.watch.violate(format!("I7: {now:?}, and most members have seen more"));
        }
    }

    /// The store was restored from an old copy: it counts on from there.
    pub(crate) fn i7_restored(&mut self) {
        self.watch.last = None;
    }

    /// A stream begins: by their numbers, the replica's log is the beginning of its source's, or, on servers of GTIDs, the other way
    /// round where that is a replica too, which has not received as much yet.
    pub(crate) fn i7_streams(&mut self, at: usize, source: usize) {
        let (ours, theirs) = (&self.nodes[at].db, &self.nodes[source].db);
        let replica = theirs.kind.has_gtids() && theirs.running.as_ref().is_some_and(|running| running.in_recovery);
        let one = theirs.log.starts_with(&ours.log) || (replica && ours.log.starts_with(&theirs.log));
        if !one {
            let (name, from) = (&self.nodes[at].name, &self.nodes[source].name);
            let text = format!("I7: {name} streams from {from} behind another log on timeline {}", ours.timeline);
            self.watch.violate(text);
        }
    }
}
