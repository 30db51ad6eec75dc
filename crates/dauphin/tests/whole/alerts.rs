//! Alerts on real servers: raised by real causes, told once, over when the cause is gone, whoever speaks.

use crate::EXPECTED;
use crate::place::Place;
use crate::stage::{LOOK_EVERY, Stage, WAIT_MAX};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

/// Told soon, so that the test is short; one limit of lag that a moment's pause passes.
pub(crate) const SOON: [&str; 4] = [
    "alerts.raise_after=1s",
    "alerts.clear_after=1s",
    "alerts.group_within=1s",
    "alerts.lag=[\"1s\", \"10min\", \"1h\"]",
];

/// Whether these alerts, `kind member`, are the ones that are raised.
pub(crate) fn raised(document: &Value) -> Vec<String> {
    let word = |v: &Value| v.as_str().unwrap_or("-").to_owned();
    let alerts = document["alerts"].as_array().cloned().unwrap_or_default();
    let mut all: Vec<String> = alerts.iter().map(|a| format!("{} {}", word(&a["kind"]), word(&a["member"]))).collect();
    all.sort();
    all
}

pub(crate) fn alert<'a>(document: &'a Value, kind: &str) -> &'a Value {
    let all = document["alerts"].as_array().expect("a list");
    all.iter().find(|a| a["kind"] == kind).unwrap_or_else(|| panic!("no {kind} in {document:#}"))
}

fn other_than<'a>(names: &[&'a str], not: &[&str]) -> &'a str {
    names.iter().find(|name| !not.contains(name)).expect("three members")
}

#[test]
fn alerts_are_raised_by_real_causes_and_are_over_when_these_are() {
    let stage = Stage::up("alerts", &[]);
    // nobody listens there yet
    let mut place = Place::down();
    let url = format!("notify.ops.url=http://127.0.0.1:{}/hook", place.port);
    stage.run(&[&["config", "set", "notify.ops.kind=webhook", &url][..], &SOON].concat()).ended(0);
    stage.write_until_acknowledged("CREATE TABLE IF NOT EXISTS t (i int)");
    let leader = stage.leader();
    let replica = other_than(&["m1", "m2", "m3"], &[&leader]);
    stage.until_alerts("all is well", |d| raised(d).is_empty());

    let rehearsed = stage.until_said(&["alerts", "test"], "ops: not delivered: it cannot be reached");
    assert_eq!(rehearsed.code, 1, "{}", rehearsed.out);

    // a replay that somebody paused, and what it leads to
    stage.sql_on(replica, "SELECT pg_wal_replay_pause()");
    stage.write_until_acknowledged("INSERT INTO t VALUES (1)");
    let both = [format!("lag {replica}"), format!("replay_paused {replica}")];
    let seen = stage.until_alerts("the lag is raised", |d| raised(d) == both);
    assert_eq!(alert(&seen, "lag")["level"], "warning", "{seen:#}");
    stage.until("status shows it too", |c| {
        c["members"].as_array().is_some_and(|all| all.iter().any(|m| m["name"] == replica && m["alert"] == "warning"))
    });
    assert_eq!(stage.run(&["check"]).code, 1);
    until_measured(&stage, "dauphin_alert{", &format!("member=\"{replica}\",kind=\"lag\"}} 1"));
    wishes_are_kept(&stage, replica);
    stage.until_said(&["doctor"], "notices do not reach ops");
    until_measured(&stage, "dauphin_notify_failing", "place=\"ops\"} 1");
    stage.sql_on(replica, "SELECT pg_wal_replay_resume()");
    stage.until_alerts("it is over", |d| raised(d).is_empty());
    // all of that was told while the place was down, and comes once it is up
    place.comes_up();
    place.until_told(&[("lag", replica, "raised"), ("lag", replica, "cleared"), ("replay_paused", replica, "cleared")]);
    stage.run(&["alerts", "test"]).said(0, &["ops: delivered: 200"]);

    // the agent that speaks dies: another one goes on
    let speaker = stage.until_alerts("somebody speaks", |d| d["speaker"].is_string())["speaker"].clone();
    let speaker = speaker.as_str().expect("a name").to_owned();
    stage.run(&["lab", "fault", "--member", &speaker, "--kind", "kill-node"]).ended(0);
    let down = format!("member_down {speaker}");
    let told = place.marks();
    let seen = stage.until_alerts("the loss is raised", |d| raised(d).contains(&down));
    assert_ne!(seen["speaker"], speaker.as_str());
    assert_eq!(stage.until_alerts("its kinds", |d| raised(d).len() == 2)["alerts"].as_array().map(Vec::len), Some(2));
    // what is over before its group is told is not told at all
    place.until_told_after(told, &[("member_down", &speaker, "raised")]);
    stage.until_healed();
    stage.until_alerts("it is back", |d| raised(d).is_empty());
    place.until_told_after(told, &[("member_down", &speaker, "cleared")]);
    let told = place.marks();

    // two of three die: nobody can decide anything, and the last one says so
    let leader = stage.leader();
    let second = other_than(&["m1", "m2", "m3"], &[&leader]);
    let last = other_than(&["m1", "m2", "m3"], &[&leader, second]);
    for member in [leader.as_str(), second] {
        stage.run(&["lab", "fault", "--member", member, "--kind", "kill-node"]).ended(0);
    }
    let seen = stage.until_alerts("no leader", |d| {
        let all = raised(d);
        all.contains(&"no_leader -".to_owned()) && all.contains(&"no_majority -".to_owned())
    });
    assert_eq!(seen["speaker"], last);
    assert_eq!(alert(&seen, "no_leader")["level"], "emergency");
    assert_eq!(stage.run(&["check"]).code, 2);
    place.until_told_after(told, &[("no_leader", "-", "raised"), ("no_majority", "-", "raised")]);
    stage.until_healed();
    stage.until_alerts("all is well", |d| raised(d).is_empty());
    place.until_told_after(told, &[("no_leader", "-", "cleared"), ("no_majority", "-", "cleared")]);
    place.nothing_came_twice();
    stage.down_after(&[EXPECTED, &["notices cannot be delivered"]].concat());
}

/// Asks the members until the metrics of one have this sample.
pub(crate) fn until_measured(stage: &Stage, metric: &str, sample: &str) {
    let members = stage.show()["members"].as_array().cloned().expect("members");
    let mut ports = members.iter().map(|m| m["api_port"].to_string()).cycle();
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let port = ports.next().expect("members");
        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("connected");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        if answer.lines().any(|line| line.starts_with(metric) && line.trim_end().ends_with(sample)) {
            return;
        }
        assert!(Instant::now() < deadline, "{sample} is not in {answer}");
        std::thread::sleep(LOOK_EVERY);
    }
}

fn wishes_are_kept(stage: &Stage, replica: &str) {
    let silence = |more: &[&str]| stage.run(&[&["alerts", "silence"][..], more, &["--because", "a new disk"]].concat());
    silence(&["m9", "--for", "2h"]).said(2, &["no member \"m9\"", "\"all\""]);
    silence(&["all", "--kind", "lags", "--for", "2h"]).said(2, &["no kind of alert", "replay_paused"]);
    silence(&["all", "--for", "2"]).said(2, &["--for", "a duration is"]);
    silence(&["all", "--for", "60d"]).said(2, &["1 s to 30 d"]);
    silence(&[replica, "--kind", "lag", "--for", "2h"]).said(0, &[replica, "is silenced until"]);
    let seen = stage.until_alerts("it is silenced", |d| alert(d, "lag")["silenced"] == true);
    assert_eq!(alert(&seen, "replay_paused")["silenced"], false);
    let id = seen["silences"][0]["id"].to_string();
    let paused = alert(&seen, "replay_paused")["id"].to_string();
    stage.run(&["alerts", "ack", &paused]).ended(0);
    stage.until_alerts("it is in hand", |d| alert(d, "replay_paused")["acknowledged_by"].is_string());
    stage.run(&["alerts", "ack", "4711"]).said(2, &["no alert 4711"]);
    stage.run(&["alerts", "unsilence", &id]).ended(0);
    stage.until_alerts("the silence is over", |d| d["silences"].as_array().is_some_and(Vec::is_empty));
    stage.run(&["alerts"]).said(0, &["replay_paused", "in hand", "pg_wal_replay_resume"]);
}
