//! The routing table: one view of where clients go, merged from what every agent says. Pure: the service feeds it and
//! publishes what comes out. The highest term wins and a lower one is never used again.

use dauphin_model::{ClusterName, Fence, MemberName, ReplicaTarget, Route, RouteState, Target, Term};
use std::collections::BTreeMap;

/// Where clients go, as of now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// The highest term heard of. What a server of an older term answers is no acknowledgement any more.
    pub term: Term,
    /// The leader of that term, open or not.
    pub leader: Option<Target>,
    /// Clients are let in.
    pub open: bool,
    /// A planned switchover is about to happen: hold new transactions.
    pub draining: bool,
    /// The replicas, as the best-placed agent sees them.
    pub replicas: Vec<ReplicaTarget>,
    /// Of which term that is: what is usable receives the log of its leader.
    pub replicas_of: Term,
    /// Which transaction numbers the last leaders began with.
    pub fences: Vec<Fence>,
}

impl View {
    /// The leader, when clients are let in.
    #[must_use]
    pub fn open_leader(&self) -> Option<&Target> {
        if self.open { self.leader.as_ref() } else { None }
    }

    /// The leader, when it takes new transactions.
    #[must_use]
    pub fn admitting_leader(&self) -> Option<&Target> {
        if self.draining { None } else { self.open_leader() }
    }

    /// Replicas that take reads.
    pub fn usable_replicas(&self) -> impl Iterator<Item = &Target> {
        self.readable().map(|replica| &replica.target)
    }

    /// The same, with what is known of them.
    pub fn readable(&self) -> impl Iterator<Item = &ReplicaTarget> {
        let leader = self.leader.as_ref().map(|leader| &leader.member);
        self.replicas.iter().filter(move |replica| replica.usable && Some(&replica.target.member) != leader)
    }

    /// Whether sessions have to look at the difference to `other`; lag alone, within the limit, moves nobody.
    #[must_use]
    pub fn differs_for_sessions(&self, other: &Self) -> bool {
        fn uses(view: &View) -> impl Iterator<Item = (&Target, bool)> {
            view.readable().map(|replica| (&replica.target, replica.reporting))
        }
        self.term != other.term
            || self.leader != other.leader
            || self.open != other.open
            || self.draining != other.draining
            || self.replicas_of != other.replicas_of
            || !uses(self).eq(uses(other))
    }
}

/// What one agent said last.
#[derive(Debug)]
struct Word {
    route: Route,
    /// Its link is up: it would tell us if it changed its mind.
    live: bool,
}

/// Everything heard.
#[derive(Debug)]
pub struct RouteTable {
    cluster: ClusterName,
    words: BTreeMap<MemberName, Word>,
    term: Term,
}

impl RouteTable {
    /// Nothing heard yet.
    #[must_use]
    pub fn new(cluster: ClusterName) -> Self {
        Self { cluster, words: BTreeMap::new(), term: Term::default() }
    }

    /// An agent said where clients go. False when it speaks of another cluster and is not believed.
    pub fn hear(&mut self, route: Route) -> bool {
        if route.cluster != self.cluster {
            return false;
        }
        self.term = self.term.max(route.term);
        self.words.insert(route.from.clone(), Word { route, live: true });
        true
    }

    /// The link with an agent is down: what it said may be old.
    pub fn lose(&mut self, member: &MemberName) {
        if let Some(word) = self.words.get_mut(member) {
            word.live = false;
        }
    }

    /// The view that follows from all that was heard.
    #[must_use]
    pub fn view(&self) -> View {
        let of_term = || self.words.values().filter(|word| word.route.term == self.term);
        let leader = of_term().find_map(|word| word.route.leader.clone());
        let own = of_term().find(|word| word.route.is_from_leader());
        // The leader's own word counts first, open or closed; then anybody's who has heard it open.
        let word = own
            .filter(|word| word.live)
            .or_else(|| of_term().filter(|word| word.live).max_by_key(|word| word.route.state == RouteState::Open));
        let word = word.or(own).or_else(|| of_term().max_by_key(|word| word.route.state == RouteState::Open));
        let Some(word) = word else { return View { term: self.term, ..View::default() } };
        let (replicas, replicas_of) = self.replicas(word);
        View {
            term: self.term,
            leader: word.route.leader.clone().or(leader),
            open: word.route.open_leader().is_some(),
            draining: word.route.draining,
            replicas,
            replicas_of,
            fences: word.route.fences.clone(),
        }
    }

    /// The leader knows its replicas best; while there is none, an agent that is there.
    fn replicas(&self, best: &Word) -> (Vec<ReplicaTarget>, Term) {
        let of = |word: &Word| (word.route.replicas.clone(), word.route.term);
        if best.live && !best.route.replicas.is_empty() {
            return of(best);
        }
        let live = self.words.values().filter(|word| word.live && !word.route.replicas.is_empty());
        live.max_by_key(|word| word.route.term).map(of).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> MemberName {
        MemberName::new(text).expect("a name")
    }

    fn target(member: &str) -> Target {
        Target { member: name(member), host: "h".into(), port: 1, zone: None }
    }

    fn route(from: &str, term: u64, leader: &str, state: RouteState) -> Route {
        Route {
            cluster: ClusterName::new("lab").expect("a name"),
            from: name(from),
            term: Term(term),
            state,
            leader: Some(target(leader)),
            replicas: Vec::new(),
            draining: false,
            fences: Vec::new(),
            generation: 0,
        }
    }

    fn table(routes: &[Route]) -> RouteTable {
        let mut table = RouteTable::new(ClusterName::new("lab").expect("a name"));
        for route in routes {
            assert!(table.hear(route.clone()));
        }
        table
    }

    use RouteState::{Closed, Open};

    #[test]
    fn the_highest_term_wins_whoever_says_it_and_stays() {
        let mut table = table(&[route("m1", 6, "m1", Open), route("m3", 7, "m2", Closed), route("m2", 6, "m1", Open)]);
        assert_eq!((table.view().term, table.view().open_leader()), (Term(7), None));
        table.hear(route("m3", 6, "m1", Open));
        assert_eq!((table.view().term, table.view().open_leader()), (Term(7), None));
        table.hear(route("m1", 7, "m2", Open));
        assert_eq!(table.view().admitting_leader(), Some(&target("m2")));
    }

    #[test]
    fn the_leader_itself_is_believed_before_others() {
        let mut table = table(&[route("m1", 6, "m1", Closed), route("m2", 6, "m1", Open)]);
        assert!(!table.view().open);
        table.lose(&name("m1"));
        assert!(table.view().open, "what a lost link said last may be old");
        table.hear(Route { draining: true, ..route("m1", 6, "m1", Open) });
        assert_eq!((table.view().open_leader(), table.view().admitting_leader()), (Some(&target("m1")), None));
    }

    #[test]
    fn with_every_link_lost_the_last_word_stays() {
        let mut table = table(&[route("m1", 6, "m1", Open)]);
        table.lose(&name("m1"));
        assert!(table.view().open);
    }

    #[test]
    fn another_cluster_is_not_believed() {
        let mut table = table(&[]);
        let mut other = route("m1", 9, "m1", Open);
        other.cluster = ClusterName::new("other").expect("a name");
        assert!(!table.hear(other));
        assert_eq!(table.view(), View::default());
    }

    #[test]
    fn replicas_that_lead_or_lag_take_no_reads_and_lag_alone_moves_nobody() {
        let replica = |member, usable, lag| ReplicaTarget {
            target: target(member),
            lag_bytes: Some(lag),
            usable,
            reporting: false,
        };
        let with = |replicas| Route { replicas, ..route("m1", 6, "m1", Open) };
        let one = table(&[with(vec![replica("m1", true, 0), replica("m2", true, 5), replica("m3", false, 9)])]).view();
        assert_eq!(one.usable_replicas().collect::<Vec<_>>(), [&target("m2")]);
        let two = table(&[with(vec![replica("m2", true, 7), replica("m3", false, 9)])]).view();
        assert!(!one.differs_for_sessions(&two));
        let three = table(&[with(vec![replica("m2", true, 7), replica("m3", true, 9)])]).view();
        assert!(two.differs_for_sessions(&three));
        let four = ReplicaTarget { reporting: true, ..replica("m2", true, 7) };
        let four = table(&[with(vec![four, replica("m3", false, 9)])]).view();
        assert!(two.differs_for_sessions(&four), "who reads from it is another question now");
    }
}
