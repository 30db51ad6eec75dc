//! What the proxy measures, with real servers: the text is what a scraper reads, and its numbers are what happened.

mod common;

use common::{Lab, Server, one};
use dauphin_model::{Pooling, ReplicaTarget, RouteState, Target};
use std::collections::BTreeMap;
use std::time::Duration;

/// Samples by name and labels, of a text that keeps to the format.
fn samples(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with("# EOF\n"), "{text}");
    let (mut family, mut families, mut found) = ("", Vec::new(), BTreeMap::new());
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().expect("a name");
            assert!(!families.contains(&family), "{family} twice");
            families.push(family);
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            assert!(name.starts_with(family) && name.contains("{cluster=\"lab\""), "{line} in {family}");
            assert!(
                found
                    .insert(
                        name.replace("cluster=\"lab\",", "").replace("{cluster=\"lab\"}", ""),
                        value.parse().expect("a number")
                    )
                    .is_none(),
                "{line} twice"
            );
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_are_what_happened() {
    let (mut first, second) = (Server::start(&[]), Server::start(&[]));
    let mut lab = Lab::start(|config, _| config.rules.pooling = Pooling::Transaction);
    lab.lead("m1", &first).await;
    let target = Target { zone: Some("east".into()), ..common::target("m2", second.port) };
    let replicas = vec![ReplicaTarget { target, reporting: true, ..common::replica("m2", &second, true) }];
    lab.route(|route| route.replicas = replicas).await;
    let client = lab.connect().await;
    for _ in 0..3 {
        one(&client, "select 1::text").await;
    }
    client.batch_execute("begin").await.expect("begun");
    client.batch_execute("select pg_sleep(0.03)").await.expect("slept");
    client.batch_execute("commit").await.expect("committed");
    let handle = lab.proxy().handle();
    let now = samples(&handle.metrics().await);
    let get = |name: &str| *now.get(name).unwrap_or_else(|| panic!("{name} is not in {now:#?}"));
    for (name, value) in [
        ("dauphin_proxy_term", 1.0),
        ("dauphin_proxy_open", 1.0),
        ("dauphin_proxy_leader{member=\"m1\"}", 1.0),
        ("dauphin_proxy_replica_usable{member=\"m2\"}", 1.0),
        ("dauphin_proxy_replica_info{member=\"m2\",zone=\"east\",reporting=\"true\"}", 1.0),
        ("dauphin_proxy_replica_lag_bytes{member=\"m2\"}", 0.0),
        ("dauphin_proxy_clients", 1.0),
        ("dauphin_proxy_logins_total", 1.0),
        ("dauphin_proxy_transactions_total{database=\"app\"}", 4.0),
        ("dauphin_proxy_queries_total{database=\"app\"}", 6.0),
        ("dauphin_proxy_transaction_seconds_count", 4.0),
        ("dauphin_proxy_transaction_seconds_bucket{le=\"+Inf\"}", 4.0),
        ("dauphin_proxy_query_seconds_count", 6.0),
        // One as it logged in, and one for each transaction.
        ("dauphin_proxy_wait_seconds_count", 5.0),
        ("dauphin_proxy_hold_seconds_count", 0.0),
        ("dauphin_proxy_pool_clients{database=\"app\",state=\"idle\"}", 1.0),
        ("dauphin_proxy_pool_servers{database=\"app\",state=\"idle\"}", 1.0),
        ("dauphin_proxy_pool_paused{database=\"app\"}", 0.0),
    ] {
        assert_eq!(get(name), value, "{name}");
    }
    // The one that slept is among the slow ones, and took its time.
    assert!(get("dauphin_proxy_query_seconds_bucket{le=\"0.025\"}") <= 5.0);
    assert!((0.03..20.0).contains(&get("dauphin_proxy_transaction_seconds_sum")));
    assert!(get("dauphin_proxy_received_bytes_total{database=\"app\"}") > 0.0);

    // A client that is held while nobody leads: how long is told.
    first.stop(rustix::process::Signal::QUIT);
    lab.elect("m2", second.port).await;
    let (answer, ()) = tokio::join!(one(&client, "select 2::text"), async {
        lab.until("it is held", |stats| stats.held == 1).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
        lab.route(|route| route.state = RouteState::Open).await;
    });
    assert_eq!(answer, "2");
    let now = samples(&handle.metrics().await);
    assert_eq!(now["dauphin_proxy_hold_seconds_count"], 1.0);
    assert!(now["dauphin_proxy_hold_seconds_sum"] >= 0.06, "{}", now["dauphin_proxy_hold_seconds_sum"]);
    assert_eq!(now["dauphin_proxy_wait_seconds_count"], 6.0);
}

/// Names are the clients' choice: they are told apart only up to a number, and quoted as the format wants it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_do_not_make_series_without_end() {
    let server = Server::start(&[]);
    server.sql("alter role app createdb");
    let mut lab = Lab::start(|config, _| {
        config.rules.pooling = Pooling::Transaction;
        config.shards = 1;
    });
    lab.lead("m1", &server).await;
    let strange = "a\"b\\c";
    for number in 0..230 {
        let mut config = common::login(lab.write_port(), "app", common::PASSWORD);
        let name = if number == 0 { strange.to_owned() } else { format!("db{number}") };
        assert!(common::connect_with(config.dbname(&name)).await.is_err(), "there is no such database");
    }
    let now = samples(&lab.proxy().handle().metrics().await);
    let series = now.keys().filter(|name| name.starts_with("dauphin_proxy_transactions_total")).count();
    assert_eq!(series, 201);
    assert!(now.contains_key("dauphin_proxy_transactions_total{database=\"(others)\"}"));
    assert!(now.contains_key("dauphin_proxy_transactions_total{database=\"a\\\"b\\\\c\"}"));
}
