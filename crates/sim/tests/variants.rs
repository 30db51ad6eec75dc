//! Each deliberately broken rule is caught by the simulator: docs/simulator.md lists the seed that does.

use dauphin_ha::variant::Variant;
use dauphin_model::{Durability, MemberKind, Span, Term};
use dauphin_sim::{Config, Fault, Faults, World, run, spec};
use std::fmt::Write;
use std::path::Path;

/// Seeds that are tried when the one in the documentation no longer catches it.
const SEEDS_MAX: u64 = 4_000;
/// Rules that need a world made for them: seeds lead there too seldom.
const STORIES: [(Variant, Story); 5] = [
    (Variant::BelieveHolder, a_former_leader_with_an_old_view),
    (Variant::TrustStreams, a_leader_whose_streams_stand),
    (Variant::TrustNumbers, a_leader_that_an_old_store_forgot),
    (Variant::AloneIsEnough, a_member_that_hears_nothing),
    (Variant::LeadByAnyStore, a_winner_of_long_ago),
];
/// A short simulation, with one rule left out or none.
type Story = fn(Option<Variant>) -> Option<String>;
const BEGIN: &str = "<!-- variants: written by UPDATE_DOCS=1 cargo test -p dauphin-sim --test variants -->";
const END: &str = "<!-- end -->";

fn doc() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/simulator.md")
}

fn story_of(variant: Variant) -> Option<Story> {
    STORIES.iter().find(|(v, _)| *v == variant).map(|(_, story)| *story)
}

fn caught(variant: Variant, seed: u64) -> Option<String> {
    run(&Config { variant: Some(variant), ..Config::of_seed(seed) }).violation
}

/// A former leader that lost the store still believes itself the last holder. The leader after it dies, one voter has what
/// that leader acknowledged and is slow to answer, the other stands for election without it.
fn a_former_leader_with_an_old_view(variant: Option<Variant>) -> Option<String> {
    let mut spec = spec(6, Durability::Quorum);
    spec.required = Some(1);
    for witness in 4..6 {
        spec.members[witness].kind = MemberKind::Witness;
    }
    let mut world = World::new(Config { spec, variant, trace: true, ..Config::of_seed(1) });
    world.wait_for(Span::ms(30_000), World::whole);
    let former = world.leader().expect("a new cluster forms");
    world.strike(former, Fault::LosesStore, Span::default());
    world.wait_for(Span::ms(30_000), |w| w.healthy() && w.leader() != Some(former));
    let leader = world.leader().expect("somebody takes over");
    // the former leader leaves the set of voters
    world.run_for(Span::ms(3_000));
    let others: Vec<usize> = (0..4).filter(|at| ![former, leader].contains(at)).collect();
    world.strike(others[0], Fault::StreamStalls, Span::ms(2_000));
    world.run_for(Span::ms(200));
    world.strike(others[1], Fault::PauseAgent, Span::ms(3_000));
    world.kill(leader);
    world.wait_for(Span::ms(30_000), |w| w.healthy() && w.leader() != Some(leader));
    world.run_for(Span::ms(1_000));
    assert!(world.healthy() || world.violation().is_some(), "somebody takes over again:\n{}", world.lines().join("\n"));
    world.violation().map(ToOwned::to_owned)
}

/// Every agent hears every other, and no stream from the leader carries anything.
fn a_leader_whose_streams_stand(variant: Option<Variant>) -> Option<String> {
    let mut world = World::new(Config { spec: spec(3, Durability::Quorum), variant, ..Config::of_seed(1) });
    world.wait_for(Span::ms(30_000), World::whole);
    world.run_for(Span::ms(20_000));
    let leader = world.leader().expect("a new cluster forms");
    world.strike(leader, Fault::StreamStalls, Span::ms(60_000));
    let waited = world.wait_for(Span::ms(20_000), |w| w.leader().is_some_and(|l| l != leader));
    waited.is_none().then(|| "L1: commits wait for 20 s, and nobody takes over".to_owned())
}

/// A leader is gone with all that knows of it: its replicas received nothing of its timeline, and the store is restored from
/// an old copy. Another is elected from where it was, and is given the same timeline; then the one that was forgotten is back.
fn a_leader_that_an_old_store_forgot(variant: Option<Variant>) -> Option<String> {
    let faults = Faults { store_restored: 1, ..Faults::default() };
    let spec = spec(5, Durability::Async);
    let mut world = World::new(Config { spec, faults, variant, trace: true, ..Config::of_seed(1) });
    world.wait_for(Span::ms(30_000), World::whole);
    world.run_for(Span::ms(5_000));
    let (first, before) = (world.leader().expect("a new cluster forms"), world.now());
    let others: Vec<usize> = (0..5).filter(|at| *at != first).collect();
    for at in &others {
        world.strike(*at, Fault::StreamStalls, Span::ms(30_000));
    }
    world.run_for(Span::ms(500));
    // one of the others sees the store: it decides, and nobody else hears what
    for at in &others[1..] {
        world.strike(*at, Fault::LosesStore, Span::ms(60_000));
    }
    world.strike(first, Fault::FreezeNode, Span::ms(300_000));
    world.wait_for(Span::ms(30_000), |w| w.leader() == Some(others[0])).expect("it takes over");
    world.run_for(Span::ms(500));
    let age = world.now().since(before);
    world.strike(others[0], Fault::FreezeNode, Span::ms(90_000));
    world.strike(0, Fault::StoreRestored, age);
    world.wait_for(Span::ms(80_000), |w| w.leader().is_some_and(|l| others[1..].contains(&l))).expect("another");
    world.run_for(Span::ms(100_000));
    let lines = world.lines().join("\n");
    assert!(world.violation().is_some() || lines.contains("restored from an old copy and went on"), "{lines}");
    world.violation().map(ToOwned::to_owned)
}

/// A winner stands still before it leads, and others lead after it. The store is restored from a copy that names it still; it
/// has seen nothing newer than that copy holds.
fn a_winner_of_long_ago(variant: Option<Variant>) -> Option<String> {
    let faults = Faults { store_restored: 1, ..Faults::default() };
    let spec = spec(5, Durability::Quorum);
    let mut world = World::new(Config { spec, faults, variant, trace: true, ..Config::of_seed(1) });
    world.wait_for(Span::ms(30_000), World::whole);
    world.run_for(Span::ms(3_000));
    world.kill(0);
    let decides = |w: &World| w.lines().iter().any(|l| l.contains("store: term 2 m2#1 Elected"));
    world.wait_for(Span::ms(10_000), decides).expect("the second one wins");
    world.strike(1, Fault::FreezeNode, Span::ms(20_000));
    // a copy is made of what the store holds by then
    world.run_for(Span::ms(1_000));
    let named = world.now();
    world.wait_for(Span::ms(15_000), |w| w.healthy() && w.leader() != Some(1)).expect("another leads");
    world.run_for(Span::ms(2_000));
    let age = world.now().since(named);
    world.strike(0, Fault::StoreRestored, age);
    world.run_for(Span::ms(20_000));
    let lines = world.lines().join("\n");
    let waits = "term 2: elected, and waits until 3 members are there and go by this store";
    assert!(world.violation().is_some() || lines.contains(waits), "{lines}");
    world.violation().map(ToOwned::to_owned)
}

/// One member hears nobody, and everybody else is well.
fn a_member_that_hears_nothing(variant: Option<Variant>) -> Option<String> {
    let mut world = World::new(Config { spec: spec(3, Durability::Quorum), variant, ..Config::of_seed(1) });
    world.wait_for(Span::ms(30_000), World::whole);
    world.run_for(Span::ms(3_000));
    let leader = world.leader().expect("a new cluster forms");
    world.strike((leader + 1) % 3, Fault::HearsNothing, Span::ms(10_000));
    world.run_for(Span::ms(9_000));
    let pledged = world.highest_pledge();
    (pledged > Term::default()).then(|| format!("members pledge to term {} beside a leader that is well", pledged.0))
}

/// `| name | seed | what broke |`
fn listed(text: &str, variant: Variant) -> Option<u64> {
    let name = format!("| `{variant:?}` |");
    let line = text.lines().find(|l| l.starts_with(&name))?;
    line.split('|').nth(3)?.trim().parse().ok()
}

#[test]
fn every_broken_rule_is_caught_by_the_seed_in_the_documentation() {
    let text = std::fs::read_to_string(doc()).expect("docs/simulator.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return update(&text);
    }
    for variant in Variant::ALL {
        if let Some(story) = story_of(variant) {
            assert!(story(Some(variant)).is_some(), "the story of {variant:?} does not show it");
            assert_eq!(story(None), None, "the story of {variant:?} must be good without the fault");
            continue;
        }
        let seed = listed(&text, variant).unwrap_or_else(|| panic!("{variant:?} is not listed in docs/simulator.md"));
        let violation = caught(variant, seed);
        assert!(violation.is_some(), "{variant:?} is not caught by seed {seed} any more: UPDATE_DOCS=1 finds another");
        assert_eq!(run(&Config::of_seed(seed)).violation, None, "seed {seed} must be good without the fault");
    }
}

fn update(text: &str) {
    let mut table = String::from("\n| left out | what it is | seed | what the simulator says |\n|---|---|---|---|\n");
    for variant in Variant::ALL {
        if let Some(story) = story_of(variant) {
            let violation = story(Some(variant)).unwrap_or_else(|| panic!("the story of {variant:?} does not show it"));
            let _ = writeln!(table, "| `{variant:?}` | {} | a story | {violation} |", variant.what());
            continue;
        }
        let (seed, violation) = (1..=SEEDS_MAX)
            .find_map(|seed| {
                let violation = caught(variant, seed)?;
                run(&Config::of_seed(seed)).violation.is_none().then_some((seed, violation))
            })
            .unwrap_or_else(|| panic!("{variant:?} is not caught in {SEEDS_MAX} seeds"));
        let _ = writeln!(table, "| `{variant:?}` | {} | {seed} | {} |", variant.what(), violation.replace('|', "/"));
    }
    let (head, rest) = text.split_once(BEGIN).expect("the begin mark");
    let (_, tail) = rest.split_once(END).expect("the end mark");
    std::fs::write(doc(), format!("{head}{BEGIN}\n{table}\n{END}{tail}")).expect("written");
}
