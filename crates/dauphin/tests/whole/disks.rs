//! Members with disks of their own whose power is cut: what was acknowledged was flushed first, on one member, on a
//! majority, and on all at once. The same for what members note of themselves, without which none would come back.

// what was skipped is said
#![allow(clippy::print_stdout)]

use crate::EXPECTED;
use crate::stage::Stage;

const TEST: &str = "power_cuts_lose_nothing_that_was_acknowledged";

#[test]
fn power_cuts_lose_nothing_that_was_acknowledged() {
    if !dauphin_lab::can_have_disks() {
        println!("skipped: {TEST} (disks need root, mkfs.ext4, xfs_io and loop devices)");
        return;
    }
    let stage = Stage::up("disks", &["--disks"]);
    stage.sql(stage.write_port(), "CREATE TABLE t (i int)");
    let (mut written, mut tried) = (0_u32, 0_u32);
    let leader = stage.leader();
    let replicas: Vec<&str> = ["m1", "m2", "m3"].into_iter().filter(|m| *m != leader).collect();
    for victims in [vec![leader.as_str()], vec![replicas[0]], vec![replicas[0], replicas[1]], vec!["m1", "m2", "m3"]] {
        for _ in 0..20 {
            tried += stage.write_until_acknowledged("INSERT INTO t VALUES (1)");
            written += 1;
        }
        for victim in &victims {
            stage.run(&["lab", "fault", "--member", victim, "--kind", "power-cut"]).ended(0);
        }
        stage.run(&["lab", "heal"]).ended(0);
        stage.until_healthy();
        let there: u32 = stage.sql(stage.write_port(), "SELECT count(*) FROM t").parse().expect("a number");
        assert!((written..=tried).contains(&there), "{victims:?}: {written} acknowledged, {there} there");
    }
    let folder = stage.dir.clone();
    stage.down_after(EXPECTED);
    let mounts = std::fs::read_to_string("/proc/mounts").expect("mounts");
    assert!(!mounts.contains(&*folder.to_string_lossy()), "a disk is left: {mounts}");
}
