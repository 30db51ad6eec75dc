//! A server that found its disk full waits by itself, for a minute at a time, whatever has become of the disk since, even on its
//! way out. This tells that it waits for room that is there. The agent asks, and ends such a server; nothing is ended here.

use crate::mysql::Instance;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What both servers log when they begin to wait.
const WAITS: &str = "Waiting for someone to free space";
/// Most bytes of the log that one look reads.
const READ_MAX: u64 = 1 << 20;
/// How often the disk is tried.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// Bytes that are written then, and the file's name.
const BYTES: usize = 64 << 10;
const FILE: &str = "dauphin.room-probe";

/// Follows one server's log from now on.
#[derive(Debug)]
pub struct RoomWatch {
    log: PathBuf,
    folder: PathBuf,
    read: u64,
    waits: bool,
    in_vain: bool,
    tried: Option<Instant>,
}

impl RoomWatch {
    /// Of this member's server: what it logged before is of servers before it.
    #[must_use]
    pub fn new(instance: &Instance) -> Self {
        Self::of(instance.log_path(), instance.member_dir.clone())
    }

    fn of(log: PathBuf, folder: PathBuf) -> Self {
        let read = std::fs::metadata(&log).map_or(0, |found| found.len());
        Self { log, folder, read, waits: false, in_vain: false, tried: None }
    }

    /// Whether the server waits for room, and there is some; once it is so, this server is of no use any more. It writes to the
    /// disk, so it may take as long as that does.
    pub fn waits_in_vain(&mut self) -> bool {
        self.waits |= self.new_lines().is_some_and(|text| text.contains(WAITS));
        if self.in_vain {
            return true;
        }
        if !self.waits || self.tried.is_some_and(|at| at.elapsed() < TRY_EVERY) {
            return false;
        }
        self.tried = Some(Instant::now());
        self.in_vain = has_room(&self.folder);
        self.in_vain
    }

    fn new_lines(&mut self) -> Option<String> {
        let mut file = File::open(&self.log).ok()?;
        let length = file.metadata().ok()?.len();
        // another file of that name, or one that was cut
        self.read = self.read.min(length).max(length.saturating_sub(READ_MAX));
        file.seek(SeekFrom::Start(self.read)).ok()?;
        let mut bytes = Vec::new();
        file.take(READ_MAX).read_to_end(&mut bytes).ok()?;
        // an unfinished line is read again with its end
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.read += whole as u64;
        bytes.truncate(whole);
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn has_room(folder: &Path) -> bool {
    let path = folder.join(FILE);
    let write = || {
        let mut file = File::create(&path)?;
        file.write_all(&[0x5A; BYTES])?;
        file.sync_data()
    };
    let written = write().is_ok();
    let _ = std::fs::remove_file(&path);
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_waits_for_room_that_is_there_is_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let (log, folder) = (dir.path().join("server.log"), dir.path().join("member"));
        let line =
            format!("mariadbd: Disk is full writing './x' (Errcode: 28). {WAITS}... (Expect up to 60 secs delay)\n");
        let says = |text: &str| {
            let mut file = File::options().create(true).append(true).open(&log).expect("a log");
            file.write_all(text.as_bytes()).expect("written");
        };
        says(&line);
        let watch = || RoomWatch::of(log.clone(), folder.clone());
        let mut of_now = watch();
        assert!(!of_now.waits_in_vain(), "a server before it said so");
        says(line.split_at(40).0);
        assert!(!of_now.waits_in_vain(), "half a line");
        says(line.split_at(40).1);
        assert!(!of_now.waits_in_vain(), "there is no room: not even a folder");
        std::fs::create_dir(&folder).expect("a folder");
        of_now.tried = None;
        assert!(of_now.waits_in_vain());
        assert!(of_now.waits_in_vain(), "until it is another server");
        assert!(!watch().waits_in_vain());
        assert_eq!(std::fs::read_dir(&folder).expect("there").count(), 0, "nothing is left behind");
    }
}
