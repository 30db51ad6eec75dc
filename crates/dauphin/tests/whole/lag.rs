//! What is told of a replica's lag, beside the truth: a probe writes the time again and again, and the replica itself is
//! asked what it has. Under load, with replay paused, with the receiver standing still, and with clocks hours apart.

// what was skipped is said
#![allow(clippy::print_stdout)]

use crate::EXPECTED;
use crate::stage::Stage;
use serde_json::Value;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

/// How often the probe writes.
const EVERY: Duration = Duration::from_millis(10);
/// How long a replica is held up, at most.
const HELD: Duration = Duration::from_secs(20);
/// From here on it must be told to a tenth: looks, beats and pictures come a few times in a second, on a busy machine later.
const TOLD_FROM: f64 = 3.0;

/// A connection that stays.
struct Asks {
    runtime: Runtime,
    client: Client,
}

impl Asks {
    fn of(shown: &Value, who: &str, port: &Value) -> Self {
        let login = |key: &str| shown[who][key].as_str().expect("a login").to_owned();
        let port = u16::try_from(port.as_u64().expect("a port")).expect("a port");
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(port).user(login("user")).password(login("password")).dbname("app");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("one");
        let client = runtime.block_on(async {
            let (client, connection) = config.connect(NoTls).await.expect("it lets us in");
            tokio::spawn(connection);
            client
        });
        Self { runtime, client }
    }

    fn ask(&self, sql: &str) -> String {
        let rows = self.runtime.block_on(self.client.simple_query(sql)).unwrap_or_else(|e| panic!("{sql}: {e}"));
        let value = |m: &tokio_postgres::SimpleQueryMessage| match m {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        };
        rows.iter().find_map(value).unwrap_or_default()
    }
}

/// Writes how long the test has run, until it is told to end.
fn probe(writes: Asks, begun: Instant, over: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            writes.ask(&format!("INSERT INTO probe VALUES ({})", begun.elapsed().as_millis()));
            std::thread::sleep(EVERY);
        }
    })
}

/// The lag of a replica: the truth before and after what is told.
fn lag(stage: &Stage, replica: &Asks, name: &str, begun: Instant) -> (f64, f64, f64) {
    let truth = || {
        let has: u64 = replica.ask("SELECT max(ms) FROM probe").parse().expect("a number");
        (begun.elapsed().as_millis() as f64 - has as f64) / 1_000.0
    };
    let before = truth();
    let told = stage.json(&["lag"]);
    let told = told["members"].as_array().expect("members").iter().find(|m| m["name"] == name).expect("it").clone();
    (before, told["lag_seconds"].as_f64().unwrap_or_else(|| panic!("{told}")), truth())
}

/// It is behind for ever longer, and this is told within a tenth or 50 ms, once it is long enough to be seen.
#[track_caller]
fn told_while_held(stage: &Stage, what: &str, replica: &Asks, name: &str, begun: Instant) {
    let until = Instant::now() + HELD;
    loop {
        let (before, told, after) = lag(stage, replica, name, begun);
        println!("{what}: {told:.3} s told, between {before:.3} and {after:.3}");
        let (least, most) = (before * 0.9 - 0.05, after * 1.1 + 0.05);
        assert!(before < TOLD_FROM || (least..=most).contains(&told), "{what}: {told} of {before} to {after}");
        if before >= 5.0 {
            return;
        }
        assert!(Instant::now() < until, "{what}: it is not behind: {before}");
    }
}

/// It has all again, and that is told.
#[track_caller]
fn told_when_over(stage: &Stage, what: &str, replica: &Asks, name: &str, begun: Instant) {
    let until = Instant::now() + HELD;
    loop {
        let (_, told, after) = lag(stage, replica, name, begun);
        if told <= 0.3 && after <= 0.3 {
            return;
        }
        assert!(Instant::now() < until, "{what}: {told} told of {after} after it went on");
    }
}

#[test]
fn lag_is_told_as_it_is() {
    let clocks = dauphin_lab::can_have_clocks();
    let stage = Stage::up("lag", if clocks { &["--clocks"] } else { &[] });
    let shown = stage.show();
    let leader = stage.leader();
    let replica = shown["members"].as_array().expect("members").iter().find(|m| m["role"] == "replica").expect("one");
    let name = replica["name"].as_str().expect("a name");
    stage.sql(stage.write_port(), "CREATE TABLE probe (ms bigint)");
    let (begun, over) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let writes = probe(Asks::of(&shown, "app", &shown["proxy"]["write_port"]), begun, Arc::clone(&over));
    let its = Asks::of(&shown, "admin", &replica["sql_port"]);
    told_when_over(&stage, "load", &its, name, begun);

    its.ask("SELECT pg_wal_replay_pause()");
    told_while_held(&stage, "replay paused", &its, name, begun);
    its.ask("SELECT pg_wal_replay_resume()");
    told_when_over(&stage, "replay resumed", &its, name, begun);

    let receiver = its.ask("SELECT pid FROM pg_stat_wal_receiver");
    let signal = |signal: &str| {
        assert!(Command::new("kill").args([signal, &receiver]).status().expect("kill runs").success());
    };
    signal("-STOP");
    told_while_held(&stage, "receiver stands", &its, name, begun);
    signal("-CONT");
    told_when_over(&stage, "receiver goes on", &its, name, begun);

    if clocks {
        for (member, kind) in [(name, "clock-forward"), (&leader, "clock-back")] {
            stage.run(&["lab", "fault", "--member", member, "--kind", kind]).ended(0);
        }
        let its = Asks::of(&shown, "admin", &replica["sql_port"]);
        told_when_over(&stage, "clocks apart", &its, name, begun);
        its.ask("SELECT pg_wal_replay_pause()");
        told_while_held(&stage, "replay paused, clocks apart", &its, name, begun);
        its.ask("SELECT pg_wal_replay_resume()");
    } else {
        println!("skipped: clocks apart (setting clocks needs libfaketime)");
    }

    over.store(true, Ordering::Relaxed);
    writes.join().expect("it ends well");
    // nothing is written any more: 0, however long
    let until = Instant::now() + HELD;
    while lag(&stage, &its, name, begun).1 > 0.0 {
        assert!(Instant::now() < until, "an idle cluster has lag");
    }
    stage.down_after(EXPECTED);
}
