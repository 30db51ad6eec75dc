//! What lies in MariaDB's relay logs behind what was applied. The server forgets it: after a restart it does not say what it
//! received, and a start by GTID with both threads down deletes it. So the files themselves are read.
//! Reading a file is here, and knows no server; [`super::rescue`] applies what is found.

use crate::host::FileError;
use crate::mysql::{Reached, events};
use dauphin_model::gtid::{Gtid, MariaGtid};
use dauphin_model::{FilePosition, MariaPosition};
use std::io::{self, ErrorKind};
use std::path::Path;

/// Most of a statement's body that is looked at: an end of a transaction is short.
const BODY_MAX: usize = 4_096;
/// Most files that one relay log has.
const FILES_MAX: usize = 100_000;

/// Bytes of a table's description before its names.
const MAP_FIXED: usize = 8;
/// Bytes of it that are looked at: enough for the longest names.
const NAMES_MAX: usize = MAP_FIXED + 2 * 258;

// Types of events.
const QUERY: u8 = 2;
const XID: u8 = 16;
const TABLE_MAP: u8 = 19;
const XA_PREPARE: u8 = 38;
const MYSQL_GTID: u8 = 33;
const PAYLOAD: u8 = 40;
const MYSQL_TAGGED_GTID: u8 = 42;
const GTID: u8 = 162;
const QUERY_COMPRESSED: u8 = 165;

/// A transaction that is one statement, without an end of its own.
const STANDALONE: u8 = 1;

/// What was received and not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unapplied {
    /// Where the first such transaction begins.
    pub(crate) from: FilePosition,
    /// How far the whole ones reach. The last one of a log may be half there; nobody was told that it was received.
    pub(crate) reached: MariaPosition,
}

/// Looks through the relay log in `data_dir` from `at` on, for transactions behind `applied`.
///
/// # Errors
/// [`FileError`]; also for an encrypted log, which only the server can read.
pub(crate) fn unapplied(
    data_dir: &Path,
    at: &FilePosition,
    applied: &MariaPosition,
) -> Result<Option<Unapplied>, FileError> {
    let mut found: Option<Unapplied> = None;
    for (file, offset) in files_from(data_dir, at)? {
        let path = data_dir.join(&file);
        let mut note = |gtid: MariaGtid, begins: u64| {
            if applied.of(gtid.domain).is_some_and(|last| gtid.sequence <= last.sequence) {
                return;
            }
            let known = found.take().or_else(|| {
                let from = FilePosition::new(&file, begins).ok()?;
                Some(Unapplied { from, reached: MariaPosition::default() })
            });
            found = known.map(|mut known| {
                known.reached.set(gtid);
                known
            });
        };
        read(&path, offset, &mut note).map_err(FileError::at("read the relay log", &path))?;
    }
    Ok(found)
}

/// Whether rows of this table may be in the relay log from `at` on, in transactions that are not among `applied`. Where
/// transactions are compressed, nobody can say: they may.
///
/// # Errors
/// [`FileError`]; also for an encrypted log.
pub(crate) fn may_hold_rows_of(
    data_dir: &Path,
    at: &FilePosition,
    applied: &Reached,
    (database, table): (&str, &str),
) -> Result<bool, FileError> {
    let ours = |kind| matches!(kind, TABLE_MAP | PAYLOAD | GTID | MYSQL_GTID | MYSQL_TAGGED_GTID).then_some(NAMES_MAX);
    let wanted = names(database, table);
    let (mut open, mut found) = (true, false);
    for (file, offset) in files_from(data_dir, at)? {
        let path = data_dir.join(&file);
        let note = |event: &events::Event<'_>| {
            match event.kind {
                TABLE_MAP => found |= open && event.body.get(MAP_FIXED..).is_some_and(|rest| rest.starts_with(&wanted)),
                PAYLOAD => found |= open,
                _ => open = !is_applied(event, applied),
            }
            Ok(!found)
        };
        events::walk(&path, offset, ours, note).map_err(FileError::at("read the relay log", &path))?;
        if found {
            break;
        }
    }
    Ok(found)
}

/// Whether the transaction that begins with this event is applied; what cannot be read is not.
fn is_applied(event: &events::Event<'_>, applied: &Reached) -> bool {
    match (event.kind, applied) {
        (GTID, Reached::Mariadb(applied)) => gtid(event.server, event.body)
            .and_then(|(gtid, _)| Some(gtid.sequence <= applied.of(gtid.domain)?.sequence))
            .unwrap_or(false),
        (MYSQL_GTID, Reached::Mysql(applied)) => {
            Gtid::from_event(event.body).is_ok_and(|gtid| applied.has(&gtid.source, gtid.number()))
        }
        (MYSQL_TAGGED_GTID, Reached::Mysql(applied)) => {
            Gtid::from_tagged_event(event.body).is_ok_and(|gtid| applied.has(&gtid.source, gtid.number()))
        }
        _ => false,
    }
}

/// As a table's description has them: each with its length before and a zero behind.
fn names(database: &str, table: &str) -> Vec<u8> {
    let one = |name: &str| [&[u8::try_from(name.len()).unwrap_or(u8::MAX)], name.as_bytes(), &[0]].concat();
    [one(database), one(table)].concat()
}

/// The log's files from that place on, each with where to begin.
fn files_from(data_dir: &Path, at: &FilePosition) -> Result<Vec<(String, u64)>, FileError> {
    let path = data_dir.join(format!("{}.index", at.base()));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::at("read", &path)(error)),
    };
    let names = text.lines().take(FILES_MAX).map(|line| line.trim().trim_start_matches("./"));
    let from = |name: &str| {
        let place = FilePosition::new(name, events::FIRST).ok()?;
        if name == at.file() {
            return Some((name.to_owned(), at.offset().max(events::FIRST)));
        }
        (place > *at).then(|| (name.to_owned(), events::FIRST))
    };
    Ok(names.filter_map(from).collect())
}

/// Tells `note` of every whole transaction: its GTID and where it begins.
pub(crate) fn read(path: &Path, offset: u64, note: &mut dyn FnMut(MariaGtid, u64)) -> io::Result<()> {
    let ours = |kind| match kind {
        GTID | XID | XA_PREPARE | QUERY | QUERY_COMPRESSED => Some(BODY_MAX),
        _ => None,
    };
    let mut open: Option<(MariaGtid, u64, bool)> = None;
    events::walk(path, offset, ours, |event| {
        match event.kind {
            GTID => {
                let gtid = gtid(event.server, event.body);
                open = gtid.map(|(gtid, standalone)| (gtid, event.begins, standalone));
            }
            XID | XA_PREPARE => open.take().into_iter().for_each(|(gtid, begins, _)| note(gtid, begins)),
            _ => {
                if let Some((gtid, begins, _)) = open.take_if(|(_, _, standalone)| *standalone || ends(event.body)) {
                    note(gtid, begins);
                }
            }
        }
        Ok(true)
    })
}

/// Sequence, domain, flags.
fn gtid(server: u32, body: &[u8]) -> Option<(MariaGtid, bool)> {
    let (sequence, rest) = body.split_first_chunk::<8>()?;
    let (domain, rest) = rest.split_first_chunk::<4>()?;
    let flags = rest.first()?;
    let gtid = MariaGtid { domain: u32::from_le_bytes(*domain), server, sequence: u64::from_le_bytes(*sequence) };
    Some((gtid, flags & STANDALONE != 0))
}

/// Whether a statement ends a transaction: behind the fixed part, status variables and the database's name.
fn ends(body: &[u8]) -> bool {
    const FIXED: usize = 13;
    let Some([.., database, _, _, low, high]) = body.first_chunk::<FIXED>() else { return false };
    let skip = FIXED + usize::from(u16::from_le_bytes([*low, *high])) + usize::from(*database) + 1;
    body.get(skip..).is_some_and(|text| text.starts_with(b"COMMIT") || text.starts_with(b"ROLLBACK"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: usize = 19;
    const START_ENCRYPTION: u8 = 164;

    fn event(kind: u8, server: u32, body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(HEAD + body.len()).expect("small");
        let head = [&[0; 4], &[kind][..], &server.to_le_bytes(), &size.to_le_bytes(), &[0; 6]].concat();
        [&head, body].concat()
    }

    fn begin(sequence: u64, flags: u8) -> Vec<u8> {
        event(GTID, 1, &[&sequence.to_le_bytes()[..], &0_u32.to_le_bytes(), &[flags, 0, 0]].concat())
    }

    fn query(text: &str) -> Vec<u8> {
        event(QUERY, 1, &[&[0; 8][..], &[1, 0, 0, 0, 0], b"d\0", text.as_bytes()].concat())
    }

    /// Files by name; the log was applied up to the sequence given, and the server says that it stands at `at`.
    fn check(files: &[(&str, Vec<u8>)], at: &str, applied: u64, expected: Option<(&str, &str)>) {
        let dir = tempfile::tempdir().expect("a folder");
        let index: String = files.iter().map(|(name, _)| format!("./{name}\n")).collect();
        std::fs::write(dir.path().join("relay.index"), index).expect("written");
        for (name, bytes) in files {
            std::fs::write(dir.path().join(name), [b"\xfebin", &bytes[..]].concat()).expect("written");
        }
        let mut position = MariaPosition::default();
        position.set(MariaGtid { domain: 0, server: 1, sequence: applied });
        let found = unapplied(dir.path(), &at.parse().expect("a place"), &position).expect("readable");
        let found = found.map(|u| (u.from.to_string(), u.reached.to_string()));
        assert_eq!(found, expected.map(|(from, reached)| (from.to_owned(), reached.to_owned())));
    }

    #[test]
    fn whole_transactions_behind_what_was_applied_are_found() {
        let one = [begin(4, 0), query("INSERT"), event(XID, 1, &[0; 8])].concat();
        let two = [begin(5, STANDALONE), query("CREATE TABLE")].concat();
        let three = [begin(6, 0), query("INSERT"), query("COMMIT")].concat();
        let all = [one.clone(), two.clone(), three.clone()].concat();
        let at = |bytes: &[u8]| format!("relay.000002:{}", 4 + bytes.len());
        let files = |bytes: &[u8]| vec![("relay.000001", one.clone()), ("relay.000002", bytes.to_vec())];
        check(&files(&all), "relay.000002:4", 3, Some(("relay.000002:4", "0-1-6")));
        check(&files(&all), "relay.000002:4", 6, None);
        // the place that the server wrote down may be behind what it applied
        check(&files(&all), "relay.000002:4", 4, Some((&at(&one), "0-1-6")));
        check(&files(&all), &at(&one), 4, Some((&at(&one), "0-1-6")));
        // half a transaction, half an event: nobody was told that it was received
        let half = [begin(6, 0), query("INSERT")].concat();
        check(
            &files(&[one.clone(), two.clone(), half.clone()].concat()),
            "relay.000002:4",
            3,
            Some(("relay.000002:4", "0-1-5")),
        );
        check(
            &files(&[&all[..], &half[..25]].concat()),
            "relay.000002:4",
            5,
            Some((&at(&[&one[..], &two].concat()), "0-1-6")),
        );
        check(&files(&[]), "relay.000002:4", 3, None);
        check(
            &[("relay.000001", one), ("relay.000002", two), ("relay.000003", three)],
            "relay.000001:4",
            4,
            Some(("relay.000002:4", "0-1-6")),
        );
    }

    #[test]
    fn rows_of_a_table_are_found_without_reading_them() {
        let map = |database: &str, table: &str| {
            event(TABLE_MAP, 1, &[&[0; MAP_FIXED], &names(database, table)[..], &[3, 3, 3]].concat())
        };
        let holds = |events: &[Vec<u8>], at: &str| {
            let dir = tempfile::tempdir().expect("a folder");
            std::fs::write(dir.path().join("relay.index"), "./relay.000001\n").expect("written");
            let bytes = [b"\xfebin", &events.concat()[..]].concat();
            std::fs::write(dir.path().join("relay.000001"), bytes).expect("written");
            let applied = Reached::Mariadb("0-1-3".parse().expect("a position"));
            let at = at.parse().expect("a place");
            may_hold_rows_of(dir.path(), &at, &applied, ("dauphin", "timelines")).expect("readable")
        };
        let with = |sequence: u64, rows: &[Vec<u8>]| [&[begin(sequence, 0)], rows, &[query("COMMIT")]].concat();
        let row = [map("dauphin", "timelines")];
        let other = with(4, &[map("app", "timelines"), map("dauphin", "timelines2")]);
        assert!(!holds(&other, "relay.000001:4"));
        assert!(holds(&[&other[..], &with(5, &row)].concat(), "relay.000001:4"));
        // the place that the server says may be before what it has applied
        assert!(!holds(&[&with(3, &row)[..], &other].concat(), "relay.000001:4"));
        let behind = 4 + with(4, &row).concat().len();
        assert!(!holds(&[&with(4, &row)[..], &other].concat(), &format!("relay.000001:{behind}")));
        let packed = [event(PAYLOAD, 1, &[0; 40])];
        assert!(holds(&with(4, &packed), "relay.000001:4") && !holds(&with(3, &packed), "relay.000001:4"));
    }

    #[test]
    fn an_encrypted_log_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("relay.index"), "./relay.000001\n").expect("written");
        std::fs::write(
            dir.path().join("relay.000001"),
            [b"\xfebin", &event(START_ENCRYPTION, 1, &[0; 17])[..]].concat(),
        )
        .expect("written");
        let at = "relay.000001:4".parse().expect("a place");
        let said = unapplied(dir.path(), &at, &MariaPosition::default()).expect_err("encrypted").to_string();
        assert!(said.contains("switch encrypt_binlog off"), "{said}");
    }
}
