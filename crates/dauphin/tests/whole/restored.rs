//! A store that was restored from an old copy: members that have seen more do nothing, and the newer store brings all back.

use crate::EXPECTED;
use crate::stage::Stage;
use std::path::Path;

const MEMBERS: [&str; 3] = ["m1", "m2", "m3"];
const SAYS: &str = "it was restored from an old copy";

#[test]
fn a_store_from_an_old_copy_is_refused_until_the_newer_one_is_back() {
    let stage = Stage::up("restored", &["--profile", "fast"]);
    stage.sql(stage.write_port(), "CREATE TABLE t (i int PRIMARY KEY)");
    let stop = || {
        let leader = stage.leader();
        for name in MEMBERS.into_iter().filter(|m| *m != leader).chain([leader.as_str()]) {
            stage.run(&["lab", "fault", "--member", name, "--kind", "kill-node"]).ended(0);
        }
    };
    let start = || MEMBERS.into_iter().for_each(|name| stage.run(&["lab", "heal", "--member", name]).ended(0));
    stop();
    keep(&stage.dir, "old");
    start();
    stage.until_healthy();
    stage.write_until_acknowledged("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING");
    let (old, last) = (stage.leader(), stage.json(&["history"]));
    let next = MEMBERS.into_iter().find(|m| *m != old).expect("a replica");
    stage.run(&["switchover", "--to", next]).ended(0);
    stage.write_until_acknowledged("INSERT INTO t VALUES (2) ON CONFLICT DO NOTHING");
    stage.until_healthy();

    stop();
    keep(&stage.dir, "new");
    put_back(&stage.dir, "old");
    start();
    for member in MEMBERS {
        stage.until_logged(member, SAYS);
    }
    let shown = stage.run(&["status", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown.out).expect("JSON");
    assert_eq!(shown["open"], false, "{shown:#}");
    let runs = |m: &serde_json::Value| !m["server_pid"].is_null();
    assert!(!stage.show()["members"].as_array().expect("members").iter().any(runs), "no server takes anything");

    for name in MEMBERS {
        stage.run(&["lab", "fault", "--member", name, "--kind", "kill-node"]).ended(0);
    }
    put_back(&stage.dir, "new");
    start();
    stage.until_healthy();
    assert_eq!(stage.sql(stage.write_port(), "SELECT count(*) FROM t"), "2");
    let terms = |history: &serde_json::Value| history["history"].as_array().map_or(0, Vec::len);
    assert!(terms(&stage.json(&["history"])) > terms(&last), "the leadership of before is remembered");
    stage.down_after(&[EXPECTED, &[SAYS]].concat());
}

fn keep(dir: &Path, name: &str) {
    for member in MEMBERS {
        std::fs::copy(dir.join(member).join("state/store/raft.redb"), kept(dir, member, name)).expect("a copy");
    }
}

/// Over the file that is there, which keeps its owner.
fn put_back(dir: &Path, name: &str) {
    for member in MEMBERS {
        let copy = std::fs::read(kept(dir, member, name)).expect("the copy");
        std::fs::write(dir.join(member).join("state/store/raft.redb"), copy).expect("written");
    }
}

fn kept(dir: &Path, member: &str, name: &str) -> std::path::PathBuf {
    dir.join(member).join(format!("store.{name}"))
}
