//! The guard's log: one line an event, stamped with the boot-time clock that decides here.
//! Written by a thread of its own: a disk that hangs must not delay a kill. Lines that do not fit are dropped and counted.

use crate::boottime;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

/// The log's name in the run directory.
pub(crate) const LOG: &str = "guard.log";
/// Lines that may wait for the disk.
const LINES_MAX: usize = 256;
/// Size at which the log is put aside (one older file is kept), in bytes.
const LOG_BYTES_MAX: u64 = 1024 * 1024;
/// Longest wait for the last lines at the guard's end.
const CLOSE_WAIT_MAX: Duration = Duration::from_millis(500);

/// A log.
#[derive(Debug)]
pub(crate) struct Log {
    lines: Option<SyncSender<String>>,
    done: Receiver<()>,
    dropped: std::cell::Cell<u64>,
}

impl Log {
    /// Opens the log in the run directory.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join(LOG);
        let mut file = append(&path)?;
        let (lines, queue) = sync_channel::<String>(LINES_MAX);
        let (finished, done) = channel();
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            for line in queue {
                // A full disk loses lines, never the server's supervision.
                let _ = file.write_all(line.as_bytes());
                if file.metadata().is_ok_and(|meta| meta.len() > LOG_BYTES_MAX)
                    && let Ok(fresh) = turn(&path)
                {
                    file = fresh;
                }
            }
            let _ = finished.send(());
        })?;
        Ok(Self { lines: Some(lines), done, dropped: std::cell::Cell::new(0) })
    }

    /// Writes a line.
    pub(crate) fn line(&self, text: &str) {
        let now = boottime();
        let dropped = self.dropped.replace(0);
        let mut line = format!("[{:7}.{:06}] {}", now.0 / 1_000_000, now.0 % 1_000_000, text.replace('\n', " "));
        if dropped > 0 {
            line.push_str(&format!(" ({dropped} lines before this one were lost)"));
        }
        line.push('\n');
        if self.lines.as_ref().is_none_or(|lines| lines.try_send(line).is_err()) {
            self.dropped.set(dropped + 1);
        }
    }

    /// Writes what waits, as far as the disk lets it.
    pub(crate) fn close(mut self) {
        self.lines = None;
        let _ = self.done.recv_timeout(CLOSE_WAIT_MAX);
    }
}

fn append(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn turn(path: &PathBuf) -> io::Result<File> {
    fs::rename(path, path.with_extension("log.1"))?;
    append(path)
}
