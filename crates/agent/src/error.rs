//! Why an agent cannot start or go on; each says what to do next.

use crate::engine::Error as Engine;
use dauphin_store::StoreError;
use std::io;
use std::path::PathBuf;

/// Why an agent ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The configuration has a fault.
    #[error("{0}")]
    Configuration(String),
    /// A file could not be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The member's own notes are damaged.
    #[error(
        "{} is damaged ({why}): this member no longer knows what it pledged and may not vote. Move its state and data \
         folders away and start it again: it comes back as a new copy",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A port is taken.
    #[error("cannot listen on {addr}: {source}; is another agent running?")]
    Listen {
        /// Where.
        addr: String,
        /// Why.
        source: io::Error,
    },
    /// The identity files cannot be used.
    #[error(transparent)]
    Identity(#[from] dauphin_net::IdentityError),
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The guard does not come up.
    #[error(transparent)]
    Guard(#[from] dauphin_guard::GuardError),
    /// A server without a guard cannot be fenced.
    #[error(transparent)]
    Orphan(#[from] dauphin_guard::orphan::OrphanError),
    /// The engine refuses.
    #[error(transparent)]
    Engine(#[from] Engine),
    /// The store's identity and this member's notes differ.
    #[error("{0}")]
    Refused(String),
}

impl AgentError {
    pub(crate) fn file(doing: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { doing, path, source }
    }

    /// The exit code: 2 for what a person has to put right in a file, 3 for what is refused for safety.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) => 2,
            Self::Engine(error) => error.exit_code(),
            Self::Damaged { .. }
            | Self::Refused(_)
            | Self::Store(StoreError::Corrupt(_) | StoreError::Foreign { .. }) => 3,
            Self::File { .. }
            | Self::Listen { .. }
            | Self::Identity(_)
            | Self::Store(_)
            | Self::Guard(_)
            | Self::Orphan(_) => 1,
        }
    }
}
