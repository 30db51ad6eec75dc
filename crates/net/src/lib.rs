//! The link between members: frames over mutual TLS, with certificates of the cluster's own CA. The agent and the proxy
//! call it. It knows nothing of what the frames say.

pub mod ca;
mod frame;
mod identity;
mod link;
mod link_task;
mod peer;
mod server;
mod server_conn;
mod socket;

pub use identity::{Identity, IdentityError, SameCluster};
pub use link::{
    CALLS_MAX, CallError, Down, Link, LinkState, NOTES_MAX, STORE_TOS, SUBSCRIPTION_QUEUE_MAX, Subscription,
};
pub use peer::{BadPeerName, Peer, PeerKind, PeerName};
pub use server::{CALLS_PER_CONNECTION_MAX, CONNECTIONS_MAX, Handler, Refusal, serve};

pub use frame::FRAME_BYTES_MAX;

/// A boxed future, as [`Handler`] returns it.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
