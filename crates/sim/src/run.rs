//! One simulation from seed to verdict: form a cluster, break it for a while, heal it, and see whether it lives.

use crate::config::Config;
use crate::struck::Struck;
use crate::world::World;
use dauphin_ha::Role;
use dauphin_model::{Durability, Mono, Span};

/// How a simulation ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The invariant that broke, and how.
    pub violation: Option<String>,
    /// Commits acknowledged.
    pub acknowledged: u64,
    /// Terms that came to be open.
    pub terms: u64,
    /// Hash of everything that happened.
    pub hash: u64,
    /// What struck.
    pub struck: Vec<Struck>,
    /// How much time went by in the simulation.
    pub simulated: Span,
    /// Some members wait for a person: see `is_rolled_back` and `is_held_beside_stray` below.
    pub needs_a_person: bool,
    /// One line per event, where asked for.
    pub lines: Vec<String>,
}

/// How long a new cluster may take to open.
const FORMING: Span = Span::ms(30_000);
/// How long a healed cluster may take until a leader acknowledges (L1), and until every member is back.
const HEALING: Span = Span::ms(60_000);

/// How long a cluster is watched whose store was restored from an old copy and that waits for a person.
const AFTER_RESTORE: Span = Span::ms(20_000);

/// L1 is not asked of a cluster whose store came back older than a member's notes: such a member refuses the store and
/// waits for a person, who alone can know which of both is right. Everything else is asked of it as ever.
fn is_rolled_back(world: &World) -> bool {
    let refuses = |core: &dauphin_ha::Core| core.role() == Role::Quarantined;
    world.stores.restored && world.nodes.iter().filter_map(|n| n.core.as_ref()).any(refuses)
}

/// Nor of one that found, and said, that nobody but a member on which somebody wrote holds what may have been acknowledged.
fn is_held_beside_stray(world: &World) -> bool {
    !world.healthy() && world.watch.held_beside_stray && world.nodes.iter().any(|n| n.db.stray)
}

fn needs_a_person(world: &World) -> bool {
    is_rolled_back(world) || is_held_beside_stray(world)
}

/// Nor of one whose upgrade stands half-way, where that was said of a newer member, where one leads already and those it has
/// left behind are missed, or where one is missed that needs a fresh copy: of its own series there may be none.
fn is_held_up_by_an_upgrade(world: &World) -> bool {
    let left_behind = || {
        let leads = world.leader().or_else(|| world.elected());
        leads.is_some_and(|at| world.nodes.iter().any(|n| n.series < world.nodes[at].series && !n.witness))
    };
    let copies = |core: &dauphin_ha::Core| matches!(core.role(), Role::Empty | Role::Cloning);
    let needs_a_copy = || world.nodes.iter().filter_map(|n| n.core.as_ref()).any(copies);
    world.is_mixed() && (world.watch.held_by_newer || left_behind() || needs_a_copy())
}

/// Runs one configuration.
#[must_use]
pub fn run(config: &Config) -> Outcome {
    let mut world = World::new(config.clone());
    let formed = world.wait_for(FORMING, World::healthy).is_some();
    if !formed && world.watch.violation.is_none() {
        world.watch.violate("L1: a new cluster did not come to be open".to_owned());
    }
    if world.watch.violation.is_none() {
        world.begin_chaos();
        let end = world.now + config.chaos;
        world.run_until(end);
    }
    if world.watch.violation.is_none() {
        world.heal();
        let before = world.watch.acknowledged;
        // who was left behind by an upgrade comes back with its own
        let back = |w: &World| if w.is_mixed() { w.healthy() } else { w.whole() };
        let well = |w: &World| back(w) && w.watch.acknowledged > before;
        let alive = world.wait_for(HEALING, |w| is_rolled_back(w) || well(w)).is_some();
        if is_rolled_back(&world) {
            world.run_for(AFTER_RESTORE);
        }
        let person = needs_a_person(&world) || (!alive && is_held_up_by_an_upgrade(&world));
        if !alive && !person && world.watch.violation.is_none() {
            let stuck = if world.healthy() { "a member did not come back" } else { "no leader acknowledges" };
            world.watch.violate(format!("L1: {stuck} {HEALING} after the last fault"));
        }
        if world.watch.violation.is_none() && config.spec.durability != Durability::Async && !person {
            world.check_final();
        }
    }
    if let Some(violation) = world.watch.violation.clone() {
        world.dump();
        let now = world.now;
        world.trace.line(now, 0, &format!("VIOLATION {violation}"));
    }
    Outcome {
        seed: config.seed,
        violation: world.watch.violation.clone(),
        acknowledged: world.watch.acknowledged,
        terms: world.watch.opened,
        hash: world.trace.hash(),
        struck: world.struck().to_vec(),
        simulated: world.now.since(Mono(0)),
        needs_a_person: needs_a_person(&world),
        lines: world.trace.lines().to_vec(),
    }
}
