//! How the store's members reach each other: given by the caller, so that the store never opens a socket itself.

use bytes::Bytes;
use dauphin_model::MemberName;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// A boxed future, as the trait below returns it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a message got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The message was certainly not handled: no connection, or it was refused before it was read.
    #[error("{to} cannot be reached: {why}")]
    Unreachable {
        /// The member.
        to: MemberName,
        /// What was tried and seen.
        why: String,
    },
    /// No answer in time. The message may have been handled, or may yet be.
    #[error("{to} did not answer in time")]
    TimedOut {
        /// The member.
        to: MemberName,
    },
    /// The connection ended, or the other side failed, after the message was sent. It may have been handled.
    #[error("{to} did not answer: {why}")]
    Broken {
        /// The member.
        to: MemberName,
        /// What was seen.
        why: String,
    },
}

/// Carries one message to a member and its answer back. Authentication is the transport's: the receiving side names
/// the true sender to [`crate::Store::handle`].
pub trait RaftTransport: Send + Sync + 'static {
    /// Sends `body` and waits for the answer, no longer than `timeout`.
    fn call(
        &self,
        to: &MemberName,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>>;
}
