//! How much room there is on a disk, and how much a folder's files take. The agent's vitals ask; it opens no file.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Its device: two folders of one device share the room.
    pub device: u64,
    /// Bytes that whoever is not root may use in all.
    pub total: u64,
    /// Those that are free.
    pub free: u64,
}

/// The file system that a folder lies on.
///
/// # Errors
/// The folder is not there, or cannot be looked at.
pub fn of(folder: &Path) -> io::Result<Space> {
    let device = std::fs::metadata(folder)?.dev();
    let found = rustix::fs::statvfs(folder)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    // what is kept for root is neither free nor used, as `df` counts
    let used = found.f_blocks.saturating_sub(found.f_bfree);
    Ok(Space { device, total: bytes(used.saturating_add(found.f_bavail)), free: bytes(found.f_bavail) })
}

/// Bytes of the files right in a folder whose names count.
///
/// # Errors
/// The folder is not there, or cannot be read.
pub fn taken_in(folder: &Path, counts: impl Fn(&str) -> bool) -> io::Result<u64> {
    let mut bytes = 0_u64;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // one that is gone meanwhile takes nothing
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_file() && entry.file_name().to_str().is_some_and(&counts) {
            bytes = bytes.saturating_add(meta.len());
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_by_name_and_folders_are_not() {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, bytes) in [("binlog.000001", 10), ("binlog.000002", 20), ("ibdata1", 400)] {
            std::fs::write(dir.path().join(name), vec![0; bytes]).expect("written");
        }
        std::fs::create_dir(dir.path().join("binlog.d")).expect("made");
        assert_eq!(taken_in(dir.path(), |name| name.starts_with("binlog.")).expect("read"), 30);
        assert!(taken_in(&dir.path().join("gone"), |_| true).is_err());
    }

    #[test]
    fn a_disk_has_no_more_free_than_it_has() {
        let dir = tempfile::tempdir().expect("a folder");
        let space = of(dir.path()).expect("a file system");
        assert!(space.total > 0 && space.free <= space.total, "{space:?}");
        assert!(of(&dir.path().join("gone")).is_err());
    }
}
