//! What an idle client costs. In a binary of its own: other tests would be counted with it.

mod common;

use common::bare::{logged_in, message};
use common::fake::{fake, row};
use common::{Lab, resident};
use dauphin_model::RouteState;
use dauphin_wire::postgres::message::put_texts;
use std::io::Write;

const CLIENTS: usize = 1_000;

/// All that one idle client may cost in the proxy, and in this test on both sides of it, in bytes.
const IDLE_BYTES_MAX: usize = 6 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_idle_clients_cost_little_and_all_move() {
    let port = fake(row("1")).await;
    let mut lab = Lab::start(|_, _| {});
    lab.elect("m1", port).await;
    lab.route(|route| route.state = RouteState::Open).await;
    let write = lab.write_port();
    let login = move |count: usize| (0..count).map(|_| logged_in(write)).collect::<Vec<_>>();
    let warm = tokio::task::spawn_blocking(move || login(100)).await.expect("no panic");
    let before = resident();
    let clients = tokio::task::spawn_blocking(move || login(CLIENTS)).await.expect("no panic");
    let each = resident().saturating_sub(before) / CLIENTS;
    println!("{each} bytes for each idle client");
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
