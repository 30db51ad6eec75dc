//! What is told of a replica's lag on MySQL and MariaDB, beside the truth and beside the server's own figure: a probe writes the time
//! again and again, and the replica is asked what it has. Under load, with the applier paused, with the receiver cut.

// the figures are shown
#![allow(clippy::print_stdout)]

use crate::mysql::{Login, applier, block, expected, lab};
use crate::stage::Stage;
use mysql_async::prelude::Queryable;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the probe writes.
const EVERY: Duration = Duration::from_millis(10);
/// How long a replica is held up, at most.
const HELD: Duration = Duration::from_secs(20);
/// From here on it must be told to a tenth: looks, beats and pictures come a few times in a second, on a busy machine later.
const TOLD_FROM: f64 = 3.0;
/// How long a replica must have applied nothing for what is told to be measured.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// What is told of one that has all, in seconds: two looks are half a second apart, and what was between them is told as the middle.
const WELL: f64 = 0.6;

/// A replica, and when the probe began.
struct Watched<'a> {
    stage: &'a Stage,
    name: String,
    port: u16,
    admin: Login,
    /// The statement that shows the server's own figure, and that figure's name.
    figure: [&'static str; 2],
    begun: Instant,
}

/// What was found at one moment.
struct Seen {
    /// The truth before and after.
    between: [f64; 2],
    /// The replica applied nothing meanwhile.
    stood: bool,
    /// What is told.
    told: f64,
    /// What the server says: `None` is its NULL.
    server: Option<f64>,
}

impl Watched<'_> {
    /// What it has of the probe, and how long ago that was written; before the first row, since the probe began.
    fn truth(&self) -> (u64, f64) {
        let has = self.admin.sql(self.port, "SELECT COALESCE(MAX(ms), 0) FROM probe")[0].parse().expect("a number");
        (has, (self.begun.elapsed().as_millis() as f64 - has as f64) / 1_000.0)
    }

    fn look(&self) -> Seen {
        let (had, before) = self.truth();
        let told = self.stage.json(&["lag"]);
        let members = told["members"].as_array().expect("members");
        let told = members.iter().find(|m| m["name"] == self.name.as_str()).expect("it").clone();
        let told = told["lag_seconds"].as_f64().unwrap_or_else(|| panic!("{told}"));
        let [show, name] = self.figure;
        let server = block(async {
            let mut conn = self.admin.connect(self.port).await.expect("it lets us in");
            let row: mysql_async::Row = conn.query_first(show).await.expect("it says").expect("a channel");
            row.get::<Option<f64>, _>(name).expect("a column")
        });
        let (has, after) = self.truth();
        Seen { between: [before, after], stood: had == has, told, server }
    }

    /// It is behind for ever longer, and this is told within a tenth or 50 ms, once it is long enough to be seen. The
    /// server's own figure is shown beside it: mostly NULL, and of a receiver that was stopped under load now and then a number.
    #[track_caller]
    fn told_while_held(&self, what: &str, stop: &str) {
        let until = Instant::now() + HELD;
        let mut stands_since = Instant::now();
        loop {
            // threads are started again when the leader counts the replica no more
            self.does(stop);
            let Seen { between: [before, after], stood, told, server } = self.look();
            println!("{what}: {told:.3} s told, between {before:.3} and {after:.3}, the server says {server:?}");
            let (least, most) = (before * 0.9 - 0.05, after * 1.1 + 0.05);
            let right = (least..=most).contains(&told);
            // what it did a moment ago is told in a moment
            stands_since = if stood { stands_since } else { Instant::now() };
            let still = stands_since.elapsed() >= TOLD_WITHIN;
            assert!(!still || before < TOLD_FROM || right, "{what}: {told} of {before} to {after}");
            if still && before >= 5.0 {
                return;
            }
            assert!(Instant::now() < until, "{what}: it is not behind: {before}");
        }
    }

    /// It has all again, and that is told; the server says so, too.
    #[track_caller]
    fn told_when_over(&self, what: &str) {
        let until = Instant::now() + HELD;
        loop {
            let Seen { between: [_, after], told, server, .. } = self.look();
            if told <= WELL && after <= 0.3 && server.is_some_and(|server| server <= 1.0) {
                return;
            }
            assert!(
                Instant::now() < until,
                "{what}: {told} told of {after} after it went on, the server says {server:?}"
            );
        }
    }

    fn does(&self, sql: &str) {
        self.admin.sql(self.port, sql);
    }
}

/// Writes how long the test has run, until it is told to end.
fn probe(writes: Login, port: u16, begun: Instant, over: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        block(async {
            let mut conn = writes.connect(port).await.expect("it lets us in");
            while !over.load(Ordering::Relaxed) {
                let row = format!("INSERT INTO probe VALUES ({})", begun.elapsed().as_millis());
                conn.query_drop(row).await.expect("it is written");
                tokio::time::sleep(EVERY).await;
            }
        });
    })
}

#[test]
fn lag_of_mysql_is_told_as_it_is() {
    lag_is_told_as_it_is("mysql");
}

#[test]
fn lag_of_mariadb_is_told_as_it_is() {
    lag_is_told_as_it_is("mariadb");
}

fn lag_is_told_as_it_is(engine: &str) {
    let Some(stage) = lab(&format!("{engine}-lag"), engine, &[]) else { return };
    let leader = stage.leader();
    let name = ["m1", "m2"].into_iter().find(|name| *name != leader).expect("a replica").to_owned();
    let (app, admin) = (Login::of(&stage, "app"), Login::of(&stage, "admin"));
    app.sql(stage.sql_port_of(&leader), "CREATE TABLE probe (ms bigint PRIMARY KEY) ENGINE = InnoDB");
    let (begun, over) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let writes = probe(app, stage.write_port(), begun, Arc::clone(&over));
    let (figure, receiver) = match engine {
        "mysql" => {
            (["SHOW REPLICA STATUS", "Seconds_Behind_Source"], ["STOP REPLICA IO_THREAD", "START REPLICA IO_THREAD"])
        }
        _ => (["SHOW SLAVE STATUS", "Seconds_Behind_Master"], ["STOP SLAVE IO_THREAD", "START SLAVE IO_THREAD"]),
    };
    let port = stage.sql_port_of(&name);
    let watched = Watched { stage: &stage, name, port, admin, figure, begun };
    watched.told_when_over("load");
    for (what, [stop, start]) in [("applier paused", applier(engine)), ("receiver cut", receiver)] {
        watched.told_while_held(what, stop);
        watched.does(start);
        watched.told_when_over(&format!("after {what}"));
    }
    over.store(true, Ordering::Relaxed);
    writes.join().expect("it ends well");
    // nothing is written any more: 0, however long
    let until = Instant::now() + HELD;
    while watched.look().told > 0.0 {
        assert!(Instant::now() < until, "an idle cluster has lag");
    }
    stage.down_after(&expected());
}
