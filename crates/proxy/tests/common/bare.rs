//! A client that is no more than its socket: it says what no driver would.

use super::{PASSWORD, raw};
use dauphin_wire::postgres::message::{parameter_status, put, put_query, put_sasl_initial};
use dauphin_wire::postgres::scram::{ClientExchange, MECHANISM, Secret};
use dauphin_wire::postgres::startup::Startup;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

/// The next message: its type and body.
pub(crate) fn message(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut header = [0; 5];
    stream.read_exact(&mut header).expect("a message");
    let [tag, a, b, c, d] = header;
    let mut body = vec![0; u32::from_be_bytes([a, b, c, d]) as usize - 4];
    stream.read_exact(&mut body).expect("its body");
    (tag, body)
}

/// A client that has logged in and costs no more than its socket.
pub(crate) fn logged_in(port: u16) -> TcpStream {
    log_in(port).0
}

/// The same, and what it was told: the parameters of the server.
pub(crate) fn log_in(port: u16) -> (TcpStream, BTreeMap<String, String>) {
    log_in_on(raw(port))
}

/// The same on a connection that is there.
pub(crate) fn log_in_on(mut stream: TcpStream) -> (TcpStream, BTreeMap<String, String>) {
    let told = log_in_with(&mut stream, &startup(0, &[]));
    let told = told.iter().filter(|(tag, _)| *tag == b'S').filter_map(|(_, body)| parameter_status(body));
    let told = told.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    (stream, told)
}

/// The packet that opens a session of this minor version, with these parameters.
pub(crate) fn startup(minor: u16, more: &[(&str, &str)]) -> Vec<u8> {
    let all = [("user", "app")].iter().chain(more);
    let parameters = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Startup { minor, parameters, options: Vec::new() }.encode()
}

/// Logs in with this packet: all messages that are told, but those of the password.
pub(crate) fn log_in_with(stream: &mut TcpStream, startup: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut told = log_in_whole(stream, startup, |_| {});
    told.retain(|(tag, _)| *tag != b'R');
    told
}

/// The same with what is told once the password is proved; each message's type is passed on as it comes.
pub(crate) fn log_in_whole(stream: &mut TcpStream, startup: &[u8], came: impl Fn(u8)) -> Vec<(u8, Vec<u8>)> {
    stream.write_all(startup).expect("written");
    let (mut exchange, first) = ClientExchange::begin("nonce".to_owned());
    let mut told = Vec::new();
    loop {
        match message(stream) {
            (b'R', _) => break,
            other => told.push(other),
        }
    }
    let mut out = Vec::new();
    put_sasl_initial(&mut out, MECHANISM, &first);
    stream.write_all(&out).expect("written");
    let (_, challenge) = message(stream);
    let proof = exchange.respond(&Secret::Password(PASSWORD.to_owned()), &challenge[4..]).expect("a challenge");
    out.clear();
    put(&mut out, b'p', &proof);
    stream.write_all(&out).expect("written");
    loop {
        let next = message(stream);
        let ready = next.0 == b'Z';
        came(next.0);
        told.push(next);
        if ready {
            return told;
        }
    }
}

/// Sends it and reads what comes until the server is ready.
pub(crate) fn ask(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).expect("sent");
    let (mut buffer, mut len) = ([0; 4096], 0);
    while !(len >= 6 && buffer[len - 6..len - 1] == *b"Z\0\0\0\x05") {
        len += stream.read(&mut buffer[len..]).expect("an answer");
    }
}

pub(crate) fn simple(sql: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_query(&mut out, sql);
    out
}

/// Prepares it under a name, once.
pub(crate) fn prepare(sql: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, b'P', &[b"s\0", sql.as_bytes(), &[0, 0, 0]].concat());
    put(&mut out, b'S', &[]);
    out
}

/// Runs what [`prepare`] prepared.
pub(crate) fn prepared() -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, b'B', b"\0s\0\0\0\0\0\0\0");
    put(&mut out, b'E', &[0, 0, 0, 0, 0]);
    put(&mut out, b'S', &[]);
    out
}
