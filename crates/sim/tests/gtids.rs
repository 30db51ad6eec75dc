//! What can happen on servers of GTIDs alone: somebody writes on a replica, an applier stands, power is lost between receiving
//! and flushing, members are of two series while an upgrade is on. The seeds of `seeds` meet all of it by chance; here are the ways
//! that matter, one by one.

use dauphin_model::{Durability, EngineKind, Span};
use dauphin_sim::{Asked, Config, Fault, Faults, World, spec};

const BOTH: [EngineKind; 2] = [EngineKind::Mysql, EngineKind::Mariadb];

fn of_three(engine: EngineKind) -> World {
    let mut spec = spec(3, Durability::Quorum);
    spec.engine = engine;
    formed(Config { spec, ..Config::of_seed_on(engine, 1) })
}

fn formed(config: Config) -> World {
    let mut world = World::new(Config { faults: Faults::default(), trace: true, ..config });
    world.wait_for(Span::ms(30_000), World::whole).expect("a new cluster forms");
    world.run_for(Span::ms(3_000));
    world
}

/// The leader and the two others, the one that is elected among equals first.
fn roles(world: &World) -> (usize, usize, usize) {
    let leader = world.leader().expect("somebody leads");
    let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
    (leader, others[0], others[1])
}

/// Everything acknowledged is with whoever leads at the end, and all are back.
fn whole_again(world: &mut World, said: &str) {
    let whole = world.wait_for(Span::ms(60_000), World::whole);
    let lines = || world.lines().join("\n");
    assert!(whole.is_some(), "it does not heal:\n{}", lines());
    assert_eq!(world.violation(), None, "{}", lines());
    assert!(world.lines().iter().any(|line| line.contains(said)), "nobody says {said:?}:\n{}", lines());
}

#[test]
fn one_on_which_somebody_wrote_is_passed_over_where_another_holds_as_much() {
    for engine in BOTH {
        let mut world = of_three(engine);
        let (leader, errant, other) = roles(&world);
        world.strike(errant, Fault::Errant, Span::ZERO);
        world.kill(leader);
        let led = world.wait_for(Span::ms(10_000), |w| w.healthy() && w.leader() == Some(other));
        assert!(led.is_some(), "{engine:?}:\n{}", world.lines().join("\n"));
        world.revive(leader);
        whole_again(&mut world, "parts from");
    }
}

#[test]
fn what_one_acknowledged_on_which_somebody_wrote_is_waited_for() {
    for engine in BOTH {
        let mut world = of_three(engine);
        let (leader, errant, other) = roles(&world);
        // only the one acknowledges from here on, and nobody has noticed yet when the leader dies
        world.strike(other, Fault::StreamStalls, Span::ms(400));
        world.run_for(Span::ms(300));
        world.strike(errant, Fault::Errant, Span::ZERO);
        world.run_for(Span::ms(20));
        world.kill(leader);
        let led = world.wait_for(Span::ms(20_000), World::healthy);
        assert!(
            led.is_none(),
            "{engine:?}: commits are lost, or the story is another one:\n{}",
            world.lines().join("\n")
        );
        assert_eq!(world.violation(), None, "{engine:?}");
        // the leader comes back with all of it
        let mut without = world.clone();
        world.revive(leader);
        whole_again(&mut world, "and beside it what no leader wrote");

        // or a person gives it up
        without.person_asks(other, Asked::FailoverWithLoss);
        let led = without.wait_for(Span::ms(10_000), |w| w.healthy() && w.leader() == Some(other));
        assert!(led.is_some(), "{engine:?}:\n{}", without.lines().join("\n"));
        without.revive(leader);
        whole_again(&mut without, "may hold are given up");
    }
}

#[test]
fn an_applier_that_stands_loses_nothing_that_was_received() {
    for engine in BOTH {
        let mut world = of_three(engine);
        let (leader, one, other) = roles(&world);
        for at in [one, other] {
            world.strike(at, Fault::ApplierStands, Span::ms(6_000));
        }
        let before = world.acknowledged_so_far();
        world.run_for(Span::ms(2_000));
        assert!(world.acknowledged_so_far() > before + 100, "commits go on: what is received counts");
        world.kill(leader);
        let led = world.wait_for(Span::ms(20_000), |w| w.healthy() && w.leader() != Some(leader));
        assert!(led.is_some(), "{engine:?}:\n{}", world.lines().join("\n"));
        world.revive(leader);
        whole_again(&mut world, "leads from");
    }
}

#[test]
fn power_lost_between_receiving_and_flushing_loses_nothing_acknowledged() {
    for engine in BOTH {
        let mut world = of_three(engine);
        let (leader, one, other) = roles(&world);
        // neither applies: what they have is in their relay logs alone
        for at in [one, other] {
            world.strike(at, Fault::ApplierStands, Span::ms(3_000));
        }
        world.run_for(Span::ms(500));
        world.kill(leader);
        for at in [one, other] {
            world.strike(at, Fault::KillNode, Span::ms(500));
        }
        let led = world.wait_for(Span::ms(30_000), |w| w.healthy() && w.leader() != Some(leader));
        assert!(led.is_some(), "{engine:?}:\n{}", world.lines().join("\n"));
        world.revive(leader);
        whole_again(&mut world, "leads from");
    }
}

fn upgrade(world: &mut World, at: usize) {
    world.strike(at, Fault::Upgraded, Span::ms(500));
    world.run_for(Span::ms(6_000));
}

fn comes_to(world: &mut World, what: &str, wanted: impl Fn(&World) -> bool) {
    let came = world.wait_for(Span::ms(15_000), wanted);
    assert!(came.is_some(), "{what} does not come:\n{}", world.lines().join("\n"));
    assert_eq!(world.violation(), None, "{}", world.lines().join("\n"));
}

fn said(world: &World, text: &str) -> bool {
    world.lines().iter().any(|line| line.contains(text))
}

#[test]
fn among_equals_an_older_one_takes_over() {
    for engine in BOTH {
        let mut world = of_three(engine);
        let (leader, newer, older) = roles(&world);
        upgrade(&mut world, newer);
        // it could not be copied from here
        world.person_asks(newer, Asked::Reinit);
        world.run_for(Span::ms(2_000));
        assert!(said(&world, "operator: Reinit") && !said(&world, "a fresh copy"), "{}", world.lines().join("\n"));
        world.kill(leader);
        comes_to(&mut world, "the older one's leadership", |w| w.healthy() && w.leader() == Some(older));
        world.revive(leader);
        comes_to(&mut world, "everybody", World::whole);
    }
}

#[test]
fn the_last_older_one_leads_on_when_its_server_falls() {
    for engine in BOTH {
        let mut world = of_three(engine);
        let (leader, one, other) = roles(&world);
        upgrade(&mut world, one);
        upgrade(&mut world, other);
        world.strike(leader, Fault::KillServer, Span::ZERO);
        world.run_for(Span::ms(500));
        comes_to(&mut world, "its next leadership", |w| w.whole() && w.leader() == Some(leader));
    }
}

#[test]
fn one_that_never_leads_stands_in_nobodys_way() {
    for engine in BOTH {
        let mut spec = spec(4, Durability::Quorum);
        (spec.engine, spec.required, spec.members[3].reporting) = (engine, Some(1), true);
        let mut world = formed(Config { spec, ..Config::of_seed_on(engine, 1) });
        let leader = world.leader().expect("somebody leads");
        let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
        others.iter().for_each(|at| upgrade(&mut world, *at));
        world.kill(leader);
        comes_to(&mut world, "a newer one's leadership", |w| w.healthy() && w.leader() != Some(leader));
        upgrade(&mut world, 3);
        upgrade(&mut world, leader);
        comes_to(&mut world, "everybody", World::whole);
    }
}

#[test]
fn what_a_newer_one_alone_holds_waits_until_the_other_is_upgraded_too() {
    for engine in BOTH {
        let mut world = of_three(engine);
        let (leader, newer, older) = roles(&world);
        upgrade(&mut world, newer);
        // the newer one alone acknowledges; the older one is back just before the leader dies, and far behind
        world.kill(older);
        world.run_for(Span::ms(6_000));
        world.strike(older, Fault::StreamStalls, Span::ms(9_000));
        world.revive(older);
        world.wait_for(Span::ms(1_500), |w| w.whole());
        world.kill(leader);
        world.run_for(Span::ms(12_000));
        assert!(!world.healthy() && world.violation().is_none(), "{engine:?}:\n{}", world.lines().join("\n"));
        assert!(said(&world, "which runs an older series, could not follow it"), "{}", world.lines().join("\n"));

        // the leader of before comes back with all of it
        let mut back = world.clone();
        back.revive(leader);
        comes_to(&mut back, "an older one's leadership", |w| w.whole() && w.leader() != Some(newer));

        // a person gives up what the newer one holds
        let mut without = world.clone();
        without.person_asks(older, Asked::FailoverWithLoss);
        without.run_for(Span::ms(1_000));
        without.revive(leader);
        comes_to(&mut without, "the older one's leadership", |w| w.healthy() && w.leader() == Some(older));

        // or goes on with the upgrade
        upgrade(&mut world, older);
        comes_to(&mut world, "the newer one's leadership", |w| w.healthy() && w.leader() == Some(newer));
        upgrade(&mut world, leader);
        world.revive(leader);
        comes_to(&mut world, "everybody", World::whole);
    }
}

#[test]
fn who_was_left_behind_stands_in_nobodys_way() {
    for engine in BOTH {
        let mut world = of_three(engine);
        let (leader, one, other) = roles(&world);
        upgrade(&mut world, one);
        upgrade(&mut world, other);
        // while it leads nobody may take over from it
        world.person_asks(leader, Asked::Switchover);
        world.run_for(Span::ms(3_000));
        assert_eq!(world.leader(), Some(leader));
        world.kill(leader);
        comes_to(&mut world, "a newer one's leadership", |w| w.healthy() && w.leader() != Some(leader));
        world.revive(leader);
        world.run_for(Span::ms(5_000));
        let led = world.leader().expect("somebody leads");
        let next = if led == one { other } else { one };
        world.kill(led);
        world.run_for(Span::ms(3_000));
        world.revive(led);
        comes_to(&mut world, "the next one's leadership", |w| w.healthy() && w.leader() == Some(next));
        upgrade(&mut world, leader);
        comes_to(&mut world, "everybody", World::whole);
    }
}

#[test]
fn who_receives_from_one_that_is_behind_tries_again_and_then_from_the_leader() {
    let mut world = of_three(EngineKind::Mariadb);
    let (leader, newer, older) = roles(&world);
    let name = |at: usize| format!("m{}", at + 1);
    let follows = |world: &World, from: usize| {
        let all = world.lines().iter().filter(|line| line.contains(&format!("  {} ", name(newer))));
        all.filter(|line| line.contains(&format!("follows {} in term", name(from)))).count()
    };
    let (before, whole_before) = (follows(&world, leader), world.whole());
    assert!(whole_before && follows(&world, older) == 0);
    // it acknowledges on, and has applied less than the newer one when that comes back
    world.strike(older, Fault::ApplierStands, Span::ms(20_000));
    world.run_for(Span::ms(1_000));
    upgrade(&mut world, newer);
    comes_to(&mut world, "the stream from the leader", |w| w.whole() && follows(w, leader) > before);
    assert_eq!(follows(&world, older), 2, "{}", world.lines().join("\n"));
    // later it is tried again
    world.run_for(Span::ms(70_000));
    assert_eq!(follows(&world, older), 3, "{}", world.lines().join("\n"));
    assert!(world.whole());
}
