//! A server's processes as the system sees them. Signals go through pidfds, never to a bare number. Every process of a
//! server has its data directory as its working directory: that, not a name, is how they are told apart.

use crate::host::FileError;
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
    /// [`FileError`] on the data of the process when the system refuses.
    pub fn signal(&self, signal: Signal) -> Result<(), FileError> {
        match pidfd_send_signal(&self.fd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => {
                let path = PathBuf::from(format!("/proc/{}", self.pid));
                Err(FileError { doing: "signal", path, source: error.into() })
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
    /// [`FileError`] when the system cannot watch it.
    pub async fn ended(&self, limit: Duration) -> Result<bool, FileError> {
        let until = Instant::now() + limit;
        loop {
            // a pidfd becomes readable when its process ends, reaped or not
            let mut watched = [PollFd::new(&self.fd, PollFlags::IN)];
            match poll(&mut watched, Some(&Timespec::default())) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => {
                    let path = PathBuf::from(format!("/proc/{}", self.pid));
                    return Err(FileError { doing: "watch", path, source: error.into() });
                }
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            tokio::time::sleep(ENDED_POLL).await;
        }
    }
}

/// Every living process that works in `data_dir`: the server and whatever a former one left behind.
#[must_use]
pub fn all_in(data_dir: &Path) -> Vec<i32> {
    pids().into_iter().filter(|pid| works_in(*pid, data_dir) && stat(*pid).is_some_and(|s| !s.ended)).collect()
}

/// What /proc says of a process.
pub(crate) struct Stat {
    pub(crate) parent: i32,
    pub(crate) started: u64,
    pub(crate) ended: bool,
    stopped: bool,
    rests: bool,
    /// Processor time, in clock ticks.
    ticks: u64,
}

pub(crate) fn stat(pid: i32) -> Option<Stat> {
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

pub(crate) fn works_in(pid: i32, data_dir: &Path) -> bool {
    let Ok(real) = data_dir.canonicalize() else { return false };
    std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == real)
}

pub(crate) fn title(pid: i32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned()
}

pub(crate) fn pids() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}
