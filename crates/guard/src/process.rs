//! Processes as /proc shows them: who is whose child, since when, in which state. The tree killer and the orphan
//! finder use it. It never trusts a bare process number: numbers are used again, (number, start) is not.

use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// One process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    /// Clock ticks since boot. With the number, it names a process once and for all.
    pub(crate) start: u64,
    /// As in `ps`: R, S, D, T, Z, X…
    pub(crate) state: u8,
}

impl Process {
    /// Whether it may still run code. A zombie is dead, however long its parent leaves it in the table.
    pub(crate) fn lives(&self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// Reads one line of `/proc/PID/stat`.
fn parse(pid: i32, stat: &str) -> Option<Process> {
    // The command's name may hold anything, brackets and spaces too: fields are counted from its last bracket.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    let start = fields.nth(17)?.parse().ok()?;
    Some(Process { pid, parent, start, state })
}

/// The process of that number; `None` when there is none.
pub(crate) fn look(pid: i32) -> Option<Process> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Every process there is.
pub(crate) fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter_map(look).collect()
}

/// Every process below `roots`, parents before children, the roots themselves not included. Sessions and process
/// groups play no part: a daemon that detached itself is still its parent's child, or was passed on to a subreaper.
pub(crate) fn descendants(all: &[Process], roots: &BTreeSet<i32>) -> Vec<Process> {
    let mut children: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(*process);
    }
    let mut found = Vec::new();
    let mut seen = roots.clone();
    let mut waiting: Vec<i32> = roots.iter().copied().collect();
    while let Some(parent) = waiting.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            if seen.insert(child.pid) {
                found.push(*child);
                waiting.push(child.pid);
            }
        }
    }
    found
}

/// A handle on exactly this process, or `None` when it is gone and its number perhaps another's.
pub(crate) fn handle(process: &Process) -> Option<OwnedFd> {
    let handle = pidfd_open(Pid::from_raw(process.pid)?, PidfdFlags::empty()).ok()?;
    // Opened first, compared after: if the start still matches, the handle is of the process that was seen.
    (look(process.pid)?.start == process.start).then_some(handle)
}

/// Sends a signal to exactly this process. `false`: it is gone.
pub(crate) fn signal(process: &Process, signal: Signal) -> bool {
    handle(process).is_some_and(|handle| pidfd_send_signal(handle, signal).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_brackets_confuses_nobody() {
        let line = "42 (a) b) R 7) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 8812 1 2 3";
        assert_eq!(parse(42, line), Some(Process { pid: 42, parent: 7, start: 8812, state: b'S' }));
        for bad in ["", "42", "42 (x)", "42 (x) S", "42 (x) S 7 1 2 3"] {
            assert_eq!(parse(42, bad), None, "{bad}");
        }
    }

    #[test]
    fn descendants_are_found_at_any_depth_and_once() {
        let process = |pid, parent| Process { pid, parent, start: 1, state: b'S' };
        let all = [process(1, 0), process(10, 1), process(11, 10), process(12, 11), process(20, 1), process(21, 20)];
        let mut found: Vec<i32> = descendants(&all, &BTreeSet::from([10])).iter().map(|p| p.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [11, 12]);
        let both: Vec<i32> = descendants(&all, &BTreeSet::from([10, 11, 20])).iter().map(|p| p.pid).collect();
        assert!(both.contains(&12) && both.contains(&21) && both.len() == 2, "{both:?}");
    }

    #[test]
    fn this_process_sees_itself() {
        let pid = i32::try_from(std::process::id()).expect("a process number");
        let me = look(pid).expect("it runs");
        assert!(me.lives());
        assert!(all().iter().any(|p| p.pid == pid && p.start == me.start));
        assert!(handle(&me).is_some());
        assert!(handle(&Process { start: me.start + 1, ..me }).is_none(), "another process of the same number");
    }
}
