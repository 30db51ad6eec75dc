//! A member that applies late on purpose: what was dropped a moment ago is still there, through switchovers, restarts and the death of
//! a leader; nobody waits for it, nobody is alarmed, and it comes back into line when it is told to.

use crate::mysql::{Login, block, lab, switch_over};
use crate::stage::Stage;
use crate::{EXPECTED, mysql};

#[test]
fn a_replica_of_postgres_that_is_late_on_purpose_keeps_what_was_dropped() {
    keeps_what_was_dropped(Stage::up("late", &["--profile", "fast"]), "postgres");
}

#[test]
fn a_replica_of_mysql_that_is_late_on_purpose_keeps_what_was_dropped() {
    let Some(stage) = lab("late-mysql", "mysql", &["--profile", "fast"]) else { return };
    keeps_what_was_dropped(stage, "mysql");
}

#[test]
fn a_replica_of_mariadb_that_is_late_on_purpose_keeps_what_was_dropped() {
    let Some(stage) = lab("late-mariadb", "mariadb", &["--profile", "fast"]) else { return };
    keeps_what_was_dropped(stage, "mariadb");
}

/// The first column of the first row, as an administrator.
fn ask(stage: &Stage, engine: &str, member: &str, sql: &str) -> Result<String, String> {
    let port = stage.sql_port_of(member);
    match engine {
        "postgres" => stage.try_sql("admin", port, sql),
        _ => block(Login::of(stage, "admin").ask(port, sql)).map(|rows| rows.into_iter().next().unwrap_or_default()),
    }
}

fn keeps_what_was_dropped(stage: Stage, engine: &str) {
    late_on_purpose(&stage, engine);
    let expected = if engine == "postgres" { EXPECTED.to_vec() } else { mysql::expected() };
    stage.down_after(&expected);
}

fn late_on_purpose(stage: &Stage, engine: &str) {
    let leader = stage.leader();
    let mut replicas = ["m3", "m2", "m1"].into_iter().filter(|name| *name != leader);
    let (late, next) = (replicas.next().expect("a replica").to_owned(), replicas.next().expect("another").to_owned());
    let rows = |member: &str| ask(stage, engine, member, "SELECT count(*) FROM kept");
    let write = |sql: &str| ask(stage, engine, &stage.leader(), sql).expect(sql);
    write("CREATE TABLE kept (n int PRIMARY KEY)");
    write("INSERT INTO kept VALUES (1), (2)");
    stage.until("the rows", |_| rows(&late).is_ok_and(|rows| rows == "2"));

    stage.run(&["config", "set", &format!("member.{late}.delay=1h")]).ended(0);
    let of = |c: &serde_json::Value, key: &str| {
        c["members"].as_array().and_then(|all| all.iter().find(|m| m["name"] == late.as_str())).map(|m| m[key].clone())
    };
    stage.until("no commit waits for it", |c| {
        of(c, "sync_state").is_some_and(|state| state == "async")
            && of(c, "tags").is_some_and(|tags| tags["delay"] == "1h")
    });
    // it has the new setting a moment later: what comes then is the test
    let (applies, set) = match engine {
        "postgres" => ("SELECT current_setting('recovery_min_apply_delay')", "1h"),
        "mysql" => ("SELECT desired_delay FROM performance_schema.replication_applier_configuration", "3600"),
        _ => ("SELECT sql_delay FROM information_schema.slave_status", "3600"),
    };
    stage.until("it is late", |_| ask(stage, engine, &late, applies).is_ok_and(|said| said == set));
    stage.until_healthy();
    stage.run(&["switchover", "--to", &late]).said(1, &["never leads", "delay"]);

    let held = rows(&late).expect("rows");
    write("INSERT INTO kept VALUES (3)");
    write("DROP TABLE kept");
    stage.until("the next one has dropped it", |_| rows(&next).is_err());
    assert_eq!(rows(&late).as_ref(), Ok(&held));

    // whomever it follows
    switch_over(stage, &next);
    stage.until_healthy();
    assert_eq!(rows(&late).as_ref(), Ok(&held));
    stage.run(&["restart", &late]).ended(0);
    stage.until("it reads", |_| rows(&late).as_ref() == Ok(&held));
    stage.run(&["lab", "fault", "--member", &next, "--kind", "kill-node"]).ended(0);
    stage.until("a takeover", |c| c["leader"] == leader.as_str());
    // nobody else counts
    stage.run(&["lab", "heal"]).ended(0);
    stage.until_healthy();
    assert_eq!(rows(&late).as_ref(), Ok(&held));
    let copied = stage.json(&["status"]);
    assert_eq!(of(&copied, "alert").expect("it"), "ok", "{copied}");

    stage.run(&["config", "set", "--unset", &format!("member.{late}.delay")]).ended(0);
    stage.until("it is as the others", |c| {
        rows(&late).is_err() && of(c, "sync_state").is_some_and(|state| state == "quorum")
    });
    stage.until_healthy();
}
