//! The scripts as seeds for fuzzing, with what a server answered: `UPDATE_SEEDS=1` writes them to `fuzz/seeds/`, where the fuzz
//! targets begin, and the crates' own tests play them again.

use crate::common::bare::log_in;
use crate::scripts::{Step, scripts};
use dauphin_wire::postgres::frame::{Frames, HEADER_BYTES, Next};
use dauphin_wire::postgres::message::{parse_statement, split_text};
use std::fs;
use std::io::{Read, Write};
use std::path::Path;

/// Most bytes of one turn of a seed: longer ones teach nothing.
const TURN_BYTES_MAX: usize = 16 * 1024;

/// Who says something, as seeds number it.
const CLIENT: u8 = 0;
const SERVER: u8 = 1;

/// What is said in turn.
fn record(port: u16, steps: &[Step]) -> Vec<(u8, Vec<u8>)> {
    let (mut stream, _) = log_in(port);
    let mut turns = Vec::new();
    for Step { bytes, until: (tag, count) } in steps {
        stream.write_all(bytes).expect("sent");
        turns.push((CLIENT, bytes.clone()));
        let (mut heard, mut left) = (Vec::new(), *count);
        while left > 0 {
            let mut header = [0; HEADER_BYTES];
            stream.read_exact(&mut header).expect("a message");
            let at = heard.len() + HEADER_BYTES;
            heard.extend_from_slice(&header);
            let [its, a, b, c, d] = header;
            heard.resize(at - 4 + u32::from_be_bytes([a, b, c, d]) as usize, 0);
            stream.read_exact(&mut heard[at..]).expect("its body");
            left -= usize::from(its == *tag);
        }
        turns.push((SERVER, heard));
    }
    turns
}

/// The statements in what a client sends.
fn statements(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut frames, mut at, mut found) = (Frames::default(), 0, Vec::new());
    while let Ok(Next::Whole { tag, len }) = frames.next(&bytes[at..], |_| true) {
        let body = &bytes[at + HEADER_BYTES..at + len];
        match tag {
            b'Q' => found.extend(split_text(body).map(|(text, _)| text.to_vec())),
            b'P' => found.extend(parse_statement(body).map(|(_, text)| text.to_vec())),
            _ => {}
        }
        at += len;
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_script_is_a_seed_for_fuzzing() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let update = std::env::var_os("UPDATE_SEEDS").is_some();
    if !update {
        for (name, _) in scripts() {
            let there = ["track", "frames", "sql"]
                .iter()
                .all(|target| seeds.join(target).join(name.replace(' ', "-")).is_file());
            assert!(there, "{name} is no seed yet: UPDATE_SEEDS=1 cargo test -p dauphin-proxy --test same seed");
        }
        return;
    }
    let server = super::server();
    for (name, steps) in scripts() {
        let turns = record(server.port, &steps);
        let (mut script, mut stream) = (Vec::new(), vec![CLIENT]);
        let mut texts = vec![0];
        for (who, bytes) in turns.iter().filter(|(_, bytes)| bytes.len() < TURN_BYTES_MAX) {
            script.push(*who);
            script.extend_from_slice(&u16::try_from(bytes.len()).expect("short").to_be_bytes());
            script.extend_from_slice(bytes);
            if *who == CLIENT {
                stream.extend_from_slice(bytes);
                texts.extend(statements(bytes).join(&b"; "[..]));
                texts.extend_from_slice(b";\n");
            }
        }
        for (target, bytes) in [("track", script), ("frames", stream), ("sql", texts)] {
            fs::write(seeds.join(target).join(name.replace(' ', "-")), bytes).expect("writable");
        }
    }
}
