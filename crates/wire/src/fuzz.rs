//! What must hold for bytes of any kind, as functions of those bytes. The fuzz targets in `fuzz/` call them, and the tests
//! here with the seeds that are kept there. Nothing else does; they are in no program that ships.

use crate::postgres::frame::{BadFrame, Frames, Next, Sender};
use crate::postgres::lexer::Lexer;
use crate::postgres::message::{self, Authentication, Bind, Report, Status};
use crate::postgres::scram::{Binding, ClientExchange, Secret, ServerExchange, Verifier, verifier_of};
use crate::postgres::sql::{self, Scan};
use crate::postgres::startup::{self, First, Startup};
use crate::postgres::warnings;

/// Ways to cut bytes: into pieces of one, of a few, and of lengths that differ.
const CUTS: [fn(usize) -> usize; 3] = [|_| 1, |_| 3, |number| 1 + (number.wrapping_mul(2_654_435_761) >> 7) % 13];

/// Longest first message of a server that is answered: one with few digits asks for little work.
const SERVER_FIRST_MAX: usize = 64;

/// The bytes in pieces.
pub fn pieces(data: &[u8], cut: fn(usize) -> usize) -> impl Iterator<Item = &[u8]> {
    let (mut rest, mut number) = (data, 0);
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at(cut(number).min(rest.len()));
        (rest, number) = (after, number + 1);
        (!piece.is_empty()).then_some(piece)
    })
}

/// Messages of either side: the walk finds the same ones however they are cut, and ends.
pub fn frames(data: &[u8]) {
    let Some((first, stream)) = data.split_first() else { return };
    let sender = if first & 1 == 0 { Sender::Client } else { Sender::Server };
    let whole = walk(sender, std::iter::once(stream));
    for cut in CUTS {
        assert_eq!(walk(sender, pieces(stream, cut)), whole, "cut otherwise");
    }
    for (tag, body) in whole.0 {
        message(tag, &body);
    }
}

type Walked = (Vec<(u8, Vec<u8>)>, Result<(), BadFrame>);

/// Types and bytes of the messages, as far as they are there.
fn walk<'a>(sender: Sender, chunks: impl Iterator<Item = &'a [u8]>) -> Walked {
    let (mut frames, mut carry, mut seen) = (Frames::of(sender), Vec::new(), Vec::<(u8, Vec<u8>)>::new());
    for chunk in chunks {
        carry.extend_from_slice(chunk);
        let mut at = 0;
        loop {
            match frames.next(&carry[at..], |tag| tag.is_ascii_uppercase()) {
                Ok(Next::Whole { tag, len }) => {
                    seen.push((tag, carry[at..at + len].to_vec()));
                    at += len;
                }
                Ok(Next::Part { tag, len, first, .. }) => {
                    assert!(len > 0, "it goes on");
                    if first {
                        seen.push((tag, Vec::new()));
                    }
                    if let Some((_, bytes)) = seen.last_mut() {
                        bytes.extend_from_slice(&carry[at..at + len]);
                    }
                    at += len;
                }
                Ok(Next::More) => break,
                Err(bad) => return (seen, Err(bad)),
            }
        }
        carry.drain(..at);
    }
    (seen, Ok(()))
}

/// A message's body is read without a panic, whatever its type, and what is read is part of it.
fn message(tag: u8, frame: &[u8]) {
    let body = frame.get(5..).unwrap_or_default();
    let _ = (Status::parse(body), message::first_column(body), message::parameter_status(body));
    let _ = (message::split_text(body), message::close_target(body), message::parse_statement(body));
    let _ = (message::command_tag(body), Bind::parse(body).map(|bind| bind.rest.len()));
    let report = Report::parse(body);
    let _ = (report.is_fatal(), report.is_cancelled_wait(), report.text(), report.sqlstate());
    let _ = message::sasl_initial(body);
    if tag == b'R'
        && let Some(Authentication::Sasl(mechanisms)) = Authentication::parse(body)
    {
        let _ = Authentication::offers(mechanisms, "SCRAM-SHA-256");
    }
}

/// A first packet: what is understood is written the same again.
pub fn startup(data: &[u8]) {
    if let Some(head) = data.first_chunk() {
        let _ = startup::length(*head);
    }
    match startup::parse(data) {
        Ok(First::Startup(read)) => {
            let again = startup::parse(&read.encode());
            assert_eq!(again, Ok(First::Startup(Startup { options: Vec::new(), ..read.clone() })));
            assert!(read.spoken() <= read.minor);
            let _ = (read.database(), read.is_replication());
        }
        Ok(First::Cancel(key)) => assert_eq!(key.request(), data),
        Ok(First::Tls | First::Gss) => assert_eq!(data.len(), 8),
        Err(_) => {}
    }
}

/// Messages of a SCRAM exchange, one line each: nobody gets in by them, on either side.
pub fn scram(data: &[u8]) {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (first, second, third) = (line(), line(), line());
    let verifier = Verifier::parse(&verifier_of("a password", b"0123456789abcdef", 2)).expect("a verifier");
    for first in [first, b"n,,n=,r=abc"] {
        for binding in [Binding::NotOffered, Binding::Declined, Binding::EndPoint(b"hash")] {
            if let Ok((exchange, answer)) = ServerExchange::begin(verifier.clone(), first, "def", binding) {
                assert!(answer.starts_with(b"r="));
                assert!(exchange.finish(second).is_err(), "a proof without the password");
            }
        }
    }
    let (mut client, _) = ClientExchange::begin("abc".into());
    if first.len() < SERVER_FIRST_MAX {
        let _ = client.respond(&Secret::Password("x".into()), first);
    }
    assert!(client.verify(second).is_err() && client.verify(third).is_err(), "a server that knows nothing");
    let _ = std::str::from_utf8(first).map(Verifier::parse);
}

/// SQL: the tokens and what the text leaves behind are the same however it is cut.
pub fn sql(data: &[u8]) {
    let Some((first, text)) = data.split_first() else { return };
    let backslashes = first & 1 == 1;
    let tokens = |chunks: &mut dyn Iterator<Item = &[u8]>| {
        let (mut lexer, mut tokens) = (Lexer::new(backslashes), Vec::new());
        for chunk in chunks {
            lexer.feed(chunk, &mut |token| tokens.push(format!("{token:?}")));
        }
        lexer.finish(&mut |token| tokens.push(format!("{token:?}")));
        tokens
    };
    let (whole, mut effects) = (tokens(&mut std::iter::once(text)), sql::effects(text, backslashes));
    let control = effects.control;
    assert!(!(control.reads && control.ending.is_some()), "what ends a transaction does not only read");
    (effects.control.begins, effects.control.ending) = (false, None);
    for cut in CUTS {
        assert_eq!(tokens(&mut pieces(text, cut)), whole, "cut otherwise");
        let mut scan = Scan::new(backslashes);
        pieces(text, cut).for_each(|piece| scan.feed(piece));
        assert_eq!(scan.finish(), effects, "cut otherwise");
    }
    if let Some(audible) = warnings::audible(text) {
        assert_eq!(warnings::audible(&audible), None, "audible at once");
    }
    let _ = std::str::from_utf8(text).map(warnings::hides);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// All seeds of a target.
    fn replay(target: &str, check: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
        let mut count = 0;
        for entry in std::fs::read_dir(&folder).expect("the seeds are kept").flatten() {
            check(&std::fs::read(entry.path()).expect("readable"));
            count += 1;
        }
        assert!(count > 0, "{} is empty", folder.display());
    }

    #[test]
    fn what_was_found_by_fuzzing_stays_right() {
        replay("frames", super::frames);
        replay("startup", super::startup);
        replay("scram", super::scram);
        replay("sql", super::sql);
    }
}
