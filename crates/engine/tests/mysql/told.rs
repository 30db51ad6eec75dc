//! What a client is told whose commit waits for a replica, when somebody ends the wait: measured on each server.
//! docs/mysql-relay-logs.md has the table. Only an end that leaves the client without an answer is harmless.

use crate::run::{LIMIT, until};
use crate::stage::{Member, Stage};
use dauphin_engine::mysql::{Flavour, SemiSync};
use mysql_async::prelude::Queryable;
use rustix::process::Signal;
use std::time::Duration;

/// How long a commit that waits on is watched.
const WATCHED: Duration = Duration::from_millis(1_500);

/// Who ends the wait.
#[derive(Debug, Clone, Copy)]
enum End {
    Signal(Signal),
    Kill(&'static str),
    SemiSyncOff,
}

/// What the client hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// That it is committed, though no replica has it.
    Done,
    /// Nothing: the connection broke.
    Lost,
    /// Nothing yet: it waits on.
    Waits,
}

/// What ends it, what it is called, and what the client of MySQL and of MariaDB is told.
#[rustfmt::skip]
const TABLE: [(End, &str, Told, Told); 6] = [
    (End::Kill("KILL QUERY"), "KILL QUERY", Told::Waits, Told::Done),
    (End::Kill("KILL CONNECTION"), "KILL CONNECTION", Told::Lost, Told::Lost),
    (End::SemiSyncOff, "semi-synchronous replication switched off", Told::Done, Told::Done),
    (End::Signal(Signal::TERM), "SIGTERM", Told::Done, Told::Lost),
    (End::Signal(Signal::QUIT), "SIGQUIT", Told::Done, Told::Lost),
    (End::Signal(Signal::KILL), "SIGKILL", Told::Lost, Told::Lost),
];

pub async fn what_a_waiting_client_is_told(stage: &Stage) {
    let (mut one, two) = (stage.leader("m1").await, stage.member("m2").await);
    let mut wrong = Vec::new();
    for (n, (end, what, mysql, mariadb)) in (0..).zip(TABLE) {
        let told = measure(&mut one, &two, n, end).await;
        eprintln!("measured: {}: {what} while a commit waits: {told:?}", stage.bin.version);
        if told != if stage.flavour() == Flavour::Mysql { mysql } else { mariadb } {
            wrong.push((what, told));
        }
    }
    assert!(wrong.is_empty(), "not as docs/mysql-relay-logs.md says: {wrong:?}");
}

async fn measure(one: &mut Member, two: &Member, n: i32, end: End) -> Told {
    two.follow(one).await;
    one.sql.set_semi_sync(SemiSync::Wait { required: 1 }).await.unwrap();
    until("an acknowledging replica", async || one.look().await.semi_sync.replicas == 1).await;
    two.sql.freeze(LIMIT).await.unwrap();
    let mut client = one.app().await;
    let id: u64 = client.query_first("SELECT CONNECTION_ID()").await.unwrap().unwrap();
    let mut commit =
        tokio::spawn(async move { client.query_drop(format!("INSERT INTO app.t VALUES ({n}, 'x')")).await });
    until("a waiting commit", async || one.look().await.semi_sync.waiting == 1).await;
    match end {
        End::Signal(signal) => one.sql.instance.process().unwrap().signal(signal).unwrap(),
        End::Kill(how) => one.root().await.query_drop(format!("{how} {id}")).await.unwrap(),
        End::SemiSyncOff => one.sql.set_semi_sync(SemiSync::Off).await.unwrap(),
    }
    let told = match tokio::time::timeout(WATCHED, &mut commit).await {
        Ok(answer) => {
            if answer.unwrap().is_ok() {
                Told::Done
            } else {
                Told::Lost
            }
        }
        Err(_) if matches!(end, End::Signal(_)) => {
            // a server that ends takes its time
            let answer = tokio::time::timeout(LIMIT, &mut commit).await.unwrap().unwrap();
            if answer.is_ok() { Told::Done } else { Told::Lost }
        }
        Err(_) => Told::Waits,
    };
    if matches!(end, End::Signal(_)) {
        one.ended().await;
        one.start().await;
        one.sql.open_writes().await.unwrap();
    }
    // whatever waits on is acknowledged now, and both are alike for the next one
    two.follow(one).await;
    two.executes(&one.look().await.executed).await;
    told
}
