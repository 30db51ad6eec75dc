//! TLS between the proxy and real servers, with certificates of a cluster's own CA: used for everything, and refused
//! unless the server proves to be the member that the proxy looks for.

mod common;

use common::{Lab, PASSWORD, Server, certified, connect, one, told};
use dauphin_model::ClusterName;
use dauphin_net::ca::{CA_FILE, Ca};
use dauphin_proxy::{ServerTls, Snapshot};
use std::time::Duration;

/// How long a client waits for a server where none will do.
const WAIT: Duration = Duration::from_millis(300);

/// More than sockets and TLS hold at once, in bytes.
const LARGE: usize = 8 << 20;

fn ca() -> Ca {
    Ca::create(&ClusterName::new("lab").expect("a name")).expect("a CA")
}

/// A proxy that trusts this CA's servers only.
fn lab(ca: &Ca, wait: Duration) -> Lab {
    Lab::start(|config, folder| {
        let file = folder.join(CA_FILE);
        std::fs::write(&file, ca.cert_pem()).expect("writable");
        config.server_tls = Some(ServerTls { ca: file });
        config.rules.limits.wait = wait;
    })
}

fn start(settings: &[String]) -> Server {
    Server::start(&settings.iter().map(String::as_str).collect::<Vec<_>>())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_to_servers_goes_over_tls_and_follows_the_leader() {
    let ca = ca();
    let ((_one, first), (_two, second)) = (certified(&ca, "m1"), certified(&ca, "m2"));
    let (first, second) = (start(&first), start(&second));
    let mut lab = lab(&ca, Duration::from_secs(10));
    lab.lead("m1", &first).await;
    let client = lab.connect().await;
    let ours = "select ssl::text from pg_stat_ssl where pid = pg_backend_pid()";
    assert_eq!(one(&client, ours).await, "true");
    let all = "select bool_and(ssl)::text || count(*) from pg_stat_ssl join pg_stat_activity using (pid) \
               where client_addr is not null";
    assert_eq!(first.sql(all), "true2", "the client's and the lookup's");

    let large = "x".repeat(LARGE);
    let row = client.query_one("select $1::text", &[&large]).await.expect("both ways");
    assert_eq!(row.get::<_, &str>(0).len(), LARGE);

    let (cancel, sleeping) = (client.cancel_token(), client);
    let sleeping = tokio::spawn(async move {
        let error = sleeping.simple_query("select pg_sleep(60)").await.expect_err("cancelled");
        (told(&error).0, sleeping)
    });
    first.until("select count(*) from pg_stat_activity where wait_event = 'PgSleep'", "1");
    cancel.cancel_query(tokio_postgres::NoTls).await.expect("sent");
    let (code, client) = sleeping.await.expect("no panic");
    assert_eq!(code, "57014");
    // The error comes before the server is ready again: an answer after it shows that the session is at rest.
    assert_eq!(one(&client, ours).await, "true");

    lab.lead("m2", &second).await;
    first.until("select count(*) from pg_stat_activity where usename = 'app'", "0");
    assert_eq!(one(&client, "select inet_server_port()::text").await, second.port.to_string());
    assert_eq!(one(&client, ours).await, "true");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_prove_to_be_the_member_gets_nothing() {
    let ca = ca();
    let (_files, settings) = certified(&ca, "m1");
    let (certified, plain) = (start(&settings), Server::start(&[]));
    let refusal = async |lab: &Lab| {
        let error = connect(lab.write_port(), "app", PASSWORD).await.expect_err("nobody gets in");
        assert_eq!(lab.proxy().stats(), Snapshot { refused: 1, ..lab.proxy().stats() });
        told(&error).1
    };

    let mut stranger = lab(&self::ca(), WAIT);
    stranger.lead("m1", &certified).await;
    let text = refusal(&stranger).await;
    assert!(text.contains("does not prove to be m1 of lab"), "{text}");

    let mut other = lab(&ca, WAIT);
    other.lead("m2", &certified).await;
    let text = refusal(&other).await;
    assert!(text.contains("does not prove to be m2 of lab"), "{text}");

    let mut bare = lab(&ca, WAIT);
    bare.lead("m1", &plain).await;
    let text = refusal(&bare).await;
    assert!(text.contains("m1 does not speak TLS"), "{text}");
}
