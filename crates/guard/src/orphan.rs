//! Servers that run without a guard: found by their data directory, ended with their whole tree. The agent calls it
//! before it starts anything. It never kills by name, and never a process whose working directory is another one.
//!
//! The evidence is the process itself: its working directory is the data directory (the kernel's own link, compared
//! by inode) and it runs the server's program. The pid file only says whom to look at first, and may be stale. A
//! postmaster that died may have left backends: those are found by the same evidence.

use crate::boottime;
use crate::process::{self, Process};
use dauphin_model::Span;
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

/// Longest wait for an orphaned server to end.
pub const FENCE_WAIT_MAX: Span = Span::ms(10_000);
/// Pause between two looks at a tree that is ending.
const PAUSE: Span = Span::ms(5);
/// The file in which PostgreSQL names its first process.
const PID_FILE: &str = "postmaster.pid";

/// A server without a guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Its data directory.
    pub data_dir: PathBuf,
    /// Its first process, if that still runs.
    pub postmaster: Option<u32>,
    /// How many processes work in the data directory, the first included.
    pub processes: usize,
}

/// Why an orphan could not be found or fenced.
#[derive(Debug, thiserror::Error)]
pub enum OrphanError {
    /// A file or folder could not be looked at.
    #[error("cannot look at {path}: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Killed, and still there.
    #[error(
        "{processes} processes that work in {data_dir} do not end after SIGKILL; they are stuck in the kernel: \
         see to the disk, or restart the machine"
    )]
    Stuck {
        /// The data directory.
        data_dir: PathBuf,
        /// How many are left.
        processes: usize,
    },
}

/// What tells a server's processes from all others.
struct Mark {
    folder: (u64, u64),
    program: (u64, u64),
    program_path: PathBuf,
}

impl Mark {
    fn new(data_dir: &Path, program: &Path) -> Result<Self, OrphanError> {
        let looked = |path: &Path| {
            fs::metadata(path)
                .map(|meta| (meta.dev(), meta.ino()))
                .map_err(|source| OrphanError::Unreadable { path: path.to_owned(), source })
        };
        let program_path =
            fs::canonicalize(program).map_err(|source| OrphanError::Unreadable { path: program.to_owned(), source })?;
        Ok(Self { folder: looked(data_dir)?, program: looked(program)?, program_path })
    }

    /// Whether this process is one of the server's. One whose links cannot be read is another user's: a server runs
    /// as the owner of its data directory, and so does the agent.
    fn is_on(&self, process: &Process) -> bool {
        let id = |link: &str| {
            fs::metadata(format!("/proc/{}/{link}", process.pid)).map(|meta| (meta.dev(), meta.ino())).ok()
        };
        process.lives()
            && id("cwd") == Some(self.folder)
            && (id("exe") == Some(self.program) || self.was_replaced(process))
    }

    /// An upgrade replaces the program's file under a running server: same path, other inode.
    fn was_replaced(&self, process: &Process) -> bool {
        let Ok(link) = fs::read_link(format!("/proc/{}/exe", process.pid)) else { return false };
        link.to_str()
            .and_then(|text| text.strip_suffix(" (deleted)"))
            .is_some_and(|text| self.program_path == Path::new(text))
    }
}

/// Looks for a server that works in `data_dir`. `program`: the server's program, with its whole path.
///
/// # Errors
/// When the folder or the program cannot be looked at.
pub fn find(data_dir: &Path, program: &Path) -> Result<Option<Orphan>, OrphanError> {
    let mark = Mark::new(data_dir, program)?;
    Ok(found(data_dir, &mark, &process::all()))
}

fn found(data_dir: &Path, mark: &Mark, all: &[Process]) -> Option<Orphan> {
    let marked: Vec<&Process> = all.iter().filter(|process| mark.is_on(process)).collect();
    let numbers: BTreeSet<i32> = marked.iter().map(|process| process.pid).collect();
    // The file may name a process that is long gone, or another's: it counts only if that process bears the mark.
    // Without the file the first process is the one that is nobody's child among them.
    let named = pid_in_file(data_dir).filter(|pid| numbers.contains(pid));
    let first = named.or_else(|| {
        let mut heads = marked.iter().filter(|process| !numbers.contains(&process.parent));
        let head = heads.next()?.pid;
        let has_children = marked.iter().any(|process| process.parent == head);
        (heads.next().is_none() && has_children).then_some(head)
    });
    (!marked.is_empty()).then(|| Orphan {
        data_dir: data_dir.to_owned(),
        postmaster: first.and_then(|pid| u32::try_from(pid).ok()),
        processes: marked.len(),
    })
}

fn pid_in_file(data_dir: &Path) -> Option<i32> {
    fs::read_to_string(data_dir.join(PID_FILE)).ok()?.lines().next()?.trim().parse().ok()
}

/// Kills everything that works in `data_dir` and everything below it, and returns when none of it is left: how many
/// processes that were. 0: there was no orphan. Blocks for up to [`FENCE_WAIT_MAX`].
///
/// # Errors
/// [`OrphanError::Stuck`] when a process does not end; the server must not be started again then.
pub fn fence(data_dir: &Path, program: &Path) -> Result<usize, OrphanError> {
    let mark = Mark::new(data_dir, program)?;
    let started = boottime();
    let mut killed: BTreeSet<(i32, u64)> = BTreeSet::new();
    loop {
        let all = process::all();
        let heads: Vec<Process> = all.iter().filter(|process| mark.is_on(process)).copied().collect();
        // Stopped first, so that nothing is forked between the look and the kill.
        for head in &heads {
            process::signal(head, Signal::STOP);
        }
        let roots: BTreeSet<i32> = heads.iter().map(|process| process.pid).collect();
        let below = process::descendants(&process::all(), &roots);
        for process in heads.iter().chain(&below) {
            if process::signal(process, Signal::KILL) {
                killed.insert((process.pid, process.start));
            }
        }
        let alive = |(pid, start): &&(i32, u64)| process::look(*pid).is_some_and(|p| p.start == *start && p.lives());
        let left = killed.iter().filter(alive).count();
        if heads.is_empty() && left == 0 {
            return Ok(killed.len());
        }
        if boottime().since(started) > FENCE_WAIT_MAX {
            return Err(OrphanError::Stuck { data_dir: data_dir.to_owned(), processes: left.max(heads.len()) });
        }
        thread::sleep(PAUSE.duration());
    }
}
