//! Commits that wait for replicas, and events that wait to be applied: both are promises.

use crate::run::{LIMIT, until};
use crate::stage::Stage;
use dauphin_engine::mysql::{Acknowledges, Error, Flavour, SemiSync, StopMode, Thread, Writes};
use dauphin_model::Held;
use mysql_async::prelude::Queryable;
use std::time::Duration;

/// How long something may take that shall not happen.
const SHORT: Duration = Duration::from_millis(600);

pub async fn commits_wait_and_nobody_is_told_a_lie(stage: &Stage) {
    let (one, two) = (stage.leader("m1").await, stage.member("m2").await);
    two.follow(&one).await;
    two.executes(&one.look().await.executed).await;
    let many = one.sql.set_semi_sync(SemiSync::Wait { required: 2 }).await;
    match stage.flavour() {
        Flavour::Mysql => many.unwrap(),
        Flavour::Mariadb => assert!(matches!(many, Err(Error::Setting { .. })), "{many:?}"),
    }
    assert!(matches!(one.sql.set_semi_sync(SemiSync::Wait { required: 0 }).await, Err(Error::Setting { .. })));
    one.sql.set_semi_sync(SemiSync::Wait { required: 1 }).await.unwrap();
    until("an acknowledging replica", async || one.look().await.semi_sync.replicas == 1).await;
    one.insert(1).await.unwrap();
    let view = one.look().await.semi_sync;
    assert!(view.waits && view.acknowledged >= 1 && view.unacknowledged == 0, "{view:?}");
    assert!(two.look().await.semi_sync.acknowledges);
    // whether it acknowledges is not changed under a running receiver
    let changed = two.sql.set_acknowledges(Acknowledges::No).await;
    assert!(matches!(changed, Err(Error::Unapplied { .. })), "{changed:?}");

    // a frozen replica acknowledges nothing: the commit waits, and no clean way out may end the wait
    let frozen = two.sql.freeze(LIMIT).await.unwrap();
    let mut client = one.app().await;
    let commit = tokio::spawn(async move { client.query_drop("INSERT INTO app.t VALUES (2, 'x')").await });
    until("a waiting commit", async || one.look().await.semi_sync.waiting == 1).await;
    assert!(!frozen.holds(&one.look().await.executed) || stage.flavour() == Flavour::Mysql);
    let demoted = one.sql.demote(SHORT).await;
    assert!(matches!(demoted, Err(Error::CommitsWait { sessions: 1 })), "{demoted:?}");
    let stopped = one.sql.stop(StopMode::Orderly, LIMIT).await;
    assert!(matches!(stopped, Err(Error::CommitsWait { sessions: 1 })), "{stopped:?}");
    assert!(!commit.is_finished(), "nobody was told anything");
    assert!(one.look().await.semi_sync.waits, "it did not fall back");

    // the replica comes back: the commit is acknowledged, and the leader can go in order
    two.sql.start_receivers(LIMIT).await.unwrap();
    tokio::time::timeout(LIMIT, commit).await.unwrap().unwrap().unwrap();
    let end = one.sql.demote(LIMIT).await.unwrap();
    assert_ne!(one.look().await.writes, Writes::Open);
    assert!(!one.look().await.semi_sync.waits);
    two.executes(&end).await;
    assert_eq!(two.rows().await, 2);
}

pub async fn what_was_received_is_not_thrown_away(stage: &Stage) {
    let (one, two, three) = (stage.leader("m1").await, stage.member("m2").await, stage.member("m3").await);
    two.follow(&one).await;
    three.follow(&one).await;
    two.executes(&one.look().await.executed).await;
    // a row that only the replica has: the leader's own cannot be applied there
    let own = "INSERT INTO app.t VALUES (7, 'errant')";
    two.sql.open_writes().await.unwrap();
    let mut root = two.root().await;
    root.query_drop("SET SESSION sql_log_bin = OFF").await.unwrap();
    root.query_drop(own).await.unwrap();
    two.sql.close_writes(LIMIT).await.unwrap();
    for n in 7..12 {
        one.insert(n).await.unwrap();
    }
    until("the applier's error", async || two.look().await.channels[0].applier_fault.is_some()).await;
    let end = one.look().await.executed;
    until("what the leader has", async || two.look().await.reached().unwrap().holds(&end)).await;
    let view = two.look().await;
    assert_eq!(view.channels[0].applier_fault.as_ref().unwrap().number, 1062, "{view:?}");
    assert_eq!(view.channels[0].seconds_behind, None, "the server's own figure says nothing then");
    assert!(!view.is_applied());

    // neither another source nor a promotion may take away what was received
    let before = two.look().await.reached();
    let followed = two.sql.follow(&three.source(None), Acknowledges::Yes, LIMIT).await;
    assert!(matches!(&followed, Err(Error::Unapplied { why, .. }) if why.contains("1062")), "{followed:?}");
    let promoted = two.sql.promote(LIMIT).await;
    assert!(matches!(&promoted, Err(Error::Unapplied { .. })), "{promoted:?}");
    let view = two.look().await;
    assert_eq!(view.channels[0].port, one.sql.instance.port, "it is pointed where it was");
    assert_eq!(view.reached(), before);

    // with the row out of the way it is all there, though the leader is gone
    let mut one = one;
    one.stop(StopMode::Kill).await;
    two.sql.open_writes().await.unwrap();
    root.query_drop("DELETE FROM app.t WHERE n = 7").await.unwrap();
    two.sql.close_writes(LIMIT).await.unwrap();
    two.sql.start_appliers().await.unwrap();
    let promoted = two.sql.promote(LIMIT).await.unwrap();
    assert!(promoted.holds(&end), "{promoted} {end}");
    assert_eq!(two.rows().await, 5);
    assert!(two.look().await.channels.iter().all(|c| c.applier == Thread::Stopped));
}
