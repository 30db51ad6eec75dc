//! What a reload changes while clients are there, and what it leaves as it was, with real servers.

mod common;

use common::bare::logged_in;
use common::{Lab, PASSWORD, Server, connect, connect_with, login, one, told};
use dauphin_model::{ClusterName, Pooling};
use dauphin_net::Peer;
use dauphin_net::ca::{CERT_FILE, Ca, KEY_FILE};
use dauphin_proxy::{Change, ClientTls, Config};
use futures_util::future::join_all;
use rustix::process;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What stands in the file: a configuration, or what is wrong with it.
type File = Arc<Mutex<Result<Config, String>>>;

fn lab(change: impl FnOnce(&mut Config)) -> (Lab, File) {
    let file: File = Arc::new(Mutex::new(Err("not written yet".into())));
    let (written, read) = (Arc::clone(&file), Arc::clone(&file));
    let reader = Arc::new(move || read.lock().expect("no panic").clone());
    let lab = Lab::start_reading(Some(reader), |config, folder| {
        config.rules.pooling = Pooling::Transaction;
        config.rules.limits.pool = 1;
        config.rules.limits.wait = Duration::from_millis(300);
        config.rules.operators.admins = vec!["app".into()];
        config.identity = folder.join("identity");
        change(config);
        *written.lock().expect("no panic") = Ok(config.clone());
    });
    (lab, file)
}

fn edit(file: &File, change: impl FnOnce(&mut Config)) {
    change(file.lock().expect("no panic").as_mut().expect("a configuration"));
}

async fn reload(lab: &Lab) -> (Vec<&'static str>, Vec<&'static str>) {
    let reloaded = lab.proxy().handle().reload().await.expect("taken over");
    let keys = |changes: Vec<Change>| changes.into_iter().map(|change| change.key).collect();
    (keys(reloaded.applied), keys(reloaded.restart))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_change_while_clients_are_there() {
    let server = Server::start(&[]);
    let (mut lab, file) = lab(|_| {});
    lab.lead("m1", &server).await;
    let (holder, other) = (lab.connect().await, lab.connect().await);
    holder.batch_execute("begin").await.expect("begun");
    assert_eq!(told(&other.simple_query("select 1").await.expect_err("one connection")).0, "57P03");
    let clients = join_all((0..3).map(|_| lab.connect())).await;
    edit(&file, |config| {
        config.rules.limits.pool = 3;
        config.rules.limits.wait = Duration::from_secs(20);
        config.shards = 7;
    });
    assert_eq!(reload(&lab).await, (vec!["wait_limit", "pool_size"], vec!["threads"]));
    let open = join_all(clients.iter().take(2).map(|client| client.batch_execute("begin"))).await;
    assert!(open.iter().all(Result::is_ok), "{open:?}");
    // Fewer again: those beyond it are closed as they become free.
    edit(&file, |config| config.rules.limits.pool = 1);
    assert_eq!(reload(&lab).await, (vec!["pool_size"], vec!["threads"]));
    for client in clients[..2].iter().chain([&holder]) {
        client.batch_execute("commit").await.expect("committed");
    }
    server.until("select count(*) from pg_stat_activity where usename = 'app'", "1");
    drop((clients, holder));
    let client = lab.connect().await;
    assert_eq!(one(&client, "select count(*)::text from pg_stat_activity where usename = 'app'").await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_console_reloads_and_is_told_what_is_wrong() {
    let server = Server::start(&[]);
    let (mut lab, file) = lab(|_| {});
    lab.lead("m1", &server).await;
    let mut config = login(lab.write_port(), "app", common::PASSWORD);
    let console = connect_with(config.dbname("dauphin")).await.expect("let in");
    let before = file.lock().expect("no panic").clone();
    *file.lock().expect("no panic") = Err("dauphin.toml:3:7: `pool_size` is 0".into());
    let (code, text) = told(&console.simple_query("RELOAD").await.expect_err("refused"));
    assert_eq!((code.as_str(), text.as_str()), ("F0000", "dauphin.toml:3:7: `pool_size` is 0"));
    *file.lock().expect("no panic") = before;
    edit(&file, |config| config.cluster = ClusterName::new("other").expect("a name"));
    let (_, text) = told(&console.simple_query("RELOAD").await.expect_err("refused"));
    assert!(text.contains("of cluster other"), "{text}");
    edit(&file, |config| config.cluster = ClusterName::new("lab").expect("a name"));
    console.simple_query("RELOAD").await.expect("nothing has changed");
    // Who is not named any more may do nothing more, on connections that are there, too.
    edit(&file, |config| config.rules.operators.admins.clear());
    assert_eq!(one(&console, "RELOAD").await, "admin_users");
    assert_eq!(told(&console.simple_query("SHOW POOLS").await.expect_err("no more")).0, "42501");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_shown_the_new_certificate() {
    let server = Server::start(&[]);
    let cluster = ClusterName::new("lab").expect("a name");
    let ca = Ca::create(&cluster).expect("a CA");
    let peer = Peer::member(&common::name("m1"));
    let mut identity = None;
    let (mut lab, _file) = lab(|config| {
        ca.issue_to(&config.identity, &peer, &["127.0.0.1".to_owned()]).expect("issued");
        let (certificate, key) = (config.identity.join(CERT_FILE), config.identity.join(KEY_FILE));
        config.tls = Some(ClientTls { certificate, key, required: false, certificates: None });
        identity = Some(config.identity.clone());
    });
    lab.lead("m1", &server).await;
    let identity = identity.expect("set");
    let first = shown_certificate(lab.write_port(), &ca);
    assert_eq!(shown_certificate(lab.write_port(), &ca), first);
    // A key that does not fit the certificate changes nothing.
    let key = std::fs::read(identity.join(KEY_FILE)).expect("readable");
    std::fs::write(identity.join(KEY_FILE), "nonsense").expect("writable");
    let refused = lab.proxy().handle().reload().await.expect_err("no key");
    assert!(refused.contains("the certificate or key for clients cannot be used"), "{refused}");
    std::fs::write(identity.join(KEY_FILE), key).expect("writable");
    assert_eq!(shown_certificate(lab.write_port(), &ca), first);
    std::fs::remove_dir_all(&identity).expect("removable");
    ca.issue_to(&identity, &peer, &["127.0.0.1".to_owned()]).expect("issued again");
    reload(&lab).await;
    assert_ne!(shown_certificate(lab.write_port(), &ca), first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_user_and_of_a_database_are_limited() {
    let server = Server::start(&[]);
    let (mut lab, file) = lab(|config| config.rules.limits.clients_user = Some(2));
    lab.lead("m1", &server).await;
    let (write, read) = (lab.write_port(), lab.read_port());
    let come = |port, user| connect(port, user, if user == "app" { PASSWORD } else { "proxy secret" });
    let refused = async |user, limit: &str| {
        let (code, text) = told(&come(write, user).await.expect_err("too many"));
        assert!(code == "53300" && text.ends_with(limit), "{code} {text}");
    };
    // Both ports together, and other users for themselves.
    let (first, _second) = (come(write, "app").await.expect("let in"), come(read, "app").await.expect("let in"));
    refused("app", "of user \"app\": clients_max_user in [proxy] is 2").await;
    let _other = come(write, "dauphin_proxy").await.expect("let in");
    // Whoever has to look into it comes in.
    let mut config = login(write, "app", PASSWORD);
    let console = connect_with(config.dbname("dauphin")).await.expect("let in");
    edit(&file, |config| {
        (config.rules.limits.clients_user, config.rules.limits.clients_database) = (None, Some(4));
    });
    let table = console.simple_query("RELOAD").await.expect("taken over");
    let changed = table.iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some((row.get(0)?, row.get(2)?, row.get(3)?)),
        _ => None,
    });
    let expected = [("clients_max_user", "", "applied"), ("clients_max_database", "4", "applied")];
    assert_eq!(changed.collect::<Vec<_>>(), expected);
    let _third = come(write, "app").await.expect("let in");
    for user in ["app", "dauphin_proxy"] {
        refused(user, "for database \"app\": clients_max_database in [proxy] is 4").await;
    }
    // Fewer than there are: they stay, and who leaves makes room only below the limit.
    edit(&file, |config| config.rules.limits.clients_database = Some(3));
    assert_eq!(reload(&lab).await.0, ["clients_max_database"]);
    assert_eq!(one(&first, "select 1::text").await, "1");
    drop(first);
    lab.until("it has left", |stats| stats.clients == 4).await;
    refused("app", "clients_max_database in [proxy] is 3").await;
    drop(_third);
    lab.until("another one has left", |stats| stats.clients == 3).await;
    come(write, "app").await.expect("let in");
}

/// How long the other side of this connection, which this process has too, may be silent before it is asked.
fn asked_after(client: &TcpStream) -> Duration {
    let (at, us) = (client.local_addr().expect("connected"), process::getpid());
    let us = process::pidfd_open(us, process::PidfdFlags::empty()).expect("we are there");
    let numbers = std::fs::read_dir("/proc/self/fd").expect("there").flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut files =
        numbers.filter_map(|number| process::pidfd_getfd(&us, number, process::PidfdGetfdFlags::empty()).ok());
    let peer_of =
        |file: &OwnedFd| rustix::net::getpeername(file).ok().flatten().and_then(|peer| SocketAddr::try_from(peer).ok());
    let theirs = files.find(|file| peer_of(file) == Some(at));
    rustix::net::sockopt::tcp_keepidle(theirs.expect("it was accepted")).expect("a connection")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_long_a_client_may_be_silent_counts_for_who_comes_next() {
    let server = Server::start(&[]);
    let (mut lab, file) = lab(|config| config.rules.limits.client_keepalive = Duration::from_secs(60));
    lab.lead("m1", &server).await;
    let before = logged_in(lab.write_port());
    assert_eq!(asked_after(&before), Duration::from_secs(24));
    edit(&file, |config| config.rules.limits.client_keepalive = Duration::from_secs(10));
    assert_eq!(reload(&lab).await, (vec!["client_keepalive"], vec![]));
    let after = logged_in(lab.write_port());
    assert_eq!(asked_after(&after), Duration::from_secs(4));
    assert_eq!(asked_after(&before), Duration::from_secs(24));
}

/// The certificate that whoever connects is shown.
fn shown_certificate(port: u16, ca: &Ca) -> Vec<u8> {
    let mut roots = rustls::RootCertStore::empty();
    let pem = ca.cert_pem();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")).expect("a CA");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("there are some")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").expect("an address");
    let mut tls = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut stream = common::raw(port);
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).expect("sent");
    let mut answer = [0; 1];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, *b"S");
    while tls.is_handshaking() {
        tls.complete_io(&mut stream).expect("a handshake");
    }
    tls.peer_certificates().and_then(|chain| chain.first()).expect("a certificate").to_vec()
}
