//! What binary and relay log files hold, read from the files: a server that is down or cannot start is asked no other way.
//! Whoever archives what is cut off uses it. It reads heads and GTIDs, and no file that is encrypted.

use crate::host::FileError;
use crate::mysql::errant::{Logged, log_all};
use crate::mysql::events::{self, bad};
use crate::mysql::{Flavour, relay_log};
use dauphin_model::gtid::{BYTES_MAX, Gtid, MariaGtid};
use dauphin_model::{BinlogState, GtidSet};
use std::io;
use std::path::{Path, PathBuf};

/// Most bytes of an event that is read; one that is longer is refused.
const BODY_MAX: usize = BYTES_MAX + 64;
/// Most files of one log.
const FILES_MAX: usize = 100_000;

// Types of events.
const MYSQL_GTID: u8 = 33;
const MYSQL_PREVIOUS: u8 = 35;
const MYSQL_TAGGED_GTID: u8 = 42;
const MARIADB_LIST: u8 = 163;

/// Files of the log of that name, the oldest first.
///
/// # Errors
/// [`FileError`].
pub(crate) fn files(data_dir: &Path, log: &str) -> Result<Vec<PathBuf>, FileError> {
    let index = data_dir.join(format!("{log}.index"));
    let text = crate::host::files::read_or_empty(&index)?;
    let names = text.lines().map(|line| line.trim().trim_start_matches("./")).filter(|name| !name.is_empty());
    Ok(names.take(FILES_MAX).map(|name| data_dir.join(name)).collect())
}

/// What stood in the log before this file, by its head; nothing where it does not say.
///
/// # Errors
/// [`FileError`].
pub(crate) fn before(flavour: Flavour, path: &Path) -> Result<Logged, FileError> {
    let mut found = nothing(flavour);
    let head = |kind: u8, body: &[u8]| match kind {
        MYSQL_PREVIOUS => {
            found = Logged::Mysql(GtidSet::from_bytes(body).map_err(bad)?);
            Ok(false)
        }
        MARIADB_LIST => {
            found = Logged::Mariadb(list(body).ok_or_else(|| bad("its list of GTIDs is cut off"))?);
            Ok(false)
        }
        // a transaction: the head is over
        MYSQL_GTID | MYSQL_TAGGED_GTID => Ok(false),
        _ => Ok(true),
    };
    walk(path, head).map_err(FileError::at("read the log", path))?;
    Ok(found)
}

/// What this file holds, with what stood before it. Of MariaDB only whole transactions count; the last one of MySQL's may be
/// half there.
///
/// # Errors
/// [`FileError`].
pub(crate) fn up_to_end_of(flavour: Flavour, path: &Path) -> Result<Logged, FileError> {
    let at = |source: io::Error| FileError::at("read the log", path)(source);
    match before(flavour, path)? {
        Logged::Mysql(mut set) => {
            let note = |kind: u8, body: &[u8]| {
                let gtid = match kind {
                    MYSQL_GTID => Gtid::from_event(body).map_err(bad)?,
                    MYSQL_TAGGED_GTID => Gtid::from_tagged_event(body).map_err(bad)?,
                    _ => return Ok(true),
                };
                let runs = dauphin_model::gtid::Interval::new(gtid.number(), gtid.number());
                set.add(gtid.source, &runs.into_iter().collect());
                Ok(true)
            };
            walk(path, note).map_err(at)?;
            Ok(Logged::Mysql(set))
        }
        Logged::Mariadb(mut state) => {
            relay_log::read(path, events::FIRST, &mut |gtid, _| log_all(&mut state, std::iter::once(gtid)))
                .map_err(at)?;
            Ok(Logged::Mariadb(state))
        }
    }
}

pub(crate) fn nothing(flavour: Flavour) -> Logged {
    match flavour {
        Flavour::Mysql => Logged::Mysql(GtidSet::default()),
        Flavour::Mariadb => Logged::Mariadb(BinlogState::default()),
    }
}

/// Shows every event that matters here to `visit`, until that has seen enough.
fn walk(path: &Path, mut visit: impl FnMut(u8, &[u8]) -> io::Result<bool>) -> io::Result<()> {
    let ours = |kind| match kind {
        MYSQL_GTID | MYSQL_TAGGED_GTID | MYSQL_PREVIOUS | MARIADB_LIST => Some(BODY_MAX),
        _ => None,
    };
    events::walk(path, events::FIRST, ours, |event| {
        if !event.whole {
            return Err(bad(format!("its list of GTIDs has more than {BODY_MAX} bytes; purge old servers from it")));
        }
        visit(event.kind, event.body)
    })
}

/// MariaDB's list: a count, whose upper bits are flags, then domain, server and sequence of each.
fn list(body: &[u8]) -> Option<BinlogState> {
    const COUNT: u32 = 0x0FFF_FFFF;
    let (count, mut rest) = body.split_first_chunk::<4>()?;
    let mut state = BinlogState::default();
    for _ in 0..u32::from_le_bytes(*count) & COUNT {
        let (domain, more) = rest.split_first_chunk::<4>()?;
        let (server, more) = more.split_first_chunk::<4>()?;
        let (sequence, more) = more.split_first_chunk::<8>()?;
        state.log(MariaGtid {
            domain: u32::from_le_bytes(*domain),
            server: u32::from_le_bytes(*server),
            sequence: u64::from_le_bytes(*sequence),
        });
        rest = more;
    }
    Some(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: &[u8; 4] = b"\xfebin";
    const HEAD: usize = 19;
    const CHECKSUM: usize = 4;
    const FORMAT: u8 = 15;
    const MARIADB_ENCRYPTION: u8 = 164;

    fn event(kind: u8, body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(HEAD + body.len() + CHECKSUM).expect("small");
        [&[0; 4], &[kind][..], &[1, 0, 0, 0], &size.to_le_bytes(), &[0; 6], body, &[9; CHECKSUM]].concat()
    }

    fn file(events: &[Vec<u8>]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let format = event(FORMAT, &[0, 0, 1]);
        std::fs::write(file.path(), [MAGIC, &format[..], &events.concat()].concat()).expect("written");
        file
    }

    #[test]
    fn a_mysql_file_says_what_stood_before_it_and_what_it_adds() {
        let uuid = [7; 16];
        let set = |runs: &str| {
            Logged::Mysql(format!("{}:{runs}", "07070707-0707-0707-0707-070707070707").parse().expect("a set"))
        };
        let Logged::Mysql(previous) = set("1-5") else { panic!("MySQL's") };
        let gtid = event(MYSQL_GTID, &[&[0][..], &uuid, &6_u64.to_le_bytes(), &[0; 20]].concat());
        let events = [event(MYSQL_PREVIOUS, &previous.to_bytes()), gtid.clone()];
        let whole = file(&events);
        assert_eq!(before(Flavour::Mysql, whole.path()).expect("read"), set("1-5"));
        assert_eq!(up_to_end_of(Flavour::Mysql, whole.path()).expect("read"), set("1-6"));
        let torn = file(&[&events[..], &[gtid[..30].to_vec()]].concat());
        assert_eq!(up_to_end_of(Flavour::Mysql, torn.path()).expect("read"), set("1-6"));
    }

    #[test]
    fn a_mariadb_file_says_what_stood_before_it() {
        let gtid = |server: u32, sequence: u64| {
            [&0_u32.to_le_bytes()[..], &server.to_le_bytes(), &sequence.to_le_bytes()].concat()
        };
        let body = [&(2_u32 | 1 << 28).to_le_bytes()[..], &gtid(1, 9), &gtid(2, 10)].concat();
        let expected = Logged::Mariadb("0-1-9,0-2-10".parse().expect("a state"));
        assert_eq!(before(Flavour::Mariadb, file(&[event(MARIADB_LIST, &body)]).path()).expect("read"), expected);
        let cut = before(Flavour::Mariadb, file(&[event(MARIADB_LIST, &body[..20])]).path());
        assert!(cut.expect_err("cut off").to_string().contains("cut off"));
    }

    #[test]
    fn a_file_that_is_encrypted_or_empty_is_no_trap() {
        let encrypted = file(&[event(MARIADB_ENCRYPTION, &[0; 17])]);
        let said = before(Flavour::Mariadb, encrypted.path()).expect_err("encrypted").to_string();
        assert!(said.contains("switch encrypt_binlog off"), "{said}");
        let other = tempfile::NamedTempFile::new().expect("a file");
        assert_eq!(before(Flavour::Mysql, other.path()).expect("empty"), nothing(Flavour::Mysql));
        std::fs::write(other.path(), b"\xfdbin....").expect("written");
        assert!(before(Flavour::Mysql, other.path()).is_err(), "MySQL's encrypted ones begin so");
    }
}
