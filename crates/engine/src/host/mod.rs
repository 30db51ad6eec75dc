//! What every engine needs of the machine: files replaced whole, processes held by pidfds, tools run with a limit, folders,
//! secrets, and how a server is started. It knows no database.

pub(crate) mod aside;
pub mod command;
pub mod disk;
pub mod files;
pub mod folders;
pub mod process;
pub mod progress;
pub mod secret;
pub mod space;
pub mod tool;

pub use command::{GuardDeath, ServerCommand};
pub use disk::DiskProbe;
pub use progress::Progress;
pub use secret::Secret;

use std::io;
use std::path::{Path, PathBuf};

/// A file, folder or process could not be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {source}", path.display())]
pub struct FileError {
    /// What was tried.
    pub doing: &'static str,
    /// On which path.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl FileError {
    /// For `map_err` on file operations.
    pub(crate) fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { doing, path, source }
    }
}
