//! Statements that only read, sent to replicas on the write port: what a session has written it reads, whatever a replica
//! cannot do the leader does, and nothing is done twice. Real servers, with real replication.

mod common;

use common::bare::{log_in, message};
use common::{Lab, PASSWORD, Server, connect_with, login, one, replica, told};
use dauphin_model::{Fence, Lsn, Pooling, ReadLevel, Term, Timeline};
use dauphin_wire::postgres::message::put_query;
use futures_util::StreamExt;
use futures_util::future::join_all;
use rustix::process::Signal;
use std::io::Write;
use std::time::Duration;
use tokio_postgres::Client;

/// A leader and a replica, and a proxy before them.
async fn pair(level: ReadLevel, replica_settings: &[&str]) -> (Lab, Server, Server) {
    let leader = Server::start(&[]);
    leader.sql("create table t (i int); grant all on t to app");
    let follower = Server::replica_of(&leader, replica_settings);
    follower.until("select count(*) from pg_class where relname = 't'", "1");
    let mut lab = Lab::start(|config, _| {
        config.rules.pooling = Pooling::Transaction;
        config.rules.reads.level = level;
    });
    lab.lead("m1", &leader).await;
    let its = replica("m2", &follower, true);
    lab.route(|route| route.replicas = vec![its]).await;
    (lab, leader, follower)
}

async fn with_option(lab: &Lab, option: &str) -> Result<Client, tokio_postgres::Error> {
    connect_with(login(lab.write_port(), "app", PASSWORD).options(option)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_reads_what_it_wrote_from_a_replica_that_has_it() {
    let (mut lab, _leader, follower) = pair(ReadLevel::Session, &["recovery_min_apply_delay=30ms"]).await;
    let client = lab.connect().await;
    let select = client.prepare("select count(*) from t where i > $1").await.expect("prepared");
    // The replica is 30 ms behind: within the wait it answers, and later than that the leader does.
    for (wait, at_replica) in [("5s", true), ("1ms", false)] {
        one(&client, &format!("set dauphin.read_wait = '{wait}'")).await;
        one(&client, "delete from t").await;
        let before = lab.proxy().stats();
        for i in 1..=10 {
            client.execute("insert into t values ($1)", &[&i]).await.expect("inserted");
            assert_eq!(one(&client, "select max(i) from t").await, i.to_string());
            assert_eq!(client.query_one(&select, &[&0]).await.expect("read").get::<_, i64>(0), i64::from(i));
        }
        let now = lab.proxy().stats();
        let (reads, behind) = (now.reads - before.reads, now.reads_behind - before.reads_behind);
        if at_replica {
            // What comes while the driver closes a statement goes to the leader behind it.
            assert!(reads >= 10, "{now:?}");
        } else {
            assert!(behind >= 10, "{now:?}");
        }
    }
    // One that has written nothing need not wait, and what it reads may be old.
    follower.sql("select pg_wal_replay_pause()");
    one(&client, "insert into t values (99)").await;
    let other = lab.connect().await;
    let reads = lab.proxy().stats().reads;
    assert_eq!(one(&other, "select count(*) from t where i = 99").await, "0");
    assert_eq!(lab.proxy().stats().reads, reads + 1);
    assert_eq!(one(&client, "select count(*) from t where i = 99").await, "1");
    // Monotonic: never older than what was read.
    one(&other, "set dauphin.read_level = monotonic").await;
    one(&other, "begin").await;
    assert_eq!(one(&other, "select count(*) from t where i = 99").await, "1");
    one(&other, "commit").await;
    assert_eq!(one(&other, "select count(*) from t where i = 99").await, "1");
    // Nor than what the leader has shown it.
    one(&client, "insert into t values (101)").await;
    let mono = with_option(&lab, "-c dauphin.read_level=monotonic").await.expect("let in");
    let its = lab.route.replicas.clone();
    lab.route(|route| route.replicas.clear()).await;
    assert_eq!(one(&mono, "select count(*) from t where i = 101").await, "1");
    lab.route(|route| route.replicas = its).await;
    assert_eq!(one(&mono, "select count(*) from t where i = 101").await, "1");
    // Nor what it wrote before it chose.
    let late = with_option(&lab, "-c dauphin.read_level=leader").await.expect("let in");
    one(&late, "insert into t values (100)").await;
    one(&late, "set dauphin.read_level = session").await;
    assert_eq!(one(&late, "select count(*) from t where i = 100").await, "1");
    // Not older than so much.
    let bounded = with_option(&lab, "-c dauphin.read_level=bounded(50)").await.expect("let in");
    assert_eq!(one(&bounded, "select count(*) from t where i = 99").await, "1");
    follower.sql("select pg_wal_replay_resume()");
    one(&bounded, "set dauphin.read_wait = '5s'").await;
    let reads = lab.proxy().stats().reads;
    assert_eq!(one(&bounded, "select count(*) from t where i = 99").await, "1");
    assert_eq!(lab.proxy().stats().reads, reads + 1);
}

/// Where leadership began, with this log.
fn began(term: u64, timeline: u32, from: u32, begins: u64) -> Fence {
    let (timeline, from) = (Timeline(timeline), Timeline(from));
    Fence { term: Term(term), next_xid: 0, timeline, from, begins: Lsn(begins) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_session_reads_what_another_committed() {
    let (mut lab, _leader, follower) = pair(ReadLevel::Session, &[]).await;
    lab.route(|route| route.fences = vec![began(1, 1, 1, 0)]).await;
    follower.sql("select pg_wal_replay_pause()");
    let (writer, reader) = (lab.connect().await, lab.connect().await);
    one(&writer, "insert into t values (1)").await;
    let token = one(&writer, "SHOW dauphin.commit_token").await;
    // The replica stands still: who knows nothing of the writer does not see it.
    assert_eq!(one(&reader, "select count(*) from t").await, "0");
    one(&reader, &format!("set dauphin.min_token = '{token}'")).await;
    assert_eq!(one(&reader, "select count(*) from t").await, "1");
    assert_eq!(lab.proxy().stats().reads_behind, 1, "the leader served it");
    one(&reader, "set dauphin.read_wait = '10s'").await;
    let (seen, ()) = tokio::join!(one(&reader, "select count(*) from t"), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        follower.sql("select pg_wal_replay_resume()");
    });
    assert_eq!(seen, "1");
    let stats = lab.proxy().stats();
    assert_eq!((stats.reads, stats.reads_behind), (2, 1), "the replica served it once it had it: {stats:?}");
    // Under one name nobody has to carry anything.
    for client in [&writer, &reader] {
        one(client, "reset dauphin.min_token").await;
        one(client, "set dauphin.session = 'cart 7'").await;
    }
    for i in 2..20 {
        one(&writer, &format!("insert into t values ({i})")).await;
        assert_eq!(one(&reader, "select count(*) from t").await, i.to_string());
    }
    assert!(lab.proxy().stats().reads > 10, "{:?}", lab.proxy().stats());
    // Values that make no sense are refused, and change nothing.
    for wrong in ["set dauphin.min_token = '7'", "set dauphin.commit_token = 'x'"] {
        assert_eq!(told(&reader.simple_query(wrong).await.expect_err(wrong)).0, "22023");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_a_log_that_has_ended_is_not_waited_for() {
    let (mut lab, _leader, _follower) = pair(ReadLevel::Session, &[]).await;
    lab.route(|route| route.fences = vec![began(1, 1, 1, 0)]).await;
    let client = lab.connect().await;
    one(&client, "set dauphin.read_wait = '60s'").await;
    let reads = |lab: &Lab| lab.proxy().stats().reads;
    for (token, began, at_replica) in [
        ("00000001/0/1", began(1, 2, 1, 0x1_0000), true),
        ("00000001/0/10000", began(1, 2, 1, 0x1_0000), true),
        ("00000001/FFFFFFFF/0", began(1, 2, 1, 0x1_0000), false),
        ("00000009/0/1", began(1, 2, 1, 0x1_0000), false),
        ("00000002/0/1", began(0, 2, 1, 0x1_0000), false),
    ] {
        lab.route(|route| route.fences = vec![began]).await;
        one(&client, &format!("set dauphin.min_token = '{token}'")).await;
        let before = reads(&lab);
        assert_eq!(one(&client, "select count(*) from t").await, "0");
        assert_eq!(reads(&lab) - before, u64::from(at_replica), "{token}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replica_refuses_the_leader_does_once() {
    let (lab, leader, follower) = pair(ReadLevel::Any, &[]).await;
    leader.sql(
        "create function note(n int) returns int language plpgsql as $$ begin insert into t values (n); return n; end $$;\n\
         create view noting as select note(7) as n; grant all on noting to app",
    );
    follower.until("select count(*) from pg_class where relname = 'noting'", "1");
    let client = lab.connect().await;
    let before = lab.proxy().stats();
    assert_eq!(one(&client, "select n from noting").await, "7");
    let statement = client.prepare("select n from noting").await.expect("prepared");
    for _ in 0..2 {
        assert_eq!(client.query_one(&statement, &[]).await.expect("runs").get::<_, i32>(0), 7);
    }
    // Prepared and run in one round, under a name of its own.
    assert_eq!(client.query_typed("select n from noting", &[]).await.expect("runs").len(), 1);
    assert_eq!(leader.sql("select count(*) from t"), "4");
    let now = lab.proxy().stats();
    assert_eq!((now.reads_again - before.reads_again, now.reads - before.reads), (4, 0), "{now:?}");
    // Not on a standby, whatever it looks like.
    leader.sql("create unlogged table u (i int); insert into u values (1); grant all on u to app");
    follower.until("select count(*) from pg_class where relname = 'u'", "1");
    assert_eq!(one(&client, "select count(*) from u").await, "1");
    one(&client, "set default_transaction_isolation = 'serializable'").await;
    assert_eq!(one(&client, "select count(*) from u").await, "1");
    one(&client, "reset default_transaction_isolation").await;
    // Prepared without a name in one round, and run in another.
    assert_eq!(client.query_typed("select count(*) from u", &[]).await.expect("runs").len(), 1);
    // What is wrong on either is told as it is, and a name that was taken stays free.
    let (code, _) = told(&client.simple_query("select no_such from t").await.expect_err("refused"));
    assert_eq!(code, "42703");
    assert_eq!(one(&client, "select count(*) from t").await, "4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_says_that_it_only_reads_runs_on_a_replica() {
    let (lab, leader, mut follower) = pair(ReadLevel::Session, &[]).await;
    let mut client = lab.connect().await;
    one(&client, "set dauphin.read_wait = '10s'").await;
    let at = "select inet_server_port()";
    let (leads, follows) = (leader.port.to_string(), follower.port.to_string());
    // Simple, and what it wrote before it sees.
    for i in 1..=5 {
        one(&client, &format!("insert into t values ({i})")).await;
        one(&client, "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").await;
        assert_eq!(one(&client, at).await, follows);
        assert_eq!(one(&client, "select count(*) from t").await, i.to_string());
        assert_eq!(told(&client.simple_query("insert into t values (0)").await.expect_err("refused")).0, "25006");
        assert_eq!(told(&client.simple_query(at).await.expect_err("aborted")).0, "25P02");
        one(&client, "ROLLBACK").await;
        assert_eq!(one(&client, at).await, leads);
    }
    // What is sent behind its end in one go is not the replica's.
    let go = [
        client.simple_query("begin read only"),
        client.simple_query(at),
        client.simple_query("commit"),
        client.simple_query("insert into t values (6)"),
        client.simple_query("select count(*) from t"),
    ];
    for done in join_all(go).await {
        done.expect("all of it runs");
    }
    assert_eq!(leader.sql("select count(*) from t"), "6");
    // The extended protocol, with statements prepared elsewhere, and settings that stay.
    let count = client.prepare("select count(*) from t where i > $1").await.expect("prepared");
    let transaction = client.build_transaction().read_only(true).start().await.expect("begins");
    for _ in 0..3 {
        assert_eq!(transaction.query_one(&count, &[&0]).await.expect("read").get::<_, i64>(0), 6);
    }
    transaction.batch_execute("set statement_timeout = '77s'").await.expect("set");
    assert_eq!(transaction.query_one(at, &[]).await.expect("read").get::<_, i32>(0), i32::from(follower.port));
    transaction.commit().await.expect("ends");
    assert_eq!(one(&client, "show statement_timeout").await, "77s");
    let other = lab.connect().await;
    one(&other, "begin read only").await;
    assert_eq!((one(&other, at).await, one(&other, "show statement_timeout").await), (follows, "0".to_owned()));
    one(&other, "commit").await;
    // What a standby cannot do the leader does, and what would be missed is told.
    one(&client, "begin isolation level serializable read only").await;
    assert_eq!(one(&client, at).await, leads);
    one(&client, "commit").await;
    one(&other, "begin read only").await;
    one(&other, "declare c cursor with hold for select 1").await;
    let error = other.simple_query("commit").await.map(drop).and(other.simple_query(at).await.map(drop));
    error.expect_err("its cursor is gone, and so is the connection");
    // A replica that is lost costs the transaction, not the connection.
    one(&client, "begin read only").await;
    one(&client, at).await;
    follower.stop(Signal::QUIT);
    assert_eq!(told(&client.simple_query(at).await.expect_err("lost")).0, "40001");
    assert_eq!(told(&client.simple_query(at).await.expect_err("lost")).0, "25P02");
    one(&client, "rollback").await;
    assert_eq!(one(&client, at).await, leads);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_lost_behind_the_first_row_costs_the_statement() {
    let (lab, _leader, mut follower) = pair(ReadLevel::Any, &[]).await;
    let client = lab.connect().await;
    let rows = "select i, repeat('x', 1000) from generate_series(1, 1000000) i";
    let read = client.simple_query_raw(rows).await.expect("runs");
    let mut read = std::pin::pin!(read);
    read.next().await.expect("something").expect("a row");
    follower.stop(Signal::QUIT);
    let end = loop {
        match read.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break told(&error).0,
            None => panic!("it ends as if it were whole"),
        }
    };
    // With half a row shown there is no way to go on, and the connection ends.
    if end == "40001" {
        assert_eq!(one(&client, "select 1").await, "1");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_dies_or_stands_still_costs_a_wait() {
    let (mut lab, leader, mut follower) = pair(ReadLevel::Any, &[]).await;
    let client = lab.connect().await;
    assert_eq!(one(&client, "select 1").await, "1");
    let slow = "select count(*) from generate_series(1, 10000000)";
    let killed = async {
        let runs = "select count(*) from pg_stat_activity where state = 'active' and usename = 'app'";
        follower.until(runs, "1");
        follower.stop(Signal::QUIT);
    };
    let (counted, ()) = tokio::join!(one(&client, slow), killed);
    assert_eq!(counted, "10000000");
    assert!(lab.proxy().stats().reads_again >= 1, "{:?}", lab.proxy().stats());
    // It is gone, and nobody has said so yet.
    assert_eq!(one(&client, "select 2").await, "2");
    // One that says nothing: once it is not usable any more the leader serves what it did not, and it is told to stop.
    let still = Server::replica_of(&leader, &[]);
    leader.sql(
        "create function there() returns int language plpgsql stable as $$ begin\n\
         if pg_is_in_recovery() then perform pg_sleep(300); end if; return 4; end $$;\n\
         create view slow_there as select there() as n; grant all on slow_there to app",
    );
    still.until("select count(*) from pg_class where relname = 'slow_there'", "1");
    let its = replica("m3", &still, true);
    lab.route(|route| route.replicas = vec![its]).await;
    assert_eq!(one(&client, "select 3").await, "3");
    let runs = "select count(*) from pg_stat_activity where state = 'active' and usename = 'app'";
    let known = async {
        still.until(runs, "1");
        lab.route(|route| route.replicas.clear()).await;
    };
    let (answer, ()) = tokio::join!(one(&client, "select n from slow_there"), known);
    assert_eq!(answer, "4");
    still.until(runs, "0");
}

/// Drivers ask for a server that takes writes: whichever of its servers answered last, the write port is one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_in_is_told_of_the_leader() {
    let (lab, _leader, _follower) = pair(ReadLevel::Any, &[]).await;
    for n in 0..4 {
        let (mut client, told) = log_in(lab.write_port());
        assert_eq!(told.get("in_hot_standby").map(String::as_str), Some("off"));
        for sql in ["set dauphin.read_wait = '5s'", "select 1"] {
            let mut query = Vec::new();
            put_query(&mut query, sql);
            for _ in 0..2 {
                client.write_all(&query).expect("sent");
                loop {
                    match message(&mut client) {
                        (b'Z', _) => break,
                        (tag, body) => assert_ne!(tag, b'S', "{:?}", String::from_utf8_lossy(&body)),
                    }
                }
            }
        }
        assert_eq!(lab.proxy().stats().reads, 2 * (n + 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_a_session_reads_is_a_setting_like_others() {
    let (lab, leader, _follower) = pair(ReadLevel::Leader, &[]).await;
    let client = lab.connect().await;
    let reads = || lab.proxy().stats().reads;
    one(&client, "set dauphin.read_wait = '5s'").await;
    one(&client, "select 1").await;
    assert_eq!(reads(), 0);
    for (sql, code, word) in [
        ("set dauphin.read_level = stricter", "22023", "session, monotonic"),
        ("set dauphin.read_level to 'never'", "22023", "session, monotonic"),
        ("set dauphin.read_wait = '1h'", "22023", "at most 60 s"),
        ("set dauphin.sessions = 'a'", "22023", "dauphin.read_level"),
    ] {
        let (its, text) = told(&client.simple_query(sql).await.expect_err("refused"));
        assert!(its == code && text.contains(word), "{sql}: {its} {text}");
    }
    one(&client, "begin").await;
    one(&client, "set dauphin.read_level = any").await;
    one(&client, "rollback").await;
    one(&client, "select 1").await;
    assert_eq!(reads(), 0, "it was rolled back");
    one(&client, "SET SESSION dauphin.read_level TO bounded(60000);").await;
    assert_eq!(one(&client, "show dauphin.read_level").await, "bounded(60000)");
    one(&client, "select 1").await;
    assert_eq!(reads(), 1);
    one(&client, "reset dauphin.read_level").await;
    one(&client, "select 1").await;
    assert_eq!(reads(), 1);
    let any = with_option(&lab, "-c dauphin.read_level=any").await.expect("let in");
    one(&any, "select 1").await;
    assert_eq!(reads(), 2);
    one(&any, "set dauphin.read_level = leader").await;
    one(&any, "select 1").await;
    one(&any, "discard all").await;
    one(&any, "select 1").await;
    assert_eq!(reads(), 3, "as it was at login");
    // What a role or a database has set for itself counts where a session says nothing.
    leader.sql("alter role app set dauphin.read_level = 'any'");
    let its = connect_with(login(lab.write_port(), "app", PASSWORD).options("-c geqo=on")).await.expect("let in");
    let before = reads();
    one(&its, "select 1").await;
    assert_eq!(reads(), before + 1);
    one(&its, "set dauphin.read_level = leader").await;
    one(&its, "select 1").await;
    assert_eq!(reads(), before + 1);
    let error = with_option(&lab, "-c dauphin.read_level=never").await.expect_err("refused");
    assert_eq!(told(&error).0, "22023", "{error}");
}
