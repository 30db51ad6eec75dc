//! I1: an acknowledged commit is in the log of every later leader (`sync` and `quorum`).

use crate::coming::Node;
use crate::world::World;
use dauphin_model::{Evidence, Leadership};

impl World {
    pub(crate) fn i1_opened(&mut self, record: &Leadership) {
        if self.is_async() || record.evidence == Evidence::DataLossAccepted {
            return;
        }
        let Some(at) = self.nodes.iter().position(|n| n.name == record.leader.name) else { return };
        self.i1_holds_everything(at, &format!("term {} opens", record.term));
    }

    fn i1_holds_everything(&mut self, at: usize, when: &str) {
        let log: std::collections::BTreeSet<u64> = self.nodes[at].db.log.iter().map(|r| r.value).collect();
        let lost: Vec<u64> = self.watch.kept.keys().copied().filter(|v| !log.contains(v)).collect();
        if let Some(first) = lost.first() {
            let text = format!(
                "I1: {when} on {} without {} acknowledged commits (the first is {first})",
                self.nodes[at].name,
                lost.len()
            );
            self.watch.violate(text);
        }
    }

    /// At the end every member holds everything.
    /// The store was restored from an old copy. What was acknowledged under a set that most members have not seen, nobody
    /// can ask for: those who decide by the old set cannot know, and who knows may be away.
    pub(crate) fn i1_restored(&mut self, before: Option<&Leadership>) {
        let Some(before) = before else { return };
        let (term, version) = (before.term, before.published.version);
        let knows = |n: &&Node| n.disk.term >= term && n.disk.set_version >= version;
        if self.nodes.iter().filter(knows).count() * 2 <= self.nodes.len() {
            self.watch.kept.clear();
        }
    }

    pub(crate) fn check_final(&mut self) {
        let Some(record) = self.stores.now.view.leadership.clone() else { return };
        if let Some(at) = self.nodes.iter().position(|n| n.name == record.leader.name) {
            self.i1_holds_everything(at, "the run ends");
        }
    }
}
