//! Files that only the agent's user may read, and programs that only it or root may write. Read anew for each notice, so
//! that a changed secret counts at once; nothing of them is kept or shown.

use crate::error::SendError;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Longest secret, in bytes.
const SECRET_BYTES_MAX: u64 = 4_096;

/// A secret's text, without the line's end.
pub(crate) fn read(path: &Path) -> Result<String, SendError> {
    let fail = |what: String| SendError::File { file: path.to_owned(), what };
    let file = std::fs::File::open(path).map_err(|e| fail(e.to_string()))?;
    let mode = file.metadata().map_err(|e| fail(e.to_string()))?.mode();
    if mode & 0o077 != 0 {
        return Err(fail(format!("others may read it (mode {:o}); chmod 600", mode & 0o777)));
    }
    let mut text = String::new();
    file.take(SECRET_BYTES_MAX).read_to_string(&mut text).map_err(|e| fail(e.to_string()))?;
    let text = text.trim().to_owned();
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(fail("it must hold one line, which is not empty".to_owned()));
    }
    Ok(text)
}

/// A program that nobody but root and this user can have changed.
pub(crate) fn check_program(path: &Path) -> Result<(), SendError> {
    let fail = |what: String| SendError::File { file: path.to_owned(), what };
    let meta = std::fs::metadata(path).map_err(|e| fail(e.to_string()))?;
    let ours = [0, rustix::process::geteuid().as_raw()].contains(&meta.uid());
    if !meta.is_file() || !ours || meta.mode() & 0o022 != 0 {
        return Err(fail("it must be a file of root or of the agent's user that nobody else may write".to_owned()));
    }
    Ok(())
}
