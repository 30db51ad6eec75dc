//! The read level `strict`: what is read counts once the leader's replicas have acknowledged something that it wrote
//! afterwards. Real servers, with real synchronous replication.

mod common;

use common::{Lab, Server, one, told};
use dauphin_model::Pooling;
use futures_util::future::join_all;
use rustix::process::Signal;

const WAITS: &str = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";

/// A leader whose commits wait for its replica, and a proxy before it.
async fn pair() -> (Lab, Server, Server) {
    let leader = Server::start(&[]);
    leader.sql("create table t (i int); grant all on t to app");
    let follower = Server::replica_of(&leader, &[]);
    follower.until("select count(*) from pg_class where relname = 't'", "1");
    leader.sql("alter system set synchronous_standby_names = '*'");
    leader.sql("select pg_reload_conf()");
    leader.until("select count(*) from pg_stat_replication where sync_state = 'sync'", "1");
    let mut lab = Lab::start(|config, _| config.rules.pooling = Pooling::Transaction);
    lab.lead("m1", &leader).await;
    (lab, leader, follower)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strict_read_is_answered_once_replicas_confirm() {
    let (lab, leader, follower) = pair().await;
    let client = lab.connect().await;
    one(&client, "set dauphin.read_level = strict").await;
    for i in 1..=5 {
        one(&client, &format!("insert into t values ({i})")).await;
        assert_eq!(one(&client, "select count(*) from t").await, i.to_string());
    }
    // In a transaction, prepared, and many in one go.
    one(&client, "begin").await;
    assert_eq!(one(&client, "select count(*) from t").await, "5");
    one(&client, "commit").await;
    let select = client.prepare("select count(*) from t where i > $1").await.expect("prepared");
    let counted = join_all((0..20).map(|_| client.query_one(&select, &[&2]))).await;
    for row in counted {
        assert_eq!(row.expect("read").get::<_, i64>(0), 3);
    }
    // Replicas that say nothing: it waits, and goes on when they speak.
    follower.freeze_backends(Signal::STOP);
    let read = tokio::spawn(async move { (one(&client, "select count(*) from t").await, client) });
    leader.until(WAITS, "1");
    assert!(!read.is_finished());
    follower.freeze_backends(Signal::CONT);
    let (counted, client) = read.await.expect("no panic");
    assert_eq!(counted, "5");
    // Whoever waits for no replica cannot say whether it leads.
    leader.sql("alter system set synchronous_standby_names = ''");
    leader.sql("select pg_reload_conf()");
    leader.until("show synchronous_standby_names", "");
    let (code, text) = told(&client.simple_query("select 1").await.expect_err("refused"));
    assert!(code == "55000" && text.contains("strict"), "{code} {text}");
    one(&client, "set dauphin.read_level = leader").await;
    assert_eq!(one(&client, "select 1").await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_leader_told_that_was_deposed_meanwhile_does_not_count() {
    let (mut lab, leader, follower) = pair().await;
    let next = Server::start(&[]);
    let client = lab.connect().await;
    one(&client, "set dauphin.read_level = strict").await;
    follower.freeze_backends(Signal::STOP);
    let read = tokio::spawn(async move { (client.simple_query("select count(*) from t").await.map(drop), client) });
    leader.until(WAITS, "1");
    // A wait that is cancelled is no confirmation: it is asked again.
    leader.sql("select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'");
    leader.until(WAITS, "1");
    assert!(!read.is_finished());
    lab.elect("m2", next.port).await;
    let (told_so, client) = read.await.expect("no panic");
    assert_eq!(told(&told_so.expect_err("it may be old")).0, "40001");
    lab.lead("m2", &next).await;
    one(&client, "set dauphin.read_level = leader").await;
    assert_eq!(one(&client, "select 1").await, "1", "it goes on");
    follower.freeze_backends(Signal::CONT);
}
