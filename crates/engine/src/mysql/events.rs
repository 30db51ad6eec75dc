//! Walks through the events of a binary or relay log file: heads are read, and of the bodies what the caller asks for. What an
//! event means is the caller's ([`super::binlog`], [`super::relay_log`]). A file that is encrypted is refused, and an event that
//! is half there ends the file: the server died while it wrote.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

/// What a file begins with.
const MAGIC: &[u8; 4] = b"\xfebin";
/// Where the first event begins.
pub(crate) const FIRST: u64 = MAGIC.len() as u64;
/// Bytes of an event's head.
const HEAD: usize = 19;
/// Bytes of a checksum.
const CHECKSUM: usize = 4;
/// Longest description of a file's format; both servers' have about a hundred bytes, one for each type of event and a few more.
const FORMAT_BYTES_MAX: usize = 1_024;

/// Says how a file is written, checksums included.
const FORMAT: u8 = 15;
/// What follows is encrypted, on MariaDB; MySQL's encrypted files begin otherwise.
const MARIADB_ENCRYPTION: u8 = 164;

/// An event.
#[derive(Debug)]
pub(crate) struct Event<'a> {
    /// Its type.
    pub(crate) kind: u8,
    /// The server that wrote it first.
    pub(crate) server: u32,
    /// Where in the file it begins.
    pub(crate) begins: u64,
    /// What was asked for of its body, without the checksum.
    pub(crate) body: &'a [u8],
    /// Whether that is all of it.
    pub(crate) whole: bool,
}

/// Shows every event from `from` on to `visit`, until that has seen enough; `most` says how many bytes of the body are wanted for a
/// type, and `None` that events of it are passed over.
pub(crate) fn walk(
    path: &Path,
    from: u64,
    most: impl Fn(u8) -> Option<usize>,
    mut visit: impl FnMut(&Event<'_>) -> io::Result<bool>,
) -> io::Result<()> {
    let file = File::open(path)?;
    let end = file.metadata()?.len();
    let mut file = BufReader::new(file);
    let mut magic = [0; MAGIC.len()];
    match file.read_exact(&mut magic) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
        read => read?,
    }
    if &magic != MAGIC {
        return Err(bad("it is encrypted, or no log"));
    }
    let (mut at, mut read_to) = (FIRST, FIRST);
    let (mut checksum, mut events, mut body) = (0, 0_u64, Vec::new());
    while at + HEAD as u64 <= end {
        // within what is buffered, mostly: events are short
        file.seek_relative(i64::try_from(at).map_err(bad)? - i64::try_from(read_to).map_err(bad)?)?;
        let mut head = [0; HEAD];
        file.read_exact(&mut head)?;
        read_to = at + HEAD as u64;
        let [_, _, _, _, kind, s0, s1, s2, s3, z0, z1, z2, z3, ..] = head;
        let size = u64::from(u32::from_le_bytes([z0, z1, z2, z3]));
        if size < HEAD as u64 || at + size > end {
            break;
        }
        let begins = at;
        at += size;
        events += 1;
        // how the file is written stands in its first two
        if events == 2 {
            at = at.max(from);
        }
        let long = usize::try_from(size).map_err(bad)? - HEAD;
        if kind == MARIADB_ENCRYPTION {
            return Err(bad("it is encrypted; switch encrypt_binlog off"));
        }
        let shown = if begins >= from { most(kind) } else { None };
        let wanted = if kind == FORMAT { Some(FORMAT_BYTES_MAX) } else { shown };
        let Some(wanted) = wanted else { continue };
        body.resize(long.min(wanted.saturating_add(CHECKSUM)), 0);
        file.read_exact(&mut body)?;
        read_to += body.len() as u64;
        if kind == FORMAT {
            // its last bytes: which checksum follows every event, and that of its own
            let which = body.len().checked_sub(CHECKSUM + 1).and_then(|at| body.get(at));
            checksum = if which == Some(&1) { CHECKSUM } else { 0 };
        }
        if shown.is_some() {
            let real = long.saturating_sub(checksum);
            let bytes = body.get(..real.min(wanted)).unwrap_or_default();
            let server = u32::from_le_bytes([s0, s1, s2, s3]);
            if !visit(&Event { kind, server, begins, body: bytes, whole: bytes.len() == real })? {
                break;
            }
        }
    }
    Ok(())
}

pub(crate) fn bad(why: impl ToString) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why.to_string())
}
