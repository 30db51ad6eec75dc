//! Conversations as drivers have them, and what the tracker makes of them. Run with the crate's unit tests.

use super::*;
use dauphin_wire::postgres::message::{self, put, put_query, put_texts};

/// Messages of a client or server, one word each: `Q:select 1`, `P:name:select 1`, `C:SET`, `Z:I`, `1`…
fn bytes(words: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for word in words {
        let (tag, rest) = word.split_at(1);
        let rest = rest.strip_prefix(':').unwrap_or(rest);
        let tag = tag.as_bytes()[0];
        match tag {
            b'Q' => put_query(&mut out, rest),
            b'P' => {
                let (name, text) = rest.split_once(':').expect("name:text");
                put_texts(&mut out, tag, &[name, text]);
            }
            b'S' if rest.contains('=') => {
                let (name, value) = rest.split_once('=').expect("name=value");
                put_texts(&mut out, tag, &[name, value]);
            }
            b'B' if rest.contains(':') => {
                let (portal, statement) = rest.split_once(':').expect("portal:statement");
                put_texts(&mut out, tag, &[portal, statement]);
            }
            b'X' | b'S' | b'H' | b'1' | b'2' | b'3' => put(&mut out, tag, &[]),
            b'E' if rest.len() == 5 => put(&mut out, tag, format!("SERROR\0VERROR\0C{rest}\0\0").as_bytes()),
            b'Z' => put(&mut out, tag, rest.as_bytes()),
            _ => put_texts(&mut out, tag, &[rest]),
        }
    }
    out
}

thread_local! {
    static SERVER: RefCell<(Known, Registry)> = RefCell::default();
}

/// Has the tracker talk to a server that knows nothing.
fn another_server() {
    SERVER.with_borrow_mut(|(known, _)| known.clear());
}

/// Gives the tracker one message, or what is there of it, and what is sent instead.
fn take(track: &mut Track, data: &[u8]) -> (Taken, Vec<u8>) {
    let mut instead = Vec::new();
    let taken = SERVER.with_borrow_mut(|(known, registry)| {
        track.client(data, &mut Upstream { known, registry }, &mut instead).expect("valid")
    });
    (taken, instead)
}

/// What the server gets to read, one word each: the type, and a statement's name.
fn client(track: &mut Track, words: &[&str]) -> String {
    let data = bytes(words);
    let (mut at, mut sent) = (0, Vec::new());
    while at < data.len() {
        match take(track, &data[at..]) {
            (Taken::More | Taken::Full, _) => panic!("all is there, and nothing has to wait"),
            (Taken::Pass(len), _) => {
                sent.extend_from_slice(&data[at..at + len]);
                at += len;
            }
            (Taken::Instead(len), instead) => {
                sent.extend(instead);
                at += len;
            }
        }
    }
    let (mut words, mut rest) = (Vec::new(), &sent[..]);
    while let [tag, a, b, c, d, body @ ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize - 4;
        let text = match tag {
            b'B' => message::Bind::parse(&body[..length]).map_or(&b""[..], |bind| bind.statement),
            b'P' => message::parse_statement(&body[..length]).expect("valid").0,
            b'C' | b'D' => message::close_target(&body[..length]).expect("valid").1,
            b'Q' => message::split_text(&body[..length]).expect("valid").0,
            _ => b"",
        };
        words.push(format!("{}{}", char::from(*tag), String::from_utf8_lossy(text)));
        rest = &body[length..];
    }
    words.join(" ")
}

fn hear(track: &mut Track, data: &[u8]) -> (usize, Verdict) {
    SERVER.with_borrow_mut(|(known, _)| track.server(data, known)).expect("valid")
}

/// The server tells the number of the transaction that is about to commit; the client sees nothing of it.
fn tell_number(track: &mut Track, xid: Option<&str>) {
    let mut body = vec![0, 1];
    body.extend(xid.map_or(-1_i32, |xid| i32::try_from(xid.len()).expect("short")).to_be_bytes());
    body.extend(xid.unwrap_or_default().bytes());
    let mut data = Vec::new();
    put(&mut data, b'D', &body);
    data.extend(bytes(&["C:SELECT 1", "Z:T"]));
    let mut at = 0;
    while at < data.len() {
        let (len, verdict) = hear(track, &data[at..]);
        assert_eq!(verdict, Verdict::Drop);
        at += len;
    }
}

/// The server says this, and before it what it was asked for a COMMIT.
fn server(track: &mut Track, words: &[&str]) -> Vec<Verdict> {
    if track.hears_number() && !words.first().is_some_and(|word| word.starts_with("E:")) {
        tell_number(track, None);
    }
    let data = bytes(words);
    let (mut at, mut verdicts) = (0, Vec::new());
    while at < data.len() {
        let (len, verdict) = hear(track, &data[at..]);
        verdicts.push(verdict);
        at += len;
    }
    verdicts
}

/// Plays turns of client and server.
fn play(turns: &[(&[&str], &[&str])]) -> Track {
    another_server();
    let mut track = Track::new(false);
    for (from_client, from_server) in turns {
        client(&mut track, from_client);
        server(&mut track, from_server);
    }
    track
}

fn settings(track: &Track) -> Vec<String> {
    track.memory().settings().map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

fn statements(track: &Track) -> usize {
    track.memory().names.len() + usize::from(track.unnamed.serial > 0)
}

#[test]
fn a_session_is_at_rest_between_transactions_only() {
    let mut track = Track::new(false);
    assert!(track.is_at_rest());
    client(&mut track, &["Q:begin"]);
    assert!(!track.is_at_rest() && track.is_in_flight() && !track.may_have_committed());
    server(&mut track, &["C:BEGIN", "Z:T"]);
    assert!(!track.is_at_rest() && !track.is_in_flight());
    client(&mut track, &["Q:insert into t values (1)"]);
    assert!(!track.may_have_committed(), "inside a transaction nothing commits by itself");
    server(&mut track, &["C:INSERT 0 1", "Z:T"]);
    client(&mut track, &["Q:commit"]);
    assert!(track.may_have_committed());
    server(&mut track, &["C:COMMIT"]);
    assert!(!track.is_at_rest());
    server(&mut track, &["Z:I"]);
    assert!(track.is_at_rest());
}

#[test]
fn a_pipeline_is_at_rest_after_its_last_sync() {
    let mut track = Track::new(false);
    client(&mut track, &["P::select 1", "B:", "E:", "S", "P::select 2", "B:", "E:", "S", "H"]);
    server(&mut track, &["1", "2", "C:SELECT 1", "Z:I"]);
    assert!(!track.is_at_rest());
    server(&mut track, &["1", "2", "C:SELECT 1", "Z:I"]);
    assert!(track.is_at_rest() && track.memory().pins().is_empty(), "a flush asks for nothing that is still to come");
    client(&mut track, &["P::select 3", "H"]);
    server(&mut track, &["1"]);
    assert!(!track.is_at_rest());
    client(&mut track, &["S"]);
    server(&mut track, &["Z:I"]);
    assert!(track.is_at_rest());
}

/// As psycopg leaves a pipeline, and cleans up after an error.
#[test]
fn a_server_that_has_forgotten_is_waited_for_no_longer() {
    let mut track = Track::new(false);
    client(&mut track, &["P::select 1", "H"]);
    server(&mut track, &["1"]);
    client(&mut track, &["Q:deallocate all"]);
    server(&mut track, &["C:DEALLOCATE ALL", "Z:I"]);
    assert_ne!(take(&mut track, &bytes(&["Q:begin"])).0, Taken::Full);
}

#[test]
fn an_error_skips_the_rest_of_its_pipeline() {
    let track = play(&[
        (&["P:a:selec", "P:b:select 1", "C:Sa", "B:", "E:", "S"], &["E:x", "Z:I"]),
        (&["P:c:select 1", "S"], &["1", "Z:I"]),
    ]);
    assert!(track.is_at_rest());
    assert_eq!(statements(&track), 1);
}

#[test]
fn statements_are_kept_until_closed() {
    let track = play(&[(&["P:a:select 1", "P:b:select 2", "P::select 3", "S"], &["1", "1", "1", "Z:I"])]);
    assert_eq!(statements(&track), 3);
    let track = play(&[
        (&["P:a:select 1", "P:b:select 2", "P::select 3", "S"], &["1", "1", "1", "Z:I"]),
        (&["C:Sa", "C:Pportal", "S"], &["3", "3", "Z:I"]),
        (&["Q:deallocate b"], &["C:DEALLOCATE", "Z:I"]),
    ]);
    assert_eq!((statements(&track), track.memory().pins().is_empty()), (0, true));
}

#[test]
fn settings_are_remembered_once_they_stay() {
    let track = play(&[
        (&["Q:SET a.b = 1"], &["C:SET", "Z:I"]),
        (&["P::set work_mem = '1MB'", "B:", "E:", "S"], &["1", "2", "C:SET", "Z:I"]),
        (&["Q:set nonsense = 1"], &["E:x", "Z:I"]),
        (&["Q:set a.b to 2"], &["C:SET", "Z:I"]),
    ]);
    assert_eq!(settings(&track), ["set work_mem = '1MB'", "set a.b to 2"]);
    assert!(track.memory().pins().is_empty() && track.is_at_rest());
}

/// As drivers' pools do when a connection comes back.
#[test]
fn several_statements_may_take_settings_back() {
    let clean = "select pg_advisory_unlock_all(); close all; unlisten *; reset all;";
    let track = play(&[
        (&["Q:set a.b = 1"], &["C:SET", "Z:I"]),
        (&[&format!("Q:{clean}")], &["C:SELECT 1", "C:CLOSE CURSOR ALL", "C:UNLISTEN", "C:RESET", "Z:I"]),
    ]);
    assert!(settings(&track).is_empty() && track.memory().pins().is_empty());
    // All or nothing.
    let track = play(&[
        (&["Q:set a.b = 1"], &["C:SET", "Z:I"]),
        (&["Q:reset all; select 1/0"], &["C:RESET", "E:22012", "Z:I"]),
    ]);
    assert!(settings(&track).len() == 1 && track.memory().pins().is_empty());
}

#[test]
fn settings_follow_their_transaction() {
    let begin: (&[&str], &[&str]) = (&["Q:begin"], &["C:BEGIN", "Z:T"]);
    let set: (&[&str], &[&str]) = (&["Q:set x.y = 1"], &["C:SET", "Z:T"]);
    let committed = play(&[begin, set, (&["Q:commit"], &["C:COMMIT", "Z:I"])]);
    assert_eq!((settings(&committed).len(), committed.memory().pins().is_empty()), (1, true));
    let taken_back = play(&[begin, set, (&["Q:rollback"], &["C:ROLLBACK", "Z:I"])]);
    assert_eq!((settings(&taken_back).len(), taken_back.memory().pins().is_empty()), (0, true));
    let failed = play(&[begin, set, (&["Q:x"], &["E:x", "Z:E"]), (&["Q:commit"], &["C:ROLLBACK", "Z:I"])]);
    assert_eq!(settings(&failed).len(), 0);
    let tangled = play(&[
        begin,
        (&["Q:savepoint a"], &["C:SAVEPOINT", "Z:T"]),
        set,
        (&["Q:rollback to a"], &["C:ROLLBACK", "Z:T"]),
        (&["Q:commit"], &["C:COMMIT", "Z:I"]),
    ]);
    assert!(!tangled.memory().pins().is_empty(), "savepoints are not followed");
}

#[test]
fn discard_all_makes_a_session_movable_again() {
    let mut track = play(&[
        (&["Q:set x.y = 1"], &["C:SET", "Z:I"]),
        (&["Q:listen a"], &["C:LISTEN", "Z:I"]),
        (&["Q:create temp table t (a int)"], &["C:CREATE TABLE", "Z:I"]),
    ]);
    assert_eq!(track.memory().pins().text(), "temporary tables, LISTEN");
    client(&mut track, &["Q:discard all"]);
    server(&mut track, &["C:DISCARD ALL", "Z:I"]);
    assert!(track.memory().pins().is_empty() && settings(&track).is_empty());
    client(&mut track, &["Q:load 'x'"]);
    server(&mut track, &["C:LOAD", "Z:I"]);
    client(&mut track, &["Q:discard all"]);
    server(&mut track, &["C:DISCARD ALL", "Z:I"]);
    assert_eq!(track.memory().pins().text(), "a loaded library");
}

#[test]
fn copy_ends_as_the_drivers_do_it() {
    let simple = play(&[(&["Q:copy t from stdin"], &["G:"]), (&["d:1", "c"], &["C:COPY 1", "Z:I"])]);
    assert!(simple.is_at_rest());
    let extended = play(&[
        (&["P::copy t from stdin", "B:", "E:", "H"], &["1", "2", "G:"]),
        (&["d:1", "c", "S"], &["C:COPY 1", "Z:I"]),
    ]);
    assert!(extended.is_at_rest() && extended.memory().pins().is_empty());
    let ambiguous = play(&[(&["P::copy t from stdin", "B:", "E:", "S"], &["1", "2", "G:"])]);
    assert!(!ambiguous.memory().pins().is_empty());
}

#[test]
fn reports_decide() {
    let mut track = Track::new(false);
    client(&mut track, &["Q:commit"]);
    let mut data = Vec::new();
    put(&mut data, b'N', b"VWARNING\0RSyncRepWaitForLSN\0\0");
    assert_eq!(hear(&mut track, &data).1, Verdict::CancelledWait);
    data.clear();
    put(&mut data, b'E', b"VFATAL\0C57P01\0\0");
    assert_eq!(hear(&mut track, &data).1, Verdict::Fatal);
    assert_eq!(server(&mut track, &["C:COMMIT", "Z:I"]), [Verdict::Acknowledges, Verdict::Acknowledges]);
}

#[test]
fn reported_parameters_are_known_as_the_client_saw_them() {
    let track = play(&[(&[], &["S:TimeZone=UTC", "S:application_name=", "S:TimeZone=Asia/Tokyo"])]);
    let seen: Vec<_> = track.memory().reported().iter().collect();
    assert_eq!(seen, [("application_name", ""), ("TimeZone", "Asia/Tokyo")]);
}

#[test]
fn a_long_query_is_examined_in_parts() {
    let mut track = Track::new(false);
    let text = format!("select '{}'; listen x", "a".repeat(100_000));
    let mut data = Vec::new();
    put_query(&mut data, &text);
    let mut at = 0;
    for chunk in [1, 7, 60_000, data.len()] {
        let end = data.len().min(at + chunk);
        while at < end {
            match take(&mut track, &data[at..end]).0 {
                Taken::More | Taken::Full => break,
                Taken::Pass(len) | Taken::Instead(len) => at += len,
            }
        }
        assert!(at == 0 || !track.is_at_rest());
    }
    assert_eq!(at, data.len());
    assert_eq!(track.memory().pins().text(), "LISTEN");
    server(&mut track, &["C:SELECT 1", "C:LISTEN", "Z:I"]);
    assert!(track.is_at_rest());
}

#[test]
fn nobody_makes_it_remember_without_bound() {
    let mut track = Track::new(false);
    for _ in 0..PENDING_MAX {
        client(&mut track, &["S"]);
    }
    assert_eq!(take(&mut track, &bytes(&["S"])).0, Taken::Full, "the client waits");
    server(&mut track, &["Z:I"]);
    client(&mut track, &["S"]);
    let mut track = Track::new(false);
    for n in 0..200 {
        let parse = format!("P:{n}:select '{}'", "x".repeat(5000));
        client(&mut track, &[&parse, "S"]);
        server(&mut track, &["1", "Z:I"]);
    }
    assert!(!track.memory().pins().is_empty());
    assert!(track.memory().names.len() <= 512 * 1024 / 5_000);
}

#[test]
fn a_session_stays_able_to_hear_warnings() {
    let mut track = Track::new(false);
    let asked = bytes(&["Q:set client_min_messages = error"]);
    let instead = bytes(&["Q:set client_min_messages = warning"]);
    assert_eq!(take(&mut track, &asked), (Taken::Instead(asked.len()), instead));
    server(&mut track, &["C:SET", "Z:I"]);
    assert_eq!(settings(&track), ["set client_min_messages = warning"]);
    let asked = bytes(&["P::select set_config('client_min_messages', 'panic', true)"]);
    let instead = bytes(&["P::select set_config('client_min_messages', 'warning', true)"]);
    assert_eq!(take(&mut track, &asked), (Taken::Instead(asked.len()), instead.clone()));
    client(&mut track, &["S"]);
    server(&mut track, &["1", "Z:I"]);
    assert_eq!(track.unnamed.frame, instead);
}

#[test]
fn characteristics_are_kept_in_the_order_of_their_last_use() {
    let mut track = play(&[
        (&["Q:set session characteristics as transaction read only"], &["C:SET", "Z:I"]),
        (&["Q:set session characteristics as transaction read write"], &["C:SET", "Z:I"]),
        (&["Q:set session characteristics as transaction read only"], &["C:SET", "Z:I"]),
    ]);
    let kept = settings(&track);
    assert!(kept.len() == 2 && kept[1].ends_with("read only"), "{kept:?}");
    client(&mut track, &["Q:reset default_transaction_read_only"]);
    server(&mut track, &["C:RESET", "Z:I"]);
    assert!(!track.memory().pins().is_empty());
}

#[test]
fn a_statement_is_given_to_every_server_that_lacks_it_and_to_no_other() {
    let mut track = Track::new(false);
    assert_eq!(client(&mut track, &["P:a:select 1", "B::a", "E:", "S"]), "Pdauphin_1 Bdauphin_1 E S");
    server(&mut track, &["1", "2", "C:SELECT 1", "Z:I"]);
    assert_eq!(client(&mut track, &["B::a", "E:", "S"]), "Bdauphin_1 E S");
    server(&mut track, &["2", "C:SELECT 1", "Z:I"]);
    another_server();
    assert_eq!(client(&mut track, &["D:Sa", "B::a", "E:", "S"]), "Pdauphin_1 Ddauphin_1 Bdauphin_1 E S");
    let verdicts = server(&mut track, &["1", "t:x", "T:x", "2", "C:SELECT 1", "Z:I"]);
    assert_eq!(verdicts[..2], [Verdict::Drop, Verdict::Pass]);
    // Another client prepares the same: the server knows it, and the client is told what it expects.
    let mut other = Track::new(false);
    assert_eq!(client(&mut other, &["P:b:select 1", "B::b", "E:", "S"]), "Cdauphin_0 Bdauphin_1 E S");
    assert_eq!(server(&mut other, &["3", "2", "C:SELECT 1", "Z:I"])[0], Verdict::Parsed);
    // It takes its own name back, and nobody else's statement.
    assert_eq!(client(&mut other, &["C:Sb", "S"]), "Cdauphin_0 S");
    assert_eq!(server(&mut other, &["3", "Z:I"])[0], Verdict::Pass);
    assert_eq!((statements(&other), statements(&track)), (0, 1));
    assert_eq!(client(&mut other, &["B::b", "S"]), "Bb S");
}

#[test]
fn the_unnamed_statement_goes_along_too() {
    let mut track = Track::new(false);
    client(&mut track, &["P::select 1", "S"]);
    server(&mut track, &["1", "Z:I"]);
    assert_eq!(client(&mut track, &["B::", "E:", "S"]), "B E S");
    server(&mut track, &["2", "C:SELECT 1", "Z:I"]);
    let mut other = Track::new(false);
    client(&mut other, &["P::select 2", "B::", "E:", "S"]);
    server(&mut other, &["1", "2", "C:SELECT 1", "Z:I"]);
    assert_eq!(client(&mut track, &["B::", "E:", "S"]), "P B E S");
    assert_eq!(server(&mut track, &["1", "2", "C:SELECT 1", "Z:I"])[0], Verdict::Drop);
    client(&mut track, &["Q:select 3"]);
    server(&mut track, &["C:SELECT 1", "Z:I"]);
    assert_eq!(client(&mut track, &["B::", "S"]), "Bdauphin_0 S", "a simple query ends it");
    server(&mut track, &["E:26000", "Z:I"]);
    // One that is too long to be kept works where it was prepared, and nothing else is run in its place.
    let long = format!("P::select '{}'", "x".repeat(40_000));
    client(&mut track, &[&long, "D:S", "S"]);
    server(&mut track, &["1", "t:x", "n", "Z:I"]);
    assert_eq!(client(&mut track, &["B::", "E:", "S"]), "B E S");
    server(&mut track, &["2", "C:SELECT 1", "Z:I"]);
    client(&mut other, &["P::delete", "S"]);
    server(&mut other, &["1", "Z:I"]);
    assert_eq!(client(&mut track, &["D:S", "B::", "S"]), "Ddauphin_0 Bdauphin_0 S");
}

#[test]
fn what_a_server_skips_was_never_prepared() {
    let mut track = Track::new(false);
    client(&mut track, &["B::none", "P:a:select 1", "B::a", "S"]);
    server(&mut track, &["E:x", "Z:I"]);
    assert_eq!(client(&mut track, &["P:a:select 1", "S"]), "Pdauphin_1 S");
    server(&mut track, &["1", "Z:I"]);
    another_server();
    // A pipeline whose first part fails, and whose second does not depend on it.
    assert_eq!(
        client(&mut track, &["B::none", "B::a", "S", "B::a", "E:", "S"]),
        "Bnone Pdauphin_1 Bdauphin_1 S Cdauphin_1 Pdauphin_1 Bdauphin_1 E S"
    );
    let verdicts = server(&mut track, &["E:x", "Z:I", "3", "1", "2", "C:SELECT 1", "Z:I"]);
    assert_eq!(verdicts[2..5], [Verdict::Drop, Verdict::Drop, Verdict::Pass]);
    assert!(track.is_at_rest() && track.memory().pins().is_empty());
    // A name that was to be closed, and was not.
    client(&mut track, &["B::none", "C:Sa", "S"]);
    server(&mut track, &["E:x", "Z:I"]);
    assert_eq!(statements(&track), 1);
}

#[test]
fn a_name_that_is_taken_is_refused_by_the_server() {
    let mut track = Track::new(false);
    client(&mut track, &["P:a:select 1", "S"]);
    server(&mut track, &["1", "Z:I"]);
    assert_eq!(client(&mut track, &["P:a:select 2", "S"]), "Pdauphin_1 S");
    server(&mut track, &["E:42P05", "Z:I"]);
    assert_eq!(client(&mut track, &["B::a", "S"]), "Cdauphin_1 Pdauphin_1 Bdauphin_1 S", "made again, to be sure");
}

#[test]
fn deallocate_takes_the_clients_name() {
    let mut track = Track::new(false);
    client(&mut track, &["P:A b:select 1", "P:c:select 2", "S"]);
    server(&mut track, &["1", "1", "Z:I"]);
    assert_eq!(client(&mut track, &["Q:deallocate \"A b\""]), "QDEALLOCATE dauphin_1");
    server(&mut track, &["C:DEALLOCATE", "Z:I"]);
    assert_eq!(statements(&track), 1);
    another_server();
    assert_eq!(client(&mut track, &["Q:deallocate c"]), "QDEALLOCATE ALL");
    server(&mut track, &["C:DEALLOCATE ALL", "Z:I"]);
    assert_eq!(statements(&track), 0);
}

#[test]
fn a_server_keeps_so_many_statements_and_no_more() {
    let mut track = Track::new(false);
    for n in 0..500 {
        client(&mut track, &[&format!("P:{n}:select {n}"), "S"]);
        server(&mut track, &["1", "Z:I"]);
    }
    assert_eq!(client(&mut track, &["P:x:select", "S"]), "Cdauphin_1 Pdauphin_501 S");
    assert_eq!(server(&mut track, &["3", "1", "Z:I"])[0], Verdict::Drop);
    assert_eq!(client(&mut track, &["B::0", "S"]), "Cdauphin_2 Pdauphin_1 Bdauphin_1 S");
}

const LOSS: Loss = Loss { code: "40001", message: "lost", detail: None, hint: "again" };

/// A server's messages in words: errors by their code.
fn words(data: &[u8]) -> String {
    let (mut words, mut rest) = (Vec::new(), data);
    while let [tag, a, b, c, d, body @ ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize - 4;
        let text = match tag {
            b'E' => String::from_utf8_lossy(message::Report::parse(&body[..length]).code).into_owned(),
            b't' => String::new(),
            _ => String::from_utf8_lossy(&body[..length]).trim_end_matches('\0').to_owned(),
        };
        words.push(format!("{}{text}", char::from(*tag)));
        rest = &body[length..];
    }
    words.join(" ")
}

/// What the client reads when its server is lost.
fn lose(track: &mut Track) -> String {
    words(&track.abort(LOSS).expect("can be told"))
}

/// What it reads for what it sends then.
fn answers(track: &mut Track, said: &[&str]) -> String {
    let (data, mut at, mut out) = (bytes(said), 0, Vec::new());
    while at < data.len() {
        assert!(track.is_aborted(), "the rest is for a server: {said:?}");
        at += track.client_aborted(&data[at..], &mut out).expect("valid").expect("whole");
    }
    words(&out)
}

fn in_transaction() -> Track {
    play(&[(&["Q:begin"], &["C:BEGIN", "Z:T"])])
}

#[test]
fn a_lost_transaction_fails_until_the_client_ends_it() {
    let mut track = in_transaction();
    assert_eq!(lose(&mut track), "");
    assert_eq!(answers(&mut track, &["Q:insert"]), "E40001 ZE");
    assert_eq!(answers(&mut track, &["Q:select 1"]), "E25P02 ZE");
    assert_eq!(answers(&mut track, &["Q:rollback to a"]), "E25P02 ZE");
    assert_eq!(answers(&mut track, &["Q:commit"]), "CROLLBACK ZI");
    assert!(!track.is_aborted() && track.is_at_rest());
    // Nobody takes it for committed who was not told.
    let mut track = in_transaction();
    assert_eq!((lose(&mut track), answers(&mut track, &["Q:COMMIT"])), (String::new(), "E40001 ZI".to_owned()));
    assert!(!track.is_aborted());
    // And nobody is told who does not want it.
    let mut track = in_transaction();
    assert_eq!((lose(&mut track), answers(&mut track, &["Q:rollback;"])), (String::new(), "CROLLBACK ZI".to_owned()));
}

/// Too long to be held until it is whole, and cut where the first part looks like the end of the transaction.
#[test]
fn a_long_query_does_not_end_a_lost_transaction_by_where_it_is_cut() {
    let query = format!("rollback; insert {}", "x".repeat(WHOLE_BYTES_MAX));
    let data = bytes(&[&format!("Q:{query}")]);
    for cut in [HEADER_BYTES, HEADER_BYTES + "rollback".len(), HEADER_BYTES + "rollback;".len(), data.len()] {
        let mut track = in_transaction();
        assert_eq!(lose(&mut track), "");
        let mut told = Vec::new();
        for part in [&data[..cut], &data[cut..]].into_iter().filter(|part| !part.is_empty()) {
            assert_eq!(track.client_aborted(part, &mut told).expect("valid"), Some(part.len()));
        }
        assert_eq!(words(&told), "E40001 ZE", "cut at {cut}");
        assert_eq!(answers(&mut track, &["Q:rollback"]), "CROLLBACK ZI", "cut at {cut}");
    }
}

#[test]
fn a_statement_in_flight_is_answered_with_what_became_of_it() {
    let mut track = in_transaction();
    client(&mut track, &["Q:insert"]);
    assert!(!track.may_have_committed());
    assert_eq!(
        (lose(&mut track), answers(&mut track, &["Q:commit"])),
        ("E40001 ZE".to_owned(), "CROLLBACK ZI".to_owned())
    );
    let mut track = in_transaction();
    client(&mut track, &["Q:commit"]);
    assert!(track.may_have_committed());
    assert_eq!(lose(&mut track), "E40001 ZI");
    assert!(!track.is_aborted() && track.is_at_rest());
    // It has failed already, and the server has only not said that it is ready.
    let mut track = Track::new(false);
    client(&mut track, &["Q:insert"]);
    server(&mut track, &["E:x"]);
    assert!(!track.may_have_committed());
    assert_eq!(lose(&mut track), "ZI");
    // Between two messages only.
    let mut track = Track::new(false);
    client(&mut track, &["Q:select"]);
    let row = bytes(&["D:a row"]);
    hear(&mut track, &row[..row.len() - 1]);
    assert!(track.abort(LOSS).is_none());
}

#[test]
fn pipelines_are_answered_to_their_last_sync() {
    let mut track = in_transaction();
    client(&mut track, &["P::select 1", "B::", "E:", "S", "P::select 2", "B::"]);
    server(&mut track, &["1", "2"]);
    assert_eq!(lose(&mut track), "E40001 ZE E40001");
    assert_eq!(answers(&mut track, &["E:", "S"]), "ZE");
    assert_eq!(answers(&mut track, &["P::select 3", "B::", "E:", "S"]), "E25P02 ZE");
    let ended = answers(&mut track, &["P::ROLLBACK", "B::", "D:P", "E:", "S"]);
    assert_eq!(ended, "1 2 n CROLLBACK ZI");
    assert!(!track.is_aborted() && track.is_at_rest());
    // By a statement that was prepared before.
    let mut track = Track::new(false);
    client(&mut track, &["P:end:commit", "S", "Q:begin"]);
    server(&mut track, &["1", "Z:I", "C:BEGIN", "Z:T"]);
    assert_eq!(lose(&mut track), "");
    assert_eq!(answers(&mut track, &["B::end", "E:", "S"]), "2 E40001 ZI");
    assert!(!track.is_aborted());
}

#[test]
fn a_copy_that_is_cut_is_not_read_as_statements() {
    let mut track = in_transaction();
    client(&mut track, &["Q:copy t from stdin", "d:1"]);
    server(&mut track, &["G:"]);
    assert_eq!(lose(&mut track), "E40001 ZE");
    assert_eq!(answers(&mut track, &["d:2", "c:", "Q:rollback"]), "CROLLBACK ZI");
    // In the middle of one of its messages.
    let mut track = in_transaction();
    client(&mut track, &["Q:copy t from stdin"]);
    server(&mut track, &["G:"]);
    let data = bytes(&["d:a long row"]);
    take(&mut track, &data[..8]);
    assert_eq!(lose(&mut track), "E40001 ZE");
    let mut out = Vec::new();
    assert_eq!(track.client_aborted(&data[8..], &mut out).expect("valid"), Some(data.len() - 8));
    assert_eq!((answers(&mut track, &["c:", "Q:rollback"]), out.len()), ("CROLLBACK ZI".to_owned(), 0));
}

#[test]
fn a_commit_is_preceded_by_the_question_for_its_number() {
    let asked = "QSELECT pg_catalog.pg_current_xact_id_if_assigned()";
    let mut track = in_transaction();
    assert_eq!(client(&mut track, &["Q:commit"]), format!("{asked} Qcommit"));
    assert!(track.in_doubt().is_none(), "not answered yet");
    tell_number(&mut track, Some("742"));
    let doubt = track.in_doubt().expect("known");
    assert_eq!((doubt.xid, words(&doubt.committed)), (Some(742), "CCOMMIT ZI".to_owned()));
    let mut other = track;
    other.has_committed();
    assert!(other.is_at_rest() && !other.is_aborted());
    // In order to its end as ever.
    let mut track = in_transaction();
    client(&mut track, &["Q:commit"]);
    tell_number(&mut track, None);
    assert_eq!(track.in_doubt().expect("known").xid, None, "it has written nothing");
    assert_eq!(server(&mut track, &["C:COMMIT", "Z:I"]), [Verdict::Acknowledges, Verdict::Acknowledges]);
    assert!(track.is_at_rest() && track.in_doubt().is_none());
    // Nothing to ask outside a transaction, in a failed one, or for a rollback.
    assert_eq!(client(&mut Track::new(false), &["Q:commit"]), "Qcommit");
    assert_eq!(client(&mut in_transaction(), &["Q:rollback"]), "Qrollback");
    let mut failed = play(&[(&["Q:begin"], &["C:BEGIN", "Z:T"]), (&["Q:x"], &["E:x", "Z:E"])]);
    assert_eq!(client(&mut failed, &["Q:commit"]), "Qcommit");
}

#[test]
fn a_commit_in_a_pipeline_is_asked_about_too() {
    let asked = "QSELECT pg_catalog.pg_current_xact_id_if_assigned()";
    let mut track = in_transaction();
    assert_eq!(client(&mut track, &["P::COMMIT", "B::", "D:P", "E:", "S"]), format!("{asked} P B D E S"));
    tell_number(&mut track, None);
    assert_eq!(words(&track.in_doubt().expect("known").committed), "1 2 n CCOMMIT ZI");
    server(&mut track, &["1", "2", "n"]);
    assert_eq!(words(&track.in_doubt().expect("known").committed), "CCOMMIT ZI");
    server(&mut track, &["C:COMMIT", "Z:I"]);
    assert!(track.is_at_rest());
    // Prepared before, under a name.
    let mut track = play(&[(&["P:end:commit", "S", "Q:begin"], &["1", "Z:I", "C:BEGIN", "Z:T"])]);
    assert_eq!(client(&mut track, &["B::end", "E:", "S"]), format!("{asked} Bdauphin_1 E S"));
    tell_number(&mut track, None);
    assert_eq!(words(&track.in_doubt().expect("known").committed), "2 CCOMMIT ZI");
    // Not the first of its pipeline, or not the last: nobody can answer for the server.
    let mut track = in_transaction();
    assert_eq!(client(&mut track, &["P::select 1", "B::", "E:", "P::commit", "B::", "E:", "S"]), "P B E P B E S");
    let mut track = in_transaction();
    client(&mut track, &["Q:commit", "Q:select 1"]);
    tell_number(&mut track, None);
    assert!(track.in_doubt().is_none() && track.may_have_committed());
}

#[test]
fn a_question_that_fails_is_the_answer_to_the_commit() {
    let mut track = in_transaction();
    client(&mut track, &["P::commit", "B::", "E:", "S"]);
    let verdicts = server(&mut track, &["E:57014", "Z:E", "1", "2", "C:ROLLBACK", "Z:I"]);
    let expected = [Verdict::Pass, Verdict::Drop, Verdict::Drop, Verdict::Drop, Verdict::Drop, Verdict::Acknowledges];
    assert_eq!(verdicts, expected);
    assert!(track.is_at_rest());
}

#[test]
fn nothing_is_lost_with_a_begin() {
    let mut track = Track::new(false);
    client(&mut track, &["P:b:begin", "B::b", "E:", "S"]);
    assert!(track.is_in_flight() && !track.may_have_committed());
    assert_eq!(lose(&mut track), "E40001 ZE");
    // What the client had sent behind it, or sends now, is not on its own.
    assert_eq!(answers(&mut track, &["P::insert", "B::", "E:", "S"]), "E25P02 ZE");
    let mut track = Track::new(false);
    client(&mut track, &["P::begin", "B::", "E:", "P::insert", "B::", "E:", "S"]);
    assert!(track.may_have_committed(), "the second may be on its own");
    let mut track = Track::new(false);
    client(&mut track, &["P:i:insert", "P:b:begin", "B:x:i", "B::b", "E:x", "S"]);
    assert!(track.may_have_committed(), "the last that was bound need not be the one that is run");
}

#[test]
fn what_comes_behind_the_end_of_a_transaction_is_on_its_own() {
    let mut track = in_transaction();
    client(&mut track, &["Q:rollback"]);
    assert!(!track.may_have_committed());
    client(&mut track, &["P::insert", "B::", "E:", "S"]);
    assert!(track.may_have_committed());
    let mut track = in_transaction();
    client(&mut track, &["Q:rollback; insert"]);
    assert!(track.may_have_committed());
    let mut track = in_transaction();
    client(&mut track, &["P:r:rollback", "B::r", "E:", "S", "B::i", "E:", "S"]);
    assert!(track.may_have_committed());
}

/// A session with COMMIT prepared (as `pgbench -M prepared` and most pools of drivers have it) commits with that one only.
#[test]
fn what_runs_is_judged_by_what_it_does_and_not_by_what_is_prepared() {
    let prepared = || {
        let mut track = in_transaction();
        client(&mut track, &["P:c:commit", "P:i:insert", "P:r:rollback", "S"]);
        server(&mut track, &["1", "1", "1", "Z:T"]);
        track
    };
    for harmless in ["i", "r"] {
        let mut track = prepared();
        client(&mut track, &[&format!("B::{harmless}"), "E:", "S"]);
        assert!(!track.may_have_committed(), "{harmless}");
    }
    let mut track = prepared();
    client(&mut track, &["B::c", "E:", "S"]);
    assert!(track.may_have_committed());
    // a portal of a name may be any that was bound
    let mut track = prepared();
    client(&mut track, &["B:p:i", "E:p", "S"]);
    assert!(!track.may_have_committed());
    client(&mut track, &["B:q:c", "E:p", "S"]);
    assert!(track.may_have_committed());
    // what is not known may do anything
    let mut track = prepared();
    client(&mut track, &["B::unheard", "E:", "S"]);
    assert!(track.may_have_committed());
    // nothing is lost with a BEGIN that was prepared
    let mut track = Track::new(false);
    client(&mut track, &["P:b:begin", "P:i:insert", "S", "B::b", "E:", "S"]);
    assert!(!track.may_have_committed());
    client(&mut track, &["B::i", "E:", "S"]);
    assert!(track.may_have_committed(), "the server has not said that it has begun");
}

#[test]
fn nothing_passes_a_server_that_is_about_to_forget() {
    for forgets in ["discard all", "deallocate all", "deallocate a"] {
        let mut track = Track::new(false);
        client(&mut track, &[&format!("Q:{forgets}")]);
        assert_eq!(take(&mut track, &bytes(&["Q:set role x"])).0, Taken::Full, "{forgets}");
        server(&mut track, &["C:DISCARD ALL", "Z:I"]);
        assert_ne!(take(&mut track, &bytes(&["Q:set role x"])).0, Taken::Full, "{forgets}");
        assert!(!track.memory().pins().let_go());
    }
    let mut track = Track::new(false);
    client(&mut track, &["P::discard all", "B::", "E:", "S"]);
    assert_eq!(take(&mut track, &bytes(&["S"])).0, Taken::Full, "once the pipeline is complete");
}

#[test]
fn a_server_that_knows_something_else_is_told_anew() {
    let mut track = Track::new(false);
    client(&mut track, &["P:a:select * from t", "S"]);
    server(&mut track, &["1", "Z:I"]);
    // Somebody uses names of our kind.
    let mut other = Track::new(false);
    assert_eq!(
        client(&mut other, &["C:Sdauphin_1", "B::dauphin_1", "D:Sdauphin_1", "S"]),
        "Cdauphin_0 Bdauphin_0 Ddauphin_0 S"
    );
    server(&mut other, &["3", "E:26000", "Z:I"]);
    assert_eq!(client(&mut track, &["B::a", "S"]), "Cdauphin_1 Pdauphin_1 Bdauphin_1 S");
    server(&mut track, &["3", "1", "2", "Z:I"]);
    // The table has changed: a plan that is of no use is not used again.
    client(&mut track, &["B::a", "E:", "S"]);
    let mut report = Vec::new();
    put(&mut report, b'E', b"SERROR\0VERROR\0C0A000\0RRevalidateCachedQuery\0\0");
    hear(&mut track, &report);
    server(&mut track, &["Z:I"]);
    client(&mut track, &["C:Sa", "S"]);
    server(&mut track, &["3", "Z:I"]);
    assert_eq!(client(&mut track, &["P:a:select * from t", "S"]), "Cdauphin_1 Pdauphin_1 S");
}

#[test]
fn an_error_of_the_extended_protocol_skips_a_simple_query_too() {
    let mut track = Track::new(false);
    client(&mut track, &["P:a:selec", "Q:select 1", "S"]);
    server(&mut track, &["E:42601", "Z:I"]);
    assert!(track.is_at_rest() && !track.memory().pins().let_go(), "not worth guessing: it keeps its server");
}
