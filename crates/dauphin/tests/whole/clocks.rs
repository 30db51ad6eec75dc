//! Wall clocks that are hours off, and apart: nothing is decided by them, so nothing happens.

// what was skipped is said
#![allow(clippy::print_stdout)]

use crate::EXPECTED;
use crate::stage::Stage;

const TEST: &str = "wall_clocks_that_are_hours_apart_change_nothing";

#[test]
fn wall_clocks_that_are_hours_apart_change_nothing() {
    if !dauphin_lab::can_have_clocks() {
        println!("skipped: {TEST} (setting clocks needs libfaketime)");
        return;
    }
    let stage = Stage::up("clocks", &["--clocks"]);
    stage.sql(stage.write_port(), "CREATE TABLE t (i int)");
    let leader = stage.leader();
    let replicas: Vec<&str> = ["m1", "m2", "m3"].into_iter().filter(|m| *m != leader).collect();
    let sets = |member: &str, kind: &str| {
        stage.run(&["lab", "fault", "--member", member, "--kind", kind]).ended(0);
    };
    let elections = || stage.json(&["history"])["history"].as_array().expect("a list").len();
    for (ours, theirs) in [("clock-forward", "clock-back"), ("clock-back", "clock-forward")] {
        sets(&leader, ours);
        sets(replicas[0], theirs);
        // connections made now are between members whose clocks are six hours apart
        stage.run(&["lab", "fault", "--member", replicas[1], "--kind", "kill-node"]).ended(0);
        stage.sql(stage.write_port(), "INSERT INTO t VALUES (1)");
        stage.run(&["lab", "heal", "--member", replicas[1]]).ended(0);
        stage.until_healthy();
        assert_eq!((stage.leader(), elections()), (leader.clone(), 1), "{ours}");
    }
    // leadership moves between clocks that are apart, and an agent starts with one that is wrong
    stage.run(&["switchover", "--to", replicas[0]]).ended(0);
    stage.run(&["lab", "fault", "--member", &leader, "--kind", "kill-agent"]).ended(0);
    stage.run(&["lab", "heal"]).ended(0);
    stage.until_healthy();
    stage.run(&["switchover", "--to", &leader]).ended(0);
    stage.until_healthy();
    assert_eq!(stage.sql(stage.write_port(), "SELECT count(*) FROM t"), "2");
    assert_eq!(elections(), 3);
    let log = std::fs::read_to_string(stage.dir.join(&leader).join("log/agent.log")).expect("its log");
    let hours: std::collections::BTreeSet<&str> = log.lines().filter_map(|line| line.get(11..13)).collect();
    assert!(hours.len() > 1, "its clock was never off: {hours:?}");
    // each look at such a clock reads a file
    stage.down_after(&[EXPECTED, &["a step of the loop took long"]].concat());
}
