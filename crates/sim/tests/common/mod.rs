//! What the short simulations share: a cluster that has formed, what its trace says, and that it heals.

use dauphin_model::{Durability, Span};
use dauphin_sim::{Config, Faults, World, spec};

/// A cluster of so many members, under way for a while, with its trace.
pub(crate) fn formed_of(members: u64, durability: Durability) -> World {
    let faults = Faults { store_restored: 1, ..Faults::default() };
    let config = Config { spec: spec(members, durability), faults, trace: true, ..Config::of_seed(1) };
    let mut world = World::new(config);
    world.wait_for(Span::ms(30_000), World::whole).expect("a new cluster forms");
    world.run_for(Span::ms(3_000));
    world
}

/// Whether a line of the trace holds these words.
pub(crate) fn says(world: &World, text: &str) -> bool {
    world.lines().iter().any(|line| line.contains(text))
}

/// Every member is back within a minute, and nothing broke.
#[track_caller]
pub(crate) fn heals(world: &mut World) {
    world.wait_for(Span::ms(60_000), World::whole).unwrap_or_else(|| panic!("heals:\n{}", world.lines().join("\n")));
    assert_eq!(world.violation(), None);
}
