//! One simulation from seed to verdict: form a cluster, break it for a while, heal it, and see whether it lives.

use crate::coming::Node;
use crate::config::Config;
use crate::struck::Struck;
use crate::world::World;
use dauphin_ha::Role;
use dauphin_model::{Durability, MemberSpec, Mono, Span};

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

/// Nor of one whose upgrade stands half-way, where since the last fault that was said of a newer member; where too few can follow
/// the one that the store names; or where too few have data, as no copy can be made of it.
fn is_held_up_by_an_upgrade(world: &World) -> bool {
    let Some(leader) = world.leader().filter(|_| world.is_mixed()) else { return false };
    let spec = world.stores.now.view.spec.as_ref().unwrap_or(&world.config.spec);
    let votes = |n: &&Node| spec.member(&n.name).is_some_and(MemberSpec::may_vote);
    let others = world.nodes.iter().filter(|n| n.name != world.nodes[leader].name);
    let (follows, needed) =
        (others.filter(votes).filter(|n| !world.is_left_out(n, leader)).count(), spec.required_min());
    world.watch.held_by_newer || follows < needed as usize
}

/// Runs one configuration.
#[must_use]
pub fn run(config: &Config) -> Outcome {
    let (mut world, mut held_up) = (World::new(config.clone()), false);
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
        let well = |w: &World| w.whole() && w.watch.acknowledged > before;
        let alive = world.wait_for(HEALING, |w| is_rolled_back(w) || well(w)).is_some();
        if is_rolled_back(&world) {
            world.run_for(AFTER_RESTORE);
        }
        held_up = !alive && is_held_up_by_an_upgrade(&world);
        let person = needs_a_person(&world) || held_up;
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
        needs_a_person: needs_a_person(&world) || held_up,
        lines: world.trace.lines().to_vec(),
    }
}
