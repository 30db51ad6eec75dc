//! Each fault does to a cluster what it should: short simulations with one of them, and nothing else.

mod common;

use common::{formed_of, heals, says};
use dauphin_model::{Durability, Span};
use dauphin_sim::{Config, Fault, Faults, World, spec};

#[test]
fn clusters_of_one_and_of_seven_form() {
    heals(&mut formed_of(1, Durability::Async));
    heals(&mut formed_of(7, Durability::Quorum));
    heals(&mut formed_of(7, Durability::Sync));
}

/// Alone it can only come back itself.
#[test]
fn a_cluster_of_one_outlives_its_node() {
    let mut world = formed_of(1, Durability::Async);
    world.strike(0, Fault::KillNode, Span::ms(2_000));
    world.run_for(Span::ms(3_000));
    heals(&mut world);
}

#[test]
fn a_leader_whose_disk_is_full_makes_room() {
    let mut world = formed_of(3, Durability::Quorum);
    let leader = world.leader().expect("a leader");
    world.strike(leader, Fault::FullDisk, Span::ms(20_000));
    world.wait_for(Span::ms(10_000), |w| w.healthy() && w.leader() != Some(leader)).expect("somebody takes over");
    heals(&mut world);
}

#[test]
fn a_replica_whose_log_is_gone_at_the_leader_is_copied_again() {
    let mut world = formed_of(3, Durability::Quorum);
    let leader = world.leader().expect("a leader");
    let away = (leader + 1) % 3;
    world.strike(away, Fault::KillNode, Span::ms(6_000));
    world.run_for(Span::ms(5_500));
    world.strike(leader, Fault::LosesLog, Span::ZERO);
    heals(&mut world);
    assert!(says(&world, "the log it needs may be gone"), "{}", world.lines().join("\n"));
}

#[test]
fn without_a_majority_of_the_store_nobody_leads_and_then_somebody_does() {
    let mut world = formed_of(3, Durability::Quorum);
    let before = world.lines().len();
    world.strike(0, Fault::StoreStands, Span::ms(8_000));
    world.run_for(Span::ms(6_000));
    assert!(!world.healthy(), "the lease ran out");
    heals(&mut world);
    assert!(world.lines().len() > before);
}

/// The members' notes tell: the store is older than what they saw. Nobody leads until a person has looked.
#[test]
fn a_store_from_an_old_copy_is_refused() {
    let mut world = formed_of(3, Durability::Quorum);
    let before = world.now();
    let leader = world.kill_leader().expect("a leader");
    world.wait_for(Span::ms(10_000), |w| w.healthy() && w.leader() != Some(leader)).expect("somebody takes over");
    world.revive(leader);
    heals(&mut world);
    let age = world.now().since(before);
    world.strike(0, Fault::StoreRestored, age);
    world.run_for(Span::ms(30_000));
    assert_eq!(world.violation(), None);
    assert!(!world.healthy(), "nobody leads by an old store");
}

/// The lease is counted by two clocks: the leader's runs slowly, the others' fast.
#[test]
fn clocks_that_differ_do_not_let_two_lead() {
    for seed in 1..=30 {
        let faults = Faults { drift: true, ..Faults::default() };
        let config = Config { spec: spec(3, Durability::Async), faults, ..Config::of_seed(seed) };
        let mut world = World::new(config);
        world.wait_for(Span::ms(30_000), World::whole).expect("a new cluster forms");
        let leader = world.leader().expect("a leader");
        world.strike(leader, Fault::CutOff, Span::ms(10_000));
        world.strike(leader, Fault::LosesStore, Span::ms(10_000));
        world.wait_for(Span::ms(30_000), |w| w.healthy() && w.leader() != Some(leader)).expect("somebody takes over");
        heals(&mut world);
    }
}
