//! What drops events that were received and not applied, measured on each server, and what this crate's own acts keep of them.
//! docs/mysql-relay-logs.md has the table. The leader is dead in every case: what is dropped is lost.

use crate::run::{LIMIT, until};
use crate::stage::{Member, Stage};
use dauphin_engine::mysql::{Flavour, Reached, StopMode};
use dauphin_model::Held;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::time::{Duration, Instant};

/// Rows that wait to be applied.
const ROWS: i64 = 5;
/// An applier that did nothing for so long has nothing left.
const IDLE: Duration = Duration::from_millis(1_500);

/// What is done to a replica with unapplied events.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// Stopped in this way and started with this `relay_log_recovery`, then its applier is started.
    Restart(StopMode, &'static str),
    StartApplier,
    ChangeIdentical,
    Reset,
    BounceReceiver,
    ChangeReceiver,
    /// This crate's way after such an end.
    Ours(StopMode),
    /// This crate's way with both threads stopped.
    OursStopped,
}

/// What was done, what it is called, and what of the events MySQL and MariaDB keep.
#[rustfmt::skip]
const TABLE: [(Act, &str, bool, bool); 12] = [
    (Act::Restart(StopMode::Orderly, "OFF"), "orderly restart with relay_log_recovery=OFF, START applier", true, false),
    (Act::Restart(StopMode::Kill, "OFF"), "SIGKILL, start with relay_log_recovery=OFF, START applier", true, false),
    (Act::Restart(StopMode::Orderly, "ON"), "orderly restart with relay_log_recovery=ON, START applier", false, false),
    (Act::Restart(StopMode::Kill, "ON"), "SIGKILL, start with relay_log_recovery=ON, START applier", false, false),
    (Act::StartApplier, "STOP both threads, START applier", true, false),
    (Act::ChangeIdentical, "STOP both threads, CHANGE to the same source, START applier", false, false),
    (Act::Reset, "STOP both threads, RESET replica, START applier", false, false),
    (Act::BounceReceiver, "STOP receiver, START receiver, applier running", true, true),
    (Act::ChangeReceiver, "STOP receiver, CHANGE a receiver's option, START receiver, applier running", true, true),
    (Act::OursStopped, "STOP both threads, start_appliers of this crate", true, true),
    (Act::Ours(StopMode::Orderly), "orderly restart, promote of this crate", true, true),
    (Act::Ours(StopMode::Kill), "SIGKILL and start, promote of this crate", true, true),
];

pub async fn what_drops_received_events(stage: &Stage) {
    let (mut one, mut two) = (stage.leader("m1").await, stage.member("m2").await);
    let mut wrong = Vec::new();
    let mut first = 0;
    for (act, what, mysql, mariadb) in TABLE {
        let rows = measure(&mut one, &mut two, first, act).await;
        first += ROWS;
        let kept = match rows {
            0 => "dropped",
            ROWS => "kept",
            _ => "partly dropped",
        };
        eprintln!("measured: {}: {what}: {kept}", stage.bin.version);
        let expected = if stage.flavour() == Flavour::Mysql { mysql } else { mariadb };
        if (kept == "kept") != expected {
            wrong.push(what);
        }
    }
    assert!(wrong.is_empty(), "not as docs/mysql-relay-logs.md says: {wrong:?}");
}

/// Only who acknowledges has each transaction flushed. What a machine that lost its power has half of is received again: nobody counts
/// on it.
pub async fn what_nobody_counts_on_may_be_half_there(stage: &Stage) {
    let (one, mut two) = (stage.leader("m1").await, stage.member("m2").await);
    let flushed = async |two: &Member| -> String {
        two.root().await.query_first("SELECT @@GLOBAL.sync_relay_log").await.unwrap().unwrap()
    };
    two.follow_as(&one, false).await;
    assert_eq!(flushed(&two).await, "10000");
    assert_eq!(two.sql.set_back(None).await.unwrap(), Vec::<String>::new(), "nobody changed that by hand");
    one.insert(1).await.unwrap();
    two.executes(&one.look().await.executed).await;
    two.follow_as(&one, true).await;
    assert_eq!(flushed(&two).await, "1");
    say(&mut two.root().await, "SET GLOBAL sync_relay_log = 100").await.unwrap();
    assert_eq!(two.sql.set_back(None).await.unwrap(), ["sync_relay_log"]);
    two.follow_as(&one, false).await;
    assert_eq!(flushed(&two).await, "10000");
    for (zeros, behind) in [(40, 0), (1_000, 0), (300, 300), (700, 200)] {
        two.sql.stop_appliers().await.unwrap();
        for n in 0..i32::try_from(ROWS).unwrap() {
            one.insert(100 * (zeros + behind) + n).await.unwrap();
        }
        let end = one.look().await.executed;
        until("the events", async || two.look().await.reached().unwrap().holds(&end)).await;
        two.stop(StopMode::Kill).await;
        spoil(&two, u64::try_from(zeros).unwrap(), u64::try_from(behind).unwrap());
        two.start().await;
        assert!(!two.sql.freeze(LIMIT).await.unwrap().holds(&end), "nothing was lost");
        two.follow_as(&one, false).await;
        two.executes(&end).await;
        assert_eq!(two.rows().await, one.rows().await);
    }
}

/// Of what was received, so many bytes never reached the disk, and so many behind them did.
fn spoil(member: &Member, zeros: u64, behind: u64) {
    let data_dir = &member.sql.instance.data_dir;
    let index = std::fs::read_to_string(data_dir.join("relay.index")).unwrap();
    let full = |name: &&str| std::fs::metadata(data_dir.join(name)).is_ok_and(|file| file.len() > 1_000);
    let last = index.lines().map(|line| line.trim_start_matches("./")).rfind(full).expect("a relay log");
    let file = std::fs::OpenOptions::new().write(true).open(data_dir.join(last)).unwrap();
    let end = file.metadata().unwrap().len();
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![0; usize::try_from(zeros).unwrap()], end - zeros - behind)
        .unwrap();
}

/// How many of the waiting rows came in the end.
async fn measure(one: &mut Member, two: &mut Member, first: i64, act: Act) -> i64 {
    let dialect = two.sql.dialect();
    two.follow(one).await;
    two.executes(&one.look().await.executed).await;
    assert_eq!(two.rows().await, first);
    let mut root = two.root().await;
    let mut blocker = two.root().await;
    if matches!(act, Act::BounceReceiver | Act::ChangeReceiver) {
        say(&mut blocker, "LOCK TABLES app.t READ").await.unwrap();
    } else {
        two.sql.stop_appliers().await.unwrap();
    }
    for n in first..first + ROWS {
        one.insert(i32::try_from(n).unwrap()).await.unwrap();
    }
    let end = one.look().await.executed;
    until("the events", async || two.look().await.reached().unwrap().holds(&end)).await;
    one.stop(StopMode::Kill).await;
    let (verb, prefix) = match dialect.flavour() {
        Flavour::Mysql => ("CHANGE REPLICATION SOURCE TO", "SOURCE"),
        Flavour::Mariadb => ("CHANGE MASTER TO", "MASTER"),
    };
    let start_applier = dialect.start_applier();
    match act {
        Act::Restart(mode, recovery) => {
            two.stop(mode).await;
            two.start_with(&[&format!("--relay-log-recovery={recovery}")]).await;
            say(&mut two.root().await, start_applier).await.unwrap();
        }
        Act::StartApplier => {
            say(&mut root, dialect.stop_receiver()).await.unwrap();
            say(&mut root, start_applier).await.unwrap();
        }
        Act::ChangeIdentical => {
            say(&mut root, dialect.stop_receiver()).await.unwrap();
            let port = one.sql.instance.port;
            say(&mut root, &format!("{verb} {prefix}_HOST = '127.0.0.1', {prefix}_PORT = {port}")).await.unwrap();
            say(&mut root, start_applier).await.unwrap();
        }
        Act::Reset => {
            say(&mut root, dialect.stop_receiver()).await.unwrap();
            say(&mut root, dialect.forget_source().trim_end_matches(" ALL")).await.unwrap();
            // MySQL 9 refuses to start it then: there is nothing to apply
            let _ = say(&mut root, start_applier).await;
        }
        Act::BounceReceiver | Act::ChangeReceiver => {
            say(&mut root, dialect.stop_receiver()).await.unwrap();
            if matches!(act, Act::ChangeReceiver) {
                let changed = say(&mut root, &format!("{verb} {prefix}_CONNECT_RETRY = 2")).await;
                assert_eq!(
                    changed.is_err(),
                    dialect.flavour() == Flavour::Mariadb,
                    "MariaDB wants both threads stopped"
                );
            }
            say(&mut root, dialect.start_receiver()).await.unwrap();
            say(&mut blocker, "UNLOCK TABLES").await.unwrap();
        }
        Act::OursStopped => {
            say(&mut root, dialect.stop_receiver()).await.unwrap();
            two.sql.start_appliers().await.unwrap();
        }
        Act::Ours(mode) => {
            two.stop(mode).await;
            two.start().await;
            vouches(two, &end).await;
            assert!(two.sql.promote(LIMIT).await.unwrap().holds(&end));
        }
    }
    let rows = settled(two, first + ROWS).await - first;
    // what was dropped is fetched again, for the next act
    one.start().await;
    one.sql.open_writes().await.unwrap();
    rows
}

/// A restarted replica still says that it holds what it received: an election counts on it.
async fn vouches(member: &Member, end: &Reached) {
    let reached = member.sql.freeze(LIMIT).await.unwrap();
    assert!(reached.holds(end), "{reached} after the restart, {end} before");
}

async fn say(conn: &mut Conn, sql: &str) -> Result<(), mysql_async::Error> {
    conn.query_drop(sql).await
}

/// How many rows there are once all are there or the applier does nothing any more.
async fn settled(member: &Member, wanted: i64) -> i64 {
    let mut rows = member.rows().await;
    let mut since = Instant::now();
    while rows < wanted && since.elapsed() < IDLE {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = member.rows().await;
        if now != rows {
            (rows, since) = (now, Instant::now());
        }
    }
    rows
}
