//! Circles of dependencies: the weakest kind that there is, each with the shortest witness.

use super::graph::Graph;
use super::{Anomaly, Finding};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

/// Dependencies of one part that a circle is looked for through: a broken history is one big part, and one circle is enough.
const EDGES_MAX: usize = 5_000;

/// Why one transaction comes before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It wrote what the other wrote after.
    Ww {
        /// The list.
        key: u64,
        /// What the other wrote.
        value: u64,
    },
    /// The other read what it wrote.
    Wr {
        /// The list.
        key: u64,
        /// What was read.
        value: u64,
    },
    /// It did not see what the other wrote.
    Rw {
        /// The list.
        key: u64,
        /// What the other wrote.
        value: u64,
    },
    /// The same session, one after the other.
    Session,
    /// It had ended when the other began.
    RealTime,
}

impl Kind {
    const fn is_rw(self) -> bool {
        matches!(self, Self::Rw { .. })
    }

    const fn is_ww(self) -> bool {
        matches!(self, Self::Ww { .. })
    }
}

/// A dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// Who comes after.
    pub to: usize,
    /// Why.
    pub kind: Kind,
}

/// A circle: each transaction with the reason why it comes before the next; the last before the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle(pub Vec<(usize, Kind)>);

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, kind) in &self.0 {
            match kind {
                Kind::Ww { key, value } => write!(f, "T{at} -ww({key}: {value})-> ")?,
                Kind::Wr { key, value } => write!(f, "T{at} -wr({key}: {value})-> ")?,
                Kind::Rw { key, value } => write!(f, "T{at} -rw({key}: {value})-> ")?,
                Kind::Session => write!(f, "T{at} -session-> ")?,
                Kind::RealTime => write!(f, "T{at} -time-> ")?,
            }
        }
        self.0.first().map_or(Ok(()), |(at, _)| write!(f, "T{at}"))
    }
}

impl Cycle {
    /// Which anomaly it is: by its read-before-write dependencies.
    fn anomaly(&self) -> Anomaly {
        let kinds: Vec<Kind> = self.0.iter().map(|(_, kind)| *kind).collect();
        let rw = kinds.iter().filter(|kind| kind.is_rw()).count();
        let beside = |at: usize| kinds[at].is_rw() && kinds[(at + 1) % kinds.len()].is_rw();
        match rw {
            0 if kinds.iter().any(|kind| matches!(kind, Kind::Wr { .. })) => Anomaly::G1c,
            0 => Anomaly::G0,
            1 => Anomaly::GSingle,
            _ if (0..kinds.len()).any(beside) => Anomaly::G2Item,
            _ => Anomaly::GNonadjacent,
        }
    }
}

/// The shortest circle of each kind there is.
pub(super) fn find(graph: &Graph) -> Vec<Finding> {
    let mut shortest: BTreeMap<Anomaly, Cycle> = BTreeMap::new();
    let mut keep = |cycle: Cycle| {
        let anomaly = cycle.anomaly();
        match shortest.get(&anomaly) {
            Some(held) if held.0.len() <= cycle.0.len() => {}
            _ => {
                shortest.insert(anomaly, cycle);
            }
        }
    };
    for part in components(graph) {
        let edges = part.iter().flat_map(|from| graph.get(from).into_iter().flatten().map(move |edge| (*from, *edge)));
        for (from, edge) in edges.filter(|(_, edge)| part.contains(&edge.to)).take(EDGES_MAX) {
            // a circle through this edge, by the weakest means
            let rules: &[Rule] = match edge.kind {
                Kind::Rw { .. } => &[Rule::NoRw, Rule::Apart, Rule::Any],
                Kind::Ww { .. } => &[Rule::OnlyWw, Rule::NoRw],
                Kind::Wr { .. } | Kind::Session | Kind::RealTime => &[Rule::NoRw],
            };
            for rule in rules {
                if let Some(path) = path(graph, &part, edge, from, *rule) {
                    keep(Cycle(std::iter::once((from, edge.kind)).chain(path).collect()));
                }
            }
        }
    }
    let finding = |(anomaly, cycle): (Anomaly, Cycle)| Finding { anomaly, text: cycle.to_string(), cycle: Some(cycle) };
    shortest.into_iter().map(finding).collect()
}

/// Which edges the way back may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Writes over writes.
    OnlyWw,
    /// Anything but reads before writes.
    NoRw,
    /// Reads before writes too, none next to another; the first edge is one.
    Apart,
    /// Anything.
    Any,
}

/// The shortest way from the edge's end back to `home`.
fn path(graph: &Graph, part: &BTreeSet<usize>, first: Edge, home: usize, rule: Rule) -> Option<Vec<(usize, Kind)>> {
    // a place on the way, and whether it was reached by a read before a write
    type Place = (usize, bool);
    let start: Place = (first.to, first.kind.is_rw());
    let mut came: BTreeMap<Place, (Place, Kind)> = BTreeMap::new();
    let mut seen = BTreeSet::from([start]);
    let mut queue = VecDeque::from([start]);
    while let Some(place) = queue.pop_front() {
        let (at, by_rw) = place;
        for edge in graph.get(&at).into_iter().flatten().filter(|edge| part.contains(&edge.to)) {
            let rw = edge.kind.is_rw();
            let allowed = match rule {
                Rule::OnlyWw => edge.kind.is_ww(),
                Rule::NoRw => !rw,
                // the way's end meets the first edge, which is one
                Rule::Apart => !(rw && (by_rw || edge.to == home)),
                Rule::Any => true,
            };
            if !allowed {
                continue;
            }
            if edge.to == home {
                let mut way = vec![(at, edge.kind)];
                let mut place = place;
                while let Some((before, kind)) = came.get(&place) {
                    way.push((before.0, *kind));
                    place = *before;
                }
                way.reverse();
                return Some(way);
            }
            let next = (edge.to, rw);
            if seen.insert(next) {
                came.insert(next, (place, edge.kind));
                queue.push_back(next);
            }
        }
    }
    None
}

/// Strongly connected parts of more than one transaction. Tarjan 1972, without recursion.
fn components(graph: &Graph) -> Vec<BTreeSet<usize>> {
    let mut index: BTreeMap<usize, usize> = BTreeMap::new();
    let mut low: BTreeMap<usize, usize> = BTreeMap::new();
    let mut stack: Vec<usize> = Vec::new();
    let mut on: BTreeSet<usize> = BTreeSet::new();
    let mut found = Vec::new();
    let next_of = |at: usize| -> Vec<usize> { graph.get(&at).into_iter().flatten().map(|edge| edge.to).collect() };
    for root in graph.keys() {
        if index.contains_key(root) {
            continue;
        }
        let mut work = vec![(*root, next_of(*root), 0_usize)];
        let number = index.len();
        index.insert(*root, number);
        low.insert(*root, number);
        stack.push(*root);
        on.insert(*root);
        while let Some((at, targets, tried)) = work.last_mut() {
            if let Some(to) = targets.get(*tried).copied() {
                *tried += 1;
                let at = *at;
                if let Some(seen) = index.get(&to).copied() {
                    if on.contains(&to) {
                        low.entry(at).and_modify(|l| *l = (*l).min(seen));
                    }
                } else {
                    let number = index.len();
                    index.insert(to, number);
                    low.insert(to, number);
                    stack.push(to);
                    on.insert(to);
                    work.push((to, next_of(to), 0));
                }
                continue;
            }
            let at = *at;
            work.pop();
            let reached = low[&at];
            if let Some((parent, ..)) = work.last() {
                low.entry(*parent).and_modify(|l| *l = (*l).min(reached));
            }
            if reached == index[&at] {
                let mut part = BTreeSet::new();
                while let Some(member) = stack.pop() {
                    on.remove(&member);
                    part.insert(member);
                    if member == at {
                        break;
                    }
                }
                if part.len() > 1 {
                    found.push(part);
                }
            }
        }
    }
    found
}
