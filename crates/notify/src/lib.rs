//! Notices on their way to people: written to disk first, then sent to each place until it took them. The agent brings
//! them; this crate never decides what people are told.

mod body;
mod command;
mod error;
mod http;
mod letter;
mod mail;
mod outbox;
mod post;
mod secret;
mod tls;

pub use error::SendError;
pub use letter::Letter;
pub use outbox::{LETTERS_MAX, Outbox};
pub use post::{Post, Standing, send};
