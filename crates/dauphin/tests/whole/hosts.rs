//! Members on hosts of their own, whose links are cut one way, both ways or of one sort only, and servers whose disks fail.

// how long things took, and what was skipped, is said
#![allow(clippy::print_stdout)]

use crate::EXPECTED;
use crate::explained::names_the_cause;
use crate::stage::Stage;
use serde_json::Value;
use std::time::Instant;

/// More warnings than those of dead processes.
const ALSO: &[&str] = &[
    "the server is not in order",
    "the guard killed the server",
    "the store did not",
    "the data disk does not take writes",
    "cannot be looked at",
    // who hears and is not heard asks in vain
    "the leader did not say that it wrote a checkpoint",
];

/// Whether network namespaces can be made; said by name where they cannot.
pub(crate) fn can_have_hosts(test: &str) -> bool {
    let can = dauphin_lab::can_have_hosts();
    if !can {
        println!("skipped: {test} (hosts need root, `ip` and `ss`)");
    }
    can
}

fn expected() -> Vec<&'static str> {
    EXPECTED.iter().chain(ALSO).copied().collect()
}

/// Hits the leader, and waits until another leads and acknowledges.
fn taken_over(stage: &Stage, kind: &str, value: u32) {
    let status = stage.json(&["status"]);
    let old = status["leader"].as_str().expect("a leader").to_owned();
    let term = status["term"].as_u64().expect("a term");
    stage.run(&["lab", "fault", "--member", &old, "--kind", kind]).ended(0);
    let since = Instant::now();
    stage.until("a takeover", |c| c["open"] == true && c["leader"] != old.as_str());
    stage.write_until_acknowledged(&format!("INSERT INTO t VALUES ({value}) ON CONFLICT DO NOTHING"));
    println!("{kind} on the leader: written again after {:?}", since.elapsed());
    names_the_cause(stage, kind, term);
    stage.run(&["lab", "heal"]).said(0, &["whole again"]);
    stage.until_healthy();
}

#[test]
fn members_on_hosts_of_their_own_live_through_partitions() {
    if !can_have_hosts("members_on_hosts_of_their_own_live_through_partitions") {
        return;
    }
    let stage = Stage::up("hosts", &["--hosts"]);
    let hosts: Vec<Value> =
        stage.show()["members"].as_array().expect("members").iter().map(|m| m["host"].clone()).collect();
    assert!(hosts[0] != hosts[1] && hosts[1] != hosts[2], "{hosts:?}");
    stage.sql(stage.write_port(), "CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t VALUES (0)");
    for (value, kind) in ["partition", "partition-in", "partition-out"].into_iter().enumerate() {
        taken_over(&stage, kind, u32::try_from(value).expect("small") + 1);
    }
    // the store's part alone: who cannot renew its lease does not lead
    taken_over(&stage, "store-cut", 4);
    // a replica that is cut off is missed, and nothing else
    let replica = ["m1", "m2", "m3"].into_iter().find(|m| *m != stage.leader()).expect("a replica");
    let leader = stage.leader();
    stage.run(&["lab", "fault", "--member", replica, "--kind", "partition"]).ended(0);
    stage.until("that it is missed", |c| c["health"] == "repair");
    stage.sql(stage.write_port(), "INSERT INTO t VALUES (5)");
    // asked at its own address, it still answers
    stage.run(&["lab", "show"]).said(0, &[replica]);
    stage.run(&["lab", "heal", "--member", replica]).said(0, &["whole again"]);
    stage.until_healthy();
    assert_eq!(stage.leader(), leader);
    assert_eq!(stage.sql(stage.write_port(), "SELECT count(*) FROM t"), "6");
    let bridge = std::fs::read_to_string(stage.dir.join("lab.json")).expect("the lab's file");
    let bridge: Value = serde_json::from_str(&bridge).expect("JSON");
    let bridge = format!("/sys/class/net/{}", bridge["network"]["bridge"].as_str().expect("a bridge"));
    assert!(std::path::Path::new(&bridge).exists());
    stage.down_after(&expected());
    assert!(!std::path::Path::new(&bridge).exists(), "{bridge} is left");
}

/// All agents hear each other, and no commit ends: found with `replication-cut`, which used to last as long as the cut.
#[test]
fn a_leader_whose_replicas_receive_nothing_makes_room() {
    if !can_have_hosts("a_leader_whose_replicas_receive_nothing_makes_room") {
        return;
    }
    let stage = Stage::up("streams", &["--hosts", "--profile", "fast"]);
    stage.sql(stage.write_port(), "CREATE TABLE t (i int PRIMARY KEY)");
    let up = Instant::now();
    let old = stage.leader();
    stage.run(&["lab", "fault", "--member", &old, "--kind", "replication-cut"]).ended(0);
    // hangs with the old leader until it makes room; then the proxy does not know what became of it
    stage.write_until_acknowledged("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING");
    stage.until("a takeover", |c| c["open"] == true && c["leader"] != old.as_str());
    println!("written {:?} after the cut", up.elapsed());
    stage.until_said(&["explain"], "no stream to them carries");
    stage.run(&["lab", "heal"]).ended(0);
    stage.until_healthy();
    assert_eq!(stage.sql(stage.write_port(), "SELECT count(*) FROM t"), "1");
    stage.down_after(&expected());
}

#[test]
fn a_leader_whose_disk_fails_is_replaced_and_comes_back_when_it_is_whole() {
    if !["/usr/bin/strace", "/bin/strace"].iter().any(|p| std::path::Path::new(p).exists()) {
        println!("skipped: disk faults (they need strace)");
        return;
    }
    let stage = Stage::up("disks", &[]);
    stage.sql(stage.write_port(), "CREATE TABLE t (i int PRIMARY KEY)");
    for (value, kind) in ["disk-full", "disk-error", "disk-hang"].into_iter().enumerate() {
        let old = stage.leader();
        stage.run(&["lab", "fault", "--member", &old, "--kind", kind]).ended(0);
        let since = Instant::now();
        stage.write_until_acknowledged(&format!("INSERT INTO t VALUES ({value}) ON CONFLICT DO NOTHING"));
        stage.until("a takeover", |c| c["open"] == true && c["leader"] != old.as_str());
        println!("{kind} on the leader: written again after {:?}", since.elapsed());
        stage.run(&["lab", "heal"]).said(0, &["whole again"]);
        stage.until_healthy();
    }
    assert_eq!(stage.sql(stage.write_port(), "SELECT count(*) FROM t"), "3");
    // slow is not gone
    let old = stage.leader();
    stage.run(&["lab", "fault", "--member", &old, "--kind", "disk-slow"]).ended(0);
    stage.write_until_acknowledged("INSERT INTO t VALUES (3)");
    stage.run(&["lab", "heal"]).ended(0);
    stage.until_healthy();
    stage.down_after(&expected());
}
