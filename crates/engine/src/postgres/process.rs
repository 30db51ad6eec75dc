//! The server's processes as the system sees them: the verified postmaster, its children, whatever it left behind.
//! Signals go through pidfds, never to a bare number. Every process of a server has its data directory as its working
//! directory: that, not a name, is how they are told apart.

use crate::postgres::{Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// How often a pidfd is asked whether its process has ended.
const ENDED_POLL: Duration = Duration::from_millis(2);

/// A process held by its pidfd.
#[derive(Debug)]
pub struct Process {
    /// Its number, for people.
    pub pid: i32,
    fd: OwnedFd,
}

impl Process {
    /// Takes hold of a process that works in `data_dir`; `None` if there is no such process (any more).
    #[must_use]
    pub fn in_dir(pid: i32, data_dir: &Path) -> Option<Self> {
        let fd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        // checked after the pidfd is open: now the number cannot become another process
        works_in(pid, data_dir).then_some(Self { pid, fd })
    }

    /// Sends a signal; done if the process is gone.
    ///
    /// # Errors
    /// [`Error::File`] on the data of the process when the system refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        match pidfd_send_signal(&self.fd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => {
                let path = PathBuf::from(format!("/proc/{}", self.pid));
                Err(Error::File { doing: "signal", path, source: error.into() })
            }
        }
    }

    /// Whether it is stopped (SIGSTOP, a debugger) or its control group frozen, by the system's own word.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        stat(self.pid).is_some_and(|s| s.stopped)
    }

    /// Waits for its end; whether it came within `limit`. A zombie has ended.
    ///
    /// # Errors
    /// [`Error::File`] when the system cannot watch it.
    pub async fn ended(&self, limit: Duration) -> Result<bool> {
        let until = Instant::now() + limit;
        loop {
            // a pidfd becomes readable when its process ends, reaped or not
            let mut watched = [PollFd::new(&self.fd, PollFlags::IN)];
            match poll(&mut watched, Some(&Timespec::default())) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => {
                    let path = PathBuf::from(format!("/proc/{}", self.pid));
                    return Err(Error::File { doing: "watch", path, source: error.into() });
                }
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            tokio::time::sleep(ENDED_POLL).await;
        }
    }
}

/// The server's main process.
#[derive(Debug)]
pub struct Postmaster {
    /// The process.
    pub process: Process,
    /// When it was started, in clock ticks since boot: with the pid, its identity.
    pub started: u64,
}

impl Postmaster {
    /// The verified main process of the server on `data_dir`, from its postmaster.pid; `None` if none runs.
    #[must_use]
    pub fn find(data_dir: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(data_dir.join("postmaster.pid")).ok()?;
        let pid = text.lines().next()?.trim().trim_start_matches('-').parse().ok()?;
        let process = Process::in_dir(pid, data_dir)?;
        Some(Self { started: stat(pid)?.started, process })
    }

    /// Whether it says, in its postmaster.pid, that it takes connections: on a replica, once its data is consistent.
    #[must_use]
    pub fn says_ready(data_dir: &Path) -> bool {
        let text = std::fs::read_to_string(data_dir.join("postmaster.pid")).unwrap_or_default();
        text.lines().nth(7).is_some_and(|status| status.trim() == "ready")
    }

    /// Its children as they are now.
    #[must_use]
    pub fn children(&self, data_dir: &Path) -> Vec<Child> {
        let mut found = Vec::new();
        let listed = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.process.pid));
        let candidates =
            listed.map_or_else(|_| pids(), |t| t.split_whitespace().filter_map(|p| p.parse().ok()).collect());
        for pid in candidates {
            if stat(pid).is_some_and(|s| s.parent == self.process.pid && !s.ended) && works_in(pid, data_dir) {
                found.push(Child { pid, title: title(pid) });
            }
        }
        found
    }
}

/// A child of the postmaster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Its number.
    pub pid: i32,
    /// What it calls itself: `postgres: lab: walreceiver streaming 0/3000148`.
    pub title: String,
}

/// Every living process that works in `data_dir`: the server and whatever a former one left behind.
#[must_use]
pub fn all_in(data_dir: &Path) -> Vec<i32> {
    pids().into_iter().filter(|pid| works_in(*pid, data_dir) && stat(*pid).is_some_and(|s| !s.ended)).collect()
}

struct Stat {
    parent: i32,
    started: u64,
    ended: bool,
    stopped: bool,
    rests: bool,
    /// Processor time, in clock ticks.
    ticks: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // the name in parentheses may hold anything; the fields begin after the last one
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat {
        ended: matches!(*fields.first()?, "Z" | "X"),
        stopped: matches!(*fields.first()?, "T" | "t"),
        rests: *fields.first()? == "S",
        ticks: fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

/// How much processor time a process has used, in clock ticks; `None` while it runs or waits for a disk.
pub(crate) fn ticks_at_rest(pid: i32) -> Option<u64> {
    stat(pid).filter(|s| s.rests).map(|s| s.ticks)
}

fn works_in(pid: i32, data_dir: &Path) -> bool {
    let Ok(real) = data_dir.canonicalize() else { return false };
    std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == real)
}

fn title(pid: i32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned()
}

fn pids() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}
