//! MySQL and MariaDB under the same roof: a lab of each comes up, loses its leader without losing a row that was acknowledged,
//! takes the old one back, and hands leadership over.

// what was skipped, and how long a takeover took
#![allow(clippy::print_stdout)]

use crate::EXPECTED;
use crate::stage::{LOOK_EVERY, Stage, WAIT_MAX};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Warnings that the faults here explain, beside those of all labs.
const ALSO: &[&str] = &[
    "the replica cannot follow as the leader counts it yet",
    "a copy could not be given",
    "the copy breaks off",
    // of what is done by hand here
    "somebody opened this replica to writes",
    "somebody changed these by hand",
    "commits were reported as done and too few replicas hold them",
    // three servers that apply ten thousand transactions at once leave it waiting for a processor
    "a step of the loop took long",
];
/// How long one statement of a client may take.
const STATEMENT_MAX: Duration = Duration::from_secs(5);

/// The programs of an engine, where the tests' engines are.
fn programs(engine: &str) -> Option<PathBuf> {
    build(if engine == "mysql" { "mysql-9" } else { "mariadb-11" })
}

/// The build of that name.
pub(crate) fn build(name: &str) -> Option<PathBuf> {
    let prefix = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.engines").join(name).join("usr");
    let found = prefix.exists().then_some(prefix);
    if found.is_none() {
        println!("skipped: {name} is not in .engines (make engines)");
    }
    found
}

pub(crate) fn lab(name: &str, engine: &str, more: &[&str]) -> Option<Stage> {
    let bin = programs(engine)?.to_string_lossy().into_owned();
    Some(Stage::up(name, &[&["--engine", engine, "--bin", &bin], more].concat()))
}

pub(crate) fn block<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

/// Somebody at a member's port.
#[derive(Clone)]
pub(crate) struct Login {
    user: String,
    password: String,
}

impl Login {
    pub(crate) fn of(stage: &Stage, who: &str) -> Self {
        let shown = stage.show();
        let text = |key: &str| shown[who][key].as_str().expect("a text").to_owned();
        Self { user: text("user"), password: text("password") }
    }

    pub(crate) async fn connect(&self, port: u16) -> Result<Conn, mysql_async::Error> {
        let opts = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port).prefer_socket(false);
        Conn::new(opts.user(Some(&self.user)).pass(Some(&self.password)).db_name(Some("app"))).await
    }

    /// The first column of all rows.
    pub(crate) async fn ask(&self, port: u16, sql: &str) -> Result<Vec<String>, String> {
        let work = async {
            let mut conn = self.connect(port).await?;
            let rows: Vec<mysql_async::Row> = conn.query(sql).await?;
            let first = |row: mysql_async::Row| row.get::<Option<String>, _>(0).flatten().unwrap_or_default();
            Ok::<_, mysql_async::Error>(rows.into_iter().map(first).collect())
        };
        let answer = tokio::time::timeout(STATEMENT_MAX, work).await;
        answer.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.to_string())
    }

    #[track_caller]
    pub(crate) fn sql(&self, port: u16, sql: &str) -> Vec<String> {
        block(self.ask(port, sql)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }
}

/// A client that writes one row after the other through the proxy, and remembers what was acknowledged.
struct Writer {
    acknowledged: Arc<Mutex<BTreeSet<u32>>>,
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Writer {
    fn start(stage: &Stage) -> Self {
        let (login, port) = (Login::of(stage, "app"), stage.write_port());
        let (acknowledged, over) = (Arc::<Mutex<BTreeSet<u32>>>::default(), Arc::new(AtomicBool::new(false)));
        let (told, ends) = (Arc::clone(&acknowledged), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            block(async {
                for n in 0_u32.. {
                    // a row whose fate is not known is left alone: another one is tried elsewhere
                    while !ends.load(Ordering::Relaxed) {
                        match login.ask(port, &format!("INSERT INTO t VALUES ({n})")).await {
                            Ok(_) => {
                                told.lock().expect("whole").insert(n);
                                break;
                            }
                            Err(error) if error.contains("Duplicate") => break,
                            Err(_) => {}
                        }
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    if ends.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        });
        Self { acknowledged, over, thread }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().expect("whole").len()
    }

    /// Waits until more rows are acknowledged.
    #[track_caller]
    fn goes_on(&self) {
        let (before, deadline) = (self.count(), Instant::now() + WAIT_MAX);
        while self.count() < before + 20 {
            assert!(Instant::now() < deadline, "nothing is acknowledged any more");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn end(self) -> BTreeSet<u32> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic");
        self.acknowledged.lock().expect("whole").clone()
    }
}

/// The rows of a member.
pub(crate) fn rows(stage: &Stage, member: &str) -> BTreeSet<u32> {
    let rows = Login::of(stage, "app").sql(stage.sql_port_of(member), "SELECT n FROM t");
    rows.iter().map(|row| row.parse().expect("a number")).collect()
}

/// Every member holds all of these, and all hold the same.
#[track_caller]
pub(crate) fn all_hold(stage: &Stage, acknowledged: &BTreeSet<u32>) {
    let leader = rows(stage, &stage.leader());
    let lost: Vec<_> = acknowledged.difference(&leader).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let deadline = Instant::now() + WAIT_MAX;
    for member in ["m1", "m2", "m3"] {
        while rows(stage, member) != leader {
            assert!(Instant::now() < deadline, "{member} does not come to hold what the leader holds");
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

pub(crate) fn expected() -> Vec<&'static str> {
    EXPECTED.iter().chain(ALSO).copied().collect()
}

#[test]
fn a_lab_of_mysql_lives_through_the_loss_of_its_leader() {
    lives_through_the_loss_of_its_leader("mysql");
}

#[test]
fn a_lab_of_mariadb_lives_through_the_loss_of_its_leader() {
    lives_through_the_loss_of_its_leader("mariadb");
}

fn lives_through_the_loss_of_its_leader(engine: &str) {
    let Some(stage) = lab(engine, engine, &["--profile", "fast"]) else { return };
    shown_as_promised(&stage, engine);
    app_is_let_in_and_nothing_more(&stage);

    let first = stage.leader();
    Login::of(&stage, "app").sql(stage.sql_port_of(&first), "CREATE TABLE t (n int PRIMARY KEY) ENGINE = InnoDB");
    let writer = Writer::start(&stage);
    writer.goes_on();
    stage.run(&["lab", "fault", "--member", &first, "--kind", "kill-node"]).ended(0);
    let killed = Instant::now();
    stage.until("a takeover", |c| c["open"] == true && c["leader"] != first.as_str());
    writer.goes_on();
    println!("{engine}: written again {:?} after the kill", killed.elapsed());
    stage.run(&["lab", "heal"]).ended(0);
    stage.until_healthy();
    writer.goes_on();

    for to in [first.clone(), stage.leader()] {
        switch_over(&stage, &to);
        writer.goes_on();
        stage.until_healthy();
    }
    let leader = stage.leader();
    stage.run(&["restart", &first]).ended(0);
    stage.run(&["reinit", &first]).ended(0);
    stage.until_healthy();
    assert_eq!(stage.leader(), leader);
    writer.goes_on();
    let history = stage.json(&["history"]);
    let entries = history["history"].as_array().expect("a list");
    let kinds: Vec<&str> = entries.iter().filter_map(|h| h["kind"].as_str()).collect();
    assert_eq!(kinds, ["bootstrap", "failover", "switchover", "switchover"]);
    assert!(entries.iter().all(|h| h["timeline"].is_null()), "{history}");
    speaks_the_engines_words(&stage);
    crate::the_proxy_is_told(&stage);

    the_appliers_of_both_replicas_stand(&stage, engine, &writer);
    let acknowledged = writer.end();
    all_hold(&stage, &acknowledged);
    the_best_candidate_is_errant(&stage, engine, &acknowledged);
    stage.down_after(&expected());
}

/// Hands over to this member, once it is close and has changed over to being counted: it does not stream for that moment.
#[track_caller]
pub(crate) fn switch_over(stage: &Stage, to: &str) {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let ran = stage.run(&["switchover", "--to", to]);
        if ran.code == 0 {
            break;
        }
        let soon = ["does not stream", "s behind"].iter().any(|words| ran.err.contains(words));
        assert!(soon && Instant::now() < deadline, "{}{}", ran.out, ran.err);
        std::thread::sleep(LOOK_EVERY);
    }
    assert_eq!(stage.leader(), to);
}

fn shown_as_promised(stage: &Stage, engine: &str) {
    let shown = stage.show();
    assert_eq!(shown["engine"]["kind"], engine);
    assert!(
        shown["engine"]["version"].as_str().is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit())),
        "{shown}"
    );
    assert!(shown["proxy"]["pid"].is_i64() && shown["proxy"]["write_port"].is_i64(), "{shown}");
    // it reads nothing again, and nobody's session ends
    let hang_up = std::process::Command::new("kill").args(["-HUP", &shown["proxy"]["pid"].to_string()]).status();
    assert!(hang_up.expect("kill runs").success());
    for member in shown["members"].as_array().expect("members") {
        for key in ["agent_pid", "guard_pid", "server_pid", "sql_port", "api_port"] {
            assert!(member[key].is_i64(), "{key} of {member}");
        }
    }
    // a replica that begins to be counted connects anew, and one agent knows a moment before the other how far it is
    stage.until("every lag is known", |status| {
        let known = |m: &Value| m["lag_transactions"].is_u64();
        if status["health"] != "healthy" || !status["members"].as_array().is_some_and(|all| all.iter().all(known)) {
            return false;
        }
        assert_eq!(status["engine"], engine);
        for member in status["members"].as_array().expect("members") {
            assert!(member["timeline"].is_null() && member["lag_bytes"].is_null(), "{member}");
            assert!(member["position"].as_str().is_some_and(|p| p.parse::<u64>().is_ok()), "{member}");
        }
        true
    });
    stage.run(&["lag"]).ended(0);
    assert!(stage.json(&["config", "show"])["text"].as_str().is_some_and(|text| text.contains(engine)));
    stage.run(&["config", "set", "mysql.parameters.sync_binlog=0"]).said(2, &["sync_binlog"]);
    stage.run(&["config", "set", "cluster.engine=postgres"]).ended(2);
}

fn app_is_let_in_and_nothing_more(stage: &Stage) {
    let (app, leader) = (Login::of(stage, "app"), stage.leader());
    for member in ["m1", "m2", "m3"] {
        let port = stage.sql_port_of(member);
        assert_eq!(app.sql(port, "SELECT DATABASE()"), ["app"]);
        let made = block(app.ask(port, "CREATE TABLE proof (n int)"));
        assert_eq!(made.is_ok(), member == leader, "on {member}: {made:?}");
        assert!(block(app.ask(port, "CREATE DATABASE other")).is_err(), "on {member}");
        assert!(block(app.ask(port, "SELECT * FROM dauphin.timelines")).is_err(), "on {member}");
        Login::of(stage, "admin").sql(port, "SELECT user FROM mysql.user");
    }
    app.sql(stage.sql_port_of(&leader), "DROP TABLE proof");
}

/// No face tells of bytes or of timelines.
fn speaks_the_engines_words(stage: &Stage) {
    let told = [stage.json(&["explain"]), stage.json(&["history"]), stage.json(&["status"])];
    let (explained, all) = (told[0].to_string(), format!("{told:?}{}", stage.run(&["explain"]).out));
    assert!(explained.contains(" of leadership ") && explained.contains("leads from transaction "), "{explained}");
    let byte_position = |word: &str| word.split_once('/').is_some_and(|(high, low)| high == "0" && !low.is_empty());
    let words = all.split(|c: char| !c.is_ascii_alphanumeric() && c != '/');
    assert_eq!(words.filter(|word| byte_position(word)).collect::<Vec<_>>(), [""; 0], "{all}");
    assert!(!all.contains("on timeline") && !all.contains("to timeline"), "{all}");
}

/// What stops an applier, in the server's words, and what starts it again.
pub(crate) fn applier(engine: &str) -> [&'static str; 2] {
    match engine {
        "mysql" => ["STOP REPLICA SQL_THREAD", "START REPLICA SQL_THREAD"],
        _ => ["STOP SLAVE SQL_THREAD", "START SLAVE SQL_THREAD"],
    }
}

/// Both replicas receive, acknowledge and apply nothing, as while a long ALTER TABLE runs on them: commits go on, and the leader
/// leads on. Then it dies. One takes over with all of it, and the other is pointed to it with all of it unapplied.
fn the_appliers_of_both_replicas_stand(stage: &Stage, engine: &str, writer: &Writer) {
    let [stop, start] = applier(engine);
    let leader = stage.leader();
    let ports: Vec<u16> =
        ["m1", "m2", "m3"].into_iter().filter(|name| *name != leader).map(|name| stage.sql_port_of(name)).collect();
    let admin = Login::of(stage, "admin");
    let replicas = |c: &Value, so: &dyn Fn(&Value) -> bool| {
        let members = c["members"].as_array().expect("members").iter();
        members.filter(|m| m["role"] == "replica" && so(m)).count()
    };
    stage.until("both count", |c| replicas(c, &|m| m["sync_state"] == "quorum") == 2);
    // for far longer than a leader suffers streams that carry nothing
    stage.until("both are behind, and what to do is told", |c| {
        assert_eq!((&c["leader"], &c["commits_wait"]), (&leader.as_str().into(), &false.into()), "{c}");
        // one that just began to be counted follows anew, and applies what it has for that, whoever stopped it
        ports.iter().for_each(|port| drop(admin.sql(*port, stop)));
        let behind = replicas(c, &|m| m["lag_seconds"].as_f64().is_some_and(|lag| lag > 5.0));
        behind == 2 && c["problems"].to_string().matches(start).count() == 2
    });
    let candidate = ["m1", "m2"].into_iter().find(|name| *name != leader).expect("a replica");
    stage.run(&["switchover", "--to", candidate]).said(1, &["s behind", "dauphin status --watch"]);
    assert_eq!(stage.leader(), leader);
    writer.goes_on();
    stage.run(&["lab", "fault", "--member", &leader, "--kind", "kill-node"]).ended(0);
    stage.until("a takeover", |c| c["open"] == true && c["leader"] != leader.as_str());
    writer.goes_on();
    stage.run(&["lab", "heal"]).ended(0);
    stage.until_healthy();
}

/// Somebody writes on the replica that would be elected, and the leader dies: the other one is, and the row is on no member.
fn the_best_candidate_is_errant(stage: &Stage, engine: &str, acknowledged: &BTreeSet<u32>) {
    let leader = stage.leader();
    // their logs are the same: the order of their names decides
    let candidate = ["m1", "m2"].into_iter().find(|name| *name != leader).expect("a replica");
    write_by_hand(stage, engine, candidate, 1_000_000);
    stage.run(&["lab", "fault", "--member", &leader, "--kind", "kill-node"]).ended(0);
    stage.until("a takeover", |c| c["open"] == true && c["leader"] != leader.as_str());
    assert_ne!(stage.leader(), candidate);
    stage.run(&["lab", "heal"]).ended(0);
    stage.until_healthy();
    all_hold(stage, acknowledged);
    assert!(!rows(stage, candidate).contains(&1_000_000), "what no leader wrote is on no member");
    assert!(stage.dir.join(candidate).join("cut-off").is_dir(), "it is kept");
}

/// Opens a replica to writes and writes there, as the owner of the machine may.
pub(crate) fn write_by_hand(stage: &Stage, engine: &str, member: &str, row: u32) {
    let socket = stage.dir.join(member).join("run/mysqld.sock");
    let me = std::process::Command::new("id").arg("-un").output().expect("id runs").stdout;
    let me = String::from_utf8_lossy(&me).trim().to_owned();
    let user = if me != "root" && engine == "mysql" { "dauphin".to_owned() } else { me };
    let deadline = Instant::now() + WAIT_MAX;
    block(async {
        let opts = OptsBuilder::default().socket(Some(socket.display().to_string())).user(Some(user));
        let mut conn = Conn::new(opts).await.expect("the machine's owner comes in");
        loop {
            // it may be closed again in between
            conn.query_drop("SET GLOBAL read_only = OFF").await.expect("it may be set");
            if conn.query_drop(format!("INSERT INTO app.t VALUES ({row})")).await.is_ok() {
                return;
            }
            assert!(Instant::now() < deadline, "it is never open for long enough");
        }
    });
}
