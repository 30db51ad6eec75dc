//! Removes the first file of a timeline that was begun to be received and never reached the place where the timeline
//! begins. A start and a promotion ask for it. Log that nobody else has is never removed.
//!
//! Receivers take a new timeline from the beginning of its first segment, which its leader copied from the timeline
//! before. A server that stops receiving in between has both files, and recovery reads the later one alone: PostgreSQL
//! 15 to 18 promote with `PANIC: invalid magic number 0000 in WAL segment`, and one that starts again does not find
//! what it had flushed, and vouched for.

use crate::postgres::history;
use crate::postgres::{Error, Result, files};
use dauphin_model::{Lsn, Timeline};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// Where a page says its address, and which bytes of the first page say how large pages are (`xlog_internal.h`).
const ADDRESS: std::ops::Range<usize> = 8..16;
const PAGE_SIZE: std::ops::Range<usize> = 36..40;
/// The magic number of the version.
const MAGIC: std::ops::Range<usize> = 0..2;

/// The largest page that a server can be built with, and the header of a segment's first page.
const PAGE_MAX: usize = 65536;
const HEADER: usize = 40;

/// Removes such files of timelines after `after`; the receiver must be gone. It reads segments: not on the thread that asks.
///
/// # Errors
/// [`Error::File`].
pub(crate) async fn remove(data_dir: &Path, after: Timeline) -> Result<()> {
    let data_dir = data_dir.to_owned();
    let asked = data_dir.clone();
    let removed = tokio::task::spawn_blocking(move || remove_now(&data_dir, after)).await;
    removed.unwrap_or_else(|panicked| Err(Error::file("look through", &asked)(io::Error::other(panicked)))).map(|_| ())
}

/// The timelines whose files were removed.
fn remove_now(data_dir: &Path, after: Timeline) -> Result<Vec<Timeline>> {
    let mut removed = Vec::new();
    for timeline in history::list(data_dir)?.into_iter().filter(|t| *t > after) {
        // a stub, or a history that others will complain of
        let Ok(branches) = history::read(data_dir, timeline) else { continue };
        let Some(last) = branches.last() else { continue };
        let Some(both) = both(data_dir, timeline, last.timeline, last.end)? else { continue };
        if both.half(last.end).map_err(Error::file("compare", &both.path))? {
            files::remove(&both.path)?;
            tracing::info!(%timeline, "the first file of a timeline that was not received up to its beginning is removed");
            removed.push(timeline);
        }
    }
    Ok(removed)
}

/// A timeline's first segment and the same one of the timeline before.
struct Both {
    path: PathBuf,
    before: PathBuf,
    size: u64,
}

impl Both {
    fn half(&self, begin: Lsn) -> io::Result<bool> {
        let open = |path| File::open(path).map(|file| BufReader::with_capacity(PAGE_MAX, file));
        half(open(&self.path)?, open(&self.before)?, self.size, begin)
    }
}

/// What is there of the segment of `begin`, where `timeline` left `before`; `None` unless both have it.
fn both(data_dir: &Path, timeline: Timeline, before: Timeline, begin: Lsn) -> Result<Option<Both>> {
    let wal = data_dir.join("pg_wal");
    let named = |size: u64, timeline: Timeline| {
        let (segment, per_id) = (begin.0 / size, 0x1_0000_0000 / size);
        wal.join(format!("{:08X}{:08X}{:08X}", timeline.0, segment / per_id, segment % per_id))
    };
    // every segment is as long as every other, and 2^20 to 2^30 bytes
    let is_long = |size: &u64| std::fs::metadata(named(*size, before)).is_ok_and(|file| file.len() == *size);
    let Some(size) = (20..=30).map(|n| 1 << n).find(is_long) else { return Ok(None) };
    let path = named(size, timeline);
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(Both { before: named(size, before), path, size }))
}

/// Whether `file` lacks, before the byte of `begin`, what `before` has, and has nothing that `before` lacks. What lies
/// behind a hole was never flushed: nobody was told of it.
fn half(mut file: impl Read, mut before: impl Read, size: u64, begin: Lsn) -> io::Result<bool> {
    let mut header = Vec::with_capacity(HEADER);
    before.by_ref().take(HEADER as u64).read_to_end(&mut header)?;
    let page_size = header.get(PAGE_SIZE).and_then(|b| b.first_chunk::<4>()).map(|b| u32::from_ne_bytes(*b) as usize);
    let Some(page_size) = page_size.filter(|size| size.is_power_of_two() && (1024..=PAGE_MAX).contains(size)) else {
        return Ok(false);
    };
    let magic = header.get(MAGIC).map(<[u8]>::to_vec);
    let mut before = header.chain(before);
    let (mut at, end) = (begin.0 - begin.0 % size, begin.0);
    // how many bytes of a page were written
    let written = |page: &[u8], at: u64| {
        let ours = page.get(ADDRESS) == Some(&at.to_ne_bytes()[..]) && page.get(MAGIC) == magic.as_deref();
        if ours { page.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1) } else { 0 }
    };
    let (mut page, mut known, mut lacks) = (Vec::new(), Vec::new(), false);
    while at < end {
        page.clear();
        known.clear();
        file.by_ref().take(page_size as u64).read_to_end(&mut page)?;
        before.by_ref().take((page_size as u64).min(end - at)).read_to_end(&mut known)?;
        if page.is_empty() {
            break;
        }
        let there = written(&page, at).min(known.len());
        if page.get(..there) != known.get(..there) {
            return Ok(false);
        }
        lacks |= there < written(&known, at);
        at += page_size as u64;
    }
    Ok(lacks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 8192;
    const SIZE: usize = 1 << 20;

    fn half(file: &[u8], before: &[u8], begin: Lsn) -> bool {
        super::half(file, before, SIZE as u64, begin).expect("read")
    }

    /// A segment at 0/300000 with so many bytes written.
    fn segment(written: usize) -> Vec<u8> {
        let mut bytes = vec![7_u8; written];
        bytes.resize(SIZE, 0);
        for page in 0..written.div_ceil(PAGE) {
            let at = page * PAGE;
            bytes[at..at + 2].copy_from_slice(&0xD110_u16.to_ne_bytes());
            bytes[at + 8..at + 16].copy_from_slice(&((0x30_0000 + at) as u64).to_ne_bytes());
        }
        bytes[36..40].copy_from_slice(&(PAGE as u32).to_ne_bytes());
        bytes
    }

    #[test]
    fn a_file_is_half_received_if_it_ends_where_the_one_before_goes_on() {
        let begin = Lsn(0x30_0000 + 40_000);
        let before = segment(41_000);
        for (written, told) in
            [(0, true), (PAGE, true), (20_000, true), (39_999, true), (40_000, false), (50_000, false)]
        {
            assert_eq!(half(&segment(written), &before, begin), told, "{written}");
        }
        let mut zeros = segment(0);
        zeros[36..40].fill(0);
        assert!(half(&zeros, &before, begin), "just made");
        assert!(!half(&segment(30_000), &segment(20_000), begin), "the earlier file is the shorter one");
        assert!(!half(&segment(30_000), &segment(30_000), begin), "neither has more");
        let mut other = segment(20_000);
        other[9_000] = 8;
        assert!(!half(&other, &before, begin), "it holds something else");
        for written in [30_000, 50_000] {
            let mut hole = segment(written);
            hole[PAGE..2 * PAGE].fill(0);
            assert!(half(&hole, &before, begin), "what comes after a hole was never flushed ({written})");
        }
        assert!(!half(&[], &before, begin) && !half(&before, &[], begin), "files that are no segments");
        // a file that was used before: pages of another place
        let mut used = segment(20_000);
        used[24_576..24_578].copy_from_slice(&0xD110_u16.to_ne_bytes());
        used[24_590] = 1;
        assert!(half(&used, &before, begin));
    }

    #[test]
    fn only_timelines_after_the_one_of_replay_are_looked_at() {
        let dir = tempfile::tempdir().expect("a folder");
        let wal = dir.path().join("pg_wal");
        std::fs::create_dir(&wal).expect("made");
        let name = |timeline: u32| wal.join(format!("{timeline:08X}0000000000000003"));
        std::fs::write(name(2), segment(41_000)).expect("written");
        for timeline in [3, 4] {
            std::fs::write(name(timeline), segment(PAGE)).expect("written");
            let path = history::path(dir.path(), Timeline(timeline));
            std::fs::write(path, "1\t0/200000\tx\n2\t0/309C40\tx\n").expect("written");
        }
        assert_eq!(remove_now(dir.path(), Timeline(4)).expect("looked"), []);
        assert_eq!(remove_now(dir.path(), Timeline(3)).expect("looked"), [Timeline(4)]);
        assert!(name(2).exists() && name(3).exists() && !name(4).exists());
        assert_eq!(remove_now(dir.path(), Timeline(1)).expect("looked"), [Timeline(3)]);
        assert_eq!(remove_now(dir.path(), Timeline(1)).expect("looked"), []);
    }
}
