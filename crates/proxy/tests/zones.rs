//! Which replica serves a read: near ones first, and those that are for people and analytics last, or first for who asks for them.
//! Real servers; which of several is chosen, in all its cases, is told in `choice`.

mod common;

use common::{Lab, PASSWORD, Server, connect_with, login, one, told};
use dauphin_model::{Pooling, ReadLevel, ReplicaTarget, Target};
use dauphin_proxy::{Config, Reader};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_postgres::Client;

const PEOPLE: &str = "-c dauphin.reporting=on";
const WHERE: &str = "select inet_server_port()::text";

fn replica(member: &str, server: &Server, zone: &str, reporting: bool) -> ReplicaTarget {
    let target = Target { zone: Some(zone.to_owned()), ..common::target(member, server.port) };
    ReplicaTarget { target, reporting, ..common::replica(member, server, true) }
}

async fn reader(lab: &Lab, option: &str) -> Client {
    connect_with(login(lab.read_port(), "app", PASSWORD).options(option)).await.expect("let in")
}

/// Which server a transaction that says that it only reads is on.
async fn read_only_at(client: &Client) -> String {
    one(client, "begin read only").await;
    let port = one(client, WHERE).await;
    one(client, "commit").await;
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_go_to_near_replicas_and_people_to_theirs() {
    let [leader, near, far, people] = [0; 4].map(|_| Server::start(&[]));
    let [to_leader, to_near, to_far, to_people] = [&leader, &near, &far, &people].map(|server| server.port.to_string());
    let file: Arc<Mutex<Option<Config>>> = Arc::default();
    let read = Arc::clone(&file);
    let again: Reader = Arc::new(move || read.lock().expect("no panic").clone().ok_or_else(|| "no file".to_owned()));
    let mut lab = Lab::start_reading(Some(again), |config, folder| {
        config.rules.pooling = Pooling::Transaction;
        config.rules.limits.pool = 1;
        config.shards = 1;
        config.rules.zone = Some("a".to_owned());
        config.identity = folder.join("identity");
        *file.lock().expect("no panic") = Some(config.clone());
    });
    lab.lead("m1", &leader).await;
    let all =
        vec![replica("m2", &far, "b", false), replica("m3", &near, "a", false), replica("m4", &people, "a", true)];
    lab.route(|route| route.replicas = all.clone()).await;
    let (client, other, analyst) = (reader(&lab, "").await, reader(&lab, "").await, reader(&lab, PEOPLE).await);
    assert_eq!(one(&client, WHERE).await, to_near);
    assert_eq!(one(&analyst, WHERE).await, to_people);
    // The near one has one connection for this user, and it is in use.
    one(&client, "begin").await;
    assert_eq!(one(&client, WHERE).await, to_near);
    assert_eq!(one(&other, WHERE).await, to_far);
    one(&client, "commit").await;
    // A setting like any other.
    one(&client, "set dauphin.reporting = on").await;
    assert_eq!(one(&client, WHERE).await, to_people);
    assert_eq!(one(&client, "show dauphin.reporting").await, "on");
    one(&client, "reset dauphin.reporting").await;
    assert_eq!(one(&client, WHERE).await, to_near);
    let (code, text) = told(&client.simple_query("set dauphin.reporting = perhaps").await.expect_err("refused"));
    assert!(code == "22023" && text.contains("on or off"), "{code} {text}");
    assert_eq!(told(&client.simple_query("set dauphin.read_level = any").await.expect_err("refused")).0, "22023");
    // Another zone from now on.
    file.lock().expect("no panic").as_mut().expect("written").rules.zone = Some("b".to_owned());
    lab.proxy().handle().reload().await.expect("taken over");
    // Threads take it over one after the other.
    let by = Instant::now() + Duration::from_secs(30);
    while one(&client, WHERE).await != to_far {
        assert!(Instant::now() < by, "the near one is still the other one");
    }
    // One after the other is gone: what is for people serves who is left before the leader does.
    let without = |gone: &[&str]| {
        let kept = all.iter().filter(|replica| !gone.contains(&replica.target.member.as_str()));
        kept.cloned().collect::<Vec<_>>()
    };
    lab.route(|route| route.replicas = without(&["m4"])).await;
    assert_eq!(one(&analyst, WHERE).await, to_far);
    lab.route(|route| route.replicas = without(&["m2", "m3"])).await;
    assert_eq!((one(&client, WHERE).await, one(&analyst, WHERE).await), (to_people.clone(), to_people));
    lab.route(|route| route.replicas.clear()).await;
    assert_eq!((one(&client, WHERE).await, one(&analyst, WHERE).await), (to_leader.clone(), to_leader));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_a_connection_of_its_own_says_at_login_what_it_is_for() {
    let [leader, near, people] = [0; 3].map(|_| Server::start(&[]));
    let mut lab = Lab::start(|config, _| config.rules.zone = Some("a".to_owned()));
    lab.lead("m1", &leader).await;
    let all = vec![replica("m2", &people, "a", true), replica("m3", &near, "b", false)];
    lab.route(|route| route.replicas = all).await;
    let (client, analyst) = (reader(&lab, "").await, reader(&lab, PEOPLE).await);
    assert_eq!(one(&client, WHERE).await, near.port.to_string());
    assert_eq!(one(&analyst, WHERE).await, people.port.to_string());
    let (code, text) = told(&client.simple_query("set dauphin.reporting = on").await.expect_err("refused"));
    assert!(code == "22023" && text.contains("at login"), "{code} {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_meant_for_others_serves_a_read_only_once_nothing_else_is_fresh_in_time() {
    let leader = Server::start(&[]);
    leader.sql("create table t (i int); grant all on t to app");
    let [ordinary, people] = [0; 2].map(|_| Server::replica_of(&leader, &[]));
    for follower in [&ordinary, &people] {
        follower.until("select count(*) from pg_class where relname = 't'", "1");
    }
    let mut lab = Lab::start(|config, _| {
        config.rules.pooling = Pooling::Transaction;
        config.rules.reads.level = ReadLevel::Session;
    });
    lab.lead("m1", &leader).await;
    // Nearer than the ordinary one, which counts for nothing.
    let all = vec![replica("m2", &people, "a", true), replica("m3", &ordinary, "b", false)];
    lab.route(|route| route.replicas = all).await;
    let [to_leader, to_ordinary, to_people] = [&leader, &ordinary, &people].map(|server| server.port.to_string());
    let client = lab.connect().await;
    one(&client, "set dauphin.read_wait = '20s'").await;
    let insert = async |client: &Client| one(client, "insert into t values (1)").await;
    insert(&client).await;
    assert_eq!(read_only_at(&client).await, to_ordinary);
    // Those of a role, or of a session.
    leader.sql("alter role app set dauphin.reporting = on");
    people.until("select count(*) from pg_db_role_setting", "1");
    let analyst = connect_with(login(lab.write_port(), "app", PASSWORD).options("-c geqo=on")).await.expect("let in");
    one(&analyst, "set dauphin.read_wait = '20s'").await;
    insert(&analyst).await;
    assert_eq!(read_only_at(&analyst).await, to_people);
    one(&analyst, "set dauphin.reporting = off").await;
    assert_eq!(read_only_at(&analyst).await, to_ordinary);
    one(&analyst, "set dauphin.reporting to default").await;
    one(&client, "set dauphin.reporting = off").await;
    // The ordinary one stands still: what this session has written only the other replica has, and it is asked for it in time.
    ordinary.sql("select pg_wal_replay_pause()");
    for session in [&client, &analyst] {
        one(session, "set dauphin.read_wait = '300ms'").await;
    }
    let behind = lab.proxy().stats().reads_behind;
    insert(&client).await;
    assert_eq!(read_only_at(&client).await, to_people);
    assert_eq!(lab.proxy().stats().reads_behind, behind, "a replica served it");
    // With neither it is the leader.
    people.sql("select pg_wal_replay_pause()");
    insert(&client).await;
    assert_eq!(read_only_at(&client).await, to_leader);
    // And people read from the ordinary one before that.
    ordinary.sql("select pg_wal_replay_resume()");
    insert(&analyst).await;
    assert_eq!(read_only_at(&analyst).await, to_ordinary);
}
