//! Why a notice was not delivered. It names no address that came from a secret file, and no secret.

use std::io;
use std::path::PathBuf;

/// Why a place did not take a notice.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The place cannot be reached.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It did not answer in time.
    #[error("no answer within {0} s")]
    Slow(u64),
    /// It answered that it does not take it.
    #[error("it answered {status}{}", if .text.is_empty() { String::new() } else { format!(": {}", .text) })]
    Answered {
        /// The HTTP status.
        status: u16,
        /// The beginning of its answer.
        text: String,
    },
    /// The mail server does not take it.
    #[error("the mail server answered {code}: {text}")]
    Mail {
        /// Its code, by RFC 5321.
        code: u16,
        /// What it said.
        text: String,
    },
    /// TLS failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// The program did not end well.
    #[error("the program {0}")]
    Program(String),
    /// A file on this machine is missing or not as it must be.
    #[error("{}: {what}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What is wrong, and what is needed.
        what: String,
    },
    /// The outbox.
    #[error("the outbox {}: {source}", path.display())]
    Outbox {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl SendError {
    /// Whether the same notice will be refused again: the place understood, and does not want this one.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        // of mail: too large, or not wanted. Who is unknown or may not send there can be put right, and then it is wanted
        matches!(self, Self::Answered { status: 400 | 413 | 422, .. } | Self::Mail { code: 552 | 554, .. })
    }
}
