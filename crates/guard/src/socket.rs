//! The guard's place in its run directory: a lock, so that there is one, and a socket that only its own user reaches.
//! Guard and client use it. A long directory is no obstacle: the kernel's 107 bytes for a socket's path are met by
//! going through the directory's own descriptor.

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// The socket's name in the run directory.
pub(crate) const SOCKET: &str = "guard.sock";
/// The lock's name in the run directory.
const LOCK: &str = "guard.lock";

/// A directory held open, and a short path through it.
#[derive(Debug)]
pub(crate) struct Door {
    directory: OwnedFd,
}

impl Door {
    /// Opens the run directory.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { directory: openat(CWD, dir, flags, Mode::empty())? })
    }

    /// The socket's path, good while this is held.
    pub(crate) fn socket(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", self.directory.as_raw_fd()))
    }
}

/// Takes the run directory's lock; it is held until the file is dropped. `None`: another guard holds it.
pub(crate) fn lock(dir: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(dir.join(LOCK))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Listens on the run directory's socket. The caller holds the lock, so a socket that is there already is nobody's.
pub(crate) fn listen(dir: &Path) -> io::Result<UnixListener> {
    let door = Door::open(dir)?;
    match fs::remove_file(door.socket()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(door.socket());
    rustix::process::umask(before);
    let listener = listener?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Removes the socket at an orderly end.
pub(crate) fn remove(dir: &Path) {
    // Nobody is harmed by one that stays: the next guard removes it.
    let _ = fs::remove_file(dir.join(SOCKET));
}
