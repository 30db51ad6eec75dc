//! Hosts that vanish without a word, on either side: noticed in time, cleaned away, and nobody else waits for them. Programs
//! that are there and only do not read are waited for.

mod common;

use common::bare::{log_in_on, logged_in, message};
use common::host::Host;
use common::{Lab, PASSWORD, Server, connect, one, raw_to, told};
use dauphin_model::{Pooling, ReplicaTarget, RouteState, Target};
use dauphin_wire::postgres::message::put_query;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// How long a client's host may be silent here.
const CLIENT_SILENCE: Duration = Duration::from_secs(5);
/// After that, and after the same for a server, all must be over; the kernel counts seconds.
const NOTICED: Duration = Duration::from_secs(9);
/// A host that vanished tells nobody: what is noticed sooner was told.
const SILENT: Duration = Duration::from_secs(3);
/// Longest that a small statement takes beside all this.
const SOON: Duration = Duration::from_secs(2);
/// More than the buffers of both ends hold, in bytes.
const LARGE: usize = 40 << 20;

/// One thread, so that whoever stalls it stalls all.
fn lab(pooling: Pooling) -> Lab {
    Lab::start(|config, _| {
        config.rules.pooling = pooling;
        config.rules.limits.client_keepalive = CLIENT_SILENCE;
        config.rules.limits.handshake = CLIENT_SILENCE;
        config.shards = 1;
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        (config.listen_write, config.listen_read) = (vec![any], vec![any]);
    })
}

fn target_on(host: &Host, member: &str, server: &Server) -> Target {
    Target { host: host.inside.to_string(), ..common::target(member, server.port) }
}

async fn goes_on(client: &Client) {
    for _ in 0..10 {
        let begun = Instant::now();
        assert_eq!(one(client, "select 'x'").await, "x");
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    }
}

/// When the statement ends, and with which SQLSTATE.
async fn lost(client: Client, sql: &'static str, since: Instant) -> (String, Duration) {
    let error = client.simple_query(sql).await.expect_err("its server is gone");
    (told(&error).0, since.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_of_a_replica_whose_host_vanishes_learn_it_in_time_though_no_agent_says_so() {
    for pooling in [Pooling::Session, Pooling::Transaction] {
        let Some(host) = Host::make(1) else { return };
        let leader = Server::start(&[]);
        let replica = Server::start_on(&host, &[]);
        let mut lab = lab(pooling);
        lab.lead("m1", &leader).await;
        let its = ReplicaTarget { target: target_on(&host, "m2", &replica), ..common::replica("m2", &replica, true) };
        lab.route(|route| route.replicas = vec![its]).await;
        let read = || connect(lab.read_port(), "app", PASSWORD);
        let (waits, asks) = (read().await.expect("let in"), read().await.expect("let in"));
        let writer = lab.connect().await;
        assert_eq!(one(&asks, "select inet_server_addr()::text").await, format!("{}/32", host.inside));
        asks.batch_execute("begin").await.expect("begun");
        let waiting = tokio::spawn(lost(waits, "select pg_sleep(100)", Instant::now()));
        replica.until("select count(*) from pg_stat_activity where wait_event = 'PgSleep'", "1");

        host.vanish();
        let since = Instant::now();
        let asking = tokio::spawn(lost(asks, "select 1", since));
        goes_on(&writer).await;
        let (asked, waited) = (asking.await.expect("no panic"), waiting.await.expect("no panic"));
        assert_eq!((asked.0.as_str(), waited.0.as_str()), ("40001", "40001"), "{pooling:?}");
        for after in [asked.1, since.elapsed()] {
            assert!(after > SILENT && after < NOTICED, "{pooling:?} {after:?}");
        }
        goes_on(&writer).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_leader_whose_host_vanishes_costs_its_statements_and_the_next_one_takes_the_rest() {
    let Some(host) = Host::make(2) else { return };
    let (first, second) = (Server::start_on(&host, &[]), Server::start(&[]));
    let mut lab = lab(Pooling::Transaction);
    let led = target_on(&host, "m1", &first);
    lab.elect("m1", first.port).await;
    lab.route(|route| (route.leader, route.state) = (Some(led), RouteState::Open)).await;
    let (waits, idle) = (lab.connect().await, lab.connect().await);
    let waiting = tokio::spawn(lost(waits, "select pg_sleep(100)", Instant::now()));
    first.until("select count(*) from pg_stat_activity where wait_event = 'PgSleep'", "1");
    host.vanish();
    let since = Instant::now();
    assert_eq!(waiting.await.expect("no panic").0, "08007", "a function may write");
    assert!(since.elapsed() > SILENT && since.elapsed() < NOTICED, "{:?}", since.elapsed());
    lab.lead("m2", &second).await;
    goes_on(&idle).await;
    assert_eq!(one(&idle, "select inet_server_port()::text").await, second.port.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_whose_host_vanishes_are_let_go_in_time_with_what_they_held() {
    let Some(host) = Host::make(3) else { return };
    let server = Server::start(&[]);
    let mut lab = lab(Pooling::Transaction);
    lab.lead("m1", &server).await;
    let client = lab.connect().await;
    client.batch_execute("create table held (a int); insert into held values (1)").await.expect("made");
    let at = SocketAddr::from((IpAddr::from(host.outside), lab.write_port()));
    let mut gone: Vec<TcpStream> = host.enter(|| (0..3).map(|_| log_in_on(raw_to(at)).0).collect());
    let half = host.enter(|| raw_to(at));
    // idle; in a transaction that holds a lock; waits for an answer
    for (stream, sql) in gone.iter_mut().skip(1).zip(["begin; update held set a = 2", "select pg_sleep(100)"]) {
        asks(stream, sql);
        if sql.starts_with("begin") {
            while message(stream).0 != b'Z' {}
        }
    }
    server.until("select count(*) from pg_stat_activity where usename = 'app' and state <> 'idle'", "2");

    host.vanish();
    let since = Instant::now();
    goes_on(&client).await;
    // What it runs a server runs to its end, as when the client is its own.
    server.until("select count(*) from pg_stat_activity where state = 'idle in transaction'", "0");
    lab.until("only who is there is left", |stats| stats.clients == 1 && stats.logging_in == 0).await;
    assert!(since.elapsed() > SILENT && since.elapsed() < NOTICED, "{:?}", since.elapsed());
    assert_eq!(one(&client, "update held set a = a + 1 returning a").await, "2", "nothing of theirs stays");
    drop((gone, half));
}

fn asks(stream: &mut TcpStream, sql: &str) {
    use std::io::Write;
    let mut query = Vec::new();
    put_query(&mut query, sql);
    stream.write_all(&query).expect("written");
}

/// A full buffer that nobody reads looks to the kernel like a host that is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_only_does_not_read_is_waited_for() {
    let server = Server::start(&[]);
    let mut lab = lab(Pooling::Transaction);
    lab.lead("m1", &server).await;
    let client = lab.connect().await;
    // a server that is in the middle of something
    client
        .batch_execute(
            "create table slow (a text); \
             create function wait() returns trigger language plpgsql as \
             'begin if new.a = ''first'' then perform pg_sleep(8); end if; return new; end'; \
             create trigger wait before insert on slow for each row execute function wait()",
        )
        .await
        .expect("made");
    let port = lab.write_port();
    let copied = tokio::spawn(async move {
        let client = connect(port, "app", PASSWORD).await.expect("let in");
        let sink = client.copy_in("copy slow from stdin").await.expect("it takes rows");
        let mut sink = std::pin::pin!(sink);
        use futures_util::SinkExt;
        sink.send(bytes::Bytes::from("first\n")).await.expect("sent");
        let line = bytes::Bytes::from("x".repeat(1 << 20) + "\n");
        for _ in 0..LARGE >> 20 {
            sink.send(line.clone()).await.expect("sent");
        }
        sink.as_mut().finish().await
    });
    // a client that turns pages
    let mut reader = logged_in(port);
    asks(&mut reader, "select repeat('x', 1048576) from generate_series(1, 40)");
    server.until("select count(*) from pg_stat_activity where wait_event = 'ClientWrite'", "1");
    goes_on(&client).await;
    let rows = copied.await.expect("no panic").expect("the server is there");
    assert_eq!(rows as usize, 1 + (LARGE >> 20));
    // The copy took longer than anybody's host may be silent.
    let read = tokio::task::spawn_blocking(move || {
        let mut rows = 0;
        loop {
            match message(&mut reader).0 {
                b'D' => rows += 1,
                b'Z' => return rows,
                _ => {}
            }
        }
    });
    assert_eq!(read.await.expect("no panic"), LARGE >> 20);
}
