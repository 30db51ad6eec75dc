//! What a query costs in system calls once everything is warm: one receive and one send for each message each way, and the
//! waits between them. Counted on the thread that the session lives on, by strace; without it the test says so.

// what was skipped is said
#![allow(clippy::print_stdout)]

mod common;

use common::bare::{self, ask, log_in};
use common::{Lab, Server, replica};
use dauphin_model::{Pooling, ReadLevel};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

const WARM: usize = 100;
const COUNTED: usize = 500;
/// The client's message in, on to the server, the answer in, on to the client, and a wait before each side has something.
/// What is received is known to be all only once nothing more is there, or less came than there was room for.
const CALLS_MAX: f64 = 6.1;

/// The threads of this process that sessions live on.
fn shards() -> Vec<String> {
    let threads = fs::read_dir("/proc/self/task").expect("there").flatten();
    let shards = threads
        .filter(|thread| fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name.starts_with("shard-")));
    shards.map(|thread| thread.file_name().to_string_lossy().into_owned()).collect()
}

/// Begins to count; none where there is no strace.
fn count(thread: &str) -> Option<Child> {
    let mut strace = Command::new("strace").args(["-c", "-p", thread]).stderr(Stdio::piped()).spawn().ok()?;
    let mut said = String::new();
    BufReader::new(strace.stderr.as_mut()?).read_line(&mut said).expect("it says that it counts");
    assert!(said.contains("attached"), "{said}");
    Some(strace)
}

/// What was counted, by name.
fn counted(mut strace: Child) -> Vec<(String, usize)> {
    let pid = rustix::process::Pid::from_child(&strace);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let mut said = String::new();
    strace.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    strace.wait().expect("it ends");
    let lines = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let calls = lines.filter_map(|words| Some(((*words.last()?).to_owned(), words.get(3)?.parse().ok()?)));
    calls.filter(|(name, _): &(String, usize)| name != "total").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_query_costs_no_more_calls_than_messages_and_waits() {
    let server = Server::start(&[]);
    for level in [ReadLevel::Leader, ReadLevel::Any] {
        let mut lab = Lab::start(|config, _| {
            config.rules.pooling = Pooling::Transaction;
            config.rules.reads.level = level;
            config.shards = 1;
        });
        lab.lead("m1", &server).await;
        let its = replica("m2", &server, level == ReadLevel::Any);
        lab.route(|route| route.replicas = vec![its]).await;
        // A thread has its name only once it runs.
        while shards().is_empty() {
            tokio::task::yield_now().await;
        }
        let [shard] = &shards()[..] else { panic!("one shard") };
        let (mut stream, _) = log_in(lab.write_port());
        ask(&mut stream, &bare::prepare("select 7"));
        for (what, bytes) in [("simple", bare::simple("select 7")), ("prepared", bare::prepared())] {
            (0..WARM).for_each(|_| ask(&mut stream, &bytes));
            let Some(strace) = count(shard) else {
                println!("skipped: counting system calls needs strace");
                return;
            };
            (0..COUNTED).for_each(|_| ask(&mut stream, &bytes));
            let calls = counted(strace);
            let each = calls.iter().map(|(_, n)| n).sum::<usize>() as f64 / COUNTED as f64;
            assert!(each >= 4.0, "{what}, {level}: nothing was counted: {calls:?}");
            assert!(each <= CALLS_MAX, "{what}, {level}: {each} calls for each query: {calls:?}");
            println!("{what}, {level}: {each}: {calls:?}");
        }
        drop(stream);
        drop(lab);
        while !shards().is_empty() {
            tokio::task::yield_now().await;
        }
    }
}
