//! An upgrade of MariaDB from one series to the next, member by member and the leader last, each step as docs/mysql.md says:
//! nobody is led by a server that it could not follow, and nothing acknowledged is lost.

use crate::mysql::{Login, all_hold, block, build, expected};
use crate::stage::{LOOK_EVERY, Stage, WAIT_MAX};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

fn agent_of(stage: &Stage, member: &str) -> Option<i64> {
    let shown = stage.show();
    shown["members"].as_array()?.iter().find(|m| m["name"] == member)?["agent_pid"].as_i64()
}

/// Names the newer programs in the member's file, stops its agent in order, and starts it again.
fn upgrade(stage: &Stage, app: &Login, member: &str, newer: &Path) {
    let path = stage.dir.join(member).join("dauphin.toml");
    let file = std::fs::read_to_string(&path).expect("its file");
    let other = |line: &str| match line.starts_with("bin_dir") {
        true => format!("bin_dir = {:?}\n", newer.canonicalize().expect("a build")),
        false => format!("{line}\n"),
    };
    std::fs::write(&path, file.lines().map(other).collect::<String>()).expect("written");
    let pid = agent_of(stage, member).expect("its agent").to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("it runs").success());
    let deadline = Instant::now() + WAIT_MAX;
    while agent_of(stage, member).is_some() {
        assert!(Instant::now() < deadline, "the agent of {member} does not end");
        std::thread::sleep(LOOK_EVERY);
    }
    stage.run(&["lab", "heal", "--member", member]).ended(0);
    // what is heard of it may be of the server before
    let (port, deadline) = (stage.sql_port_of(member), Instant::now() + WAIT_MAX);
    let newer_answers = || block(app.ask(port, "SELECT VERSION()")).is_ok_and(|said| said[0].starts_with("11."));
    while !newer_answers() {
        assert!(Instant::now() < deadline, "{member} does not come back as a newer one");
        std::thread::sleep(LOOK_EVERY);
    }
    stage.until_healthy();
}

fn receives_from(cluster: &Value, member: &str, upstream: &str) -> bool {
    let all = cluster["members"].as_array().expect("members");
    all.iter().any(|m| m["name"] == member && m["upstream"] == upstream)
}

#[test]
fn a_newer_member_follows_older_ones_and_does_not_lead_them() {
    let (Some(older), Some(newer)) = (build("mariadb-10.11"), build("mariadb-11")) else { return };
    let bin = older.to_string_lossy().into_owned();
    let stage = Stage::up("mixed", &["--engine", "mariadb", "--bin", &bin, "--profile", "fast"]);
    let app = Login::of(&stage, "app");
    let mut acknowledged = BTreeSet::new();
    let mut write = |n: u32| {
        if n == 1 {
            app.sql(stage.sql_port_of(&stage.leader()), "CREATE TABLE t (n int PRIMARY KEY) ENGINE = InnoDB");
        }
        app.sql(stage.sql_port_of(&stage.leader()), &format!("INSERT INTO t VALUES ({n})"));
        acknowledged.insert(n);
        all_hold(&stage, &acknowledged);
    };
    let one = stage.leader();
    // among equals an election prefers the first of the others
    let mut others = ["m1", "m2", "m3"].into_iter().filter(|name| *name != one);
    let (first, other) = (others.next().expect("a replica"), others.next().expect("another one"));
    // a cluster that has just formed is not well for a moment, too
    stage.until_healthy();
    write(1);

    upgrade(&stage, &app, first, &newer);
    stage.until("it receives behind the older one", |c| receives_from(c, first, other));
    write(2);
    stage.run(&["switchover", "--to", first]).said(3, &["could not follow it", "10.11", "Nothing was changed"]);
    assert_eq!(stage.leader(), one);

    stage.run(&["lab", "fault", "--member", &one, "--kind", "kill-node"]).ended(0);
    stage.until("the older one leads", |c| c["open"] == true && c["leader"] == other);
    stage.run(&["lab", "heal"]).ended(0);
    stage.until_healthy();
    stage.until("it receives behind the older one again", |c| receives_from(c, first, &one));
    write(3);

    upgrade(&stage, &app, &one, &newer);
    write(4);
    // the last of the older ones: it leads, and hands over to one that it could not follow as it is
    upgrade(&stage, &app, other, &newer);
    assert_ne!(stage.leader(), other);
    write(5);
    stage.down_after(&expected());
}
