//! Since when each member, and the cluster, has been how it is: the state that judgements alone do not have. Whoever judges
//! notes it here; the agent's faces ask.

use super::{Health, Judgement, Why};
use dauphin_model::{MemberName, Mono};
use std::collections::BTreeMap;

/// A health with its age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dated {
    /// How it is.
    pub health: Health,
    /// Why; this may change while the health stays.
    pub why: Why,
    /// Since when it has been so, as far as this agent saw.
    pub since: Mono,
}

impl Dated {
    fn note(there: Option<&Self>, now: Mono, (health, why): &(Health, Why)) -> Self {
        let since = there.filter(|dated| dated.health == *health).map_or(now, |dated| dated.since);
        Self { health: *health, why: why.clone(), since }
    }
}

/// The monitor.
#[derive(Debug, Default)]
pub struct Monitor {
    cluster: Option<Dated>,
    members: BTreeMap<MemberName, Dated>,
}

impl Monitor {
    /// Takes a judgement in; members that are not in it any more are forgotten.
    pub fn note(&mut self, now: Mono, judgement: &Judgement) {
        self.cluster = Some(Dated::note(self.cluster.as_ref(), now, &judgement.cluster));
        let dated = |(name, found): (&MemberName, &(Health, Why))| {
            (name.clone(), Dated::note(self.members.get(name), now, found))
        };
        self.members = judgement.members.iter().map(dated).collect();
    }

    /// How the cluster is. `None`: nothing was judged yet.
    #[must_use]
    pub const fn cluster(&self) -> Option<&Dated> {
        self.cluster.as_ref()
    }

    /// How a member is.
    #[must_use]
    pub fn member(&self, name: &MemberName) -> Option<&Dated> {
        self.members.get(name)
    }
}
