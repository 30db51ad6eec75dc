//! What a query costs in memory once everything is warm: no allocation, whoever asks and however. The whole process is counted:
//! the proxy's threads, and a client that makes none of its own.

mod common;

use common::bare::log_in;
use common::{Lab, Server, replica};
use dauphin_model::{Pooling, ReadLevel};
use dauphin_wire::postgres::message::{put, put_parts, put_query};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::io::{Read, Write};
use std::net::TcpStream;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const WARM: usize = 300;
const COUNTED: u32 = 1_000;
/// The agents' side, timers and the like may allocate now and then, whatever is asked.
const OTHERS_MAX: usize = 20;

/// Sends it and reads what comes until the server is ready, without an allocation.
fn ask(stream: &mut TcpStream, bytes: &[u8], buffer: &mut [u8]) {
    stream.write_all(bytes).expect("sent");
    let mut len = 0;
    loop {
        len += stream.read(&mut buffer[len..]).expect("an answer");
        if len >= 6 && buffer[len - 6..len - 1] == *b"Z\0\0\0\x05" {
            return;
        }
    }
}

fn simple() -> Vec<u8> {
    let mut out = Vec::new();
    put_query(&mut out, "select abalance from accounts where aid = 1");
    out
}

fn bound(statement: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, b'B', &[&[0], statement.as_bytes(), &[0, 0, 0, 0, 1, 0, 0, 0, 1, b'1', 0, 0]].concat());
    put(&mut out, b'D', b"P\0");
    put(&mut out, b'E', &[0, 0, 0, 0, 0]);
    put(&mut out, b'S', &[]);
    out
}

fn parsed(statement: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_parts(&mut out, b'P', |out| {
        out.extend_from_slice(statement.as_bytes());
        out.extend_from_slice(b"\0select abalance from accounts where aid = $1::int\0\0\0");
    });
    out
}

/// Allocations for each query, once all is warm.
fn counted(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    let mut buffer = vec![0; 64 * 1024];
    (0..WARM).for_each(|_| ask(stream, bytes, &mut buffer));
    let region = Region::new(ALLOCATOR);
    (0..COUNTED).for_each(|_| ask(stream, bytes, &mut buffer));
    region.change().allocations
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_query_allocates_nothing() {
    let server = Server::start(&[]);
    server.sql("create table accounts (aid int primary key, abalance int); insert into accounts values (1, 7); grant all on accounts to app");
    let mut found = Vec::new();
    for (level, how) in [(ReadLevel::Leader, "leader"), (ReadLevel::Any, "replica")] {
        let mut lab = Lab::start(|config, _| {
            config.rules.pooling = Pooling::Transaction;
            config.rules.reads.level = level;
            config.shards = 1;
        });
        lab.lead("m1", &server).await;
        let its = replica("m2", &server, level == ReadLevel::Any);
        lab.route(|route| route.replicas = vec![its]).await;
        let (mut stream, _) = log_in(lab.write_port());
        let mut prepare = parsed("s");
        put(&mut prepare, b'S', &[]);
        ask(&mut stream, &prepare, &mut vec![0; 64 * 1024]);
        for (what, bytes) in
            [("simple", simple()), ("extended", [parsed(""), bound("")].concat()), ("prepared", bound("s"))]
        {
            found.push((how, what, counted(&mut stream, &bytes)));
        }
    }
    assert_eq!(found.len(), 6);
    for (how, what, allocations) in found {
        assert!(allocations <= OTHERS_MAX, "{what}, {how}: {allocations} allocations in {COUNTED} queries");
    }
}
