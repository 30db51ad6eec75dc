//! A COMMIT whose answer is lost with the leader, with real servers: the next leader knows what became of it, and the client
//! is told the truth and keeps its connection. The second server is a copy of the first, so that it counts the same
//! transaction numbers.

mod common;

use common::{Lab, Server, one, told};
use dauphin_model::{Fence, Pooling, RouteState, Term};
use rustix::process::Signal;
use std::time::Duration;
use tokio_postgres::Client;

/// What the next leader has.
enum Next {
    Committed,
    RolledBack,
    /// The number was given out anew: it is another transaction's.
    Reused,
    /// Nobody knows which numbers it began with.
    NoFence,
}

/// A client of a leader that waits for replicas for ever, with the number of its open transaction.
async fn in_transaction(lab: &Lab) -> (Client, u64) {
    let client = lab.connect().await;
    client.batch_execute("begin; insert into t values (1)").await.expect("inserted");
    let xid = one(&client, "select pg_current_xact_id()::text").await.parse().expect("a number");
    (client, xid)
}

/// The leader dies while the client's COMMIT waits; what the client is told once the next one is open.
async fn outcome(pooling: Pooling, next: &Next) -> (Result<(), String>, u64) {
    let mut first = Server::start(&["synchronous_standby_names=nobody"]);
    let second = Server::start(&[]);
    for server in [&first, &second] {
        server.sql("set synchronous_commit = local; create table t (a int)");
        server.sql("set synchronous_commit = local; grant all on t to app");
    }
    let mut lab = Lab::start(|config, _| {
        config.rules.pooling = pooling;
        config.rules.limits.wait = Duration::from_secs(8);
    });
    lab.lead("m1", &first).await;
    lab.route(|route| route.fences = vec![Fence { term: Term(1), next_xid: 3, ..Fence::default() }]).await;
    let (client, xid) = in_transaction(&lab).await;
    let commit = tokio::spawn(async move {
        let told = client.simple_query("commit").await.map(drop).map_err(|error| told(&error).0);
        (told, client)
    });
    first.until("select count(*) from pg_stat_activity where wait_event = 'SyncRep'", "1");
    // The next leader's transaction of that number.
    let end = if matches!(next, Next::RolledBack) { "rollback" } else { "commit" };
    let take = "select pg_current_xact_id()";
    while second.sql("select pg_snapshot_xmax(pg_current_snapshot())").parse::<u64>().expect("a number") < xid {
        second.sql(take);
    }
    second.sql(&format!("begin; {take}; {end}"));
    first.stop(Signal::QUIT);
    lab.elect("m2", second.port).await;
    let next_xid = match next {
        Next::Committed | Next::RolledBack => xid + 1,
        Next::Reused => xid,
        Next::NoFence => 0,
    };
    lab.route(|route| {
        route.fences.push(Fence { term: Term(2), next_xid, ..Fence::default() });
        route.state = RouteState::Open;
    })
    .await;
    let (told, client) = commit.await.expect("no panic");
    assert_eq!(one(&client, "select inet_server_port()::text").await, second.port.to_string(), "it goes on");
    assert_eq!(lab.proxy().stats().unknown, u64::from(matches!(next, Next::NoFence)));
    (told, lab.proxy().stats().resolved)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_the_next_leader_has_is_a_commit() {
    for pooling in [Pooling::Transaction, Pooling::Session] {
        assert_eq!(outcome(pooling, &Next::Committed).await, (Ok(()), 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_the_next_leader_lacks_may_be_repeated() {
    for next in [Next::RolledBack, Next::Reused] {
        assert_eq!(outcome(Pooling::Transaction, &next).await, (Err("40001".to_owned()), 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_known_says_so() {
    assert_eq!(outcome(Pooling::Transaction, &Next::NoFence).await, (Err("08007".to_owned()), 0));
}
