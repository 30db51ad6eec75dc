//! What an idle client costs. In a binary of its own: other tests would be counted with it.

mod common;

use common::fake::{fake, row};
use common::{Lab, PASSWORD, raw, resident};
use dauphin_model::RouteState;
use dauphin_wire::postgres::message::{put, put_sasl_initial, put_texts};
use dauphin_wire::postgres::scram::{ClientExchange, MECHANISM, Secret};
use dauphin_wire::postgres::startup::Startup;
use std::io::{Read, Write};
use std::net::TcpStream;

const CLIENTS: usize = 1_000;

/// All that one idle client may cost in the proxy, and in this test on both sides of it, in bytes.
const IDLE_BYTES_MAX: usize = 8 * 1024;

fn message(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut header = [0; 5];
    stream.read_exact(&mut header).expect("a message");
    let [tag, a, b, c, d] = header;
    let mut body = vec![0; u32::from_be_bytes([a, b, c, d]) as usize - 4];
    stream.read_exact(&mut body).expect("its body");
    (tag, body)
}

/// A client that has logged in and costs no more than its socket.
fn bare_client(port: u16) -> TcpStream {
    let mut stream = raw(port);
    let parameters = vec![("user".to_owned(), "app".to_owned())];
    stream.write_all(&Startup { minor: 0, parameters, options: Vec::new() }.encode()).expect("written");
    let (mut exchange, first) = ClientExchange::begin("nonce".to_owned());
    message(&mut stream);
    let mut out = Vec::new();
    put_sasl_initial(&mut out, MECHANISM, &first);
    stream.write_all(&out).expect("written");
    let (_, challenge) = message(&mut stream);
    let proof = exchange.respond(&Secret::Password(PASSWORD.to_owned()), &challenge[4..]).expect("a challenge");
    out.clear();
    put(&mut out, b'p', &proof);
    stream.write_all(&out).expect("written");
    while message(&mut stream).0 != b'Z' {}
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_idle_clients_cost_little_and_all_move() {
    let port = fake(row("1")).await;
    let mut lab = Lab::start(|_, _| {});
    lab.elect("m1", port).await;
    lab.route(|route| route.state = RouteState::Open).await;
    let write = lab.write_port();
    let login = move |count: usize| (0..count).map(|_| bare_client(write)).collect::<Vec<_>>();
    let warm = tokio::task::spawn_blocking(move || login(100)).await.expect("no panic");
    let before = resident();
    let clients = tokio::task::spawn_blocking(move || login(CLIENTS)).await.expect("no panic");
    let each = resident().saturating_sub(before) / CLIENTS;
    assert!(each < IDLE_BYTES_MAX, "{each} bytes for each idle client");
    assert_eq!(lab.proxy().stats().clients as usize, CLIENTS + warm.len());
    // All move to the next leader, one statement each.
    let next = fake(row("2")).await;
    lab.elect("m2", next).await;
    lab.route(|route| route.state = RouteState::Open).await;
    let answered = tokio::task::spawn_blocking(move || {
        let mut clients = clients;
        let mut query = Vec::new();
        put_texts(&mut query, b'Q', &["select 1"]);
        for client in &mut clients {
            client.write_all(&query).expect("written");
        }
        clients.iter_mut().filter_map(|client| message(client).1.ends_with(b"2").then_some(())).count()
    });
    assert_eq!(answered.await.expect("no panic"), CLIENTS);
    assert_eq!(lab.proxy().stats().reattached as usize, CLIENTS);
}
