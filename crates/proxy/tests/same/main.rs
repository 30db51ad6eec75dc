//! The same protocol scripts sent to a server directly and through the proxy, in both kinds of pooling, byte by byte: every
//! message that comes back must be the same. What may differ is the key for cancelling, which no script asks for.

#[path = "../common/mod.rs"]
mod common;
mod scripts;
mod seeds;

use common::bare::{log_in, message};
use common::{Lab, Server};
use dauphin_model::Pooling;
use scripts::{Step, scripts};
use std::fmt::Write as _;
use std::io::Write;
use std::net::TcpStream;

/// What is sent at once goes in pieces that end here.
type Cuts<'a> = &'a dyn Fn(usize) -> Option<usize>;

/// All that comes back, a line for each message.
fn play(port: u16, steps: &[Step], cuts: Cuts<'_>) -> String {
    let (mut stream, _) = log_in(port);
    let mut heard = String::new();
    for (number, Step { bytes, until: (tag, count) }) in steps.iter().enumerate() {
        let at = cuts(bytes.len()).unwrap_or(bytes.len()).min(bytes.len());
        stream.write_all(&bytes[..at]).expect("sent");
        if at < bytes.len() {
            settle(&stream);
            stream.write_all(&bytes[at..]).expect("sent");
        }
        let mut left = *count;
        while left > 0 {
            let (its, body) = message(&mut stream);
            left -= usize::from(its == *tag);
            let text = String::from_utf8_lossy(&body[..body.len().min(400)]).replace('\0', "|");
            let _ = writeln!(heard, "{number}: {} {} {text}", char::from(its), body.len());
        }
    }
    heard
}

/// The first piece is on its way before the second.
fn settle(stream: &TcpStream) {
    stream.set_nodelay(true).expect("settable");
    std::thread::sleep(std::time::Duration::from_micros(200));
}

/// A proxy before this server.
async fn before(server: &Server, pooling: Pooling) -> Lab {
    let mut lab = Lab::start(|config, _| config.rules.pooling = pooling);
    lab.lead("m1", server).await;
    lab
}

fn server() -> Server {
    let server = Server::start(&[]);
    server.sql("create table t (i int); grant all on t to app; grant all on schema public to app");
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_is_the_one_that_the_server_itself_sends() {
    let server = server();
    let labs = [before(&server, Pooling::Session).await, before(&server, Pooling::Transaction).await];
    for (name, steps) in scripts() {
        let direct = play(server.port, &steps, &|_| None);
        for (lab, how) in labs.iter().zip(["session", "transaction"]) {
            // The first client of a login and the next ones are let in differently.
            for turn in 1..=2 {
                let through = play(lab.write_port(), &steps, &|_| None);
                same(&direct, &through, &format!("{name}, pooled by {how}, turn {turn}"));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_messages_are_cut_the_answers_are_the_same() {
    let server = server();
    let lab = before(&server, Pooling::Transaction).await;
    for (name, steps) in scripts() {
        if !["extended", "pipelines", "portals"].contains(&name) {
            continue;
        }
        let direct = play(server.port, &steps, &|_| None);
        let longest = steps.iter().map(|step| step.bytes.len()).max().unwrap_or_default();
        for cut in 1..longest {
            let through = play(lab.write_port(), &steps, &|_| Some(cut));
            same(&direct, &through, &format!("{name}, cut at {cut}"));
        }
    }
}

/// Shows the first line that differs.
#[track_caller]
fn same(direct: &str, through: &str, what: &str) {
    if direct == through {
        return;
    }
    let (mut ours, mut its) = (through.lines(), direct.lines());
    loop {
        let (one, other) = (its.next(), ours.next());
        assert_eq!(other, one, "{what}: through the proxy (left) and directly (right)");
    }
}
