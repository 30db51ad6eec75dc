//! PostgreSQL's processes: the verified postmaster and its children. Whatever it left behind is found by
//! [`crate::host::process`], which holds processes and signals them.

use crate::host::process::{pids, stat, title, works_in};
use std::path::Path;

pub(crate) use crate::host::process::ticks_at_rest;
pub use crate::host::process::{Process, all_in};

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
