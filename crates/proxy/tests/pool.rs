//! Clients that share servers between transactions, with real servers: each finds what it had set and prepared, and nothing
//! of anybody else's.

mod common;

use common::{Lab, Server, name, one, told};
use dauphin_model::{Pooling, RouteState};
use futures_util::future::join_all;
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_postgres::Client;

const WHO: &str = "select pg_backend_pid()::text";

fn lab(servers: usize, shards: usize) -> Lab {
    Lab::start(|config, _| {
        config.rules.pooling = Pooling::Transaction;
        config.rules.limits.pool = servers;
        config.rules.limits.wait = Duration::from_secs(5);
        config.shards = shards;
    })
}

/// What a client's server knows it by.
async fn setting(client: &Client, name: &str) -> String {
    one(client, &format!("select current_setting('{name}', true)")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_share_servers_and_keep_their_settings() {
    let server = Server::start(&[]);
    let mut lab = lab(2, 2);
    lab.lead("m1", &server).await;
    let clients = join_all((0..8).map(|_| lab.connect())).await;
    for (n, client) in clients.iter().enumerate() {
        client.batch_execute(&format!("set my.name = 'c{n}'; ")).await.expect("set");
        if n % 2 == 0 {
            client.batch_execute("set TimeZone = 'Asia/Tokyo'").await.expect("set");
        }
    }
    let mut pids = BTreeSet::new();
    for _ in 0..3 {
        for (n, client) in clients.iter().enumerate() {
            pids.insert(one(client, WHO).await);
            assert_eq!(setting(client, "my.name").await, format!("c{n}"));
            let zone = if n % 2 == 0 { "Asia/Tokyo" } else { "Etc/UTC" };
            assert_eq!(setting(client, "TimeZone").await == "Asia/Tokyo", zone == "Asia/Tokyo", "client {n}");
        }
    }
    assert!((1..=2).contains(&pids.len()), "{pids:?}");
    assert_eq!(server.sql("select count(*) from pg_stat_activity where usename = 'app'"), pids.len().to_string());
    // What was taken back with its transaction is not set, and what was reset is not either.
    let (one_client, other) = (&clients[0], &clients[1]);
    one_client.batch_execute("begin; set my.name = 'no'; rollback").await.expect("rolled back");
    other.batch_execute("reset my.name").await.expect("reset");
    for _ in 0..3 {
        assert_eq!(setting(one_client, "my.name").await, "c0");
        assert_eq!(setting(other, "my.name").await, "");
    }
    drop(clients);
    lab.until("all clients left", |stats| stats.clients == 0).await;
    assert_eq!(lab.proxy().stats().unknown, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prepared_statements_work_on_every_server() {
    let server = Server::start(&[]);
    let mut lab = lab(3, 1);
    lab.lead("m1", &server).await;
    let (client, busy) = (lab.connect().await, lab.connect().await);
    let statement = client.prepare("select $1::int * 2, pg_backend_pid()").await.expect("prepared");
    let same = busy.prepare("select $1::int * 2, pg_backend_pid()").await.expect("prepared");
    let mut pids = BTreeSet::new();
    let mut open = Vec::new();
    for n in 0..3 {
        let row = client.query_one(&statement, &[&n]).await.expect("runs anywhere");
        assert_eq!(row.get::<_, i32>(0), n * 2);
        pids.insert(row.get::<_, i32>(1));
        // The server that it was on is taken.
        let holder = lab.connect().await;
        if n < 2 {
            holder.batch_execute("begin").await.expect("begun");
            open.push(holder);
        }
    }
    assert_eq!(pids.len(), 3, "each on another server");
    assert_eq!(busy.query_one(&same, &[&21]).await.expect("the other's, too").get::<_, i32>(0), 42);
    drop(statement);
    assert_eq!(busy.query_one(&same, &[&4]).await.expect("not closed with it").get::<_, i32>(0), 8);
    // In a failed transaction a statement that has to be prepared again fails as any other.
    for holder in open {
        assert!(holder.batch_execute("nonsense").await.is_err());
        holder.batch_execute("rollback").await.expect("rolled back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_carried_along_keeps_its_server() {
    let server = Server::start(&[]);
    let mut lab = lab(2, 1);
    lab.lead("m1", &server).await;
    let (pinned, free) = (lab.connect().await, lab.connect().await);
    pinned.batch_execute("create temp table t (a int)").await.expect("created");
    pinned.batch_execute("insert into t values (1)").await.expect("inserted");
    let own = one(&pinned, WHO).await;
    for _ in 0..4 {
        assert_ne!(one(&free, WHO).await, own);
        assert_eq!(one(&pinned, "select count(*)::text from t").await, "1");
    }
    drop(pinned);
    server.until("select count(*) from pg_stat_activity where usename = 'app'", "1");
    // What code does behind the proxy's back is gone before the next client comes.
    let code = lab.connect().await;
    code.batch_execute("do $$ begin perform set_config('my.leak', 'yes', false); end $$").await.expect("done");
    code.batch_execute("create temp table u (a int)").await.expect("created");
    code.batch_execute("discard all").await.expect("discarded");
    for _ in 0..4 {
        assert_eq!(setting(&free, "my.leak").await, "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_served_in_turn_and_not_for_ever() {
    let server = Server::start(&[]);
    let mut lab = Lab::start(|config, _| {
        config.rules.pooling = Pooling::Transaction;
        config.rules.limits.pool = 1;
        config.rules.limits.wait = Duration::from_millis(700);
    });
    lab.lead("m1", &server).await;
    // On both shards: one connection for all of them together.
    let clients = join_all((0..6).map(|_| lab.connect())).await;
    for _ in 0..5 {
        let others = "select count(*)::text from pg_stat_activity where usename = 'app'";
        let seen = join_all(clients.iter().map(|client| one(client, others))).await;
        assert!(seen.iter().all(|others| others == "1"), "{seen:?}");
    }
    // What clients with other parameters have left idle is not in the way.
    let mut other = common::login(lab.write_port(), "app", common::PASSWORD);
    other.options("-c work_mem=1MB");
    let other = common::connect_with(&other).await.expect("let in");
    assert_eq!(setting(&other, "work_mem").await, "1MB");
    let holder = lab.connect().await;
    holder.batch_execute("begin").await.expect("begun");
    let (code, text) = told(&clients[0].simple_query("select 1").await.expect_err("nothing is free"));
    assert!(code == "57P03" && text.contains("1 connections"), "{code} {text}");
    holder.batch_execute("commit").await.expect("committed");
    one(&clients[1], WHO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_clients_do_not_notice_that_the_leader_changed() {
    let (mut first, second) = (Server::start(&[]), Server::start(&[]));
    let mut lab = lab(4, 2);
    lab.lead("m1", &first).await;
    let clients = join_all((0..20).map(|_| lab.connect())).await;
    let statements = join_all(clients.iter().map(|client| client.prepare("select inet_server_port()"))).await;
    for client in &clients {
        client.batch_execute("set my.name = 'kept'").await.expect("set");
    }
    first.stop(Signal::QUIT);
    lab.elect("m2", second.port).await;
    let asked = clients.iter().zip(&statements).map(|(client, statement)| async move {
        let statement = statement.as_ref().expect("prepared");
        let port: i32 = client.query_one(statement, &[]).await.expect("held, then answered").get(0);
        (port, setting(client, "my.name").await)
    });
    let (answers, ()) = tokio::join!(join_all(asked), async {
        lab.until("all are held", |stats| stats.held == 20).await;
        lab.route(|route| route.state = RouteState::Open).await;
    });
    assert!(answers.iter().all(|answer| *answer == (i32::from(second.port), "kept".to_owned())), "{answers:?}");
    let stats = lab.proxy().stats();
    assert_eq!((stats.clients, stats.cut_busy, stats.unknown), (20, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_share_the_replicas() {
    let (leader, one_replica, two) = (Server::start(&[]), Server::start(&[]), Server::start(&[]));
    let mut lab = lab(2, 1);
    lab.lead("m1", &leader).await;
    let replicas = vec![common::replica("m2", &one_replica, true), common::replica("m3", &two, true)];
    lab.route(|route| route.replicas = replicas).await;
    let connect = || async { common::connect(lab.read_port(), "app", common::PASSWORD).await.expect("let in") };
    let clients = join_all((0..4).map(|_| connect())).await;
    let mut ports = BTreeSet::new();
    for client in &clients {
        client.batch_execute("begin").await.expect("begun");
        ports.insert(one(client, "select inet_server_port()::text").await);
    }
    assert_eq!(ports, BTreeSet::from([one_replica.port.to_string(), two.port.to_string()]));
    for client in &clients {
        client.batch_execute("commit").await.expect("committed");
    }
    lab.route(|route| route.replicas.retain(|replica| replica.target.member == name("m3"))).await;
    for client in &clients {
        assert_eq!(one(client, "select inet_server_port()::text").await, two.port.to_string());
    }
}
