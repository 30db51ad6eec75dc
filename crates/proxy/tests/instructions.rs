//! What a query costs in instructions once everything is warm, counted by valgrind: a process of its own holds the proxy, and
//! does nothing else. A build for tests is not optimised, so the bounds are its own: 3 % above what was counted when they were set.
//! Without valgrind the test says so.

// what was skipped is said
#![allow(clippy::print_stdout)]

mod common;

use common::bare::{self, ask, log_in};
use common::{Lab, Server, target};
use dauphin_model::{Pooling, ReadLevel, ReplicaTarget};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

// As long as what applications send.
const SQL: &str = "select column1 as abalance from (values (7)) as accounts where column1 = 7";
const WARM: usize = 50;
const COUNTED: usize = 1_000;
/// Set for the process that is counted: the server's port and the read level.
const INSIDE: &str = "DAUPHIN_TEST_COUNTED";

/// The process that is counted: a proxy before that server until its input ends.
async fn inside(port: u16, level: ReadLevel) {
    let mut lab = Lab::start(|config, _| {
        config.rules.pooling = Pooling::Transaction;
        config.rules.reads.level = level;
        config.shards = 1;
    });
    lab.elect("m1", port).await;
    let usable = level == ReadLevel::Any;
    lab.route(|route| {
        route.state = dauphin_model::RouteState::Open;
        route.replicas =
            vec![ReplicaTarget { target: target("m2", port), lag_bytes: Some(0), usable, reporting: false }];
    })
    .await;
    println!("port {}", lab.write_port());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()))
        .await
        .expect("it reads")
        .expect("input");
    lab.proxy.take().expect("running").stop().await;
}

/// Instructions of a proxy that, once warm, is asked this so many times; none where there is no valgrind.
fn instructions(server: &Server, level: ReadLevel, bytes: &[u8], times: usize) -> Option<f64> {
    let mut proxy = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(std::env::current_exe().expect("a path"))
        .args(["a_query_costs_no_more_instructions_than_it_did", "--exact", "--nocapture"])
        .env(INSIDE, format!("{} {level}", server.port))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let said = BufReader::new(proxy.stdout.as_mut().expect("piped")).lines().map_while(Result::ok);
    let port = said.filter_map(|line| line.strip_prefix("port ")?.parse().ok()).next().expect("it listens");
    let (mut stream, _) = log_in(port);
    ask(&mut stream, &bare::prepare(SQL));
    for warm in [bare::simple(SQL), bare::prepared()] {
        (0..WARM).for_each(|_| ask(&mut stream, &warm));
    }
    (0..times).for_each(|_| ask(&mut stream, bytes));
    drop(stream);
    drop(proxy.stdin.take());
    let mut said = String::new();
    proxy.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert!(proxy.wait().expect("it ends").success(), "{said}");
    let line = said.lines().find(|line| line.contains("I ")).expect("a count");
    Some(line.rsplit(' ').next()?.replace(',', "").parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_query_costs_no_more_instructions_than_it_did() {
    if let Ok(inner) = std::env::var(INSIDE) {
        let (port, level) = inner.split_once(' ').expect("two words");
        return inside(port.parse().expect("a port"), level.parse().expect("a level")).await;
    }
    let server = Server::start(&[]);
    for (level, simple, prepared) in [(ReadLevel::Leader, 75_300.0, 74_300.0), (ReadLevel::Any, 90_800.0, 84_600.0)] {
        let Some(before) = instructions(&server, level, &[], 0) else {
            println!("skipped: counting instructions needs valgrind");
            return;
        };
        for (what, bytes, most) in [("simple", bare::simple(SQL), simple), ("prepared", bare::prepared(), prepared)] {
            let after = instructions(&server, level, &bytes, COUNTED).expect("it is there");
            let each = (after - before) / COUNTED as f64;
            println!("{what}, {level}: {each:.0} instructions");
            assert!(each >= most / 2.0, "{what}, {level}: {each:.0}: not all was counted, or the bound is out of date");
            assert!(each <= most, "{what}, {level}: {each:.0} instructions for each query");
        }
    }
}
