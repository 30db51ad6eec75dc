//! The proxy's program is replaced under live clients: nobody sees an error, and a new process that comes to nothing is no matter.

use crate::EXPECTED;
use crate::stage::Stage;
use dauphin_lab::Lab;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, NoTls};

/// Longest wait for anything here: that of a process for its agents, and more.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Warnings of takeovers that this test has fail.
const NOT_TAKEN: &str = "has not taken over";

/// Whoever starts the proxy's processes, as the lab does.
struct Proxies<'a> {
    stage: &'a Stage,
    lab: Lab,
}

impl Proxies<'_> {
    fn config(&self) -> PathBuf {
        self.stage.dir.join("proxy/dauphin.toml")
    }

    fn log(&self) -> File {
        let log = self.stage.dir.join("proxy/log/proxy.log");
        OpenOptions::new().append(true).open(log).expect("the lab's")
    }

    fn logged(&self, words: &str) -> usize {
        let log = std::fs::read_to_string(self.stage.dir.join("proxy/log/proxy.log")).expect("readable");
        log.matches(words).count()
    }

    fn start(&self, config: &Path, more: &[&str]) -> Child {
        let mut command = Command::new(&self.lab.program);
        command.arg("proxy").arg("--config").arg(config).args(more).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(self.log());
        if let Some(user) = &self.lab.user {
            command.uid(user.uid).gid(user.gid);
        }
        command.spawn().expect("it starts")
    }

    /// Replaces the process that runs.
    fn take_over(&self) -> Child {
        let before = self.logged("has taken over");
        let mut child = self.start(&self.config(), &["--takeover"]);
        until("a takeover", || {
            assert!(child.try_wait().expect("its state").is_none(), "it has ended");
            self.logged("has taken over") > before
        });
        child
    }

    async fn connect(&self) -> Client {
        let mut config = tokio_postgres::Config::new();
        let port = self.lab.proxy.as_ref().expect("a proxy").write_port;
        config.host("127.0.0.1").port(port).dbname("app");
        config.user(&self.lab.app.user).password(&self.lab.app.password);
        let (client, connection) = config.connect(NoTls).await.expect("let in");
        tokio::spawn(connection);
        client
    }
}

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT_MAX;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn ended(child: &mut Child) -> ExitStatus {
    let mut status = None;
    until("its end", || {
        status = child.try_wait().expect("its state");
        status.is_some()
    });
    status.expect("ended")
}

async fn one(client: &Client, sql: &str) -> String {
    let rows = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let value = |message: &tokio_postgres::SimpleQueryMessage| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    rows.iter().rev().find_map(value).unwrap_or_default()
}

fn metrics(port: u16) -> String {
    let ask = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    };
    ask().unwrap_or_default()
}

fn edit(path: &Path, from: &str, to: &str) -> String {
    let text = std::fs::read_to_string(path).expect("readable");
    assert!(text.contains(from), "{from} is not in {text}");
    let edited = text.replacen(from, to, 1);
    std::fs::write(path, &edited).expect("writable");
    edited
}

#[test]
fn a_proxy_is_replaced_under_live_clients() {
    let stage = Stage::up("takeover", &["--profile", "fast"]);
    let proxies = Proxies { stage: &stage, lab: Lab::load(&stage.dir).expect("a lab") };
    stage.sql(stage.write_port(), "CREATE TABLE t (i int)");
    let metrics_port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port").port();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    // Beside the one that runs there is no other: not by accident.
    let mut twice = proxies.start(&proxies.config(), &[]);
    assert_eq!(ended(&mut twice).code(), Some(1));
    assert_eq!(proxies.logged("a proxy runs already"), 1);

    let (idle, busy, listening) = runtime.block_on(async {
        let clients = (proxies.connect().await, proxies.connect().await, proxies.connect().await);
        one(&clients.0, "SET application_name = 'idle'").await;
        one(&clients.1, "BEGIN; INSERT INTO t VALUES (1)").await;
        // It keeps its server, and cannot be had from anywhere else.
        one(&clients.2, "LISTEN news; CREATE TEMP TABLE mine (i int); INSERT INTO mine VALUES (7)").await;
        clients
    });
    let (end, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let comers: Vec<_> = (0..3)
        .map(|_| {
            let (end, done, lab) = (Arc::clone(&end), Arc::clone(&done), proxies.lab.clone());
            runtime.spawn(async move {
                let port = lab.proxy.as_ref().expect("a proxy").write_port;
                let mut config = tokio_postgres::Config::new();
                config.host("127.0.0.1").port(port).dbname("app").user(&lab.app.user).password(&lab.app.password);
                while !end.load(Ordering::Relaxed) {
                    let (client, connection) = config.connect(NoTls).await.expect("let in");
                    let connection = tokio::spawn(connection);
                    one(&client, "INSERT INTO t VALUES (0)").await;
                    drop(client);
                    connection.await.expect("no panic").expect("an orderly end");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let more = || {
        let before = done.load(Ordering::Relaxed);
        until("clients that come", || done.load(Ordering::Relaxed) > before + 10);
    };
    more();
    edit(&proxies.config(), "[proxy]\n", &format!("[proxy]\nmetrics_listen = \"127.0.0.1:{metrics_port}\"\n"));
    let mut second = proxies.take_over();
    more();
    until("metrics of the new process", || {
        metrics(metrics_port).contains("dauphin_proxy_former_clients{cluster=\"lab\"} 3")
    });
    // New processes that come to nothing: killed while it waits for its agents, and without any.
    let unready = stage.dir.join("proxy/unready.toml");
    let text = std::fs::read_to_string(proxies.config()).expect("readable");
    let nobodys = |(n, line): (usize, &str)| {
        if line.starts_with("link_port") { format!("link_port = {}", n + 1) } else { line.to_owned() }
    };
    let text = text.lines().enumerate().map(nobodys).collect::<Vec<_>>();
    std::fs::write(&unready, text.join("\n")).expect("ours");
    let mut killed = proxies.start(&unready, &["--takeover"]);
    let mut waits = proxies.stage.dir.join("proxy/run");
    waits.push(format!("proxy.{}.sock", killed.id()));
    until("its socket", || {
        assert!(killed.try_wait().expect("its state").is_none(), "it has ended");
        waits.exists()
    });
    killed.kill().expect("ours");
    ended(&mut killed);
    more();
    let mut without = proxies.start(&unready, &["--takeover"]);
    assert_eq!(ended(&mut without).code(), Some(1));
    assert_eq!(proxies.logged("which goes on: it knows of term 1"), 1);
    more();
    // A third, while the first still drains.
    let mut third = proxies.take_over();
    more();
    until("the sum", || metrics(metrics_port).contains("dauphin_proxy_former_clients{cluster=\"lab\"} 3"));

    let newer = runtime.block_on(async {
        assert_eq!(one(&idle, "SHOW application_name").await, "idle");
        one(&busy, "INSERT INTO t VALUES (1); COMMIT").await;
        assert_eq!(one(&listening, "SELECT i FROM mine").await, "7");
        // A cancel request comes to the third, and concerns a client of the first.
        let asleep = async { idle.simple_query("SELECT pg_sleep(60)").await.map(drop) };
        let cancel = async {
            let running =
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
            while one(&listening, running).await != "1" {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            idle.cancel_token().cancel_query(NoTls).await.expect("taken");
        };
        let both = async { tokio::join!(asleep, cancel).0 };
        let error = tokio::time::timeout(WAIT_MAX, both).await.expect("cancelled").expect_err("cancelled");
        assert_eq!(error.code().map(tokio_postgres::error::SqlState::code), Some("57014"));
        one(&idle, "SELECT 1").await;
        proxies.connect().await
    });
    end.store(true, Ordering::Relaxed);
    runtime.block_on(async {
        for comer in comers {
            comer.await.expect("no error");
        }
        let rows = one(&newer, "SELECT count(*) FROM t WHERE i = 0").await;
        assert_eq!(rows, done.load(Ordering::Relaxed).to_string());
        assert_eq!(one(&newer, "SELECT count(*) FROM t WHERE i = 1").await, "2");
    });
    // The first goes once its clients have gone, the second with it.
    drop((idle, busy, listening));
    assert!(ended(&mut second).success());
    until("both have drained", || proxies.logged("drained: ") == 2);
    assert_eq!(proxies.logged(" were ended at the limit"), 2);
    assert_eq!(proxies.logged(", 0 were ended at the limit"), 2);
    until("no more former clients", || {
        metrics(metrics_port).contains("dauphin_proxy_former_clients{cluster=\"lab\"} 0")
    });
    // A limit that is read again while clients are waited for.
    let mut fourth = proxies.take_over();
    edit(&proxies.config(), "[proxy]\n", "[proxy]\ndrain_limit = \"1s\"\n");
    let third_pid = rustix::process::Pid::from_child(&third);
    rustix::process::kill_process(third_pid, rustix::process::Signal::HUP).expect("it runs");
    assert!(ended(&mut third).success());
    assert_eq!(proxies.logged(", 1 were ended at the limit, 0 of them in a transaction"), 1);
    until("its end is told", || newer.is_closed());
    assert_eq!(stage.sql(stage.write_port(), "SELECT 1"), "1");
    let fourth_pid = rustix::process::Pid::from_child(&fourth);
    rustix::process::kill_process(fourth_pid, rustix::process::Signal::TERM).expect("it runs");
    assert!(ended(&mut fourth).success());
    assert!(!stage.dir.join("proxy/run/proxy.sock").exists(), "it leaves nothing behind");
    stage.down_after(&[EXPECTED, &[NOT_TAKEN]].concat());
}
