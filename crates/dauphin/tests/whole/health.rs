//! The health monitor on real servers: what a replica suffers from is said, with its reason and age, and mended where the
//! specification allows it; what somebody means to be so stays.

use crate::EXPECTED;
use crate::alerts::until_measured;
use crate::stage::{LOOK_EVERY, Stage, WAIT_MAX};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

fn of<'a>(cluster: &'a Value, member: &str) -> &'a Value {
    let found = cluster["members"].as_array().and_then(|all| all.iter().find(|m| m["name"] == member));
    found.unwrap_or(&Value::Null)
}

/// Waits until the journal says that this was mended on that member; the line.
#[track_caller]
fn until_mended(stage: &Stage, member: &str, words: &str) -> Value {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let ran = stage.run(&["explain", member, "--json"]);
        let explained = serde_json::from_str::<Value>(&ran.out).unwrap_or_default();
        let says = |e: &&Value| {
            e["reason"] == "treated"
                && e["member"] == member
                && e["text"].as_str().is_some_and(|text| text.contains(words) && !text.contains("failed"))
        };
        if let Some(entry) = explained["entries"].as_array().and_then(|all| all.iter().find(says)) {
            return entry.clone();
        }
        assert!(Instant::now() < deadline, "{words:?} of {member} is not in {explained:#}{}", ran.err);
        std::thread::sleep(LOOK_EVERY);
    }
}

#[test]
fn what_may_be_mended_is_mended_and_what_is_meant_stays() {
    let stage = Stage::up("mended", &[]);
    stage
        .run(&[
            "config",
            "set",
            "health.fix=[\"receiver\", \"replay\", \"query\"]",
            "health.replay_after=4s",
            "health.query_after=3s",
            "postgres.parameters.max_standby_streaming_delay=-1",
        ])
        .ended(0);
    for name in ["m1", "m2", "m3"] {
        stage.until_file_says(&format!("{name}/data/dauphin.conf"), "max_standby_streaming_delay = '-1'");
    }
    let leader = stage.leader();
    let replicas: Vec<&str> = ["m1", "m2", "m3"].into_iter().filter(|m| *m != leader).collect();
    let (meant, forgotten) = (replicas[0], replicas[1]);
    stage.sql(stage.write_port(), "CREATE TABLE t AS SELECT generate_series(1, 1000) AS i");
    stage.until("health with its reason and age", |c| {
        c["health"] == "healthy"
            && c["health_seconds"].is_u64()
            && of(c, &leader)["health_reason"] == "it leads and lets clients in"
            && of(c, meant)["health_reason"] == "it follows and keeps up"
    });

    // the file that says whom it follows is damaged
    let conf = stage.dir.join(forgotten).join("data/dauphin.conf");
    let text = std::fs::read_to_string(&conf).expect("its file");
    let there = format!("port={}", stage.sql_port_of(&leader));
    assert!(text.contains(&there), "{text}");
    std::fs::write(&conf, text.replace(&there, "port=1")).expect("written");
    stage.sql_on(forgotten, "SELECT pg_reload_conf()");
    stage.until("it is told", |c| {
        c["health"] == "investigate"
            && of(c, forgotten)["health"] == "investigate"
            && of(c, forgotten)["health_reason"] == "it receives nothing, though a leader is there"
    });
    until_mended(&stage, forgotten, "restarted the server's receiver");
    stage.until_healthy();
    assert!(std::fs::read_to_string(&conf).expect("its file").contains(&there), "it is as Dauphin wrote it");
    until_measured(&stage, "dauphin_mended{", "fix=\"receiver\"} 1");

    // two replays are paused, one of them on purpose; the other one later
    let because = ["--because", "a look at yesterday"];
    let silence = ["alerts", "silence", meant, "--kind", "replay_paused", "--for", "1h"];
    stage.run(&[&silence[..], &because].concat()).ended(0);
    stage.sql_on(meant, "SELECT pg_wal_replay_pause()");
    stage.until("it is told", |c| of(c, meant)["health_reason"] == "its replay is paused by hand");
    stage.sql_on(forgotten, "SELECT pg_wal_replay_pause()");
    until_mended(&stage, forgotten, "resumed the replay");
    assert_eq!(stage.sql_on(forgotten, "SELECT pg_is_wal_replay_paused()"), "f");
    assert_eq!(stage.sql_on(meant, "SELECT pg_is_wal_replay_paused()"), "t", "somebody has said why");
    stage.run(&["status"]).said(0, &["investigate for", &format!("{meant}: its replay is paused by hand")]);
    stage.run(&["explain", meant]).said(0, &["Its health is `investigate`", "its replay is paused by hand"]);
    stage.sql_on(meant, "SELECT pg_wal_replay_resume()");
    stage.until_healthy();

    // a report looks at rows that the leader takes away, and may do so for ever
    let port = stage.sql_port_of(forgotten);
    std::thread::scope(|scope| {
        let report = scope.spawn(|| stage.try_sql("admin", port, "SELECT count(*), pg_sleep(300) FROM t"));
        let runs = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(300)%' AND backend_xmin IS NOT NULL \
                    AND pid <> pg_backend_pid()";
        until_sql(&stage, forgotten, runs, "1");
        stage.sql(stage.write_port(), "DELETE FROM t");
        stage.sql_on(&leader, "CHECKPOINT");
        stage.sql_as_admin("VACUUM t");
        stage.until("what holds it up is told", |c| {
            of(c, forgotten)["health_reason"].as_str().is_some_and(|why| why.contains("has held its replay up"))
        });
        let entry = until_mended(&stage, forgotten, "held the replay up");
        assert!(report.join().expect("no panic").is_err(), "the report was ended");
        let id = entry["id"].to_string();
        stage.run(&["explain", &id]).said(0, &["held the replay up"]);
    });
    until_sql(&stage, forgotten, "SELECT count(*) FROM t", "0");
    stage.until_healthy();
    stage.down_after(EXPECTED);
}

#[test]
fn how_long_takeovers_and_commits_take_is_measured() {
    let stage = Stage::up("lengths", &[]);
    stage.sql(stage.write_port(), "CREATE TABLE t (i int)");
    let leader = stage.leader();
    // the server tells of a moment after something was written
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| stage.write_alone(&leader, &over));
        until_counted(&stage, "dauphin_commit_wait_seconds_count{", "by=\"flush_lag\"");
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    stage.run(&["lab", "fault", "--member", &leader, "--kind", "kill-node"]).ended(0);
    stage.until("a takeover", |c| c["open"] == true && c["leader"] != leader.as_str());
    for phase in ["elect", "freeze", "promote", "barrier"] {
        until_counted(&stage, "dauphin_takeover_phase_seconds_count{", &format!("phase=\"{phase}\""));
    }
    stage.until_healed();
    stage.down_after(EXPECTED);
}

/// Asks those members that answer until the metrics of one have counted something there.
#[track_caller]
fn until_counted(stage: &Stage, metric: &str, label: &str) {
    let members = stage.show()["members"].as_array().cloned().expect("members");
    let deadline = Instant::now() + WAIT_MAX;
    for port in members.iter().map(|m| m["api_port"].to_string()).cycle() {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(format!("127.0.0.1:{port}")) {
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let _ = stream.read_to_string(&mut answer);
        }
        let counted =
            |line: &&str| line.starts_with(metric) && line.contains(label) && !line.trim_end().ends_with("} 0");
        if answer.lines().any(|line| counted(&line)) {
            return;
        }
        assert!(Instant::now() < deadline, "{metric} {label} counts nothing: {answer}");
        std::thread::sleep(LOOK_EVERY);
    }
}

#[track_caller]
fn until_sql(stage: &Stage, member: &str, sql: &str, wanted: &str) {
    let deadline = Instant::now() + WAIT_MAX;
    while stage.sql_on(member, sql) != wanted {
        assert!(Instant::now() < deadline, "{sql} on {member} is not {wanted}");
        std::thread::sleep(LOOK_EVERY);
    }
}
