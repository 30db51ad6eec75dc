//! Processes as `/proc` tells of them, and signals to exactly those: by pidfd, after the start time was compared.
//! The lab looks members' processes up with it; a number alone is never signalled, nor is a name.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A process at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since the boot: with the number, its identity.
    pub start: u64,
    /// Its parent's number.
    pub parent: i32,
    /// `R`, `S`, `D`, `T` (stopped), …
    pub state: char,
    /// Its arguments, the program first. Empty for a kernel thread.
    pub arguments: Vec<String>,
    /// Its working directory, when it may be known.
    pub directory: Option<PathBuf>,
}

impl Process {
    /// The process of that number, if it lives. A zombie does not.
    #[must_use]
    pub fn read(pid: i32) -> Option<Self> {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let (state, parent, start) = parse_stat(&fs::read_to_string(folder.join("stat")).ok()?)?;
        if matches!(state, 'Z' | 'X' | 'x') {
            return None;
        }
        let line = fs::read(folder.join("cmdline")).unwrap_or_default();
        let text = String::from_utf8_lossy(&line).into_owned();
        let arguments = text.trim_end_matches('\0').split('\0').filter(|_| !text.is_empty()).map(Into::into).collect();
        let directory = fs::read_link(folder.join("cwd")).ok();
        Some(Self { pid, start, parent, state, arguments, directory })
    }

    /// Every living process that may be seen, by number.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all: Vec<Self> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(Self::read)
            .collect();
        all.sort_by_key(|process| process.pid);
        all
    }

    /// Whether it still lives as the same process.
    #[must_use]
    pub fn lives(&self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.start == self.start)
    }

    /// Whether it is stopped (frozen).
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state == 'T'
    }

    /// A handle that stays with this very process; `None` when it is gone.
    #[must_use]
    pub fn handle(&self) -> Option<Handle> {
        let fd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // the number may have gone to another process before the handle was there
        self.lives().then_some(Handle { fd })
    }
}

/// Holds on to one process, so that a signal cannot reach another that got its number.
#[derive(Debug)]
pub struct Handle {
    fd: OwnedFd,
}

impl Handle {
    /// Sends a signal; a process that is gone by now is no error.
    pub fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.fd, signal);
    }
}

/// The state, parent and start time in a line of `/proc/PID/stat`. The name in it may hold anything.
fn parse_stat(line: &str) -> Option<(char, i32, u64)> {
    let mut fields = line.get(line.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    // fields 5 to 21 stand between the parent and the start time
    let start = fields.nth(17)?.parse().ok()?;
    Some((state, parent, start))
}

/// Those of `all` that descend from one of `roots`, without these.
#[must_use]
pub(crate) fn descendants(all: &[Process], roots: &BTreeSet<i32>) -> BTreeSet<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(process.pid);
    }
    let mut found = BTreeSet::new();
    let mut waiting: Vec<i32> = roots.iter().copied().collect();
    while let Some(pid) = waiting.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if !roots.contains(child) && found.insert(*child) {
                waiting.push(*child);
            }
        }
    }
    found
}

/// Whether `path` is `folder` or lies in it; a deleted folder still counts.
#[must_use]
pub(crate) fn lies_in(path: &Path, folder: &Path) -> bool {
    if path.starts_with(folder) {
        return true;
    }
    let text = path.to_string_lossy();
    text.strip_suffix(" (deleted)").is_some_and(|text| Path::new(text).starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32) -> Process {
        Process { pid, start: 1, parent, state: 'S', arguments: Vec::new(), directory: None }
    }

    #[test]
    fn a_name_may_hold_anything() {
        let line = "42 (a) b) (c) T 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1000 1 18446744073709551615";
        assert_eq!(parse_stat(line), Some(('T', 7, 98_765)));
        assert_eq!(parse_stat("42 (x"), None);
        assert_eq!(parse_stat("42 (x) S 1"), None);
    }

    #[test]
    fn descendants_are_found_at_any_depth_and_loops_end() {
        let all = [process(2, 1), process(3, 2), process(4, 3), process(5, 1), process(6, 6)];
        assert_eq!(descendants(&all, &BTreeSet::from([2])), BTreeSet::from([3, 4]));
        assert_eq!(descendants(&all, &BTreeSet::from([6])), BTreeSet::new());
        assert_eq!(descendants(&all, &BTreeSet::from([2, 3])), BTreeSet::from([4]));
    }

    #[test]
    fn we_live_and_can_be_held() {
        let us = Process::read(i32::try_from(std::process::id()).expect("a pid")).expect("we live");
        assert!(us.lives() && us.handle().is_some() && !us.is_stopped());
        assert!(!us.arguments.is_empty());
        let other = Process { start: us.start + 1, ..us };
        assert!(!other.lives() && other.handle().is_none());
    }

    #[test]
    fn a_deleted_folder_still_counts() {
        let folder = Path::new("/lab/m1/data");
        assert!(lies_in(Path::new("/lab/m1/data"), folder) && lies_in(Path::new("/lab/m1/data (deleted)"), folder));
        assert!(!lies_in(Path::new("/lab/m1/data2"), folder) && !lies_in(Path::new("/lab/m1"), folder));
    }
}
