//! Losses of acknowledged commits that the field knows, on labs of MySQL and MariaDB: the table is in docs/mysql.md. What a dead
//! leader alone held is cut off, kept and told.

// what was skipped is said
#![allow(clippy::print_stdout)]

use crate::hosts::can_have_hosts;
use crate::mysql::{Login, all_hold, applier, block, expected, lab, rows, write_by_hand};
use crate::stage::{LOOK_EVERY, Stage, WAIT_MAX};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

#[test]
fn with_one_replica_of_mysql_what_was_acknowledged_is_kept_and_waits_are_told() {
    with_one_replica("mysql");
}

#[test]
fn with_one_replica_of_mariadb_what_was_acknowledged_is_kept_and_waits_are_told() {
    with_one_replica("mariadb");
}

/// Two servers and a witness. What was received by the only replica is the only copy when its leader dies.
fn with_one_replica(engine: &str) {
    let more = ["--members", "3", "--witness", "--profile", "fast"];
    let Some(stage) = lab(&format!("{engine}-one"), engine, &more) else { return };
    let app = Login::of(&stage, "app");
    app.sql(stage.sql_port_of(&stage.leader()), "CREATE TABLE t (n int PRIMARY KEY) ENGINE = InnoDB");
    let mut acknowledged = BTreeSet::new();
    for restarted in [false, true] {
        only_what_was_received_is_left(&stage, engine, restarted, &mut acknowledged);
    }
    commits_wait_and_a_wait_that_is_ended_is_told(&stage, engine, &mut acknowledged);
    what_is_written_on_a_replica_is_told_and_kept(&stage, engine);
    let deadline = Instant::now() + WAIT_MAX;
    for member in ["m1", "m2"] {
        while rows(&stage, member) != acknowledged {
            assert!(Instant::now() < deadline, "{member} holds {:?}", rows(&stage, member));
            std::thread::sleep(LOOK_EVERY);
        }
    }
    stage.down_after(&expected());
}

/// Who leads and who follows.
fn pair(stage: &Stage) -> (String, String) {
    let leader = stage.leader();
    let replica = if leader == "m1" { "m2" } else { "m1" };
    (leader, replica.to_owned())
}

/// The replica receives and does not apply; `restarted`: its server dies with that. Then the leader dies.
fn only_what_was_received_is_left(stage: &Stage, engine: &str, restarted: bool, acknowledged: &mut BTreeSet<u32>) {
    let ((leader, replica), [stop, start], app) = (pair(stage), applier(engine), Login::of(stage, "app"));
    Login::of(stage, "admin").sql(stage.sql_port_of(&replica), stop);
    stage.until("what to do about it", |c| c["problems"].to_string().contains(start));
    let first = u32::try_from(acknowledged.len()).expect("few");
    for n in first..first + 20 {
        app.sql(stage.sql_port_of(&leader), &format!("INSERT INTO t VALUES ({n})"));
        acknowledged.insert(n);
    }
    assert_eq!(rows(stage, &replica).len(), first as usize, "nothing of it is applied");
    if restarted {
        stage.run(&["lab", "fault", "--member", &replica, "--kind", "kill-server"]).ended(0);
    }
    stage.run(&["lab", "fault", "--member", &leader, "--kind", "kill-node"]).ended(0);
    // it opens once there is somebody to hold commits again
    stage.until("a takeover", |c| c["leader"] == replica.as_str());
    stage.run(&["lab", "heal"]).ended(0);
    stage.until_healthy();
    assert_eq!(stage.leader(), replica);
    assert_eq!(rows(stage, &replica), *acknowledged, "acknowledged, and in the relay log alone");
}

/// Somebody lets waits run out and the replica goes: what was reported as done is told, until the replica holds it, and commits
/// wait again as soon as that is noticed. Then it is said why they wait.
fn commits_wait_and_a_wait_that_is_ended_is_told(stage: &Stage, engine: &str, held: &mut BTreeSet<u32>) {
    let ((leader, replica), app, admin) = (pair(stage), Login::of(stage, "app"), Login::of(stage, "admin"));
    let port = stage.sql_port_of(&leader);
    let timeout = if engine == "mysql" { "rpl_semi_sync_source_timeout" } else { "rpl_semi_sync_master_timeout" };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // again and again: it is set back
            while !over.load(Ordering::Relaxed) {
                let _ = block(admin.ask(port, &format!("SET GLOBAL {timeout} = 100")));
            }
        });
        stage.run(&["lab", "fault", "--member", &replica, "--kind", "kill-node"]).ended(0);
        let told = block(app.ask(port, "INSERT INTO t VALUES (1000)"));
        over.store(true, Ordering::Relaxed);
        told.expect("the server falls back, and reports it as done");
        held.insert(1000);
    });
    stage.until_said(&["check"], "reported as done").ended(2);
    stage.until("it is set back", |c| c["problems"].to_string().contains(timeout));
    let deadline = Instant::now() + WAIT_MAX;
    for n in 1001.. {
        if block(app.ask(port, &format!("INSERT INTO t VALUES ({n})"))).is_err() {
            break;
        }
        held.insert(n);
        assert!(Instant::now() < deadline, "commits do not wait again");
        std::thread::sleep(LOOK_EVERY);
    }
    stage.until("commits wait", |c| c["commits_wait"] == true && c["open"] == true);
    stage.until_said(&["check"], "commits wait").ended(2);
    stage.until_said(&["explain"], "0 replicas can vouch and 1 must: commits wait").ended(0);
    assert_eq!(stage.leader(), leader);
    stage.run(&["lab", "heal"]).ended(0);
    stage.until_healthy();
    stage.until("replicas that hold them", |c| !c["problems"].to_string().contains("reported as done"));
    // what waited came through as well, sooner or later
    let now = rows(stage, &leader);
    assert!(now.is_superset(held), "{held:?} {now:?}");
    *held = now;
}

/// Somebody opens the replica and writes there: it is closed, what was written is named and kept, and it is copied anew.
fn what_is_written_on_a_replica_is_told_and_kept(stage: &Stage, engine: &str) {
    let (leader, replica) = pair(stage);
    write_by_hand(stage, engine, &replica, 9_000);
    stage.until("it is closed", |c| c["problems"].to_string().contains("read_only"));
    stage.until_said(&["explain", &replica], "INSERT INTO app.t (1)").ended(0);
    stage.until_healthy();
    assert_eq!(stage.leader(), leader);
    let kept = stage.dir.join(&replica).join("cut-off");
    let named = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("statements.sql")).ok();
    let statements: Vec<String> = std::fs::read_dir(&kept).expect("an archive").flatten().filter_map(named).collect();
    assert!(statements.iter().any(|text| text.contains("@1=9000")), "{statements:?}");
    assert!(!rows(stage, &replica).contains(&9_000));
}

#[test]
fn what_a_dead_leader_of_mysql_alone_held_is_cut_off_and_kept() {
    what_a_dead_leader_alone_held_is_cut_off_and_kept("mysql");
}

#[test]
fn what_a_dead_leader_of_mariadb_alone_held_is_cut_off_and_kept() {
    what_a_dead_leader_alone_held_is_cut_off_and_kept("mariadb");
}

/// Both replicas die, and the leader writes on for as long as its lease lets it: that is acknowledged to nobody.
fn what_a_dead_leader_alone_held_is_cut_off_and_kept(engine: &str) {
    let Some(stage) = lab(&format!("{engine}-tail"), engine, &["--profile", "fast"]) else { return };
    let (app, old) = (Login::of(&stage, "app"), stage.leader());
    let port = stage.sql_port_of(&old);
    app.sql(port, "CREATE TABLE t (n int PRIMARY KEY) ENGINE = InnoDB");
    app.sql(port, "INSERT INTO t VALUES (1)");
    let replicas: Vec<&str> = ["m1", "m2", "m3"].into_iter().filter(|name| *name != old).collect();
    for name in &replicas {
        stage.run(&["lab", "fault", "--member", name, "--kind", "kill-node"]).ended(0);
    }
    block(app.ask(port, "INSERT INTO t VALUES (2)")).expect_err("nobody is there to hold it");
    stage.run(&["lab", "fault", "--member", &old, "--kind", "kill-node"]).ended(0);
    for name in &replicas {
        stage.run(&["lab", "heal", "--member", name]).ended(0);
    }
    stage.until("a takeover", |c| c["open"] == true && c["leader"] != old.as_str());
    app.sql(stage.sql_port_of(&stage.leader()), "INSERT INTO t VALUES (3)");
    stage.run(&["lab", "heal"]).ended(0);
    stage.until_healthy();
    all_hold(&stage, &BTreeSet::from([1, 3]));
    assert_eq!(rows(&stage, &old), BTreeSet::from([1, 3]), "what was acknowledged to nobody is on no member");
    let kept = stage.dir.join(&old).join("cut-off");
    let folders: Vec<_> = std::fs::read_dir(&kept).expect("an archive").flatten().map(|e| e.path()).collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    let said: Value =
        serde_json::from_slice(&std::fs::read(folders[0].join("cut-off.json")).expect("readable")).expect("JSON");
    assert_eq!(said["member"], old.as_str(), "{said}");
    let statements = std::fs::read_to_string(folders[0].join("statements.sql")).expect("readable");
    // what is kept has Dauphin's own rows too
    let lines: Vec<&str> = statements.lines().map(str::trim_end).collect();
    let has = |row: u32| {
        let insert = ["### INSERT INTO `app`.`t`", "### SET", &format!("###   @1={row}")];
        lines.windows(insert.len()).any(|three| three == insert)
    };
    assert!(has(2) && !has(1) && !has(3), "{statements}");
    stage.run(&["explain", &old]).ended(0);
    stage.down_after(&expected());
}

#[test]
fn with_async_what_a_failover_of_mysql_cost_is_told() {
    what_a_failover_cost_is_told("mysql");
}

#[test]
fn with_async_what_a_failover_of_mariadb_cost_is_told() {
    what_a_failover_cost_is_told("mariadb");
}

/// The leader's rows go to nobody, and it dies: what is lost is told as a range of its log, and where it is kept.
fn what_a_failover_cost_is_told(engine: &str) {
    let name = format!("{engine}-async");
    if !can_have_hosts(&name) {
        return;
    }
    let Some(stage) = lab(&name, engine, &["--hosts", "--durability", "async", "--profile", "fast"]) else { return };
    let (app, old) = (Login::of(&stage, "app"), stage.leader());
    app.sql(stage.write_port(), "CREATE TABLE t (n int PRIMARY KEY) ENGINE = InnoDB");
    stage.run(&["lab", "fault", "--member", &old, "--kind", "replication-cut"]).ended(0);
    // acknowledged, and on no replica; a replica may receive what was under way
    for row in 1..=20 {
        app.sql(stage.write_port(), &format!("INSERT INTO t VALUES ({row})"));
    }
    stage.run(&["lab", "fault", "--member", &old, "--kind", "kill-node"]).ended(0);
    stage.until("a takeover", |c| c["open"] == true && c["leader"] != old.as_str());
    let there: BTreeSet<u32> =
        app.sql(stage.write_port(), "SELECT n FROM t").iter().map(|row| row.parse().expect("a number")).collect();
    assert!(there.len() < 20, "nothing was lost: {there:?}");

    let entry = stage.healed_with_its_cost();
    let text = entry["lost"].as_str().expect("what it cost");
    // "23 transactions, 9 to 32, kept on m1 in …": its heartbeats are among them
    let numbers: Vec<u64> = text.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
    let [count, from, to] = numbers[..] else { panic!("{text}") };
    assert_eq!((to - from, entry["switch_position"].as_str()), (count, Some(&*from.to_string())), "{text}");
    assert!(count >= 20 - there.len() as u64 && text.contains(&format!("kept on {old} in")), "{text}");
    stage.down_after(&expected());
}
