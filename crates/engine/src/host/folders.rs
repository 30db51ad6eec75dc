//! A member's folders: private to the system user, with a socket's folder whose path is short enough for a socket.
//! It never touches what is in them.

use crate::host::FileError;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Longest path of a unix socket, in bytes (the system's limit is 108 with the closing zero).
const SOCKET_PATH_MAX: usize = 107;

/// The folder `run` in `member_dir`, or one in `/tmp` under a hashed name when the socket's path would be too long.
#[must_use]
pub fn run_dir(member_dir: &Path, os_user: &str, socket_in: impl Fn(&Path) -> PathBuf) -> PathBuf {
    let wanted = member_dir.join("run");
    if socket_in(&wanted).as_os_str().len() <= SOCKET_PATH_MAX {
        return wanted;
    }
    let mut hasher = DefaultHasher::new();
    (member_dir, os_user).hash(&mut hasher);
    PathBuf::from(format!("/tmp/dauphin-{:016x}", hasher.finish()))
}

/// Makes folders that are not there; all of them, the first excepted, are then private to the system user whoever made them.
///
/// # Errors
/// [`FileError`].
pub fn make_private(dirs: &[&Path]) -> Result<(), FileError> {
    for dir in dirs {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(FileError::at("make folder", dir))?;
    }
    for dir in dirs.iter().skip(1) {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
            .map_err(FileError::at("make private", dir))?;
    }
    Ok(())
}
