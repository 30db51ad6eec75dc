//! Small files of ours: replaced whole, never half-written; and blocks of ours inside files of the user.
//! Config, access rules and provisioning use it. It never changes a line that is not ours.

use crate::host::FileError;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// First line of a managed block.
pub const BLOCK_BEGIN: &str = "# dauphin: begin of the managed block; changes between these lines are overwritten";
/// Last line of a managed block.
pub const BLOCK_END: &str = "# dauphin: end of the managed block";

/// Replaces a file whole, readable by its owner alone. `durable` waits for the disk: for what must survive a power
/// cut; files that are rendered again before each start need not.
///
/// # Errors
/// [`FileError`].
pub fn replace(path: &Path, text: &str, durable: bool) -> Result<(), FileError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = Path::new(&name);
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(new)?;
        file.write_all(text.as_bytes())?;
        if durable {
            file.sync_all()?;
        }
        std::fs::rename(new, path)?;
        if durable {
            sync_parent(path)?;
        }
        Ok(())
    };
    write().map_err(FileError::at("write", path))
}

/// Makes a rename or removal in the folder of `path` survive a power cut.
///
/// # Errors
/// What the system says.
pub fn sync_parent(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |dir| std::fs::File::open(dir)?.sync_all())
}

/// The file's text; empty if there is no such file.
///
/// # Errors
/// [`FileError`] when it is there and cannot be read.
pub fn read_or_empty(path: &Path) -> Result<String, FileError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(FileError::at("read", path)(error)),
    }
}

/// Removes a file; done if there is none.
///
/// # Errors
/// [`FileError`].
pub fn remove(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(FileError::at("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes a folder with all it holds; done if there is none.
///
/// # Errors
/// [`FileError`].
pub fn remove_dir(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(FileError::at("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The user's text with our block at its top; an earlier block of ours is replaced, wherever it stood.
#[must_use]
pub fn with_block_on_top(text: &str, block: &str) -> String {
    format!("{BLOCK_BEGIN}\n{}\n{BLOCK_END}\n{}", block.trim_end(), without_block(text))
}

/// The user's text without our block.
#[must_use]
pub fn without_block(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut inside = false;
    for line in text.split_inclusive('\n') {
        match line.trim_end() {
            BLOCK_BEGIN => inside = true,
            BLOCK_END if inside => inside = false,
            _ if inside => {}
            _ => kept.push_str(line),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_put_on_top_and_replaced_without_touching_the_users_lines() {
        let user = "# mine\nhost all all all md5\n";
        let first = with_block_on_top(user, "local all all reject");
        assert!(first.starts_with(BLOCK_BEGIN));
        assert!(first.ends_with(user));
        let second = with_block_on_top(&first, "local all dauphin peer");
        assert!(!second.contains("reject"));
        assert!(second.ends_with(user));
        assert_eq!(with_block_on_top(&second, "local all dauphin peer"), second);
        assert_eq!(without_block(&second), user);
    }
}
