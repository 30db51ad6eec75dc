//! A server made for tests: it lets everybody in and answers from a script.

use dauphin_wire::postgres::cancel::CancelKey;
use dauphin_wire::postgres::message::{put, put_authentication_ok, put_texts};
use dauphin_wire::postgres::scram::verifier_of;
use dauphin_wire::postgres::startup::{First, parse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::PASSWORD;

/// How the question begins that the proxy asks about the settings of a role.
const OF_ROLE: &[u8] = b"SELECT pg_catalog.format(";

pub(crate) fn row(value: &str) -> Vec<u8> {
    let mut body = vec![0, 1];
    body.extend_from_slice(&u32::try_from(value.len()).expect("short").to_be_bytes());
    body.extend_from_slice(value.as_bytes());
    let mut out = Vec::new();
    put(&mut out, b'D', &body);
    put_texts(&mut out, b'C', &["SELECT 1"]);
    put(&mut out, b'Z', b"I");
    out
}

/// A server that answers every Sync with a verifier, what is asked of the role's settings with none, and any
/// other query with `answer`.
pub(crate) async fn fake(answer: Vec<u8>) -> u16 {
    fake_with_key(answer, &[2; 4]).await.0
}

/// The same with this secret for its keys; and the secrets of the cancel requests that it was sent.
pub(crate) async fn fake_with_key(answer: Vec<u8>, secret: &'static [u8]) -> (u16, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let (sender, cancels) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, answer.clone(), secret, sender.clone()));
        }
    });
    (port, cancels)
}

async fn serve(
    mut stream: tokio::net::TcpStream,
    answer: Vec<u8>,
    secret: &[u8],
    cancels: mpsc::Sender<Vec<u8>>,
) -> Option<()> {
    let length = stream.read_u32().await.ok()?;
    let mut packet = length.to_be_bytes().to_vec();
    packet.resize(length as usize, 0);
    stream.read_exact(&mut packet[4..]).await.ok()?;
    if let Ok(First::Cancel(_)) = parse(&packet) {
        return cancels.send(packet.split_off(12)).await.ok();
    }
    let mut hello = Vec::new();
    put_authentication_ok(&mut hello);
    put_texts(&mut hello, b'S', &["in_hot_standby", "off"]);
    CancelKey::new(1, secret).expect("a length that can be").put(&mut hello);
    put(&mut hello, b'Z', b"I");
    stream.write_all(&hello).await.ok()?;
    let verifier = row(&verifier_of(PASSWORD, b"salt", 1));
    loop {
        let tag = stream.read_u8().await.ok()?;
        let length = stream.read_u32().await.ok()?;
        let mut body = vec![0; length as usize - 4];
        stream.read_exact(&mut body).await.ok()?;
        match tag {
            b'S' => stream.write_all(&verifier).await.ok()?,
            b'Q' if body.starts_with(OF_ROLE) => stream.write_all(&row("notice||")).await.ok()?,
            b'Q' => stream.write_all(&answer).await.ok()?,
            _ => {}
        }
    }
}
