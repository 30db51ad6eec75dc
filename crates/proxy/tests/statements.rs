//! What is logged of statements, with real servers: those that are slow or come to nothing, by their shape, and never a literal.

mod common;

use common::{Lab, Server, one, told};
use dauphin_model::Pooling;
use std::fmt::{Debug, Write};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio_postgres::Client;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// What was logged, a line each.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Log;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("dauphin_proxy")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn lines(with: &str) -> Vec<String> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().filter(|line| line.contains(with)).cloned().collect()
}

fn until(with: &str) -> String {
    let by = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(line) = lines(with).pop() {
            return line;
        }
        assert!(Instant::now() < by, "{with:?} is never logged: {:?}", lines(""));
        std::thread::sleep(Duration::from_millis(5));
    }
}

async fn lab(server: &Server, slow: Option<Duration>) -> Lab {
    static LOG: OnceLock<()> = OnceLock::new();
    LOG.get_or_init(|| tracing::subscriber::set_global_default(Log).expect("the only one"));
    let mut lab = Lab::start(|config, _| {
        config.rules.pooling = Pooling::Transaction;
        config.rules.limits.pool = 1;
        config.rules.limits.wait = Duration::from_secs(2);
        config.shards = 1;
        config.rules.slow = slow;
    });
    lab.lead("m1", server).await;
    lab
}

async fn sleep(client: &Client, mark: &str) {
    let sql = format!("select pg_sleep(0.12), 'secret' /* secret */ as {mark}");
    client.simple_query(&sql).await.expect("slept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_refused_statements_are_logged_without_their_literals() {
    let (mut server, next) = (Server::start(&[]), Server::start(&[]));
    let mut lab = lab(&server, Some(Duration::from_millis(100))).await;
    let client = lab.connect().await;
    one(&client, "select 'secret' as fast").await;
    sleep(&client, "simple").await;
    let line = until("as simple");
    assert!(line.contains("slow: select pg_sleep (?), ? as simple"), "{line}");
    assert!(
        line.contains("user=\"app\"") && line.contains("database=\"app\"") && line.contains("on=\"m1, leader\""),
        "{line}"
    );
    // Prepared long before: the text is that of its name.
    let statement = client.prepare("select pg_sleep($1), 'secret' as prepared").await.expect("prepared");
    sleep(&client, "other").await;
    client.query(&statement, &[&0.12_f64]).await.expect("slept");
    assert!(until("as prepared").contains("slow: select pg_sleep (?), ? as prepared"));
    // The server is made to say so: nobody but the proxy refuses it.
    let (code, _) = told(&client.simple_query("set dauphin.read_level = 'secret'").await.expect_err("no level"));
    let line = until("set dauphin");
    assert!(
        code == "22023" && line.contains("code=\"22023\"") && line.contains("refused: set dauphin.read_level = ?"),
        "{line}"
    );
    // One that nobody serves in time, and one that is lost with its server.
    let other = lab.connect().await;
    client.batch_execute("begin").await.expect("begun");
    let (code, _) = told(&other.simple_query("select 'secret' as late").await.expect_err("all are in use"));
    let line = until("as late");
    assert!(code == "57P03" && line.contains("code=\"57P03\"") && line.contains("refused: select ? as late"), "{line}");
    let cut = client.simple_query("select pg_sleep(60), 'secret' as cut");
    let lose = async {
        next.until("select 1", "1");
        server.until("select count(*) from pg_stat_activity where wait_event = 'PgSleep'", "1");
        server.stop(rustix::process::Signal::QUIT);
        lab.lead("m2", &next).await;
    };
    let (cut, ()) = tokio::join!(cut, lose);
    assert_eq!(told(&cut.expect_err("lost")).0, "40001");
    let line = until("as cut");
    assert!(line.contains("code=\"40001\"") && line.contains("refused: select pg_sleep (?), ? as cut"), "{line}");
    assert_eq!(lines("as cut").len(), 1);
    assert!(lines("as fast").is_empty() && lines("secret").is_empty(), "{:?}", lines(""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_are_few_and_those_left_out_are_counted() {
    let server = Server::start(&[]);
    let lab = lab(&server, Some(Duration::ZERO)).await;
    let client = lab.connect().await;
    let begun = Instant::now();
    for _ in 0..60 {
        one(&client, "select 1 as many").await;
    }
    let most = (begun.elapsed().as_secs() as usize + 2) * 10;
    assert!((1..=most).contains(&lines("as many").len()), "{} lines", lines("as many").len());
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    one(&client, "select 1 as last").await;
    let line = until("as last");
    let left_out = line.split("left_out=").nth(1).and_then(|rest| rest.split(' ').next()).expect("told");
    assert!(left_out.parse::<u64>().expect("a number") > 0, "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_logged_unless_it_is_asked_for() {
    let server = Server::start(&[]);
    let lab = lab(&server, None).await;
    let client = lab.connect().await;
    sleep(&client, "silent").await;
    let other = lab.connect().await;
    client.batch_execute("begin").await.expect("begun");
    assert!(other.simple_query("select 1 as silent").await.is_err());
    assert!(lines("as silent").is_empty());
}
