//! What a server that misbehaves does to clients: its session ends, with an error that is true, and others go on.

mod common;

use common::bare::logged_in;
use common::fake::fake;
use common::{Lab, PASSWORD, Server, connect, name, one, raw, target, told};
use dauphin_model::{Pooling, ReplicaTarget, RouteState};
use dauphin_wire::postgres::message::{put, put_query, put_texts};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

/// Longest that a client's small statement takes beside whatever others do.
const SOON: Duration = Duration::from_secs(2);

/// Lengths that no message can have; the last but two is one more than a server's longest.
const BAD_LENGTHS: [u32; 7] = [0, 1, 3, 0x4000_0003, 0x7fff_ffff, 0x8000_0000, u32::MAX];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_breaks_the_protocol_harms_its_session_only() {
    let mut fatal = Vec::new();
    put(&mut fatal, b'E', b"SFATAL\0VFATAL\0C53200\0Mout of memory\0\0");
    let cases: [(&[u8], &str); 4] = [
        (b"D\0\0\0\0", "08007"),
        (b"D\xff\xff\xff\xff", "08007"),
        (b"I\0\0\0\x04C\0\0\0\x03", "08007"),
        (&fatal, "53200"),
    ];
    for (answer, expected) in cases {
        let port = fake(answer.to_vec()).await;
        let mut lab = Lab::start(|_, _| {});
        lab.elect("m1", port).await;
        lab.route(|route| route.state = RouteState::Open).await;
        let client = lab.connect().await;
        let (code, text) = told(&client.simple_query("select 1").await.expect_err("nonsense"));
        assert_eq!(code, expected, "{answer:?} {text}");
        connect(lab.write_port(), "app", PASSWORD).await.expect("others go on");
    }
}

/// What a client's broken message leaves behind is nobody else's: it once went to the next client's server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_breaks_the_protocol_harms_itself_only() {
    let server = Server::start(&[]);
    let mut lab = Lab::start(|config, _| {
        config.rules.pooling = Pooling::Transaction;
        config.shards = 1;
    });
    lab.lead("m1", &server).await;
    let (client, broken) = (lab.connect().await, lab.connect().await);
    broken.batch_execute("select 1").await.expect("lets the shard know the login");
    let mut hostile = logged_in(lab.write_port());
    let mut bytes = Vec::new();
    put_texts(&mut bytes, b'P', &["x", "select 1", ""]);
    put_query(&mut bytes, "create table stolen (a int)");
    put_texts(&mut bytes, b'P', &["y", "select 2", ""]);
    bytes.extend(b"Q\0\0\0\0");
    hostile.write_all(&bytes).expect("sent");
    let _ = hostile.read_to_end(&mut Vec::new());
    for _ in 0..3 {
        assert_eq!(one(&client, "select count(*)::text from pg_class where relname = 'stolen'").await, "0");
    }
    let statement = client.prepare("select 41 + 1").await.expect("prepared");
    assert_eq!(client.query_one(&statement, &[]).await.expect("runs").get::<_, i32>(0), 42);
}

/// One thread, so that whoever stalls it stalls all.
async fn one_thread(server: &Server) -> Lab {
    let mut lab = Lab::start(|config, _| {
        config.rules.pooling = Pooling::Transaction;
        config.rules.limits.handshake = Duration::from_secs(5);
        config.shards = 1;
    });
    lab.lead("m1", server).await;
    lab
}

/// Small statements, one after another, until it is told to end; each is answered soon. Gives how many there were.
fn keeps_on(client: Client, end: Arc<AtomicBool>) -> JoinHandle<usize> {
    tokio::spawn(async move {
        let mut count = 0;
        while !end.load(Ordering::Relaxed) {
            let begun = Instant::now();
            assert_eq!(one(&client, "select 'x'").await, "x");
            assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
            count += 1;
        }
        count
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_lengths_that_cannot_be_is_left_while_others_go_on() {
    let server = Server::start(&[]);
    let mut lab = one_thread(&server).await;
    let end = Arc::new(AtomicBool::new(false));
    let others = keeps_on(lab.connect().await, Arc::clone(&end));
    for tag in *b"DCZESTAN" {
        for length in BAD_LENGTHS {
            let port = fake([&[tag], &length.to_be_bytes()[..], b"C\0\0\0"].concat()).await;
            let its = ReplicaTarget { target: target("m2", port), lag_bytes: Some(0), usable: true, reporting: false };
            lab.route(|route| route.replicas = vec![its]).await;
            let client = connect(lab.read_port(), "app", PASSWORD).await.expect("let in");
            let (code, text) = told(&client.simple_query("select 1").await.expect_err("nonsense"));
            assert_eq!(code, "40001", "{} {length:#x}: {text}", char::from(tag));
            // and the next statement finds a server that makes sense
            lab.route(|route| route.replicas.clear()).await;
            assert_eq!(one(&client, "select 'y'").await, "y");
        }
    }
    end.store(true, Ordering::Relaxed);
    assert!(others.await.expect("nobody waited") > 0);
    assert_eq!(lab.proxy().view().leader.as_ref().map(|leader| leader.member.clone()), Some(name("m1")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_lengths_that_cannot_be_is_told_so_while_others_go_on() {
    let server = Server::start(&[]);
    let lab = one_thread(&server).await;
    let end = Arc::new(AtomicBool::new(false));
    let others = keeps_on(lab.connect().await, Arc::clone(&end));
    let port = lab.write_port();
    let ended = tokio::task::spawn_blocking(move || {
        // a server's longest is more than a client's
        for length in BAD_LENGTHS.into_iter().chain([0x3fff_ffff]) {
            for (before, tag) in
                [(&b""[..], b'Q'), (b"", b'P'), (b"", b'd'), (b"", b'?'), (b"Q\0\0\0\x0abegin\0", b'B')]
            {
                let mut stream = logged_in(port);
                stream.write_all(&[before, &[tag], &length.to_be_bytes(), b"x"].concat()).expect("written");
                let mut answer = Vec::new();
                let _ = stream.read_to_end(&mut answer);
                let says = |code: &[u8; 5]| answer.windows(5).any(|part| part == code);
                assert!(says(b"08P01"), "{} {length:#x}: {}", char::from(tag), String::from_utf8_lossy(&answer));
            }
            // before it has logged in, with nothing to be told
            let mut stream = raw(port);
            stream.write_all(&[&length.to_be_bytes()[..], &[0, 3, 0, 0]].concat()).expect("written");
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            assert_eq!(answer, b"", "{length:#x}");
        }
    });
    ended.await.expect("each has ended");
    end.store(true, Ordering::Relaxed);
    assert!(others.await.expect("nobody waited") > 0);
    lab.until("all have left", |stats| stats.logging_in == 0 && stats.clients == 0).await;
    server.until("select count(*) from pg_stat_activity where state = 'idle in transaction'", "0");
}
