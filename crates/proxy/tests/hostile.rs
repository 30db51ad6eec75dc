//! What a server that misbehaves does to clients: its session ends, with an error that is true, and others go on.

mod common;

use common::bare::logged_in;
use common::fake::fake;
use common::{Lab, PASSWORD, Server, connect, one, told};
use dauphin_model::{Pooling, RouteState};
use dauphin_wire::postgres::message::{put, put_query, put_texts};
use std::io::{Read, Write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_breaks_the_protocol_harms_its_session_only() {
    let mut fatal = Vec::new();
    put(&mut fatal, b'E', b"SFATAL\0VFATAL\0C53200\0Mout of memory\0\0");
    let cases: [(&[u8], &str); 4] = [
        (b"D\0\0\0\0", "08007"),
        (b"D\xff\xff\xff\xff", "08007"),
        (b"I\0\0\0\x04C\0\0\0\x03", "08007"),
        (&fatal, "53200"),
    ];
    for (answer, expected) in cases {
        let port = fake(answer.to_vec()).await;
        let mut lab = Lab::start(|_, _| {});
        lab.elect("m1", port).await;
        lab.route(|route| route.state = RouteState::Open).await;
        let client = lab.connect().await;
        let (code, text) = told(&client.simple_query("select 1").await.expect_err("nonsense"));
        assert_eq!(code, expected, "{answer:?} {text}");
        connect(lab.write_port(), "app", PASSWORD).await.expect("others go on");
    }
}

/// What a client's broken message leaves behind is nobody else's: it once went to the next client's server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_breaks_the_protocol_harms_itself_only() {
    let server = Server::start(&[]);
    let mut lab = Lab::start(|config, _| {
        config.rules.pooling = Pooling::Transaction;
        config.shards = 1;
    });
    lab.lead("m1", &server).await;
    let (client, broken) = (lab.connect().await, lab.connect().await);
    broken.batch_execute("select 1").await.expect("lets the shard know the login");
    let mut hostile = logged_in(lab.write_port());
    let mut bytes = Vec::new();
    put_texts(&mut bytes, b'P', &["x", "select 1", ""]);
    put_query(&mut bytes, "create table stolen (a int)");
    put_texts(&mut bytes, b'P', &["y", "select 2", ""]);
    bytes.extend(b"Q\0\0\0\0");
    hostile.write_all(&bytes).expect("sent");
    let _ = hostile.read_to_end(&mut Vec::new());
    for _ in 0..3 {
        assert_eq!(one(&client, "select count(*)::text from pg_class where relname = 'stolen'").await, "0");
    }
    let statement = client.prepare("select 41 + 1").await.expect("prepared");
    assert_eq!(client.query_one(&statement, &[]).await.expect("runs").get::<_, i32>(0), 42);
}
