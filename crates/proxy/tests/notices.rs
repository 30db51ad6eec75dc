//! What a client that waits for a server is told while it waits, with real servers: for what and until when, once, and between
//! messages.

mod common;

use common::bare::{log_in_whole, startup};
use common::{Lab, PASSWORD, Server, connect_with, login, one, raw, told};
use dauphin_model::{Fence, Pooling, RouteState, Term};
use dauphin_proxy::Config;
use dauphin_wire::postgres::message::Report;
use futures_util::{StreamExt, stream};
use rustix::process::Signal;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_postgres::error::DbError;
use tokio_postgres::{AsyncMessage, Client, NoTls};

fn lab(pooling: Pooling, change: impl FnOnce(&mut Config)) -> Lab {
    Lab::start(|config, _| {
        config.rules.pooling = pooling;
        config.rules.limits.pool = 1;
        config.rules.limits.wait = Duration::from_secs(60);
        config.rules.limits.notice = Duration::from_millis(100);
        config.rules.operators.admins = vec!["app".into()];
        change(config);
    })
}

/// A client, and the notices that it is told; what servers warn of is not among them.
async fn listening(lab: &Lab) -> (Client, UnboundedReceiver<DbError>) {
    let config = login(lab.write_port(), "app", PASSWORD);
    let (client, mut connection) = config.connect(NoTls).await.expect("let in");
    let (told, notices) = unbounded_channel();
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(|cx| connection.poll_message(cx));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notice(notice) = message
                && notice.severity() == "NOTICE"
            {
                // The test may have seen enough.
                let _ = told.send(notice);
            }
        }
    });
    (client, notices)
}

async fn next(notices: &mut UnboundedReceiver<DbError>) -> DbError {
    let soon = tokio::time::timeout(Duration::from_secs(30), notices.recv());
    soon.await.expect("a notice in time").expect("the client is there")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_connection_is_told_so_once() {
    let server = Server::start(&[]);
    let mut lab = lab(Pooling::Transaction, |_| {});
    lab.lead("m1", &server).await;
    let holder = lab.connect().await;
    let (quiet, mut unheard) = listening(&lab).await;
    let (loud, mut heard) = listening(&lab).await;
    one(&quiet, "set client_min_messages = warning").await;
    let statement = loud.prepare("select 7").await.expect("prepared");
    holder.batch_execute("begin").await.expect("begun");
    let silently = tokio::spawn(async move { one(&quiet, "select 5::text").await });
    lab.until("it waits", |stats| stats.held == 1).await;
    let loudly = tokio::spawn(async move {
        let seven: i32 = loud.query_one(&statement, &[]).await.expect("answered").get(0);
        (seven, loud)
    });
    let notice = next(&mut heard).await;
    assert_eq!((notice.severity(), notice.code().code()), ("NOTICE", "00000"));
    assert_eq!(notice.message(), "waiting for a server: all 1 connections to m1 are in use");
    let detail = notice.detail().expect("one");
    assert!(detail.contains("UTC at most (wait_limit)") && detail.contains("57P03"), "{detail}");
    holder.batch_execute("commit").await.expect("committed");
    assert_eq!(silently.await.expect("no panic"), "5");
    let (seven, loud) = loudly.await.expect("no panic");
    // What is between two statements is told before the second one's answer.
    assert_eq!((seven, one(&loud, "select 8::text").await.as_str()), (7, "8"));
    assert!(heard.try_recv().is_err() && unheard.try_recv().is_err(), "once, and not to who hides notices");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_while_no_leader_takes_it_is_told_behind_its_password() {
    let server = Server::start(&[]);
    for pooling in [Pooling::Transaction, Pooling::Session] {
        let mut lab = lab(pooling, |_| {});
        lab.lead("m1", &server).await;
        lab.route(|route| route.draining = true).await;
        let port = lab.write_port();
        let (came, mut tags) = unbounded_channel();
        let told = tokio::task::spawn_blocking(move || {
            log_in_whole(&mut raw(port), &startup(0, &[]), |tag| came.send(tag).expect("the test waits"))
        });
        while tags.recv().await.expect("told so") != b'N' {}
        lab.route(|route| route.draining = false).await;
        let told = told.await.expect("let in");
        let tags: String = told.iter().map(|(tag, _)| char::from(*tag)).collect();
        // What SASL ends with, that it is let in, the notice, and then what is told at any login: nothing twice.
        assert!(tags.starts_with("RRNS") && tags.ends_with("SKZ"), "{tags}");
        assert_eq!(tags.matches(['R', 'N', 'K', 'Z']).count(), 5, "{tags}");
        assert_eq!(told[1].1, [0; 4]);
        let notice = Report::parse(&told[2].1).text();
        assert!(notice.contains("waiting for a server: the leader is about to change"), "{notice}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_the_next_leader_or_for_the_end_of_a_pause_is_told_so() {
    let mut first = Server::start(&["synchronous_standby_names=nobody"]);
    let second = Server::start(&[]);
    first.sql("set synchronous_commit = local; create table t (a int); grant all on t to app");
    let mut lab = lab(Pooling::Transaction, |config| config.rules.limits.pool = 4);
    lab.lead("m1", &first).await;
    lab.route(|route| route.fences = vec![Fence { term: Term(1), next_xid: 3, ..Fence::default() }]).await;
    let mut config = login(lab.write_port(), "app", PASSWORD);
    let console = connect_with(config.dbname("dauphin")).await.expect("let in");
    let (idle, mut of_idle) = listening(&lab).await;
    let (writer, mut of_writer) = listening(&lab).await;
    // A pause, which has no end.
    console.simple_query("PAUSE").await.expect("paused");
    let (answer, ()) = tokio::join!(one(&idle, "select 1::text"), async {
        let notice = next(&mut of_idle).await;
        assert_eq!(notice.message(), "waiting for a server: its database is paused");
        assert!(notice.detail().expect("one").contains("RESUME"), "{notice:?}");
        console.simple_query("RESUME").await.expect("resumed");
    });
    assert_eq!(answer, "1");
    // A COMMIT whose answer is lost with the leader, and a statement that finds none.
    writer.batch_execute("begin; insert into t values (1)").await.expect("inserted");
    let commit = tokio::spawn(async move { writer.simple_query("commit").await.map(drop) });
    first.until("select count(*) from pg_stat_activity where wait_event = 'SyncRep'", "1");
    first.stop(Signal::QUIT);
    lab.elect("m2", second.port).await;
    let asked = tokio::spawn(async move { one(&idle, "select 2::text").await });
    let (doubt, leaderless) = tokio::join!(next(&mut of_writer), next(&mut of_idle));
    let text = "waiting for a server: the answer to COMMIT was lost with the leader, and the next one is asked";
    assert_eq!(doubt.message(), text);
    assert!(doubt.detail().expect("one").contains("08007"), "{doubt:?}");
    assert_eq!(leaderless.message(), "waiting for a server: no leader is open");
    lab.route(|route| {
        route.fences.push(Fence { term: Term(2), ..Fence::default() });
        route.state = RouteState::Open;
    })
    .await;
    assert_eq!(asked.await.expect("no panic"), "2");
    assert_eq!(told(&commit.await.expect("no panic").expect_err("nobody knows")).0, "08007");
    assert!(of_idle.try_recv().is_err() && of_writer.try_recv().is_err(), "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_told_where_that_is_not_wanted() {
    let server = Server::start(&[]);
    let mut lab = lab(Pooling::Transaction, |config| {
        config.rules.limits.notice = Duration::ZERO;
        config.rules.limits.wait = Duration::from_millis(300);
    });
    lab.lead("m1", &server).await;
    let holder = lab.connect().await;
    let (client, mut notices) = listening(&lab).await;
    holder.batch_execute("begin").await.expect("begun");
    assert_eq!(told(&client.simple_query("select 1").await.expect_err("no server")).0, "57P03");
    assert!(notices.try_recv().is_err());
}
