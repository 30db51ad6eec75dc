//! What a server that misbehaves does to clients: its session ends, with an error that is true, and others go on.

mod common;

use common::fake::fake;
use common::{Lab, PASSWORD, connect, told};
use dauphin_model::RouteState;
use dauphin_wire::postgres::message::put;

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
