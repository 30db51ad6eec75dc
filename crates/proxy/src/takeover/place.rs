//! The private socket's place: a folder that is held open, and a name in it that belongs to whichever process takes clients. Giver and
//! taker use it. Who may connect is asked of the kernel, at both ends.

use crate::ProxyError;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// The socket's name in the folder.
const SOCKET: &str = "proxy.sock";

/// A folder with the socket in it. A long path is no obstacle: the kernel's 107 bytes for a socket's are met by going through the
/// folder's own descriptor.
#[derive(Debug)]
pub(crate) struct Place {
    folder: OwnedFd,
    path: PathBuf,
}

impl Place {
    /// Opens the folder, and makes it first where it is missing.
    ///
    /// # Errors
    /// [`ProxyError::RunDir`] when that cannot be done.
    pub(crate) fn open(path: &Path) -> Result<Self, ProxyError> {
        let open = || {
            if !path.exists() {
                DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Ok(openat(CWD, path, flags, Mode::empty())?)
        };
        let folder = open().map_err(|source| ProxyError::RunDir { path: path.to_owned(), source })?;
        Ok(Self { folder, path: path.to_owned() })
    }

    fn file(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.folder.as_raw_fd()))
    }

    /// A process's own name for its socket, until it is the one that takes clients.
    fn own_name() -> String {
        format!("proxy.{}.sock", std::process::id())
    }

    fn failed(&self, source: io::Error) -> ProxyError {
        ProxyError::RunDir { path: self.path.clone(), source }
    }

    /// The process that takes clients here; none when there is none.
    ///
    /// # Errors
    /// [`ProxyError::RunDir`] when it cannot be known.
    pub(crate) fn call(&self) -> Result<Option<StdStream>, ProxyError> {
        match StdStream::connect(self.file(SOCKET)) {
            Ok(stream) => Ok(Some(stream)),
            // What a process leaves that was killed refuses.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Listens, under a name that nobody calls yet.
    ///
    /// # Errors
    /// [`ProxyError::RunDir`] when that cannot be done.
    pub(crate) fn listen(&self) -> Result<UnixListener, ProxyError> {
        let listen = || {
            let own = self.file(&Self::own_name());
            match fs::remove_file(&own) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let listener = StdListener::bind(&own)?;
            fs::set_permissions(&own, Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            UnixListener::from_std(listener)
        };
        listen().map_err(|source| self.failed(source))
    }

    /// From now on it is this process that is called here.
    ///
    /// # Errors
    /// [`ProxyError::RunDir`] when the name cannot be had.
    pub(crate) fn publish(&self) -> Result<(), ProxyError> {
        fs::rename(self.file(&Self::own_name()), self.file(SOCKET)).map_err(|source| self.failed(source))
    }

    /// Nobody is called here any more.
    pub(crate) fn leave(&self) {
        // One that stays refuses.
        let _ = fs::remove_file(self.file(SOCKET));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What has not become the name that is called; one that stays harms nobody.
        let _ = fs::remove_file(self.file(&Self::own_name()));
    }
}

/// Whether the process at the other end is of the same user.
pub(super) fn is_ours(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw())
}
