//! Worlds to begin with: a whole cluster of each kind, in calm weather.

use dauphin_ha::variant::Variant;
use dauphin_model::{Durability, MemberKind, OnShortage, Profile, Span};
use dauphin_sim::{Config, Faults, Pace, World, spec};

/// What there is to begin with.
pub const START_NAMES: [&str; 5] = ["quorum", "sync", "async", "witness", "degrade"];

/// How long a new cluster may take.
const FORMS_WITHIN: Span = Span::ms(30_000);
/// A little calm, so that nothing of the beginning is left.
const CALM: Span = Span::ms(1_500);

/// The world of that name with a rule left out, or none; `None` if there is no such name. A rule may be broken in it
/// already.
#[must_use]
pub fn start(name: &str, variant: Option<Variant>) -> Option<World> {
    let (members, durability) = match name {
        "quorum" => (3, Durability::Quorum),
        "sync" => (3, Durability::Sync),
        "async" => (3, Durability::Async),
        "witness" | "degrade" => (3, Durability::Quorum),
        _ => return None,
    };
    let mut spec = spec(members, durability);
    spec.profile = Profile::Standard;
    if matches!(name, "witness" | "degrade") {
        spec.members[2].kind = MemberKind::Witness;
    }
    if name == "degrade" {
        spec.on_shortage = OnShortage::Degrade;
    }
    let pace = Pace { steady: true, clients: 1, client_ms: (200, 300), ship: Span::ms(8) };
    // whole nodes stand still, which `async` cannot survive without a moment of two writers
    let faults = Faults { pause_node: 1, ..Faults::default() };
    let config = Config { seed: 0, spec, variant, chaos: Span::ZERO, faults, plan: None, trace: false, pace };
    let mut world = World::new(config);
    if world.wait_for(FORMS_WITHIN, World::whole).is_none() && world.violation().is_none() {
        world.never_healed();
    }
    world.run_for(CALM);
    Some(world)
}
