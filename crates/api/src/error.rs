//! What is answered when something is not done: a code for programs, a sentence for people, and the next thing to do.
//! The agent makes them, the server writes them, the client reads them back.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The class of an error: decides the HTTP status and the exit code of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The request cannot be understood or names something that cannot be: 400, exit 2.
    Usage,
    /// No credentials: 401, exit 1.
    Unauthenticated,
    /// Wrong credentials: 403, exit 1.
    Forbidden,
    /// No such thing: 404, exit 2.
    NotFound,
    /// Refused for safety: 409, exit 3.
    Refused,
    /// Cannot be done now, may be later: 503, exit 1.
    Unavailable,
    /// Tried and failed: 500, exit 1.
    Failed,
}

impl Kind {
    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Usage => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Refused => 409,
            Self::Unavailable => 503,
            Self::Failed => 500,
        }
    }

    /// The exit code of the command line.
    #[must_use]
    pub const fn exit(self) -> u8 {
        match self {
            Self::Usage | Self::NotFound => 2,
            Self::Refused => 3,
            Self::Unauthenticated | Self::Forbidden | Self::Unavailable | Self::Failed => 1,
        }
    }
}

/// An error as it stands in an answer, under `error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// Its class.
    #[serde(default = "failed")]
    pub kind: Kind,
    /// For programs: a word that never changes its meaning.
    pub code: String,
    /// For people: what happened.
    pub message: String,
    /// For people: what to do next, a command to type if there is one. Empty when there is nothing to do.
    #[serde(default)]
    pub next: String,
}

fn failed() -> Kind {
    Kind::Failed
}

impl ApiError {
    /// An error of this class.
    #[must_use]
    pub fn new(kind: Kind, code: &str, message: impl Into<String>, next: impl Into<String>) -> Self {
        Self { kind, code: code.to_owned(), message: message.into(), next: next.into() }
    }

    /// The request cannot be understood.
    #[must_use]
    pub fn usage(code: &str, message: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Kind::Usage, code, message, next)
    }

    /// Refused for safety; `next` names the option that accepts what would be lost.
    #[must_use]
    pub fn refused(code: &str, message: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Kind::Refused, code, message, next)
    }

    /// Not now.
    #[must_use]
    pub fn unavailable(code: &str, message: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, code, message, next)
    }

    /// Tried and failed.
    #[must_use]
    pub fn failed(code: &str, message: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Kind::Failed, code, message, next)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.next.is_empty() { Ok(()) } else { write!(f, " (next: {})", self.next) }
    }
}

impl std::error::Error for ApiError {}

/// The body of an answer that carries an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ApiError,
}
