//! What can happen on servers of GTIDs alone: somebody writes on a replica, an applier stands, power is lost between receiving
//! and flushing. The seeds of `seeds` meet all of it by chance; here are the ways that matter, one by one.

use dauphin_model::{Durability, EngineKind, Span};
use dauphin_sim::{Asked, Config, Fault, Faults, World, spec};

const BOTH: [EngineKind; 2] = [EngineKind::Mysql, EngineKind::Mariadb];

fn of_three(engine: EngineKind) -> World {
    let mut spec = spec(3, Durability::Quorum);
    spec.engine = engine;
    let config = Config::of_seed_on(engine, 1);
    let mut world = World::new(Config { spec, faults: Faults::default(), trace: true, ..config });
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
