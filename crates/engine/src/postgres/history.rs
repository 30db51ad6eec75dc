//! Timeline history files in pg_wal: read, and stood in for. A stub is a history without parents that only takes a
//! number: promotion counts upwards over the numbers that exist, so stubs make it choose the number we want. Followers
//! fetch every history between their timeline and the leader's, so stubs stay on the leader.

use crate::postgres::{Error, Result, files};
use dauphin_model::{Branch, Lsn, Timeline};
use std::path::{Path, PathBuf};

/// What a stub says. Lines that begin with # are no history for PostgreSQL.
const STUB: &str = "# dauphin: no leadership used this timeline\n";
/// Most numbers that one promotion may skip.
pub const SKIP_MAX: u32 = 10_000;

/// Path of the history file of a timeline.
#[must_use]
pub fn path(data_dir: &Path, timeline: Timeline) -> PathBuf {
    data_dir.join("pg_wal").join(format!("{:08X}.history", timeline.0))
}

fn parse(text: &str) -> Option<Vec<Branch>> {
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines
        .map(|line| {
            let mut fields = line.split_whitespace();
            let timeline = Timeline(fields.next()?.parse().ok()?);
            Some(Branch { timeline, end: fields.next()?.parse::<Lsn>().ok()? })
        })
        .collect()
}

/// The branches by which a log came to `timeline`, oldest first.
///
/// # Errors
/// [`Error::PositionUnknown`] when the file is missing, broken or a stub; [`Error::File`].
pub fn read(data_dir: &Path, timeline: Timeline) -> Result<Vec<Branch>> {
    if timeline.0 <= 1 {
        return Ok(Vec::new());
    }
    let branches = parse(&files::read_or_empty(&path(data_dir, timeline))?).unwrap_or_default();
    if branches.is_empty() {
        let why = "the history file of the server's timeline is missing from pg_wal; copy the member again (reinit)";
        return Err(Error::PositionUnknown(why));
    }
    Ok(branches)
}

/// Takes every number in `after + 1 .. wanted` that no history file has.
pub(crate) fn write_stubs(data_dir: &Path, after: Timeline, wanted: Timeline) -> Result<()> {
    for number in after.0 + 1..wanted.0 {
        let path = path(data_dir, Timeline(number));
        if !path.exists() {
            files::replace(&path, STUB, true)?;
        }
    }
    Ok(())
}

/// Removes stubs above the highest true history: a server started with them would look for a branch that never was.
///
/// # Errors
/// [`Error::File`].
pub fn remove_trailing_stubs(data_dir: &Path) -> Result<()> {
    let mut all = list(data_dir)?;
    all.sort_unstable();
    while let Some(timeline) = all.pop() {
        let path = path(data_dir, timeline);
        if files::read_or_empty(&path)? != STUB {
            break;
        }
        files::remove(&path)?;
    }
    Ok(())
}

/// Timelines with a history file, stubs included.
///
/// # Errors
/// [`Error::File`].
pub fn list(data_dir: &Path) -> Result<Vec<Timeline>> {
    let dir = data_dir.join("pg_wal");
    let entries = std::fs::read_dir(&dir).map_err(Error::file("look into", &dir))?;
    let number = |name: &str| u32::from_str_radix(name.strip_suffix(".history")?, 16).ok();
    Ok(entries.flatten().filter_map(|e| number(e.file_name().to_str()?)).map(Timeline).collect())
}

/// The timeline on which the byte before `end` was received, when the receiver is gone and replay is still on
/// `replayed`: the highest descendant of it with a segment there.
pub(crate) fn received_on(data_dir: &Path, replayed: Timeline, end: Lsn, segment_bytes: u64) -> Timeline {
    let segment = end.0.saturating_sub(1) / segment_bytes;
    let per_id = 0x1_0000_0000 / segment_bytes;
    let holds = |timeline: Timeline| {
        let name = format!("{:08X}{:08X}{:08X}", timeline.0, segment / per_id, segment % per_id);
        data_dir.join("pg_wal").join(name).exists()
    };
    let mut later: Vec<Timeline> = list(data_dir).unwrap_or_default();
    later.retain(|t| *t > replayed && holds(*t));
    later.retain(|t| read(data_dir, *t).is_ok_and(|branches| branches.iter().any(|b| b.timeline == replayed)));
    later.into_iter().max().unwrap_or(replayed)
}

/// Timelines after `timeline` into which a log leads that has been replayed up to `replayed` on it.
pub(crate) fn heard_of(data_dir: &Path, timeline: Timeline, replayed: Lsn) -> Vec<Timeline> {
    let mut later = list(data_dir).unwrap_or_default();
    let goes_on = |branch: &Branch| branch.timeline == timeline && branch.end >= replayed;
    later.retain(|t| *t > timeline && read(data_dir, *t).is_ok_and(|branches| branches.iter().any(goes_on)));
    later.sort_unstable();
    later
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_read_and_a_stub_has_none() {
        let text = "1\t0/3000000\tno recovery target specified\n\n# note\n2\t0/5000060\tbefore\n";
        let branches = parse(text).expect("a history");
        assert_eq!(branches.len(), 2);
        assert_eq!(branches[1], Branch { timeline: Timeline(2), end: Lsn(0x500_0060) });
        assert_eq!(parse(STUB), Some(Vec::new()));
        assert_eq!(parse("x y\n"), None);
    }

    #[test]
    fn a_log_leads_into_timelines_that_begin_behind_its_end() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(dir.path().join("pg_wal")).expect("made");
        let texts =
            [(2, "1\t0/3000000\tx\n"), (3, "1\t0/3000000\tx\n2\t0/5000060\tx\n"), (4, STUB), (5, "1\t0/4000000\tx\n")];
        for (timeline, text) in texts {
            std::fs::write(path(dir.path(), Timeline(timeline)), text).expect("written");
        }
        let of = |timeline, lsn| heard_of(dir.path(), Timeline(timeline), Lsn(lsn));
        assert_eq!(of(1, 0x300_0000), [Timeline(2), Timeline(3), Timeline(5)]);
        assert_eq!(of(1, 0x300_0001), [Timeline(5)]);
        assert_eq!(of(2, 0x500_0060), [Timeline(3)]);
        assert_eq!(of(3, 0), []);
    }

    #[test]
    fn stubs_fill_the_gap_and_trailing_ones_are_removed() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(dir.path().join("pg_wal")).expect("made");
        std::fs::write(path(dir.path(), Timeline(4)), "1\t0/3000000\tx\n").expect("written");
        write_stubs(dir.path(), Timeline(1), Timeline(7)).expect("written");
        let count = || list(dir.path()).expect("listed").len();
        assert_eq!(count(), 5);
        remove_trailing_stubs(dir.path()).expect("removed");
        let mut left = list(dir.path()).expect("listed");
        left.sort_unstable();
        assert_eq!(left, [Timeline(2), Timeline(3), Timeline(4)]);
        assert!(read(dir.path(), Timeline(3)).is_err());
    }
}
