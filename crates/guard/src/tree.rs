//! Kills everything below this process and proves that nothing is left. Only the guard calls it, whose children are
//! one server's processes and nothing else. It never decides that something is to be killed.
//!
//! A backend outlives its first process by seconds and still acknowledges commits, so the tree counts, not its root.
//! The guard is a child subreaper: whatever loses its parent becomes the guard's own child. Having no child left is
//! therefore the proof.

use crate::boottime;
use crate::process::{self, Process};
use crate::protocol::Killed;
use dauphin_model::{Mono, Span};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::process::{Signal, WaitOptions, WaitStatus, getpid, pidfd_send_signal, wait};
use std::collections::BTreeSet;
use std::thread;

/// Longest wait for killed processes to end. Those that take longer are stuck in the kernel, most likely on a disk.
pub(crate) const KILL_WAIT_MAX: Span = Span::ms(2_000);
/// First pause between two looks at a tree that is ending; doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Span = Span(200);
/// Longest such pause.
const PAUSE_MAX: Span = Span::ms(5);

/// A child that ended, and how.
pub(crate) type Ended = (i32, WaitStatus);

/// Collects every child that has ended. Returns whether any child is left.
pub(crate) fn reap(ended: &mut Vec<Ended>) -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => ended.push((pid.as_raw_pid(), status)),
            Ok(None) => return true,
            Err(Errno::CHILD) => return false,
            Err(Errno::INTR) => {}
            // Nothing else is documented. "Some are left" is the answer that keeps the killer going.
            Err(_) => return true,
        }
    }
}

/// Everything alive below this process.
pub(crate) fn living() -> Vec<Process> {
    let me = BTreeSet::from([getpid().as_raw_pid()]);
    process::descendants(&process::all(), &me).into_iter().filter(Process::lives).collect()
}

/// Kills every process below this one, `first` before all others so that it forks no more.
/// Returns when none is left, or after [`KILL_WAIT_MAX`] with those that are stuck.
pub(crate) fn kill(first: Option<BorrowedFd<'_>>, ended: &mut Vec<Ended>) -> Killed {
    let started = boottime();
    if let Some(first) = first {
        // It may have ended already: the loop below proves it either way.
        let _ = pidfd_send_signal(first, Signal::KILL);
    }
    let mut killed: BTreeSet<(i32, u64)> = BTreeSet::new();
    let mut pause = PAUSE_FIRST;
    let mut stuck = 0;
    let mut signalled = Span::ZERO;
    while reap(ended) {
        let alive = living();
        for process in &alive {
            if process::signal(process, Signal::KILL) && killed.insert((process.pid, process.start)) {
                signalled = took(started);
            }
        }
        if took(started) > KILL_WAIT_MAX {
            stuck = count(alive.len());
            break;
        }
        thread::sleep(pause.duration());
        pause = pause.times(2).min(PAUSE_MAX);
    }
    Killed { processes: count(killed.len()), stuck, signalled_us: signalled.0, took_us: took(started).0 }
}

fn took(started: Mono) -> Span {
    boottime().since(started)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
