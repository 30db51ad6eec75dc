//! Provision, replicate, restart, hand over, TLS.

use crate::run::{LIMIT, until};
use crate::stage::{Member, PASSWORD, Stage};
use dauphin_engine::mysql::{
    Acknowledges, Check, Error, Flavour, Refusal, Settings, SourceTls, StopMode, Thread, Tls, Writes,
};
use dauphin_model::Held;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use std::path::Path;

pub async fn a_new_member_is_whole_closed_and_keeps_secrets(stage: &Stage) {
    let one = stage.leader("m1").await;
    let again = one.sql.initialize(&Stage::credentials()).await;
    assert!(matches!(again, Err(Error::Refused(Refusal::NotEmpty { .. }))), "{again:?}");
    let second_start = one.sql.prepare_start().await;
    assert!(matches!(second_start, Err(Error::Running { .. })), "{second_start:?}");
    let two = stage.member("m2").await;
    let view = two.look().await;
    let closed = if stage.flavour() == Flavour::Mysql { Writes::Closed } else { Writes::Administrators };
    assert_eq!(view.writes, closed);
    assert!(view.executed.is_empty(), "nothing of the making is in the log: {}", view.executed);
    assert!(view.channels.is_empty() && view.version.flavour == stage.flavour());
    // a MariaDB that starts removes what others have in a folder for temporary files that they share
    let (ours, theirs) = (tmp_dir(&one).await, tmp_dir(&two).await);
    assert!(ours != theirs && Path::new(&ours).starts_with(&one.sql.instance.member_dir), "{ours} {theirs}");
    // nobody comes in without a password but the system user and root
    for user in ["root", "", "dauphin_replication", "dauphin_monitor", "mysql.session"] {
        assert!(two.connect(user, None).await.is_err(), "{user:?}");
    }
    assert!(two.connect("dauphin_replication", Some(PASSWORD)).await.is_ok());
    // its right does not pass super_read_only, and a client's would not pass read_only
    two.follow(&one).await;
    two.executes(&one.look().await.executed).await;
    let refused = two.insert(1).await.expect_err("it is closed").to_string();
    assert!(refused.contains("1290"), "{refused}");
    // the password went into the server and is in nothing that anybody reads
    let mut looked = 0;
    for file in [two.sql.instance.config_path(), two.sql.instance.log_path(), two.sql.instance.stderr_path()] {
        looked += reveals_nothing(&file);
    }
    for entry in std::fs::read_dir(&two.sql.instance.data_dir).unwrap().flatten() {
        // MariaDB keeps it in master.info, for its own system user; MySQL in a table
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".log") || name.starts_with("binlog.") {
            looked += reveals_nothing(&entry.path());
        }
    }
    assert!(looked > 3, "{looked} files; the log of statements is one of them");
    assert!(!two.sql.instance.member_dir.join("accounts.sql").exists());
}

async fn tmp_dir(member: &Member) -> String {
    member.root().await.query_first("SELECT @@GLOBAL.tmpdir").await.unwrap().unwrap()
}

pub fn reveals_nothing(path: &Path) -> usize {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    for word in ["ica \"tion", "ica \\\"tion", "re''pl", "co''py", "\"all"] {
        assert!(!text.contains(word), "{} holds the password", path.display());
    }
    usize::from(!bytes.is_empty())
}

pub async fn members_made_apart_replicate_and_start_closed(stage: &Stage) {
    let one = stage.leader("m1").await;
    let mut two = stage.member("m2").await;
    assert_ne!(one.look().await.server_id, two.look().await.server_id);
    two.follow(&one).await;
    for n in 0..20 {
        one.insert(n).await.unwrap();
    }
    let reached = one.look().await.executed;
    two.executes(&reached).await;
    assert_eq!(two.rows().await, 20);
    let view = two.look().await;
    let channel = &view.channels[0];
    assert_eq!((channel.receiver, channel.applier), (Thread::Running, Thread::Running));
    assert!(channel.by_gtid && channel.receiver_fault.is_none() && channel.seconds_behind.is_some(), "{channel:?}");
    assert_eq!((channel.port, channel.source_id), (one.sql.instance.port, one.look().await.server_id));
    assert_eq!(view.reached(), Some(reached.clone()));
    // an orderly stop and a kill: both times it comes up closed, with replication stopped, and goes on where it was
    for (n, mode) in [(20, StopMode::Orderly), (21, StopMode::Kill)] {
        assert_eq!(two.stop(mode).await, mode);
        one.insert(n).await.unwrap();
        two.start().await;
        let view = two.look().await;
        assert_ne!(view.writes, Writes::Open);
        assert_eq!((view.channels[0].receiver, view.channels[0].applier), (Thread::Stopped, Thread::Stopped));
        assert!(two.insert(100).await.is_err());
        two.follow(&one).await;
        two.executes(&one.look().await.executed).await;
        assert_eq!(two.rows().await, i64::from(n) + 1);
    }
    // a source that is gone is told with its number
    let mut one = one;
    one.stop(StopMode::Kill).await;
    until("the receiver's error", async || two.look().await.channels[0].receiver_fault.is_some()).await;
    let view = two.look().await;
    assert_eq!(view.channels[0].receiver, Thread::Connecting);
    let fault = view.channels[0].receiver_fault.clone().unwrap();
    assert!([2003, 2013, 2002].contains(&fault.number), "{fault}");
    // one that only tries to connect is stopped too
    let frozen = two.sql.freeze(LIMIT).await.unwrap();
    assert_eq!(two.look().await.channels[0].receiver, Thread::Stopped);
    assert!(frozen.holds(&reached));
}

pub async fn leadership_goes_over_and_comes_back(stage: &Stage) {
    let (one, two) = (stage.leader("m1").await, stage.member("m2").await);
    two.follow(&one).await;
    let mut rows = 0;
    let (mut leader, mut replica) = (&one, &two);
    for _ in 0..3 {
        for _ in 0..10 {
            leader.insert(rows).await.unwrap();
            rows += 1;
        }
        let mut idle = leader.app().await;
        idle.query_drop("BEGIN").await.unwrap();
        let end = leader.sql.demote(LIMIT).await.unwrap();
        assert!(idle.query_drop("SELECT 1").await.is_err(), "its session was ended");
        assert!(leader.insert(rows).await.is_err());
        replica.executes(&end).await;
        let promoted = replica.sql.promote(LIMIT).await.unwrap();
        assert_eq!(promoted, end);
        assert!(replica.insert(rows).await.is_err(), "promoted, and closed until it is opened");
        assert!(replica.look().await.channels.is_empty());
        replica.sql.open_writes().await.unwrap();
        leader.follow(replica).await;
        replica.insert(rows).await.unwrap();
        rows += 1;
        (leader, replica) = (replica, leader);
        replica.executes(&leader.look().await.executed).await;
        assert_eq!((one.rows().await, two.rows().await), (i64::from(rows), i64::from(rows)));
    }
    let (one, two) = (one.look().await, two.look().await);
    assert_eq!(one.executed, two.executed);
    if let (Some(a), Some(b)) = (&one.state, &two.state) {
        assert!(a.errant(b, one.server_id).is_empty() && b.errant(a, two.server_id).is_empty(), "{a} {b}");
    }
}

pub async fn tls_is_kept_and_checked(stage: &Stage) {
    let files = Certificates::new(stage.dir.path());
    let with_tls = |name: &str| Settings { tls: Some(files.tls()), require_tls: true, ..Stage::settings(name, &[]) };
    let mut members = Vec::new();
    for name in ["m1", "m2", "m3"] {
        let mut member = stage.blank(name, with_tls(name));
        member.sql.initialize(&Stage::credentials()).await.unwrap();
        member.start().await;
        members.push(member);
    }
    let [one, two, three] = &members[..] else { panic!("three members") };
    one.sql.open_writes().await.unwrap();
    one.root().await.query_drop("CREATE DATABASE d1").await.unwrap();
    let tls = |ca: &Path, check| Some(SourceTls { ca: ca.to_owned(), check });
    let follow = async |member: &Member, leader: &Member, ca: &Path, check| {
        member.sql.follow(&leader.source(tls(ca, check)), Acknowledges::Yes, LIMIT).await
    };
    follow(two, one, &files.ca, Check::Host).await.unwrap();
    two.executes(&one.look().await.executed).await;
    assert!(two.look().await.channels[0].tls);
    // pointed elsewhere, with the same TLS
    follow(three, one, &files.ca, Check::Host).await.unwrap();
    one.root().await.query_drop("CREATE DATABASE d2").await.unwrap();
    follow(two, three, &files.ca, Check::Host).await.unwrap();
    two.executes(&one.look().await.executed).await;
    assert!(two.look().await.channels[0].tls, "a repoint keeps it");
    // a CA that did not sign the source's certificate
    let check = if stage.flavour() == Flavour::Mysql { Check::Authority } else { Check::Host };
    follow(two, one, &files.other_ca, check).await.unwrap();
    until("a refusal", async || two.look().await.channels[0].receiver_fault.is_some()).await;
    let fault = two.look().await.channels[0].receiver_fault.clone().unwrap();
    assert!([2026, 2003, 2013].contains(&fault.number), "{fault}");
    // without TLS nobody comes in over TCP: no receiver and no client
    two.sql.follow(&one.source(None), Acknowledges::Yes, LIMIT).await.unwrap();
    // MariaDB says it as it says a wrong password
    let insecure = if stage.flavour() == Flavour::Mysql { "insecure transport" } else { "Access denied" };
    until("a refusal", async || {
        let fault = two.look().await.channels[0].receiver_fault.clone();
        fault.is_some_and(|fault| fault.text.contains(insecure))
    })
    .await;
    assert!(!two.look().await.channels[0].tls);
    let plain = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(one.sql.instance.port).prefer_socket(false);
    let refused = Conn::new(plain.user(Some("dauphin_replication")).pass(Some(PASSWORD))).await;
    assert!(refused.expect_err("it is in the clear").to_string().contains(insecure));
    follow(two, one, &files.ca, Check::Host).await.unwrap();
    two.executes(&one.look().await.executed).await;
    one.root().await.query_drop("CREATE DATABASE d3").await.unwrap();
    two.executes(&one.look().await.executed).await;
    let authority = follow(two, one, &files.ca, Check::Authority).await;
    match stage.flavour() {
        Flavour::Mysql => authority.unwrap(),
        Flavour::Mariadb => assert!(matches!(authority, Err(Error::Setting { .. })), "{authority:?}"),
    }
}

/// A CA, a certificate of 127.0.0.1, and another CA.
pub struct Certificates {
    pub ca: std::path::PathBuf,
    pub other_ca: std::path::PathBuf,
    cert: std::path::PathBuf,
    key: std::path::PathBuf,
}

impl Certificates {
    pub fn new(dir: &Path) -> Self {
        let authority = |name: &str| {
            let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            let key = rcgen::KeyPair::generate().unwrap();
            let cert = params.self_signed(&key).unwrap();
            (cert.pem(), rcgen::Issuer::new(params, key))
        };
        let (ca, issuer) = authority("ca");
        let (other, _) = authority("other");
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "127.0.0.1");
        let cert = params.signed_by(&key, &issuer).unwrap();
        let put = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        Self {
            ca: put("ca.pem", &ca),
            other_ca: put("other.pem", &other),
            cert: put("cert.pem", &cert.pem()),
            key: put("key.pem", &key.serialize_pem()),
        }
    }

    pub fn tls(&self) -> Tls {
        Tls { cert: self.cert.clone(), key: self.key.clone(), ca: self.ca.clone() }
    }
}
