//! Writes and syncs a small file beside the data, over and over, on a thread of its own, and says when it last worked.
//! A disk that hangs stops the thread, not the agent. It never touches the data.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Name of the file.
pub const FILE: &str = "dauphin.disk-probe";
/// Bytes written each time: more than a block, given back and taken anew, so that a full disk shows.
const BYTES: usize = 16 << 10;

/// The probe. Dropped, its thread ends as soon as the disk lets it.
#[derive(Debug)]
pub struct DiskProbe {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    begun: Instant,
    /// Microseconds from `begun` to the end of the last success, plus one; 0: none yet.
    last: AtomicU64,
    free: AtomicU64,
    stop: AtomicBool,
    error: Mutex<Option<String>>,
}

impl DiskProbe {
    /// Starts probing the file system that holds `data_dir`, every `period`; `beside` is the folder that it lies in.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(data_dir: &Path, beside: &Path, period: Duration) -> std::io::Result<Self> {
        Self::start_in(folder_for(data_dir, beside), period)
    }

    fn start_in(folder: PathBuf, period: Duration) -> std::io::Result<Self> {
        let state = Arc::new(State {
            begun: Instant::now(),
            last: AtomicU64::new(0),
            free: AtomicU64::new(u64::MAX),
            stop: AtomicBool::new(false),
            error: Mutex::new(None),
        });
        let shared = Arc::clone(&state);
        std::thread::Builder::new().name("disk-probe".to_owned()).spawn(move || {
            while !shared.stop.load(Ordering::Relaxed) {
                shared.probe(&folder);
                std::thread::park_timeout(period);
            }
            let _ = std::fs::remove_file(folder.join(FILE));
        })?;
        Ok(Self { state })
    }

    /// How long ago a write last reached the disk; since the start when none ever did.
    #[must_use]
    pub fn age(&self) -> Duration {
        let last = self.state.last.load(Ordering::Relaxed).saturating_sub(1);
        self.state.begun.elapsed().saturating_sub(Duration::from_micros(last))
    }

    /// Free bytes on the file system; `u64::MAX` while unknown.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.state.free.load(Ordering::Relaxed)
    }

    /// What the last attempt said, if it failed.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.state.error.lock().map_or(None, |e| e.clone())
    }
}

impl Drop for DiskProbe {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
    }
}

impl State {
    fn probe(&self, folder: &Path) {
        let result = write_and_sync(&folder.join(FILE));
        if result.is_ok() {
            let now = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX - 1);
            self.last.store(now + 1, Ordering::Relaxed);
        }
        if let Ok(mut error) = self.error.lock() {
            *error = result.err().map(|e| e.to_string());
        }
        if let Ok(found) = rustix::fs::statvfs(folder) {
            self.free.store(found.f_bavail.saturating_mul(found.f_frsize), Ordering::Relaxed);
        }
    }
}

fn write_and_sync(path: &Path) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    file.write_all(&[0x5A; BYTES])?;
    file.sync_data()
}

/// Beside the data, or inside it when it is a file system of its own.
fn folder_for(data_dir: &Path, beside: &Path) -> PathBuf {
    let device = |path: &Path| std::fs::metadata(path).map(|m| m.dev()).ok();
    match (device(data_dir), device(beside)) {
        (Some(data), Some(other)) if data != other => data_dir.to_owned(),
        _ => beside.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_fresh_and_failure_grows_old() {
        let dir = tempfile::tempdir().expect("a folder");
        let probe = DiskProbe::start_in(dir.path().to_owned(), Duration::from_millis(1)).expect("started");
        let wait = |what: &dyn Fn() -> bool| {
            let begun = Instant::now();
            while !what() {
                assert!(begun.elapsed() < Duration::from_secs(10));
                std::thread::yield_now();
            }
        };
        wait(&|| probe.free_bytes() != u64::MAX);
        assert_eq!(probe.last_error(), None);
        let gone = dir.path().to_owned();
        // the probe may be making its file while the folder is emptied
        wait(&|| std::fs::remove_dir_all(&gone).is_ok());
        wait(&|| probe.last_error().is_some());
        wait(&|| probe.age() > Duration::from_millis(20));
        assert!(!gone.exists());
    }
}
