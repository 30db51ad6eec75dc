//! Why a lab could not do what was asked, and what to do next. The command line turns the class into an exit code.

use std::path::{Path, PathBuf};

/// An error of the lab.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Wrong usage: exit 2.
    #[error("{0}")]
    Usage(String),
    /// Tried and failed: exit 1.
    #[error("{0}")]
    Failed(String),
    /// A file or folder: exit 1.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// No lab here: exit 2.
    #[error("there is no lab in {}: make one with `dauphin lab up --dir {}`", .0.display(), .0.display())]
    NoLab(PathBuf),
}

impl LabError {
    /// The exit code of the command line.
    #[must_use]
    pub fn exit(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::NoLab(_) => 2,
            Self::Failed(_) | Self::Io { .. } => 1,
        }
    }

    /// For `map_err`: what was tried, on which path.
    pub fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}
