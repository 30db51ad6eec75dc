//! Protocol 3.0 and 3.2: what is negotiated, as PostgreSQL 18 does it, and long keys for cancelling, with real clients and
//! servers of several versions.

mod common;

use common::bare::{log_in_with, message, startup};
use common::fake::fake_with_key;
use common::{Lab, PASSWORD, Server, bin, bin_of, raw};
use dauphin_model::{Pooling, RouteState};
use dauphin_wire::postgres::cancel::CancelKey;
use dauphin_wire::postgres::message::put_query;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

/// Options of a startup packet.
type Options = &'static [(&'static str, &'static str)];

/// A startup packet's minor version and the option in it, and what is answered before the login.
const ASKED: [(u16, Options, Option<&[u8]>); 6] = [
    (0, &[], None),
    (2, &[], None),
    (3, &[], Some(b"\0\x03\0\x02\0\0\0\0")),
    (9_999, &[("_pq_.grease", "x")], Some(b"\0\x03\0\x02\0\0\0\x01_pq_.grease\0")),
    (2, &[("_pq_.a", "x"), ("_pq_.b", "")], Some(b"\0\x03\0\x02\0\0\0\x02_pq_.a\0_pq_.b\0")),
    (0, &[("_pq_.a", "x")], Some(b"\0\x03\0\0\0\0\0\x01_pq_.a\0")),
];

/// What was negotiated, and the key that was given.
fn negotiated(stream: &mut TcpStream, minor: u16, options: Options) -> (Option<Vec<u8>>, CancelKey, usize) {
    let told = log_in_with(stream, &startup(minor, options));
    let of = |tag: u8| told.iter().find(|(its, _)| *its == tag).map(|(_, body)| body.clone());
    let key = of(b'K').expect("a key");
    (of(b'v'), CancelKey::parse(&key).expect("a key"), key.len() - 4)
}

async fn lab(server: &Server) -> Lab {
    let mut lab = Lab::start(|config, _| config.rules.pooling = Pooling::Transaction);
    lab.lead("m1", server).await;
    lab
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_and_options_are_negotiated_as_postgresql_18_does() {
    let Some(newest) = bin_of(18) else { return };
    let server = Server::start_from(&newest, &[]);
    let lab = lab(&server).await;
    for (minor, options, expected) in ASKED {
        for port in [lab.write_port(), server.port] {
            let (answer, _, length) = negotiated(&mut raw(port), minor, options);
            assert_eq!(answer.as_deref(), expected, "3.{minor} {options:?}");
            assert_eq!(length, if minor == 0 { 4 } else { 32 }, "3.{minor} {options:?}");
        }
    }
    // No server speaks 3.1, but PostgreSQL lets it pass for 3.0.
    let (answer, _, length) = negotiated(&mut raw(lab.write_port()), 1, &[]);
    assert_eq!((answer.as_deref(), length), (Some(&b"\0\x03\0\0\0\0\0\0"[..]), 4));
    assert_eq!(negotiated(&mut raw(server.port), 1, &[]).2, 4);
}

/// Asks to cancel with this key, and waits until that is over.
fn cancel(port: u16, key: &CancelKey) {
    let mut stream = raw(port);
    stream.write_all(&key.request()).expect("written");
    assert_eq!(stream.read(&mut [0; 1]).expect("closed in order"), 0);
}

fn asks(stream: &mut TcpStream, sql: &str) {
    let mut query = Vec::new();
    put_query(&mut query, sql);
    stream.write_all(&query).expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_whole_key_cancels() {
    for bin in [Some(bin()), bin_of(18)].into_iter().flatten() {
        let server = Server::start_from(&bin, &[]);
        let lab = lab(&server).await;
        let port = lab.write_port();
        for minor in [0, 2] {
            let mut stream = raw(port);
            let (_, key, length) = negotiated(&mut stream, minor, &[]);
            asks(&mut stream, "select pg_sleep(100)");
            server.until("select count(*) from pg_stat_activity where wait_event = 'PgSleep'", "1");
            let bytes = key.request().split_off(12);
            let other = |secret: &[u8]| CancelKey::new(key.pid, secret).expect("a length that can be");
            let mut last = bytes.clone();
            last[length - 1] ^= 1;
            for wrong in
                [other(&last), other(&bytes[..length - 1]), other(&[&bytes[..], &[0]].concat()), other(&[0; 256])]
            {
                cancel(port, &wrong);
            }
            // Cancels are taken in order: a wrong one would have been noticed by now.
            assert_eq!(
                (
                    server.sql("select count(*) from pg_stat_activity where wait_event = 'PgSleep'").as_str(),
                    lab.proxy().stats().cancels
                ),
                ("1", u64::from(minor / 2))
            );
            cancel(port, &key);
            let (tag, body) = loop {
                let (tag, body) = message(&mut stream);
                if tag != b'T' {
                    break (tag, body);
                }
            };
            assert!(tag == b'E' && body.windows(5).any(|part| part == b"57014"), "{}", String::from_utf8_lossy(&body));
        }
    }
}

/// A server may give a key of up to 256 bytes; it gets back what it gave.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_servers_longest_key_comes_back_to_it() {
    let (port, mut cancels) = fake_with_key(Vec::new(), &[7; 256]).await;
    let mut lab = Lab::start(|_, _| {});
    lab.elect("m1", port).await;
    lab.route(|route| route.state = RouteState::Open).await;
    let write = lab.write_port();
    tokio::task::spawn_blocking(move || {
        let mut stream = raw(write);
        let (_, key, _) = negotiated(&mut stream, 2, &[]);
        asks(&mut stream, "never answered");
        // until it is known to run
        let came_back = loop {
            cancel(write, &key);
            if let Ok(secret) = cancels.try_recv() {
                break secret;
            }
        };
        assert_eq!(came_back, [7; 256]);
    })
    .await
    .expect("it came back");
}

/// psql of this version against the proxy, in the newest protocol that it may speak: what it says.
fn psql(bin: &Path, port: u16, protocol: &str, commands: &[&str]) -> String {
    let mut psql = Command::new(bin.join("psql"));
    psql.args(["-X", "-A", "-t", "-d", &format!("host=127.0.0.1 port={port} user=app dbname=app")]);
    psql.args(commands.iter().flat_map(|command| ["-c", command]));
    let output = psql.env("PGPASSWORD", PASSWORD).env("PGMAXPROTOCOLVERSION", protocol).output().expect("psql runs");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn libpq_of_18_speaks_either_version_and_cancels_in_both() {
    let Some(newest) = bin_of(18) else { return };
    for bin in [bin(), newest.clone()] {
        let server = Server::start_from(&bin, &[]);
        let lab = lab(&server).await;
        let port = lab.write_port();
        for (asked, spoken) in [("3.0", "3.0"), ("3.2", "3.2"), ("latest", "3.2")] {
            let told = psql(&newest, port, asked, &["\\conninfo", "select 6 * 7"]);
            assert!(told.contains(&format!("Protocol Version|{spoken}")) && told.ends_with("42"), "{asked}: {told}");
            // Ctrl-C
            let mut child = Command::new(newest.join("psql"));
            child.args([
                "-X",
                "-d",
                &format!("host=127.0.0.1 port={port} user=app dbname=app"),
                "-c",
                "select pg_sleep(100)",
            ]);
            child.env("PGPASSWORD", PASSWORD).env("PGMAXPROTOCOLVERSION", asked).stderr(Stdio::piped());
            let child = child.spawn().expect("psql runs");
            server.until("select count(*) from pg_stat_activity where wait_event = 'PgSleep'", "1");
            kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
            let output = child.wait_with_output().expect("it ends");
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(told.contains("canceling statement due to user request"), "{asked}: {told}");
        }
    }
}
