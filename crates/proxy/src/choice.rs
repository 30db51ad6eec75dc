//! Which replica a read goes to, of those that are fresh enough. Sessions of both ports ask; how fresh a replica is they find out
//! themselves. Pure: it looks at what the route says and at how busy connections are, and opens nothing.

use dauphin_model::ReplicaTarget;

/// So much log that is not replayed makes a replica as unwelcome as one that is twice as busy.
const LAG_STEP_BYTES: u64 = 1 << 20;

/// What a reader would like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wish<'a> {
    /// Where the proxy stands; none: all are equally near.
    pub(crate) zone: Option<&'a str>,
    /// It reads for people and analytics.
    pub(crate) reporting: bool,
}

/// How busy a replica is with readers of the same kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Load {
    /// Connections in use.
    pub(crate) busy: usize,
    /// None is free, and no more may be opened.
    pub(crate) full: bool,
}

/// How unwelcome a replica is: the lowest is chosen. First what it is meant for, then whether it has room, then where it stands, and
/// among equals how busy it is and how far behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    other_use: bool,
    full: bool,
    far: bool,
    cost: u64,
}

impl Wish<'_> {
    /// Whether the replica is there for such a reader: others serve it only where none that is will do.
    pub(crate) fn is_meant(&self, replica: &ReplicaTarget) -> bool {
        self.reporting == replica.reporting
    }

    pub(crate) fn rank(&self, replica: &ReplicaTarget, load: Load) -> Rank {
        let steps = 1 + replica.lag_bytes.unwrap_or(0) / LAG_STEP_BYTES;
        Rank {
            other_use: !self.is_meant(replica),
            full: load.full,
            far: self.zone.is_some() && self.zone != replica.target.zone.as_deref(),
            cost: (load.busy as u64).saturating_add(1).saturating_mul(steps),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_model::{MemberName, Target};

    /// `name zone busy lag-MiB`, and what else is so: a replica for people, or one that is full.
    fn replica(text: &str) -> (ReplicaTarget, Load) {
        let mut words = text.split_whitespace();
        let mut next = || words.next().expect("a word");
        let (name, zone) = (MemberName::new(next()).expect("a name"), next());
        let (busy, lag) = (next().parse().expect("a number"), next().parse::<u64>().expect("a number"));
        let also: Vec<&str> = words.collect();
        let zone = (zone != "-").then(|| zone.to_owned());
        let target = Target { member: name, host: "h".into(), port: 1, zone };
        let reporting = also.contains(&"people");
        let replica = ReplicaTarget { target, lag_bytes: Some(lag << 20), usable: true, reporting };
        (replica, Load { busy, full: also.contains(&"full") })
    }

    fn check(wish: Wish<'_>, replicas: &[&str], chosen: &str) {
        let replicas: Vec<_> = replicas.iter().map(|text| replica(text)).collect();
        let best = replicas.iter().min_by_key(|(replica, load)| wish.rank(replica, *load));
        let best = best.map_or("", |(replica, _)| replica.target.member.as_str());
        assert_eq!(best, chosen, "{wish:?} of {replicas:?}");
    }

    #[test]
    fn stories() {
        let anywhere = Wish::default();
        let at_a = Wish { zone: Some("a"), reporting: false };
        let people = Wish { reporting: true, ..anywhere };
        let people_at_a = Wish { reporting: true, ..at_a };
        check(anywhere, &[], "");
        // Among equals the one with the fewest readers, and the first of those.
        check(anywhere, &["m2 a 3 0", "m3 b 1 0", "m4 c 2 0"], "m3");
        check(anywhere, &["m2 a 1 0", "m3 b 1 0"], "m2");
        // The near one, however busy it is, unless it has no room.
        check(at_a, &["m2 b 0 0", "m3 a 9 0"], "m3");
        check(at_a, &["m2 b 0 0", "m3 a 9 0 full"], "m2");
        check(at_a, &["m2 b 9 0 full", "m3 a 9 0 full"], "m3");
        // One of no zone is far; where nothing is near, all are alike.
        check(at_a, &["m2 - 0 0", "m3 a 9 0"], "m3");
        check(at_a, &["m2 - 2 0", "m3 b 1 0"], "m3");
        // Lag counts as load does: less than a step is none.
        check(anywhere, &["m2 a 0 1", "m3 a 0 0"], "m3");
        check(anywhere, &["m2 a 0 1", "m3 a 4 0"], "m2");
        check(anywhere, &["m2 a 1 7", "m3 a 14 0"], "m3");
        check(at_a, &["m2 a 0 9", "m3 b 0 0"], "m2");
        // What is for people serves others last, even a near one with room, and people first, even a far one.
        check(at_a, &["m2 a 0 0 people", "m3 b 9 0 full"], "m3");
        check(at_a, &["m2 a 5 0 people"], "m2");
        check(people_at_a, &["m2 a 0 0", "m3 b 9 0 people"], "m3");
        check(people_at_a, &["m2 b 0 0 people", "m3 a 9 0 people"], "m3");
        check(people, &["m2 a 3 0", "m3 a 1 0"], "m3");
        // A lag beyond all counting.
        let (mut last, load) = replica("m9 a 1 0");
        last.lag_bytes = Some(u64::MAX);
        assert!(anywhere.rank(&last, Load { busy: usize::MAX, full: false }) > anywhere.rank(&last, load));
    }
}
