//! Who gets in, and what hostile bytes do: the same answers as PostgreSQL's own, and never a panic or a hang.

mod common;

use common::{Lab, PASSWORD, Server, connect, one, raw, told};
use dauphin_proxy::{ClientTls, ProxyError};
use dauphin_wire::postgres::cancel::CancelKey;
use dauphin_wire::postgres::startup::Startup;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_right_password_gets_in_and_nothing_else_does() {
    let server = Server::start(&[]);
    let mut lab = Lab::start(|_, _| {});
    lab.lead("m1", &server).await;
    let port = lab.write_port();
    let client = lab.connect().await;
    assert_eq!(one(&client, "select current_user").await, "app");
    for (user, password) in [("app", "wrong"), ("app", "proxy secret"), ("ghost", "x"), ("expired", "x"), ("app", "")] {
        let error = connect(port, user, password).await.expect_err("refused");
        let expected = format!("password authentication failed for user \"{user}\"");
        assert_eq!(told(&error), ("28P01".to_owned(), expected), "{user}");
    }
    // A new password counts at once, and the old one does no more.
    server.sql("alter role app password 'changed'");
    assert_eq!(told(&connect(port, "app", PASSWORD).await.expect_err("refused")).0, "28P01");
    connect(port, "app", "changed").await.expect("let in");
}

fn psql(target: &str, password: &str, sql: &str) -> (bool, String) {
    let output = Command::new(common::bin().join("psql"))
        .args(["-X", "-A", "-t", "-d", target, "-c", sql])
        .env("PGPASSWORD", password)
        .output()
        .expect("psql runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).trim().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_gets_in_with_and_without_tls() {
    let server = Server::start(&[]);
    let mut plain = Lab::start(|_, _| {});
    plain.lead("m1", &server).await;
    let target =
        |lab: &Lab, mode: &str| format!("host=127.0.0.1 port={} user=app dbname=app sslmode={mode}", lab.write_port());
    for mode in ["disable", "prefer"] {
        assert_eq!(psql(&target(&plain, mode), PASSWORD, "select 1"), (true, "1".into()), "{mode}");
    }
    assert!(!psql(&target(&plain, "require"), PASSWORD, "select 1").0);

    let mut tls = Lab::start(|config, folder| {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&certificate, made.cert.pem()).expect("writable");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("writable");
        config.tls = Some(ClientTls { certificate, key, required: true, certificates: None });
    });
    tls.lead("m1", &server).await;
    for mode in ["require", "prefer"] {
        let all = "select count(*), length(string_agg(n::text, '')) from generate_series(1, 100000) n";
        assert_eq!(psql(&target(&tls, mode), PASSWORD, all), (true, "100000|488895".into()), "{mode}");
        let many = psql(&target(&tls, mode), PASSWORD, "select repeat('x', 1000) from generate_series(1, 2000)");
        assert_eq!((many.0, many.1.len()), (true, 2000 * 1001 - 1), "{mode}");
    }
    let (entered, text) = psql(&target(&tls, "disable"), PASSWORD, "select 1");
    assert!(!entered && text.contains("takes TLS connections only: sslmode=require"), "{text}");
}

/// Everything that comes back until the proxy closes.
fn exchange(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = raw(port);
    // The proxy may close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Startup { minor: 0, parameters, options: Vec::new() }.encode()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_make_no_sense_end_the_connection_and_harm_nobody() {
    let server = Server::start(&[]);
    let mut lab = Lab::start(|config, _| config.rules.limits.handshake = Duration::from_millis(500));
    lab.lead("m1", &server).await;
    let client = lab.connect().await;
    let port = lab.write_port();
    let app = startup(&[("user", "app")]);
    let tls = [0, 0, 0, 8, 4, 210, 22, 47];
    let hostile: [Vec<u8>; 10] = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 64],
        vec![0xff; 64],
        [&tls[..], &tls[..], &tls[..]].concat(),
        [&app[..], &app[..]].concat(),
        [&app[..], b"Q\0\0\0\x0dselect 1\0"].concat(),
        [&app[..], b"p\xff\xff\xff\xff"].concat(),
        [&app[..], b"p\0\0\0\x04"].concat(),
        [&app[..], b"p\0\0\0\x2aSCRAM-SHA-256\0\0\0\0\x14p=tls-unique,,n=,r=x"].concat(),
        CancelKey::new(1, &[2; 4]).expect("short").request(),
    ];
    for bytes in hostile {
        let before = Instant::now();
        let answer = exchange(port, &bytes);
        assert!(before.elapsed() < Duration::from_secs(5), "{bytes:?}");
        assert!(!answer.windows(2).any(|pair| pair == b"Z\0"), "{bytes:?} got in: {answer:?}");
    }
    let before = Instant::now();
    assert_eq!(exchange(port, &[]).len(), 0);
    assert!(before.elapsed() >= Duration::from_millis(500), "silence is given its time and no more");
    assert_eq!(one(&client, "select 1").await, "1");
    lab.until("all have left", |stats| stats.clients == 1 && stats.logging_in == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_clients_are_told_so() {
    let server = Server::start(&[]);
    let mut lab = Lab::start(|config, _| config.rules.limits.clients = 1);
    lab.lead("m1", &server).await;
    let client = lab.connect().await;
    assert_eq!(told(&connect(lab.write_port(), "app", PASSWORD).await.expect_err("too many")).0, "53300");
    drop(client);
    lab.until("the first has left", |stats| stats.clients == 0).await;
    lab.connect().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_breaks_off_leaves_no_session_on_the_server() {
    let server = Server::start(&[]);
    let mut lab = Lab::start(|_, _| {});
    lab.lead("m1", &server).await;
    let client = lab.connect().await;
    client.batch_execute("begin").await.expect("begun");
    drop(client);
    server.until("select count(*) from pg_stat_activity where usename = 'app'", "0");
    lab.until("the client has left", |stats| stats.clients == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replication_connections_pass() {
    let server = Server::start(&["wal_level=replica"]);
    server.sql("alter role app replication");
    let mut lab = Lab::start(|_, _| {});
    lab.lead("m1", &server).await;
    let target = format!("host=127.0.0.1 port={} user=app dbname=app replication=database", lab.write_port());
    let (entered, text) = psql(&target, PASSWORD, "IDENTIFY_SYSTEM");
    assert!(entered && text.ends_with("|app"), "{text}");
}

#[test]
fn a_password_file_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = common::config(folder.path());
    std::fs::set_permissions(&config.password_file, std::fs::Permissions::from_mode(0o644)).expect("ours");
    let (_heard, receiver) = tokio::sync::mpsc::channel(1);
    let refused = dauphin_proxy::Proxy::start(&config, receiver, None).err().expect("refused");
    assert!(matches!(refused, ProxyError::Permissions { .. }) && refused.to_string().ends_with("chmod 600 it"));
}
