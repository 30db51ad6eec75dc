//! A new process takes over from one that runs: no client notices, whatever it does, and a takeover that fails changes nothing. With
//! real servers; both proxies are of this process, and talk to each other as two would.

mod common;

use common::{Lab, PASSWORD, Server, connect, connect_with, login, one, told};
use dauphin_model::{Pooling, ReadLevel, Term};
use dauphin_proxy::{Config, Proxy, ProxyError};
use serde_json::{Value, json};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_postgres::NoTls;

/// Longest wait for anything here.
const DEADLINE: Duration = Duration::from_secs(30);

fn lab(change: impl FnOnce(&mut Config)) -> Lab {
    Lab::start(|config, folder| {
        config.rules.pooling = Pooling::Transaction;
        config.rules.operators.admins = vec!["app".into()];
        config.run_dir = Some(folder.join("run"));
        change(config);
    })
}

fn socket(lab: &Lab) -> PathBuf {
    lab.config.run_dir.as_ref().expect("given").join("proxy.sock")
}

/// Lets this one serve its clients to their end.
fn drain(lab: &mut Lab) -> JoinHandle<Duration> {
    let mut proxy = lab.proxy.take().expect("running");
    tokio::spawn(async move {
        let begun = Instant::now();
        proxy.taken_over().await;
        proxy.drain().await;
        let drained = begun.elapsed();
        proxy.stop().await;
        drained
    })
}

async fn ends(draining: JoinHandle<Duration>) -> Duration {
    tokio::time::timeout(DEADLINE, draining).await.expect("it ends").expect("no panic")
}

async fn closes(client: &tokio_postgres::Client) {
    let by = Instant::now() + DEADLINE;
    while !client.is_closed() {
        assert!(Instant::now() < by, "the client stays");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn console(lab: &Lab) -> tokio_postgres::Client {
    connect_with(login(lab.write_port(), "app", PASSWORD).dbname("dauphin")).await.expect("let in")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_stay_and_others_come_without_an_error() {
    for pooling in [Pooling::Transaction, Pooling::Session] {
        let server = Server::start(&[]);
        server.sql("create table t (i int); grant all on t to app");
        let mut lab = lab(|config| config.rules.pooling = pooling);
        lab.lead("m1", &server).await;
        let port = lab.write_port();
        let (idle, busy, named) = (lab.connect().await, lab.connect().await, lab.connect().await);
        idle.batch_execute("set application_name = 'idle one'; set timezone = 'Asia/Tokyo'").await.expect("set");
        let prepared = named.prepare("select 7 + $1::int").await.expect("prepared");
        busy.batch_execute("begin; insert into t values (1)").await.expect("begun");
        // A connection for each transaction, without a pause.
        let (end, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let comers = [(); 4].map(|()| {
            let (end, done) = (Arc::clone(&end), Arc::clone(&done));
            tokio::spawn(async move {
                while !end.load(Ordering::Relaxed) {
                    let client = connect(port, "app", PASSWORD).await.expect("let in");
                    client.batch_execute("insert into t values (0)").await.expect("written");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let more = async || {
            let before = done.load(Ordering::Relaxed);
            let by = Instant::now() + DEADLINE;
            while done.load(Ordering::Relaxed) < before + 10 {
                assert!(Instant::now() < by, "nobody comes in any more");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let mut draining = Vec::new();
        for _ in 0..3 {
            more().await;
            let mut heir = lab.heir(|_| {}).await.expect("taken over");
            draining.push(drain(&mut lab));
            std::mem::swap(&mut lab, &mut heir);
        }
        more().await;
        end.store(true, Ordering::Relaxed);
        for comer in comers {
            comer.await.expect("no error");
        }
        assert_eq!(one(&idle, "show timezone").await, "Asia/Tokyo");
        assert_eq!(one(&idle, "show application_name").await, "idle one");
        busy.batch_execute("insert into t values (1); commit").await.expect("committed");
        assert_eq!(one(&idle, "select count(*) from t where i = 1").await, "2");
        assert_eq!(named.query_one(&prepared, &[&1]).await.expect("prepared still").get::<_, i32>(0), 8);
        assert_eq!(one(&idle, "select count(*) from t where i = 0").await, done.load(Ordering::Relaxed).to_string());
        assert!(draining.iter().any(|draining| !draining.is_finished()), "the first one still has clients");
        drop((idle, busy, named));
        for draining in draining {
            ends(draining).await;
        }
        assert!(lab.proxy().stats().logins >= 10, "{:?}", lab.proxy().stats());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_connected_and_was_not_accepted_is_served_by_the_heir() {
    let server = Server::start(&[]);
    let mut lab = lab(|_| {});
    lab.lead("m1", &server).await;
    let port = lab.write_port();
    // It waits between the last two steps: nobody accepts.
    let mut fake = Fake::call(&lab);
    fake.steps(&lab, 3);
    let waiting = tokio::spawn(async move { connect(port, "app", PASSWORD).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished(), "nobody accepts");
    // It dies: the process that ran accepts again, and the client was never turned away.
    drop(fake);
    waiting.await.expect("no panic").expect("let in");
    let mut fake = Fake::call(&lab);
    fake.steps(&lab, 4);
    let waiting = tokio::spawn(async move { connect(port, "app", PASSWORD).await });
    tokio::time::timeout(DEADLINE, lab.proxy().taken_over()).await.expect("it drains");
    assert!(!waiting.is_finished(), "nobody accepts");
    // The heir has the socket, and the client in its queue, once that has connected.
    let by = Instant::now() + DEADLINE;
    let stream = loop {
        match fake.sockets[0].accept() {
            Ok((stream, _)) => break stream,
            Err(error) => assert!(error.kind() == ErrorKind::WouldBlock && Instant::now() < by, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    drop((stream, waiting));
}

/// A new process that does only as many steps as it is told to.
struct Fake {
    stream: UnixStream,
    sockets: Vec<std::net::TcpListener>,
}

impl Fake {
    fn call(lab: &Lab) -> Self {
        let stream = UnixStream::connect(socket(lab)).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("settable");
        Self { stream, sockets: Vec::new() }
    }

    fn say(&mut self, said: &Value) {
        let body = said.to_string();
        let length = u32::try_from(body.len()).expect("short").to_be_bytes();
        self.stream.write_all(&[&length[..], body.as_bytes()].concat()).expect("sent");
    }

    /// The next message; none when there will be no more.
    fn hear(&mut self) -> Option<Value> {
        let mut head = [0; 4];
        self.receive(&mut head).then_some(())?;
        let mut body = vec![0; u32::from_be_bytes(head) as usize];
        self.receive(&mut body).then_some(())?;
        Some(serde_json::from_slice(&body).expect("a message"))
    }

    /// Reads so many bytes, and takes the sockets that come with them.
    fn receive(&mut self, bytes: &mut [u8]) -> bool {
        use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
        let mut read = 0;
        while read < bytes.len() {
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let parts = &mut [std::io::IoSliceMut::new(&mut bytes[read..])];
            let received =
                recvmsg(&self.stream, parts, &mut control, RecvFlags::CMSG_CLOEXEC).map_or(0, |its| its.bytes);
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(its) = message {
                    self.sockets.extend(its.map(std::net::TcpListener::from));
                }
            }
            if received == 0 {
                return false;
            }
            read += received;
        }
        true
    }

    fn hello(&mut self, cluster: &str, version: u32) {
        self.say(&json!({"hello": {"version": version, "cluster": cluster, "pid": 7, "program": "test"}}));
    }

    fn steps(&mut self, lab: &Lab, steps: usize) {
        let said = [json!("take"), json!("ready"), json!("serving")];
        let by = Instant::now() + DEADLINE;
        loop {
            self.hello(lab.config.cluster.as_str(), 1);
            let heard = self.hear().expect("an answer");
            if heard.get("greeting").is_some() {
                break;
            }
            // It has not noticed yet that the one before is dead.
            assert!(heard.to_string().contains("another process is about to") && Instant::now() < by, "{heard}");
            *self = Self::call(lab);
        }
        for (step, answer) in said.iter().zip(["sockets", "yours", "draining"]).take(steps.saturating_sub(1)) {
            self.say(step);
            let heard = self.hear().expect("an answer");
            assert!(heard == answer || heard.get(answer).is_some(), "{step}: {heard}");
        }
    }

    fn refused(&mut self) -> String {
        let heard = self.hear().expect("an answer");
        heard.pointer("/refused/why").and_then(Value::as_str).unwrap_or_else(|| panic!("{heard}")).to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_that_dies_at_any_step_changes_nothing() {
    let server = Server::start(&[]);
    let mut lab = lab(|_| {});
    lab.lead("m1", &server).await;
    let idle = lab.connect().await;
    assert_eq!(fs::metadata(socket(&lab)).expect("there").permissions().mode() & 0o777, 0o600);
    assert_eq!(
        fs::metadata(socket(&lab).parent().expect("a folder")).expect("there").permissions().mode() & 0o777,
        0o700
    );
    for steps in 0..=3 {
        let mut fake = Fake::call(&lab);
        if steps > 0 {
            fake.steps(&lab, steps);
        }
        drop(fake);
        assert_eq!(one(&lab.connect().await, "select 1").await, "1", "after {steps} steps");
    }
    for nonsense in [&b"\0\0\0\x02{}"[..], &[0xff; 64], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut fake = Fake::call(&lab);
        fake.stream.write_all(nonsense).expect("sent");
        assert!(fake.hear().is_none());
    }
    for (cluster, version, word) in [("other", 1, "serves cluster lab"), ("lab", 2, "in another way")] {
        let mut fake = Fake::call(&lab);
        fake.hello(cluster, version);
        assert!(fake.refused().contains(word));
    }
    // A real one that is not ready yet is given up, and leaves nothing behind.
    let unready = async {
        let mut behind = lab.config.clone();
        behind.shards = 1;
        let (_heard, receiver) = tokio::sync::mpsc::channel(1);
        Proxy::take_over(&behind, Some(receiver), None).await.map(drop)
    };
    assert!(tokio::time::timeout(Duration::from_millis(500), unready).await.is_err(), "it waits");
    let mut one_first = Fake::call(&lab);
    one_first.steps(&lab, 1);
    let mut second = Fake::call(&lab);
    second.hello("lab", 1);
    assert!(second.refused().contains("another process is about to"));
    drop(one_first);
    assert_eq!(fs::read_dir(socket(&lab).parent().expect("a folder")).expect("there").count(), 1, "one socket");
    // An address that cannot be had ends it before anything has happened.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = taken.local_addr().expect("bound");
    let by = Instant::now() + DEADLINE;
    let error = loop {
        let error = lab.heir(|config| config.listen_read = vec![at]).await.map(drop).expect_err("in use");
        if !error.to_string().contains("another process is about to") || Instant::now() > by {
            break error;
        }
    };
    assert!(matches!(error, ProxyError::Listen { address, .. } if address == at), "{error}");
    assert_eq!(one(&lab.connect().await, "select 1").await, "1");
    let heir = loop {
        match lab.heir(|_| {}).await {
            Ok(heir) => break heir,
            Err(error) => {
                assert!(error.to_string().contains("another process is about to") && Instant::now() < by, "{error}")
            }
        }
    };
    let draining = drain(&mut lab);
    assert_eq!(one(&idle, "select 1").await, "1");
    assert_eq!(one(&heir.connect().await, "select 1").await, "1");
    drop(idle);
    ends(draining).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel_requests_reach_the_process_that_has_the_client() {
    let server = Server::start(&[]);
    let mut lab = lab(|_| {});
    lab.lead("m1", &server).await;
    let mut old = Vec::new();
    let mut draining = Vec::new();
    // One client in each of three processes, the same statement in all of them.
    for _ in 0..3 {
        old.push(Arc::new(lab.connect().await));
        let mut heir = lab.heir(|_| {}).await.expect("taken over");
        draining.push(drain(&mut lab));
        std::mem::swap(&mut lab, &mut heir);
    }
    let bystander = Arc::new(lab.connect().await);
    let sleep = |client: &Arc<tokio_postgres::Client>| {
        let client = Arc::clone(client);
        tokio::spawn(async move { client.batch_execute("select pg_sleep(60)").await })
    };
    let undisturbed = sleep(&bystander);
    let running = "select count(*) from pg_stat_activity where query = 'select pg_sleep(60)' and state = 'active'";
    server.until(running, "1");
    for client in &old {
        let asleep = sleep(client);
        server.until(running, "2");
        client.cancel_token().cancel_query(NoTls).await.expect("taken");
        let error = asleep.await.expect("no panic").expect_err("cancelled");
        assert_eq!(told(&error).0, "57014");
        // Of one that runs nothing, nothing is cancelled, and the request is answered.
        client.cancel_token().cancel_query(NoTls).await.expect("taken");
        assert_eq!(one(client, "select 1").await, "1");
    }
    // A key that nobody knows, many times at once: it is asked for in all three, and nobody is kept from anything.
    let key = dauphin_wire::postgres::cancel::CancelKey::new(77, &[1, 2, 3, 4]).expect("a key").request();
    let guesses = (0..200).map(|_| {
        let (key, port) = (key.clone(), lab.write_port());
        async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
            stream.write_all(&key).await.expect("sent");
            // Closed once it is known that it is nobody's.
            let _ = stream.read(&mut [0]).await;
        }
    });
    tokio::time::timeout(DEADLINE, futures_util::future::join_all(guesses)).await.expect("all are answered");
    assert!(!undisturbed.is_finished());
    bystander.cancel_token().cancel_query(NoTls).await.expect("taken");
    assert_eq!(told(&undisturbed.await.expect("no panic").expect_err("cancelled")).0, "57014");
    drop(old);
    for draining in draining {
        ends(draining).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_ends_idle_clients_and_lets_transactions_end() {
    for pooling in [Pooling::Transaction, Pooling::Session] {
        let server = Server::start(&[]);
        server.sql("create table t (i int); grant all on t to app");
        let limit = Duration::from_secs(1);
        let mut lab = lab(|config| {
            config.rules.pooling = pooling;
            config.rules.limits.drain = limit;
            config.rules.limits.stop = Duration::from_millis(200);
        });
        lab.lead("m1", &server).await;
        let (idle, busy) = (lab.connect().await, lab.connect().await);
        busy.batch_execute("begin; insert into t values (1)").await.expect("begun");
        let heir = lab.heir(|_| {}).await.expect("taken over");
        let draining = drain(&mut lab);
        let begun = Instant::now();
        assert_eq!(one(&idle, "select 1").await, "1");
        // The end of an idle connection is told with a reason; tokio-postgres keeps it to itself.
        closes(&idle).await;
        assert!(begun.elapsed() >= limit - Duration::from_millis(100), "{:?}", begun.elapsed());
        busy.batch_execute("insert into t values (1); commit").await.expect("committed");
        closes(&busy).await;
        assert!(ends(draining).await < 2 * limit, "nobody was waited for in vain");
        let next = heir.connect().await;
        assert_eq!(one(&next, "select count(*) from t").await, "2");
        // One that never ends is cut off, and its work undone.
        next.batch_execute("begin; insert into t values (3)").await.expect("begun");
        let mut lab = heir;
        let heir = lab.heir(|_| {}).await.expect("taken over");
        let took = ends(drain(&mut lab)).await;
        assert!((2 * limit..8 * limit).contains(&took), "{took:?}");
        server.until("select count(*) from pg_stat_activity where state like 'idle in%'", "0");
        assert_eq!(one(&heir.connect().await, "select count(*) from t").await, "2");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_client_at_the_limit_is_told_why() {
    let server = Server::start(&[]);
    let mut lab = lab(|config| config.rules.limits.drain = Duration::from_millis(100));
    lab.lead("m1", &server).await;
    let (mut idle, _) = common::bare::log_in(lab.write_port());
    let _heir = lab.heir(|_| {}).await.expect("taken over");
    let draining = drain(&mut lab);
    let mut last = Vec::new();
    idle.read_to_end(&mut last).expect("an orderly end");
    assert!(String::from_utf8_lossy(&last).contains("57P01"), "{last:?}");
    ends(draining).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_console_goes_along_and_tells_who_stays() {
    let server = Server::start(&[]);
    let mut lab = lab(|_| {});
    lab.lead("m1", &server).await;
    let old = console(&lab).await;
    let busy = lab.connect().await;
    // A pause is this process's: who has it could never be resumed.
    old.batch_execute("PAUSE").await.expect("paused");
    let error = lab.heir(|_| {}).await.map(drop).expect_err("paused");
    assert!(error.to_string().contains("RESUME first"), "{error}");
    old.batch_execute("RESUME").await.expect("resumed");
    busy.batch_execute("begin").await.expect("begun");
    let heir = lab.heir(|_| {}).await.expect("taken over");
    let draining = drain(&mut lab);
    closes(&old).await;
    let new = console(&heir).await;
    heir.until("it tells", |stats| stats.former == 1).await;
    let rows = new.simple_query("SHOW FORMER").await.expect("shown");
    let tokio_postgres::SimpleQueryMessage::Row(row) = &rows[1] else { panic!("{rows:?}") };
    let shown = ["pid", "clients", "in_transaction"].map(|column| row.get(column).unwrap_or_default().to_owned());
    assert_eq!(shown, [std::process::id().to_string(), "1".into(), "1".into()]);
    let left: u64 = row.get("left_s").expect("told").parse().expect("a number");
    assert!((3500..=3600).contains(&left), "{left}");
    assert!(heir.proxy().handle().metrics().await.contains("dauphin_proxy_former_clients{cluster=\"lab\"} 1\n"));
    // What is not under this process's eyes is not paused.
    let (code, text) = told(&new.simple_query("PAUSE").await.expect_err("not all"));
    assert!(code == "55000" && text.contains("1 clients are still with the process"), "{code} {text}");
    busy.batch_execute("commit").await.expect("committed");
    drop(busy);
    ends(draining).await;
    heir.until("nobody is there any more", |stats| stats.former == 0).await;
    assert_eq!(new.simple_query("SHOW FORMER").await.expect("shown").len(), 2);
    new.batch_execute("PAUSE").await.expect("paused");
    new.batch_execute("RESUME").await.expect("resumed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_heir_knows_at_least_as_much_of_the_cluster() {
    let (first, second) = (Server::start(&[]), Server::start(&[]));
    let mut lab = lab(|_| {});
    lab.lead("m1", &first).await;
    let stale = lab.route.clone();
    lab.lead("m2", &second).await;
    let (heard, receiver) = tokio::sync::mpsc::channel(4);
    heard.send(dauphin_proxy::Heard::Route(Box::new(stale))).await.expect("room");
    let config = lab.config.clone();
    let heir = tokio::spawn(async move { Proxy::take_over(&config, Some(receiver), None).await });
    // An agent that has not heard of the new leader yet is not enough.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!heir.is_finished());
    heard.send(dauphin_proxy::Heard::Route(Box::new(lab.route.clone()))).await.expect("room");
    let heir = tokio::time::timeout(DEADLINE, heir).await.expect("in time").expect("no panic").expect("taken over");
    assert_eq!(heir.view().term, Term(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_wrote_before_is_read_by_one_who_comes_after() {
    let leader = Server::start(&[]);
    let replica = Server::replica_of(&leader, &[]);
    leader.sql("create table t (i int); grant all on t to app");
    replica.until("select count(*) from pg_class where relname = 't'", "1");
    let mut lab = lab(|config| {
        config.rules.reads.level = ReadLevel::Session;
        config.rules.reads.wait = DEADLINE;
    });
    lab.lead("m1", &leader).await;
    let its = common::replica("m2", &replica, true);
    lab.route(|route| {
        route.replicas = vec![its];
    })
    .await;
    let writer = lab.connect().await;
    one(&writer, "set dauphin.session = 'cart'").await;
    let heir = lab.heir(|_| {}).await.expect("taken over");
    let draining = drain(&mut lab);
    let reader = heir.connect().await;
    one(&reader, "set dauphin.session = 'cart'").await;
    for written in 1..50 {
        one(&writer, &format!("insert into t values ({written})")).await;
        assert_eq!(one(&reader, "select count(*) from t where i > 0").await, written.to_string());
        one(&reader, &format!("insert into t values (-{written})")).await;
        assert_eq!(one(&writer, "select count(*) from t where i < 0").await, written.to_string());
    }
    assert!(heir.proxy().stats().reads > 10, "a replica serves them: {:?}", heir.proxy().stats());
    drop(writer);
    ends(draining).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_free_are_left_to_the_heir() {
    let server = Server::start(&[]);
    let mut lab = lab(|_| {});
    lab.lead("m1", &server).await;
    let clients = futures_util::future::join_all((0..10).map(|_| lab.connect())).await;
    futures_util::future::join_all(clients.iter().map(|client| client.batch_execute("select pg_sleep(0.1)"))).await;
    let its = "select count(*) from pg_stat_activity where usename = 'app'";
    assert!(server.sql(its).parse::<u32>().expect("a number") > 1);
    let heir = lab.heir(|_| {}).await.expect("taken over");
    let draining = drain(&mut lab);
    server.until(its, "0");
    assert_eq!(one(&clients[0], "select 1").await, "1");
    drop(clients);
    ends(draining).await;
    drop(heir);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_belongs_to_one_process_and_outlives_its_death() {
    let start = |config: &Config| Proxy::start(config, tokio::sync::mpsc::channel(1).1, None);
    let first = lab(|_| {});
    let mut config = first.config.clone();
    config.listen_write = vec!["127.0.0.1:0".parse().expect("an address")];
    config.listen_read = Vec::new();
    let error = start(&config).map(drop).expect_err("in use");
    assert!(matches!(error, ProxyError::Runs { .. }), "{error}");
    // What a killed process leaves behind is in nobody's way.
    let stale = socket(&first);
    drop(first.proxy);
    let by = Instant::now() + DEADLINE;
    while UnixStream::connect(&stale).is_ok() {
        assert!(Instant::now() < by, "it is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(stale.exists());
    let second = start(&config).expect("started");
    UnixStream::connect(&stale).expect("it listens");
    second.stop().await;
    assert!(!stale.exists());
    // With nobody to take over from it is a start like any other.
    let (_heard, receiver) = tokio::sync::mpsc::channel(1);
    let third = Proxy::take_over(&config, Some(receiver), None).await.expect("started");
    UnixStream::connect(&stale).expect("it listens");
    third.stop().await;
    config.run_dir = None;
    let (_heard, receiver) = tokio::sync::mpsc::channel(1);
    let error = Proxy::take_over(&config, Some(receiver), None).await.map(drop).expect_err("no folder");
    assert!(matches!(error, ProxyError::NoRunDir), "{error}");
    config.run_dir = Some(Path::new("/dev/null/run").to_owned());
    assert!(matches!(start(&config).map(drop), Err(ProxyError::RunDir { .. })));
}
