//! What clients see when the leader changes, with real servers: idle sessions go on, others end with an error that is
//! true, and nothing is acknowledged that may be lost.

mod common;

use common::{Lab, PASSWORD, Server, connect, connect_with, name, one, replica, told};
use dauphin_model::RouteState;
use rustix::process::Signal;
use std::time::{Duration, Instant};

const WHERE: &str = "select inet_server_port()::text";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_session_goes_on_with_the_next_leader() {
    let (mut one_server, two) = (Server::start(&[]), Server::start(&[]));
    let mut lab = Lab::start(|_, _| {});
    lab.lead("m1", &one_server).await;
    let client = lab.connect().await;
    client.batch_execute("set statement_timeout = '7s'").await.expect("set");
    client.batch_execute("set TimeZone = 'Asia/Tokyo'").await.expect("set");
    client.batch_execute("begin; set local work_mem = '1MB'; commit").await.expect("set");
    let statement = client.prepare("select $1::int + 1, inet_server_port()").await.expect("prepared");
    assert_eq!(one(&client, WHERE).await, one_server.port.to_string());

    one_server.stop(Signal::QUIT);
    lab.until("the session notices", |stats| stats.clients == 1).await;
    lab.elect("m2", two.port).await;
    let late = tokio::spawn(async move {
        // Asked while no leader is open: held, then answered.
        let row = client.query_one(&statement, &[&41_i32]).await.expect("the prepared statement survives");
        ((row.get::<_, i32>(0), row.get::<_, i32>(1)), client)
    });
    lab.until("the statement is held", |stats| stats.held == 1).await;
    lab.route(|route| route.state = RouteState::Open).await;
    let ((sum, port), client) = late.await.expect("no panic");
    assert_eq!((sum, port), (42, i32::from(two.port)));
    assert_eq!(one(&client, "show statement_timeout").await, "7s");
    assert_eq!(one(&client, "show TimeZone").await, "Asia/Tokyo");
    assert_eq!(lab.proxy().stats().reattached, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_with_state_that_cannot_move_is_told_so() {
    let (one_server, two) = (Server::start(&[]), Server::start(&[]));
    let mut lab = Lab::start(|_, _| {});
    lab.lead("m1", &one_server).await;
    let pinned = lab.connect().await;
    pinned.batch_execute("create temp table t (a int)").await.expect("created");
    let washed = lab.connect().await;
    washed.batch_execute("listen x").await.expect("listening");
    washed.batch_execute("discard all").await.expect("discarded");
    lab.lead("m2", &two).await;
    lab.until("the pinned session ends", |stats| stats.cut_pinned == 1 && stats.clients == 1).await;
    assert!(pinned.simple_query("select 1").await.is_err());
    assert_eq!(one(&washed, WHERE).await, two.port.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_in_flight_is_unknown_and_what_was_open_is_rolled_back() {
    let (one_server, two) = (Server::start(&[]), Server::start(&[]));
    let mut lab = Lab::start(|_, _| {});
    lab.lead("m1", &one_server).await;
    let running = lab.connect().await;
    let running = tokio::spawn(async move { running.simple_query("select pg_sleep(60)").await.map(drop) });
    let extended = lab.connect().await;
    let extended = tokio::spawn(async move { extended.query("select pg_sleep(60)", &[]).await.map(drop) });
    one_server.until("select count(*) from pg_stat_activity where wait_event = 'PgSleep'", "2");
    let open = lab.connect().await;
    open.batch_execute("begin; create table t (a int)").await.expect("begun");
    let in_transaction = lab.connect().await;
    in_transaction.batch_execute("begin").await.expect("begun");
    let in_transaction =
        tokio::spawn(async move { in_transaction.simple_query("select pg_sleep(60)").await.map(drop) });
    one_server.until("select count(*) from pg_stat_activity where wait_event = 'PgSleep'", "3");

    lab.elect("m2", two.port).await;
    for task in [running, extended] {
        let (code, text) = told(&task.await.expect("no panic").expect_err("cut"));
        assert_eq!(code, "08007", "{text}");
    }
    let (code, text) = told(&in_transaction.await.expect("no panic").expect_err("cut"));
    assert_eq!(code, "40001", "{text}");
    lab.until("all are cut", |stats| stats.cut_busy == 4 && stats.unknown == 2).await;
    let (code, text) = told(&open.simple_query("commit").await.expect_err("the open transaction is not committed"));
    assert_eq!(code, "40001", "{text}");
    // The connection lives, and goes on with the next leader.
    lab.route(|route| route.state = RouteState::Open).await;
    assert_eq!(one(&open, WHERE).await, two.port.to_string());
    one_server.until("select count(*) from pg_class where relname = 't'", "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_killed_under_a_statement_leaves_its_outcome_unknown() {
    let mut one_server = Server::start(&[]);
    let mut lab = Lab::start(|_, _| {});
    lab.lead("m1", &one_server).await;
    let running = lab.connect().await;
    let running = tokio::spawn(async move { running.simple_query("select pg_sleep(60)").await.map(drop) });
    one_server.until("select count(*) from pg_stat_activity where wait_event = 'PgSleep'", "1");
    one_server.stop(Signal::INT);
    let (code, text) = told(&running.await.expect("no panic").expect_err("cut"));
    assert_eq!(code, "08007", "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switchover_shows_clients_no_error() {
    let (mut one_server, two) = (Server::start(&[]), Server::start(&[]));
    for server in [&one_server, &two] {
        server.sql("create table t (a int); grant all on t to app");
    }
    let mut lab = Lab::start(|_, _| {});
    lab.lead("m1", &one_server).await;
    let (busy, idle) = (lab.connect().await, lab.connect().await);
    busy.batch_execute("begin; insert into t values (1)").await.expect("inserted");
    lab.route(|route| route.draining = true).await;
    let held = tokio::spawn(async move { (one(&idle, WHERE).await, idle) });
    lab.until("the idle client is held", |stats| stats.held == 1).await;
    // The running transaction goes on to its end.
    busy.batch_execute("insert into t values (2)").await.expect("inserted");
    busy.batch_execute("commit").await.expect("committed");
    assert_eq!(one_server.sql("select count(*) from t"), "2");
    lab.route(|route| route.state = RouteState::Closed).await;
    one_server.stop(Signal::INT);
    lab.lead("m2", &two).await;
    assert_eq!(held.await.expect("no panic").0, two.port.to_string());
    assert_eq!(one(&busy, WHERE).await, two.port.to_string());
    let stats = lab.proxy().stats();
    assert_eq!((stats.cut_busy, stats.cut_pinned, stats.reattached), (0, 0, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switchover_that_is_called_off_releases_who_was_held() {
    let server = Server::start(&[]);
    let mut lab = Lab::start(|_, _| {});
    lab.lead("m1", &server).await;
    let client = lab.connect().await;
    client.batch_execute("create temp table t (a int)").await.expect("created");
    lab.route(|route| route.draining = true).await;
    let held = tokio::spawn(async move { one(&client, "select count(*)::text from t").await });
    lab.until("the client is held", |stats| stats.held == 1).await;
    lab.route(|route| route.draining = false).await;
    assert_eq!(held.await.expect("no panic"), "0", "the same server, temporary table and all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_leader_is_bounded() {
    let server = Server::start(&[]);
    let mut lab = Lab::start(|config, _| config.rules.limits.wait = Duration::from_millis(600));
    let before = Instant::now();
    let (code, _) = told(&connect(lab.write_port(), "app", PASSWORD).await.expect_err("no leader"));
    assert!(code == "57P03" && before.elapsed() >= Duration::from_millis(600), "{code} {:?}", before.elapsed());

    let port = lab.write_port();
    let early = tokio::spawn(async move { connect(port, "app", PASSWORD).await });
    lab.until("the client logs in", |stats| stats.logging_in == 1).await;
    lab.lead("m1", &server).await;
    let client = early.await.expect("no panic").expect("let in once a leader is open");
    lab.route(|route| route.state = RouteState::Closed).await;
    let (code, text) = told(&client.simple_query("select 1").await.expect_err("no leader"));
    assert_eq!(code, "57P03", "{text}");
    assert_eq!(lab.proxy().stats().waited_too_long, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_wait_for_replicas_is_never_success() {
    let server = Server::start(&["synchronous_standby_names=nobody"]);
    server.sql("set synchronous_commit = local; create table t (a int)");
    server.sql("set synchronous_commit = local; grant all on t to app");
    let mut lab = Lab::start(|_, _| {});
    lab.lead("m1", &server).await;
    let waiting = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
    for (n, sql) in ["insert into t values (1)", "begin; insert into t values (2); commit"].into_iter().enumerate() {
        let client = lab.connect().await;
        let cancel = client.cancel_token();
        let commit = tokio::spawn(async move { client.simple_query(sql).await.map(drop) });
        server.until(waiting, "1");
        cancel.cancel_query(tokio_postgres::NoTls).await.expect("sent");
        let (code, text) = told(&commit.await.expect("no panic").expect_err("not acknowledged"));
        assert_eq!(code, "08007", "{text}");
        assert_eq!(lab.proxy().stats().cancelled_waits, n as u64 + 1);
    }
    // The extended protocol, and the end of the server's process instead of a cancel.
    for act in ["pg_cancel_backend", "pg_terminate_backend"] {
        let client = lab.connect().await;
        let commit =
            tokio::spawn(async move { client.execute("insert into t values ($1)", &[&3_i32]).await.map(drop) });
        server.until(waiting, "1");
        server.sql(&format!("select {act}(pid) from pg_stat_activity where wait_event = 'SyncRep'"));
        let error = commit.await.expect("no panic").expect_err("not acknowledged");
        let (code, text) = told(&error);
        assert_eq!(code, "08007", "{text}");
    }
    // Clients that ask not to hear warnings, for themselves or by their role.
    server.sql("set synchronous_commit = local; alter role app set client_min_messages = error");
    for hide in ["set client_min_messages = error", "reset all"] {
        let client = lab.connect().await;
        client.batch_execute(hide).await.expect("set");
        let cancel = client.cancel_token();
        let commit = tokio::spawn(async move { client.simple_query("insert into t values (4)").await.map(drop) });
        server.until(waiting, "1");
        cancel.cancel_query(tokio_postgres::NoTls).await.expect("sent");
        assert_eq!(told(&commit.await.expect("no panic").expect_err("not acknowledged")).0, "08007", "{hide}");
    }
    assert_eq!(server.sql("select count(*) from t"), "6", "each has committed all the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_hits_what_the_client_runs_and_nothing_else() {
    let server = Server::start(&[]);
    let mut lab = Lab::start(|_, _| {});
    lab.lead("m1", &server).await;
    let (client, other, idle) = (lab.connect().await, lab.connect().await, lab.connect().await);
    let cancel = client.cancel_token();
    // Nothing runs, nothing is forwarded: the count at the end says so.
    idle.cancel_token().cancel_query(tokio_postgres::NoTls).await.expect("sent");
    let other_cancel = other.cancel_token();
    let other = tokio::spawn(async move { other.simple_query("select pg_sleep(60)").await.map(drop) });
    let sleeping = tokio::spawn(async move {
        let error = client.simple_query("select pg_sleep(60)").await.expect_err("cancelled");
        (told(&error).0, client)
    });
    server.until("select count(*) from pg_stat_activity where wait_event = 'PgSleep'", "2");
    cancel.cancel_query(tokio_postgres::NoTls).await.expect("sent");
    let (code, client) = sleeping.await.expect("no panic");
    assert_eq!(code, "57014");
    // Only now: the server signals its process and its process group, and a statement between the two is hit as well.
    assert_eq!(one(&client, "select 1").await, "1");
    assert!(!other.is_finished(), "another client's statement goes on");
    other_cancel.cancel_query(tokio_postgres::NoTls).await.expect("sent");
    assert_eq!(told(&other.await.expect("no panic").expect_err("cancelled")).0, "57014");
    assert_eq!(lab.proxy().stats().cancels, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_go_to_usable_replicas_and_move_on_when_they_are_not() {
    let (one_server, two, three) = (Server::start(&[]), Server::start(&[]), Server::start(&[]));
    let mut lab = Lab::start(|_, _| {});
    lab.lead("m1", &one_server).await;
    lab.route(|route| route.replicas = vec![replica("m2", &two, true), replica("m3", &three, true)]).await;
    let readers = [
        connect(lab.read_port(), "app", PASSWORD).await.expect("let in"),
        connect(lab.read_port(), "app", PASSWORD).await.expect("let in"),
    ];
    let mut ports = Vec::new();
    for reader in &readers {
        ports.push(one(reader, WHERE).await);
    }
    ports.sort_unstable();
    let mut expected = [two.port.to_string(), three.port.to_string()];
    expected.sort_unstable();
    assert_eq!(ports, expected, "one reader each");
    lab.route(|route| route.replicas = vec![replica("m2", &two, false), replica("m3", &three, true)]).await;
    for reader in &readers {
        assert_eq!(one(reader, WHERE).await, three.port.to_string());
    }
    lab.route(|route| route.replicas.clear()).await;
    for reader in &readers {
        assert_eq!(one(reader, WHERE).await, one_server.port.to_string(), "the leader, while no replica can");
    }
    // The replica becomes leader: a reader there is a reader no more.
    lab.route(|route| {
        route.from = name("m2");
        route.term = route.term.next();
        route.leader = Some(common::target("m2", two.port));
        route.replicas = vec![replica("m3", &three, true)];
    })
    .await;
    assert_eq!(one(&readers[0], WHERE).await, three.port.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_server_is_waited_for_and_a_refusal_is_passed_on() {
    let server = Server::start(&[]);
    let mut lab = Lab::start(|_, _| {});
    lab.elect("m1", common::free_port()).await;
    lab.route(|route| route.state = RouteState::Open).await;
    let port = lab.write_port();
    let early = tokio::spawn(async move { connect(port, "app", PASSWORD).await });
    lab.until("the client logs in", |stats| stats.logging_in == 1).await;
    lab.lead("m2", &server).await;
    early.await.expect("no panic").expect("let in");
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user("app").password(PASSWORD).dbname("nowhere");
    let (code, text) = told(&connect_with(&config).await.expect_err("no such database"));
    assert_eq!((code.as_str(), text.as_str()), ("3D000", "database \"nowhere\" does not exist"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proxy_stops_without_cutting_transactions() {
    let server = Server::start(&[]);
    server.sql("create table t (a int); grant all on t to app");
    let mut lab = Lab::start(|_, _| {});
    lab.lead("m1", &server).await;
    let (busy, idle) = (lab.connect().await, lab.connect().await);
    busy.batch_execute("begin; insert into t values (1)").await.expect("inserted");
    let proxy = lab.proxy.take().expect("running");
    let stopping = tokio::spawn(proxy.stop());
    // The task that stops it may begin after a statement or two.
    let by = Instant::now() + Duration::from_secs(5);
    let (code, _) = loop {
        match idle.simple_query("select 1").await {
            Err(error) => break told(&error),
            Ok(_) => assert!(Instant::now() < by, "the proxy stops"),
        }
    };
    assert!(code == "57P01" || code.is_empty(), "{code}");
    busy.batch_execute("commit").await.expect("committed");
    drop(busy);
    stopping.await.expect("no panic");
    assert_eq!(server.sql("select count(*) from t"), "1");
}
