//! Verbs that ask and command a cluster.

use crate::agent::agent;
use crate::{cluster_file, dauphin};
use serde_json::{Value, json};

fn cluster(state: &str, open: bool) -> Value {
    let member = |name: &str, role: &str, state: &str| {
        json!({"name": name, "role": role, "state": state, "sync_state": "quorum", "timeline": 3, "position": "0/5000060",
               "client_addr": null, "lag_bytes": 2048, "lag_seconds": 0.0, "alert": "ok", "tags": {},
               "host": "127.0.0.1", "sql_port": 15001})
    };
    json!({"cluster": "shop", "engine": "postgres", "term": 7, "leader": "m1", "open": open, "durability": "quorum",
           "degraded": false, "health": "healthy", "paused": false, "intent": null,
           "members": [member("m1", "leader", "running"), member("m2", "replica", state)]})
}

#[test]
fn status_lag_and_topology_show_the_members() {
    let agent = agent(vec![("/v1/cluster", 200, cluster("running", true).to_string())]);
    let api = format!("http://127.0.0.1:{}", agent.port);
    let status = dauphin(&["status", "--json", "--api", &api]);
    assert_eq!(status.ended(0, "").json()["members"][1]["lag_bytes"], 2048);
    assert_eq!(status.json()["leader"], "m1");
    let text = dauphin(&["status", "--api", &api]);
    text.ended(0, "leader m1, open").ended(0, "2.0 kB");
    assert!(text.out.lines().all(|l| l.chars().count() <= 100) && !text.out.contains('\x1b'), "{}", text.out);
    assert_eq!(dauphin(&["lag", "--json", "--api", &api]).json()["members"].as_array().map(Vec::len), Some(2));
    dauphin(&["topology", "--api", &api]).ended(0, "└─ m2 (replica, running, quorum");
}

#[test]
fn check_speaks_as_monitoring_expects() {
    for (state, open, code, word) in
        [("running", true, 0, "OK shop"), ("fenced", true, 1, "WARNING shop"), ("running", false, 2, "CRITICAL shop")]
    {
        let agent = agent(vec![("/v1/cluster", 200, cluster(state, open).to_string())]);
        let ran = dauphin(&["check", "--api", &format!("http://127.0.0.1:{}", agent.port)]);
        assert_eq!(ran.ended(code, word).out.lines().count(), 1);
    }
    dauphin(&["check", "--api", "http://127.0.0.1:1"]).ended(3, "UNKNOWN");
    dauphin(&["check"]).ended(3, "UNKNOWN");
    dauphin(&["check", "--wrong"]).ended(3, "unexpected argument");
}

#[test]
fn commands_carry_the_token_and_tell_what_was_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines = "{\"progress\":\"promoting m2\"}\n{\"done\":{\"message\":\"m2 is the leader\",\"gap_ms\":120}}\n";
    let agent = agent(vec![("/v1/switchover", 200, lines.to_owned())]);
    let file = cluster_file(folder.path(), agent.port);
    std::fs::write(folder.path().join("token"), "open-sesame\n").expect("a token");
    let ran = dauphin(&["switchover", "--to", "m2", "--config", &file.to_string_lossy()]);
    ran.ended(0, "m2 is the leader").ended(0, "120 ms");
    assert!(ran.err.contains("promoting m2"), "{}", ran.err);
    let asked = agent.asked.lock().expect("no panic").clone();
    assert_eq!(asked, ["/v1/switchover open-sesame {\"to\":\"m2\"}"]);
}

#[test]
fn refusals_exit_with_3_and_what_accepts_them() {
    let said = json!({"error": {"kind": "refused", "code": "too_few_answers", "message": "m3 may hold the last writes",
                                "next": "add --allow-data-loss"}});
    let unauthenticated = json!({"error": {"kind": "unauthenticated", "code": "no_token", "message": "who are you?"}});
    let agent = agent(vec![("/v1/failover", 409, said.to_string()), ("/v1/pause", 401, unauthenticated.to_string())]);
    let api = format!("http://127.0.0.1:{}", agent.port);
    let ran = dauphin(&["failover", "--to", "m2", "--api", &api]);
    ran.ended(3, "refused: m3 may hold the last writes").ended(3, "next: add --allow-data-loss");
    assert_eq!(ran.out, "");
    dauphin(&["pause", "--api", &api]).ended(1, "who are you?");
}

#[test]
fn silence_names_who_was_asked_and_what_to_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = cluster_file(folder.path(), 1);
    let ran = dauphin(&["status", "--config", &file.to_string_lossy()]);
    ran.ended(1, "127.0.0.1:1: nobody listens there").ended(1, "next: start the members");
    assert_eq!(ran.err.matches("127.0.0.1:1").count(), 1, "{}", ran.err);
}

#[test]
fn doctor_warns_of_a_single_replica() {
    let store = json!({"kind": "raft", "leader": "m1", "term": 1, "applied": 1, "snapshot": null,
                       "members": [{"name": "m1", "address": "a", "role": "leader", "matched": 1}]});
    let agent =
        agent(vec![("/v1/cluster", 200, cluster("running", true).to_string()), ("/v1/store", 200, store.to_string())]);
    let api = format!("http://127.0.0.1:{}", agent.port);
    dauphin(&["doctor", "--api", &api]).ended(0, "one replica").ended(0, "at least two replicas");
    let findings = dauphin(&["doctor", "--json", "--api", &api]).json();
    assert!(findings["findings"].as_array().expect("a list").iter().any(|f| f["code"] == "store_single"), "{findings}");
}

#[test]
fn a_servers_cluster_is_found_by_its_address() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = cluster_file(folder.path(), 18_008);
    let config = file.to_string_lossy();
    let found = dauphin(&["which-cluster", "localhost:5432", "--config", &config, "--json"]);
    assert_eq!(found.ended(0, "").json()["member"], "m1");
    dauphin(&["which-cluster", "127.0.0.1:5433", "--config", &config]).ended(1, "belongs to no cluster");
    dauphin(&["which-cluster", "nowhere", "--config", &config]).ended(2, "HOST:PORT");
    dauphin(&["clusters", "--config", &config]).ended(0, "shop");
}
