//! Peers that are slow, huge or in a rage stall nobody else: others of the same thread go on, and memory stays small.

mod common;

use common::bare::{logged_in, message};
use common::{Lab, Server, one, raw, resident};
use dauphin_model::Pooling;
use dauphin_wire::postgres::cancel::CancelKey;
use dauphin_wire::postgres::message::{put, put_query};
use dauphin_wire::postgres::startup::Startup;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// Longest that a client's small statement takes beside whatever others do.
const SOON: Duration = Duration::from_secs(2);

/// Most that the proxy, and this test with it, may grow by while others are slow or huge, in bytes.
const GROWTH_MAX: usize = 48 * 1024 * 1024;

/// One thread, so that whoever stalls it stalls all.
async fn lab(server: &Server, servers: usize) -> Lab {
    let mut lab = Lab::start(|config, _| {
        config.rules.pooling = Pooling::Transaction;
        config.shards = 1;
        config.rules.limits.pool = servers;
        config.rules.limits.handshake = Duration::from_secs(2);
    });
    lab.lead("m1", server).await;
    lab
}

async fn goes_on(client: &Client) {
    for _ in 0..20 {
        let begun = Instant::now();
        assert_eq!(one(client, "select 'x'").await, "x");
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    }
}

fn asks(stream: &mut TcpStream, sql: &str) {
    let mut query = Vec::new();
    put_query(&mut query, sql);
    stream.write_all(&query).expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_says_all_of_its_startup_is_let_go_in_time() {
    let server = Server::start(&[]);
    let lab = lab(&server, 2).await;
    let client = lab.connect().await;
    let parameters = vec![("user".to_owned(), "app".to_owned())];
    let hello = Startup { minor: 0, parameters, options: Vec::new() }.encode();
    let mut slow: Vec<TcpStream> = (0..300).map(|_| raw(lab.write_port())).collect();
    let begun = Instant::now();
    for byte in &hello[..4] {
        for stream in &mut slow {
            stream.write_all(&[*byte]).expect("written");
        }
        goes_on(&client).await;
        lab.connect().await;
    }
    let ended = tokio::task::spawn_blocking(move || slow.iter_mut().all(|stream| stream.read(&mut [0; 64]).is_ok()));
    assert!(ended.await.expect("no panic"), "each is told or cut off");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    lab.until("nobody logs in any more", |stats| stats.logging_in == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_its_rows_holds_its_own_server_only() {
    let server = Server::start(&[]);
    let lab = lab(&server, 3).await;
    let client = lab.connect().await;
    goes_on(&client).await;
    let before = resident();
    let mut deaf = [logged_in(lab.write_port()), logged_in(lab.write_port())];
    for stream in &mut deaf {
        asks(stream, "select repeat('x', 10000) from generate_series(1, 20000)");
    }
    server.until("select count(*) from pg_stat_activity where wait_event = 'ClientWrite'", "2");
    goes_on(&client).await;
    let grown = resident().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{grown} bytes for rows that nobody reads");
    drop(deaf);
    server.until("select count(*) from pg_stat_activity where wait_event = 'ClientWrite'", "0");
}

/// Reads messages until the server is ready, and keeps none: their types, and how long the longest one says it is.
fn answers(stream: &mut TcpStream) -> (Vec<u8>, u32) {
    let (mut buffer, mut tags, mut longest) = (vec![0; 1 << 20], Vec::new(), 0);
    loop {
        let mut header = [0; 5];
        stream.read_exact(&mut header).expect("a message");
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        let mut rest = length as usize - 4;
        while rest > 0 {
            let part = rest.min(buffer.len());
            stream.read_exact(&mut buffer[..part]).expect("its body");
            rest -= part;
        }
        tags.push(header[0]);
        longest = longest.max(length);
        if header[0] == b'Z' {
            return (tags, longest);
        }
    }
}

/// Does something with a client of its own while another one's small statements go on.
async fn beside<T: Send + 'static>(client: &Client, what: impl FnOnce() -> T + Send + 'static) -> T {
    let mut doing = tokio::task::spawn_blocking(what);
    loop {
        tokio::select! {
            done = &mut doing => return done.expect("no panic"),
            () = goes_on(client) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_as_long_as_can_be_passes_in_parts() {
    let server = Server::start(&[]);
    let lab = lab(&server, 3).await;
    let client = lab.connect().await;
    goes_on(&client).await;
    let before = resident();
    let mut huge = logged_in(lab.write_port());
    // The text with the row's count of columns and its own length is as long as a string of the server's can be.
    let longest = 0x3fff_fffe - 6;
    let (told, huge) = beside(&client, move || {
        asks(&mut huge, &format!("select repeat('x', {longest})"));
        (answers(&mut huge), huge)
    })
    .await;
    assert_eq!(told, (b"TDCZ".to_vec(), 0x4000_0002));
    let grown = resident().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{grown} bytes for a row of {longest}");
    // One byte more is more than the server can do, and its session goes on.
    let (tags, _) = beside(&client, move || {
        let mut huge = huge;
        asks(&mut huge, &format!("select repeat('x', {})", longest + 1));
        answers(&mut huge)
    })
    .await;
    assert_eq!(tags, b"TEZ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_as_long_as_can_be_passes_in_parts() {
    let server = Server::start(&[]);
    let lab = lab(&server, 3).await;
    let client = lab.connect().await;
    goes_on(&client).await;
    let before = resident();
    let mut huge = logged_in(lab.write_port());
    let told = beside(&client, move || {
        let mut bytes = Vec::new();
        put(&mut bytes, b'P', b"\0select length($1)\0\0\x01\0\0\0\x19");
        // A Bind: its length, names, one value in text, results in text.
        let longest = 0x3fff_fffe_u32;
        let head = b"\0\0\0\0\0\x01";
        let value = longest - 4 - u32::try_from(head.len()).expect("short") - 4 - 2;
        bytes.push(b'B');
        bytes.extend_from_slice(&longest.to_be_bytes());
        bytes.extend_from_slice(head);
        bytes.extend_from_slice(&value.to_be_bytes());
        huge.write_all(&bytes).expect("written");
        let (part, mut rest) = (vec![b'x'; 1 << 20], value as usize);
        while rest > 0 {
            let now = rest.min(part.len());
            huge.write_all(&part[..now]).expect("written");
            rest -= now;
        }
        let mut bytes = vec![0, 0];
        put(&mut bytes, b'E', &[0; 5]);
        put(&mut bytes, b'S', &[]);
        huge.write_all(&bytes).expect("written");
        let mut row = Vec::new();
        loop {
            match message(&mut huge) {
                (b'D', body) => row = body,
                (b'Z', _) => return (row, value),
                (b'E', body) => panic!("{}", String::from_utf8_lossy(&body)),
                _ => {}
            }
        }
    })
    .await;
    assert_eq!(told.0.get(6..), Some(told.1.to_string().as_bytes()));
    let grown = resident().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{grown} bytes for a message of {}", told.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_message_keeps_no_server() {
    let server = Server::start(&[]);
    let lab = lab(&server, 1).await;
    let client = lab.connect().await;
    let mut halves: Vec<TcpStream> = (0..20).map(|_| logged_in(lab.write_port())).collect();
    for stream in &mut halves {
        stream.write_all(b"Q\0\0\0\x1eselect").expect("written");
    }
    goes_on(&client).await;
    // and what is whole in the end is run
    let mut first = halves.remove(0);
    let answered = tokio::task::spawn_blocking(move || {
        first.write_all(b" 'whole', 1+1, 2+2;\0").expect("written");
        message(&mut first).0
    });
    assert_eq!(answered.await.expect("no panic"), b'T');
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_cancel_requests_hits_nobody() {
    let server = Server::start(&[]);
    let lab = lab(&server, 2).await;
    let (client, other) = (lab.connect().await, lab.connect().await);
    let sleeping = tokio::spawn(async move { one(&client, "select pg_sleep(3)::text || 'slept'").await });
    let port = lab.write_port();
    let storm = tokio::task::spawn_blocking(move || {
        for guess in 0..2_000 {
            let mut stream = raw(port);
            let secret = vec![0; 1 + guess as usize % 256];
            let key = CancelKey::new(guess, &secret).expect("a length that can be");
            stream.write_all(&key.request()).expect("written");
        }
    });
    goes_on(&other).await;
    storm.await.expect("no panic");
    assert_eq!(sleeping.await.expect("no panic"), "slept");
    goes_on(&other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_startup_ends_its_own_connection_only() {
    let server = Server::start(&[]);
    let lab = lab(&server, 2).await;
    let client = lab.connect().await;
    let mut twice = logged_in(lab.write_port());
    let parameters = vec![("user".to_owned(), "postgres".to_owned())];
    twice.write_all(&Startup { minor: 0, parameters, options: Vec::new() }.encode()).expect("written");
    let told = tokio::task::spawn_blocking(move || {
        let mut told = Vec::new();
        let _ = twice.read_to_end(&mut told);
        told
    });
    let told = told.await.expect("no panic");
    assert!(told.starts_with(b"E") && told.windows(5).any(|w| w == b"08P01"), "{}", String::from_utf8_lossy(&told));
    goes_on(&client).await;
}
