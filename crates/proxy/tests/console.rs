//! The console, with real servers: who may use it, what it shows, and what PAUSE and RECONNECT do to clients.

mod common;

use common::{Lab, Server, connect_with, login, one, replica, told};
use dauphin_model::{Pooling, ReplicaTarget, Target};
use dauphin_proxy::Config;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

const WHO: &str = "select pg_backend_pid()::text";
const DEADLINE: Duration = Duration::from_secs(30);

fn lab(change: impl FnOnce(&mut Config)) -> Lab {
    Lab::start(|config, _| {
        config.rules.pooling = Pooling::Transaction;
        config.rules.limits.pool = 4;
        config.rules.limits.wait = Duration::from_millis(700);
        config.rules.operators.admins = vec!["app".into()];
        change(config);
    })
}

async fn to(port: u16, database: &str) -> Result<Client, tokio_postgres::Error> {
    let mut config = login(port, "app", common::PASSWORD);
    config.dbname(database);
    connect_with(&config).await
}

async fn console(lab: &Lab) -> Client {
    to(lab.write_port(), "dauphin").await.expect("let in")
}

type Row = BTreeMap<String, String>;

/// What a command shows, by the names of columns.
async fn shown(console: &Client, command: &str) -> Vec<Row> {
    let messages = console.simple_query(command).await.unwrap_or_else(|error| panic!("{command}: {error:?}"));
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => {
            let value = |at| row.get(at).unwrap_or("NULL").to_owned();
            Some(row.columns().iter().enumerate().map(|(at, column)| (column.name().to_owned(), value(at))).collect())
        }
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

/// Waits until a command shows such a row.
async fn until(console: &Client, command: &str, holds: impl Fn(&Row) -> bool) {
    let by = Instant::now() + DEADLINE;
    loop {
        let rows = shown(console, command).await;
        if rows.iter().any(&holds) {
            return;
        }
        assert!(Instant::now() < by, "{command} never shows it: {rows:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn waits(row: &Row) -> bool {
    row["cl_waiting"] != "0"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_is_named_is_let_in() {
    let server = Server::start(&[]);
    let mut nobody = lab(|config| config.rules.operators.admins.clear());
    nobody.lead("m1", &server).await;
    for database in ["dauphin", "pgbouncer"] {
        let (code, text) = told(&to(nobody.write_port(), database).await.expect_err("not let in"));
        assert!(code == "42501" && text.contains("admin_users"), "{code} {text}");
    }
    // A database of that name is one of the cluster's on the read port.
    nobody.route(|route| route.replicas = vec![replica("m2", &server, true)]).await;
    let (code, _) = told(&to(nobody.read_port(), "dauphin").await.expect_err("there is none"));
    assert_eq!(code, "3D000");

    let mut watched = lab(|config| {
        config.rules.operators.admins.clear();
        config.rules.operators.watchers = vec!["app".into()];
    });
    watched.lead("m1", &server).await;
    let watcher = console(&watched).await;
    assert_eq!(shown(&watcher, "SHOW VERSION").await.len(), 1);
    for command in ["PAUSE", "RESUME", "RECONNECT", "RELOAD"] {
        let (code, text) = told(&watcher.simple_query(command).await.expect_err("refused"));
        assert!(code == "42501" && text.contains("may only look"), "{command}: {code} {text}");
    }
    // Whoever it is has to prove it.
    let mut wrong = login(watched.write_port(), "app", "wrong");
    assert_eq!(told(&connect_with(wrong.dbname("dauphin")).await.expect_err("refused")).0, "28P01");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shown_is_how_things_are() {
    let (leader, second) = (Server::start(&[]), Server::start(&[]));
    let mut lab = lab(|_| {});
    lab.lead("m1", &leader).await;
    let target = Target { zone: Some("east".into()), ..common::target("m2", second.port) };
    let its = ReplicaTarget { target, reporting: true, ..replica("m2", &second, true) };
    lab.route(|route| route.replicas = vec![its]).await;
    let (idle, busy) = (lab.connect().await, lab.connect().await);
    assert_eq!(one(&idle, "select 1::text").await, "1");
    busy.batch_execute("begin").await.expect("begun");
    let pid = one(&busy, WHO).await;
    let console = console(&lab).await;

    let clients = shown(&console, "SHOW CLIENTS").await;
    let of = |state: &str, via: &str| {
        clients.iter().filter(|client| client["state"] == state && client["via"] == via).collect::<Vec<_>>()
    };
    assert_eq!((clients.len(), of("idle", "write").len(), of("active", "console").len()), (3, 1, 1), "{clients:?}");
    let [active] = of("active", "write")[..] else { panic!("{clients:?}") };
    assert_eq!(
        (&active["user"], &active["database"], &active["addr"]),
        (&"app".into(), &"app".into(), &"127.0.0.1".into())
    );
    assert_eq!(active["link"], format!("m1:{pid}"));
    assert_ne!(active["xact_us"], "NULL");

    let servers = shown(&console, "SHOW SERVERS").await;
    let [server] = servers.iter().filter(|server| server["state"] == "active").collect::<Vec<_>>()[..] else {
        panic!("{servers:?}")
    };
    assert_eq!((&server["remote_pid"], &server["link"]), (&pid, &active["id"]));
    assert_eq!((&server["port"], &server["role"]), (&leader.port.to_string(), &"leader".to_owned()));

    let pools = shown(&console, "SHOW POOLS").await;
    let [pool] = &pools[..] else { panic!("one for each database and user, none for the console: {pools:?}") };
    assert_eq!((&server["zone"], &server["reporting"]), (&"NULL".to_owned(), &"0".to_owned()));
    let of_pool = ["cl_active", "cl_waiting", "sv_active", "pool_mode"].map(|column| pool[column].as_str());
    assert_eq!(of_pool, ["2", "0", "1", "transaction"]);

    let route = shown(&console, "show route").await;
    let names = ["member", "role", "state", "term", "lag_bytes", "zone", "reporting"];
    let columns = |row: &Row| names.map(|column| row[column].clone());
    assert_eq!(columns(&route[0]), ["m1", "leader", "open", "1", "NULL", "NULL", "0"]);
    assert_eq!(columns(&route[1]), ["m2", "replica", "reads", "1", "0", "east", "1"]);
    lab.route(|route| route.draining = true).await;
    assert_eq!(shown(&console, "SHOW ROUTE").await[0]["state"], "draining");
    lab.route(|route| route.draining = false).await;

    busy.batch_execute("select 1; select 2").await.expect("run");
    busy.batch_execute("commit").await.expect("committed");
    let stats = shown(&console, "SHOW STATS").await;
    let [app] = &stats[..] else { panic!("{stats:?}") };
    // begin, who, two in one, commit, and what the other asked; a transaction each.
    assert_eq!((app["total_query_count"].as_str(), app["total_xact_count"].as_str()), ("5", "2"), "{app:?}");
    // Both had one as they logged in, too.
    assert_eq!(app["total_server_assignment_count"], "4");
    assert!(app["total_received"] != "0" && app["total_sent"] != "0" && app.contains_key("avg_xact_time"), "{app:?}");
    let whole: u64 = app["total_xact_time"].parse().expect("a number");
    let queries: u64 = app["total_query_time"].parse().expect("a number");
    assert!(queries > 0 && whole >= queries, "{app:?}");

    let databases = shown(&console, "SHOW DATABASES").await;
    let [database] = &databases[..] else { panic!("{databases:?}") };
    let of_database = ["name", "host", "pool_size", "paused"].map(|column| database[column].as_str());
    assert_eq!(of_database, ["app", "127.0.0.1", "4", "0"]);
    let lists: BTreeMap<String, String> = shown(&console, "SHOW LISTS")
        .await
        .into_iter()
        .map(|row| (row["list"].clone(), row["items"].clone()))
        .collect();
    assert_eq!((lists["databases"].as_str(), lists["used_clients"].as_str(), lists["pools"].as_str()), ("1", "3", "1"));
    assert!(shown(&console, "SHOW HELP").await.iter().any(|row| row["command"] == "PAUSE [database]"));
    let totals = shown(&console, "SHOW TOTALS").await;
    assert!(totals.iter().any(|row| row["name"] == "logins" && row["value"] == "3"), "{totals:?}");
    let users = shown(&console, "SHOW USERS").await;
    assert_eq!((users.len(), users[0]["console"].as_str()), (1, "admin"));
    assert_eq!(shown(&console, "SHOW STATE").await[0]["value"], "yes");
    let reader = common::connect(lab.read_port(), "app", common::PASSWORD).await.expect("let in");
    reader.batch_execute("begin").await.expect("begun");
    let servers = shown(&console, "SHOW SERVERS").await;
    let at_replica = |row: &Row| row["member"] == "m2" && row["zone"] == "east" && row["reporting"] == "1";
    assert!(servers.iter().any(at_replica), "{servers:?}");
}

/// What pgbouncer_exporter asks, as it asks it, and the columns and types that it reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exporter_for_pgbouncer_finds_what_it_looks_for() {
    let server = Server::start(&[]);
    let mut lab = lab(|_| {});
    lab.lead("m1", &server).await;
    let client = lab.connect().await;
    one(&client, WHO).await;
    let console = to(lab.write_port(), "pgbouncer").await.expect("let in");
    let numbers = |rows: &[Row], columns: &[&str]| {
        assert!(!rows.is_empty());
        for (row, column) in rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column))) {
            assert!(row[*column].parse::<f64>().is_ok(), "{column} in {row:?}");
        }
    };
    let stats = ["query_count", "query_time", "bytes_received", "bytes_sent", "wait_time", "xact_count", "xact_time"];
    numbers(&shown(&console, "SHOW stats_totals;").await, &stats);
    let pools =
        ["cl_active", "cl_active_cancel_req", "cl_waiting", "cl_waiting_cancel_req", "sv_active", "sv_active_cancel"];
    numbers(&shown(&console, "SHOW pools;").await, &pools);
    numbers(
        &shown(&console, "SHOW pools;").await,
        &["sv_being_canceled", "sv_idle", "sv_used", "sv_tested", "sv_login", "maxwait"],
    );
    let databases = ["pool_size", "max_connections", "current_connections", "paused", "disabled", "port"];
    numbers(&shown(&console, "SHOW databases;").await, &databases);
    let config = shown(&console, "SHOW CONFIG;").await;
    assert_eq!(config[0].len(), 4);
    numbers(&config.iter().filter(|row| row["key"].starts_with("max_")).cloned().collect::<Vec<_>>(), &["value"]);
    assert!(shown(&console, "SHOW LISTS;").await.iter().all(|row| row.len() == 2));
    assert!(shown(&console, "SHOW VERSION;").await[0]["version"].starts_with("Dauphin"));
    // A driver's look whether somebody is there.
    console.simple_query(";").await.expect("nothing asked, nothing said");
    console.simple_query("SET extra_float_digits = 3").await.expect("taken");
    let (code, text) = told(&console.query("SHOW POOLS", &[]).await.expect_err("not this way"));
    assert!(code == "0A000" && text.contains("simple queries"), "{code} {text}");
    let (code, text) = told(&console.simple_query("SELECT 1").await.expect_err("no database"));
    assert!(code == "42601" && text.contains("not a database"), "{code} {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_waits_for_transactions_and_holds_the_next_ones() {
    let server = Server::start(&[]);
    let mut lab = lab(|_| {});
    lab.lead("m1", &server).await;
    let (busy, pinned, reader) = (lab.connect().await, lab.connect().await, lab.connect().await);
    busy.batch_execute("begin").await.expect("begun");
    pinned.batch_execute("create temp table t (a int)").await.expect("created");
    one(&reader, WHO).await;
    let (console, other) = (console(&lab).await, console(&lab).await);
    let paused = tokio::spawn(async move { console.simple_query("PAUSE").await.map(|_| console) });
    until(&other, "SHOW DATABASES", |row| row["paused"] == "1").await;
    // The transaction goes on, its end is waited for, and the next one has to wait.
    assert_eq!(one(&busy, "select 5::text").await, "5");
    assert!(!paused.is_finished());
    busy.batch_execute("commit").await.expect("committed");
    let console = paused.await.expect("no panic").expect("paused");
    server.until("select count(*) from pg_stat_activity where usename = 'app'", "1");
    let asked = join_all([
        one(&busy, "select 1::text"),
        one(&pinned, "select count(*)::text from t"),
        one(&reader, "select 3::text"),
    ]);
    let resume = async {
        until(&other, "SHOW POOLS", |row| row["cl_waiting"] == "3").await;
        // Longer than they would wait for a server: a pause is not counted.
        let begun = Instant::now();
        until(&other, "SHOW POOLS", |row| row["maxwait"].parse::<u64>().expect("a number") >= 1).await;
        assert!(begun.elapsed() < DEADLINE);
        // Somebody who comes meanwhile waits as well, on whichever shard.
        let late = tokio::spawn({
            let config = login(lab.write_port(), "app", common::PASSWORD);
            async move { one(&connect_with(&config).await.expect("let in"), "select 4::text").await }
        });
        until(&other, "SHOW POOLS", |row| row["cl_waiting"] == "4").await;
        console.simple_query("RESUME").await.expect("resumed");
        assert_eq!(late.await.expect("no panic"), "4");
    };
    let (answers, ()) = tokio::join!(asked, resume);
    assert_eq!(answers, ["1", "0", "3"]);
    let stats = lab.proxy().stats();
    assert_eq!((stats.waited_too_long, stats.cut_busy, stats.cut_pinned), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_is_of_one_database_and_may_be_given_up() {
    let server = Server::start(&[]);
    let mut lab = lab(|_| {});
    lab.lead("m1", &server).await;
    let (busy, elsewhere) = (lab.connect().await, to(lab.write_port(), "postgres").await.expect("let in"));
    busy.batch_execute("begin").await.expect("begun");
    one(&elsewhere, WHO).await;
    let (console, other) = (console(&lab).await, console(&lab).await);
    let (code, text) = told(&console.simple_query("PAUSE ap").await.expect_err("no such database"));
    assert!(code == "3D000" && text.contains("\"ap\""), "{code} {text}");
    let token = console.cancel_token();
    let paused = tokio::spawn(async move { (console.simple_query("PAUSE app").await, console) });
    until(&other, "SHOW DATABASES", |row| row["name"] == "app" && row["paused"] == "1").await;
    assert_eq!(one(&elsewhere, "select 1::text").await, "1", "another database");
    token.cancel_query(NoTls).await.expect("sent");
    let (answer, console) = paused.await.expect("no panic");
    assert_eq!(told(&answer.expect_err("cancelled")).0, "57014");
    until(&other, "SHOW DATABASES", |row| row["name"] == "app" && row["paused"] == "0").await;
    // A console that is gone leaves no pause behind that was not there yet.
    drop(console);
    let mut config = login(lab.write_port(), "app", common::PASSWORD);
    let (console, connection) = config.dbname("dauphin").connect(NoTls).await.expect("let in");
    let connection = tokio::spawn(connection);
    let paused = tokio::spawn(async move { console.simple_query("PAUSE").await });
    until(&other, "SHOW STATE", |row| row["key"] == "paused" && row["value"] == "yes").await;
    connection.abort();
    until(&other, "SHOW STATE", |row| row["key"] == "paused" && row["value"] == "no").await;
    assert!(paused.await.expect("no panic").is_err());
    busy.batch_execute("commit").await.expect("committed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_cluster_may_change_its_leader() {
    let (mut first, second) = (Server::start(&[]), Server::start(&[]));
    let mut lab = lab(|config| config.rules.pooling = Pooling::Session);
    lab.lead("m1", &first).await;
    let client = lab.connect().await;
    one(&client, WHO).await;
    let console = console(&lab).await;
    console.simple_query("PAUSE").await.expect("paused");
    let asked = one(&client, "select inet_server_port()::text");
    let moved = async {
        until(&console, "SHOW POOLS", waits).await;
        first.stop(rustix::process::Signal::QUIT);
        lab.lead("m2", &second).await;
        console.simple_query("RESUME").await.expect("resumed");
    };
    let (port, ()) = tokio::join!(asked, moved);
    assert_eq!(port, second.port.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_made_anew_as_they_become_free() {
    let server = Server::start(&[]);
    let mut lab = lab(|_| {});
    lab.lead("m1", &server).await;
    let (busy, idle) = (lab.connect().await, lab.connect().await);
    busy.batch_execute("begin").await.expect("begun");
    let (held, free) = (one(&busy, WHO).await, one(&idle, WHO).await);
    let console = console(&lab).await;
    console.simple_query("RECONNECT app").await.expect("done");
    let fresh = one(&idle, WHO).await;
    assert!(fresh != free && fresh != held, "{fresh}");
    assert_eq!(one(&busy, WHO).await, held, "a transaction keeps it");
    let servers = shown(&console, "SHOW SERVERS").await;
    let closing =
        |pid: &str| servers.iter().find(|row| row["remote_pid"] == pid).map(|row| row["close_needed"].clone());
    assert_eq!((closing(&held), closing(&fresh)), (Some("1".into()), Some("0".into())), "{servers:?}");
    busy.batch_execute("commit").await.expect("committed");
    server.until(&format!("select count(*) from pg_stat_activity where pid = {held}"), "0");
    assert_ne!(one(&busy, WHO).await, held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_console_is_there_while_no_leader_is() {
    let server = Server::start(&[]);
    let mut lab = lab(|_| {});
    lab.lead("m1", &server).await;
    drop(console(&lab).await);
    // Its password was asked for while there was somebody to ask.
    lab.route(|route| {
        route.state = dauphin_model::RouteState::Closed;
        route.leader = Some(common::target("m1", server.port));
    })
    .await;
    let console = console(&lab).await;
    assert_eq!(shown(&console, "SHOW ROUTE").await[0]["state"], "closed");
    let stopped = lab.proxy.take().expect("running");
    stopped.stop().await;
    assert!(console.simple_query("SHOW ROUTE").await.is_err());
}
