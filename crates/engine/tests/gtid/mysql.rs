//! MySQL: GTID_SUBSET, GTID_SUBTRACT, what it prints, what it refuses, and the bytes in its binary log.

use crate::bare::Bare;
use crate::run::as_dauphin;
use crate::some;
use dauphin_model::{Gtid, GtidSet, Held};
use proptest::collection::vec;
use proptest::prelude::*;

const NAME: &str = "mysql-9";

/// A set as people and programs write them: servers in any case and form, blanks, tags, runs that overlap or are empty.
fn texts() -> impl Strategy<Value = String> {
    let uuid = prop_oneof![
        Just("3e11fa47-71ca-11e1-9e33-c80aa9429562"),
        Just("3E11FA47-71CA-11e1-9e33-c80aa9429562"),
        Just("3e11fa4771ca11e19e33c80aa9429562"),
        Just("{00000000-71ca-11e1-9e33-c80aa9429562}"),
        Just("ffffffff-71ca-11e1-9e33-c80aa9429562"),
    ];
    let run = (1..40_u64, 0..45_u64).prop_map(
        |(first, last)| {
            if last < 8 { first.to_string() } else { format!("{first}-{last}") }
        },
    );
    let tag = prop_oneof![Just("tag"), Just("TAG"), Just("_a9"), Just("zz")].prop_map(str::to_owned);
    let part = prop_oneof![4 => run, 1 => tag];
    let blank = prop_oneof![6 => Just(""), 1 => Just(" "), 1 => Just("\n\t")];
    let source = (uuid, vec((blank.clone(), part, blank), 0..7)).prop_map(|(uuid, parts)| {
        let parts: Vec<String> =
            parts.into_iter().map(|(before, part, after)| format!("{before}:{after}{part}")).collect();
        format!("{uuid}{}", parts.concat())
    });
    vec(source, 0..5).prop_map(|sources| sources.join(","))
}

/// The same with one thing changed: mostly no set any more.
fn damaged() -> impl Strategy<Value = String> {
    (texts(), any::<prop::sample::Index>(), "[-:,0-9a-zA-Z_ {}+.;\n]{0,2}", 0..3_usize).prop_map(
        |(text, at, put, cut)| {
            let at = at.index(text.len() + 1);
            let rest = text.get(at + cut.min(text.len() - at)..).unwrap_or_default();
            format!("{}{put}{rest}", &text[..at])
        },
    )
}

#[test]
fn the_algebra_is_the_servers() {
    as_dauphin("mysql::the_algebra_is_the_servers", async {
        let Some(mut server) = Bare::mysql(NAME).await else { return };
        for (a, b) in some(600, (texts(), texts())) {
            let (ours, theirs): (GtidSet, GtidSet) = (a.parse().unwrap(), b.parse().unwrap());
            let sql = format!(
                "SELECT GTID_SUBTRACT('{a}', ''), GTID_SUBTRACT('{a}', '{b}'), GTID_SUBSET('{b}', '{a}'), \
                 GTID_SUBTRACT('{a},{b}', ''), GTID_SUBTRACT('{a}', GTID_SUBTRACT('{a}', '{b}'))"
            );
            let expected = [
                ours.to_string(),
                ours.subtract(&theirs).to_string(),
                u8::from(ours.holds(&theirs)).to_string(),
                ours.union(&theirs).to_string(),
                ours.intersect(&theirs).to_string(),
            ];
            assert_eq!(server.ask(&sql).await, expected, "{a:?} and {b:?}");
        }
    });
}

#[test]
fn what_the_server_refuses_we_refuse_and_nothing_else() {
    as_dauphin("mysql::what_the_server_refuses_we_refuse_and_nothing_else", async {
        /// ER_MALFORMED_GTID_SET_SPECIFICATION.
        const MALFORMED: u16 = 1772;
        let Some(mut server) = Bare::mysql(NAME).await else { return };
        let (mut taken, mut refused) = (0, 0);
        for text in some(3_000, damaged()) {
            let said = server.try_ask(&format!("SELECT GTID_SUBTRACT('{text}', '')")).await;
            match (said, text.parse::<GtidSet>()) {
                (Ok(said), Ok(ours)) => {
                    assert_eq!(said, [ours.to_string()], "{text:?}");
                    taken += 1;
                }
                (Err((MALFORMED, _)), Err(_)) => refused += 1,
                (said, ours) => panic!("{text:?}: the server says {said:?}, we {ours:?}"),
            }
        }
        assert!(taken > 300 && refused > 300, "{taken} taken, {refused} refused: both must be tried");
    });
}

#[test]
fn bytes_in_the_binary_log_are_ours() {
    as_dauphin("mysql::bytes_in_the_binary_log_are_ours", async {
        let Some(mut server) = Bare::mysql(NAME).await else { return };
        let uuid =
            prop_oneof![Just("3e11fa47-71ca-11e1-9e33-c80aa9429562"), Just("ffffffff-0000-11e1-9e33-c80aa9429562")];
        let tag = prop_oneof![2 => Just(""), 1 => Just("a_tag_of_exactly_32_characters__:"), 1 => Just("t:")];
        let number =
            prop_oneof![3 => 1..60_u64, 1 => Just(9_223_372_036_854_775_805_u64), 1 => 100..1_000_000_000_000_u64];
        let mut logged = GtidSet::default();
        // without tags first: the old form, in the log and in its head
        for (round, tagged) in [false, true].into_iter().enumerate() {
            for (uuid, tag, number) in some(60, (uuid.clone(), tag.clone(), number.clone())) {
                let gtid: Gtid = format!("{uuid}:{}{number}", if tagged { tag } else { "" }).parse().unwrap();
                server.ask(&format!("SET gtid_next = '{gtid}'")).await;
                server.ask("BEGIN").await;
                server.ask("COMMIT").await;
                logged = logged.union(&gtid.alone());
            }
            server.ask("SET gtid_next = 'AUTOMATIC'").await;
            server.ask("FLUSH BINARY LOGS").await;
            let executed = server.ask("SELECT @@GLOBAL.gtid_executed").await;
            assert_eq!(executed, [logged.to_string()]);
            let written = events(&server, &format!("binlog.{:06}", round + 1));
            let mut read = GtidSet::default();
            for (kind, body) in &written {
                match kind {
                    33 => read = read.union(&Gtid::from_event(body).unwrap().alone()),
                    42 => read = read.union(&Gtid::from_tagged_event(body).unwrap().alone()),
                    35 => read = read.union(&GtidSet::from_bytes(body).unwrap()),
                    _ => {}
                }
            }
            assert_eq!(read, logged, "what the log's events say together");
            assert_eq!(written.iter().any(|(kind, _)| *kind == 42), tagged);
            let head = events(&server, &format!("binlog.{:06}", round + 2));
            let previous =
                head.iter().find(|(kind, _)| *kind == 35).expect("a log begins with the transactions before it");
            assert_eq!(previous.1, logged.to_bytes(), "the server's bytes are ours");
        }
    });
}

/// The events of a binary log file: type and body, without head and checksum.
fn events(server: &Bare, file: &str) -> Vec<(u8, Vec<u8>)> {
    const MAGIC: usize = 4;
    const HEAD: usize = 19;
    const CHECKSUM: usize = 4;
    let bytes = std::fs::read(server.dir.path().join("data").join(file)).unwrap();
    let mut found = Vec::new();
    let mut at = MAGIC;
    while let Some(head) = bytes.get(at..at + HEAD) {
        let size = u32::from_le_bytes(head[9..13].try_into().unwrap()) as usize;
        found.push((head[4], bytes[at + HEAD..at + size - CHECKSUM].to_vec()));
        at += size;
    }
    found
}
