//! The consensus store: the one place that decides who leads. The agent calls it; it holds only what safety needs.
//!
//! One interface for every backend; the embedded one (Raft on redb) is here. Leases are no primitive of it: a lease is
//! an ordinary key that its holder renews and that observers time from when they applied it themselves.
//!
//! It never opens a socket: the caller carries its messages ([`RaftTransport`], [`Store::handle`]).

mod error;
mod health;
mod machine;
mod raft;
mod store;
mod transport;
mod types;

pub use error::{Corruption, StoreError};
pub use health::{MemberProgress, Standing, StoreHealth, StoreStatus};
pub use machine::{KEYS_MAX, STATE_BYTES_MAX};
pub use store::{Open, Start, Store, Timings};
pub use transport::{BoxFuture, RaftTransport, TransportError};
pub use types::{
    BadKey, ClusterIdentity, Entry, KEY_BYTES_MAX, Key, Rev, Snapshot, TXN_ITEMS_MAX, Txn, TxnOutcome, VALUE_BYTES_MAX,
};
