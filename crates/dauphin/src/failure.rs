//! Why a verb did not do what was asked: an exit code, a sentence, the next thing to type. Every verb ends with one or
//! with its result.

use dauphin_api::{ApiError, ClientError};
use dauphin_lab::LabError;

/// Done.
pub(crate) const DONE: u8 = 0;
/// Tried and failed.
pub(crate) const FAILED: u8 = 1;
/// Wrong usage or configuration.
pub(crate) const USAGE: u8 = 2;

/// A verb's end without result.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: u8,
    /// What happened.
    pub(crate) message: String,
    /// What to do next; may be empty.
    pub(crate) next: String,
}

/// What every verb returns: its exit code.
pub(crate) type Outcome = Result<u8, Failure>;

impl Failure {
    pub(crate) fn failed(message: impl Into<String>, next: impl Into<String>) -> Self {
        Self { exit: FAILED, message: message.into(), next: next.into() }
    }

    pub(crate) fn usage(message: impl Into<String>, next: impl Into<String>) -> Self {
        Self { exit: USAGE, message: message.into(), next: next.into() }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self { exit: error.kind.exit(), message: error.message, next: error.next }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Said(error) => error.into(),
            ClientError::NoneAnswered { .. } => Self::failed(
                error.to_string(),
                "start the members: dauphin agent --config FILE (in a lab: dauphin lab heal --dir DIR)",
            ),
            ClientError::Broken { .. } => Self::failed(error.to_string(), "dauphin status, then dauphin history"),
        }
    }
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Self {
        Self { exit: error.exit(), message: error.to_string(), next: String::new() }
    }
}

impl From<dauphin_agent::AgentError> for Failure {
    fn from(error: dauphin_agent::AgentError) -> Self {
        Self { exit: error.exit_code(), message: error.to_string(), next: String::new() }
    }
}
