//! What somebody does by hand to running servers, and what becomes of the promise then: a wait that ends by a timeout, a replica
//! that is opened to writes, gaps in a log. Each is found; what can be set back is.

use crate::leaderships::{begin, enforced, raise};
use crate::run::{LIMIT, until};
use crate::stage::{Member, Stage};
use dauphin_engine::mysql::{Access, Acknowledges, Error, Flavour, NOWHERE, Thread, Writes};
use dauphin_model::{Held, Remark};
use mysql_async::prelude::Queryable;
use std::time::Duration;

/// A leader that waits for its one replica.
async fn pair(stage: &Stage) -> (Member, Member) {
    let (one, two) = (stage.member("m1").await, stage.member("m2").await);
    begin(&one, &[&one, &two]).await;
    let barrier = raise(&one, 1, &enforced(&[&two], 1)).await;
    two.follow_as(&one, true).await;
    tokio::time::timeout(LIMIT, barrier).await.unwrap().unwrap().unwrap();
    one.sql.set_access(Access::Open).await.unwrap();
    (one, two)
}

async fn remarks(member: &Member) -> Vec<Remark> {
    member.view().await.remarks
}

pub async fn a_wait_that_ends_by_a_timeout_is_noticed_and_ends_no_other(stage: &Stage) {
    let (one, two) = pair(stage).await;
    one.insert(1).await.unwrap();
    assert_eq!(one.sql.set_back(Some(1)).await.unwrap(), Vec::<String>::new(), "nobody changed anything");
    let mut root = one.root().await;
    let timeout = format!("{}_timeout", one.sql.dialect().semi_sync_leader());
    root.query_drop(format!("SET GLOBAL {timeout} = 100")).await.unwrap();
    two.sql.freeze(LIMIT).await.unwrap();
    // the server falls back, and says that it is done though no replica has it
    one.insert(2).await.unwrap();
    let seen = one.look().await.semi_sync;
    eprintln!("measured: {}: a commit whose wait timed out is told as done; waits: {}", stage.bin.version, seen.waits);
    one.view().await;
    assert_eq!(one.sql.alone(), 1, "{seen:?}");

    for key in ["sync_binlog", "innodb_flush_log_at_trx_commit"] {
        root.query_drop(format!("SET GLOBAL {key} = 0")).await.unwrap();
    }
    let back = one.sql.set_back(Some(1)).await.unwrap();
    let status = timeout.replace("_timeout", "_status");
    let expected = ["sync_binlog", "innodb_flush_log_at_trx_commit", &timeout, &status];
    assert_eq!(back, expected);
    assert!(one.look().await.semi_sync.waits, "no other commit comes through alone");
    assert_eq!(one.sql.set_back(Some(1)).await.unwrap(), Vec::<String>::new());
    // a replica comes back, has what it lacked, and commits wait as before: no timeout ends them
    two.sql.start_receivers(LIMIT).await.unwrap();
    until("the leader's log", async || two.position().await == one.position().await).await;
    assert_eq!(two.rows().await, 2);
    two.sql.freeze(LIMIT).await.unwrap();
    let commit = one.waits(3).await;
    assert!(!commit.is_finished() && one.look().await.semi_sync.waits);
    two.sql.start_receivers(LIMIT).await.unwrap();
    tokio::time::timeout(LIMIT, commit).await.unwrap().unwrap().unwrap();
    one.view().await;
    assert_eq!(one.sql.alone(), 1, "none more");
    one.sql.set_sync(&enforced(&[&two], 1)).await.unwrap();
    assert_eq!(one.sql.alone(), 0, "it counts from when it is told what to wait for");
}

pub async fn a_replica_that_somebody_opened_is_noticed_closed_and_errant_with_what_was_written(stage: &Stage) {
    let (one, two) = pair(stage).await;
    one.insert(1).await.unwrap();
    until("the leader's log", async || two.position().await == one.position().await).await;
    assert_eq!(remarks(&two).await, []);
    let mut root = two.root().await;
    root.query_drop("SET GLOBAL read_only = OFF").await.unwrap();
    assert_eq!(
        (one.look().await.writes, two.look().await.writes),
        (Writes::Open, Writes::Open),
        "two that take writes"
    );
    let setting = two.sql.dialect().closed_setting().to_owned();
    assert_eq!(remarks(&two).await, [Remark::SetBack { settings: vec![setting] }]);
    assert!(two.sql.is_open_by_hand() && !one.sql.is_open_by_hand());
    assert_eq!(remarks(&one).await, [], "a leader takes writes");
    two.sql.set_access(Access::Open).await.unwrap();
    two.insert(100).await.unwrap();
    two.sql.close_writes(LIMIT).await.unwrap();
    assert!(two.insert(101).await.is_err());
    let found = remarks(&two).await;
    assert!(matches!(&found[..], [Remark::Errant { transactions }] if !transactions.is_empty()), "{found:?}");
    assert_eq!(two.position().await.timeline, NOWHERE);
}

/// MariaDB alone: its positions have no holes, and its strict mode refuses what does not fit. MySQL has 1236 and 13114 for logs that
/// are gone, which `a_copy_is_whole_and_a_server_of_its_own` shows.
pub async fn gaps_that_strict_mode_refuses_put_a_member_nowhere(stage: &Stage) {
    if stage.flavour() == Flavour::Mysql {
        return;
    }
    let (one, two) = pair(stage).await;
    one.insert(1).await.unwrap();
    until("the leader's log", async || two.position().await == one.position().await).await;
    one.sql.set_sync(&enforced(&[], 0)).await.unwrap();
    two.follow_as(&one, false).await;
    two.sql.freeze(LIMIT).await.unwrap();
    let mut root = two.root().await;
    // an errant row with the number that the leader's next one has, too
    root.query_drop("SET GLOBAL read_only = OFF").await.unwrap();
    root.query_drop("INSERT INTO app.t VALUES (100, 'errant')").await.unwrap();
    root.query_drop("SET GLOBAL read_only = ON").await.unwrap();
    one.insert(2).await.unwrap();
    one.insert(3).await.unwrap();
    let start = async |position: &str| {
        let mut root = two.root().await;
        root.query_drop("STOP ALL SLAVES").await.unwrap();
        if !position.is_empty() {
            root.query_drop(format!("SET GLOBAL gtid_slave_pos = {position}")).await.unwrap();
        }
        root.query_drop("CHANGE MASTER TO MASTER_USE_GTID = slave_pos").await.unwrap();
        root.query_drop("START SLAVE").await.unwrap();
        until("a refusal", async || {
            // a thread tells of its fault a moment before it ends
            let channel = &two.look().await.channels[0];
            let ended = channel.receiver != Thread::Running || channel.applier != Thread::Running;
            ended && (channel.receiver_fault.is_some() || channel.applier_fault.is_some())
        })
        .await;
        let channel = two.look().await.channels[0].clone();
        (channel.receiver_fault.map(|f| f.number), channel.applier_fault.map(|f| f.number))
    };
    // it goes on behind what it applied: the leader's number is out of order here
    let (_, applier) = start("").await;
    assert_eq!(applier, Some(1950));
    // it goes on behind its own: the leader has no such transaction
    let (receiver, _) = start("@@GLOBAL.gtid_binlog_pos").await;
    assert_eq!(receiver, Some(1236));
    let found = remarks(&two).await;
    assert!(found.iter().any(|r| matches!(r, Remark::Errant { .. })), "{found:?}");
    assert_eq!(two.position().await.timeline, NOWHERE, "it is never elected with that, and is copied anew");
    assert_eq!(two.rows().await, 2);
}

/// What a voter received counts, whoever made it late: an election hears of it, and no repoint throws it away.
pub async fn a_delay_that_somebody_gave_a_voter_throws_nothing_away(stage: &Stage) {
    let (one, two) = pair(stage).await;
    until("the leader's log", async || two.position().await == one.position().await).await;
    two.sql.freeze(LIMIT).await.unwrap();
    two.sql.stop_appliers().await.unwrap();
    let change = match stage.flavour() {
        Flavour::Mysql => "CHANGE REPLICATION SOURCE TO SOURCE_DELAY = 60",
        Flavour::Mariadb => "CHANGE MASTER TO MASTER_DELAY = 60",
    };
    two.root().await.query_drop(change).await.unwrap();
    two.sql.start_receivers(LIMIT).await.unwrap();
    two.sql.start_appliers().await.unwrap();
    one.insert(1).await.unwrap();
    let end = one.look().await.executed;
    until("the row is received", async || two.look().await.reached().unwrap().holds(&end)).await;
    let little = Duration::from_secs(1);
    assert_eq!(Some(two.sql.freeze_at(little).await.unwrap().position), one.view().await.position);
    let moved = two.sql.follow(&one.source(None), Acknowledges::No, little).await;
    assert!(matches!(moved, Err(Error::Unapplied { .. })), "{moved:?}");
    assert!(two.look().await.reached().unwrap().holds(&end), "it is still there");
}
