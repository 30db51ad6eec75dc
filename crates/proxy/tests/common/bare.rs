//! A client that is no more than its socket: it says what no driver would.

use super::{PASSWORD, raw};
use dauphin_wire::postgres::message::{parameter_status, put, put_sasl_initial};
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
    let mut told = BTreeMap::new();
    loop {
        match message(&mut stream) {
            (b'S', body) => {
                told.extend(parameter_status(&body).map(|(name, value)| (name.to_owned(), value.to_owned())))
            }
            (b'Z', _) => return (stream, told),
            _ => {}
        }
    }
}
