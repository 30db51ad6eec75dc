//! The client's end of a link: one connection to one peer, kept up, that carries any number of calls at once.
//! The agent holds one to every other member; when a peer's process dies, its state says so within milliseconds.

use crate::frame::{Frame, Kind};
use crate::identity::Identity;
use crate::link_task;
use crate::peer::Peer;
use bytes::Bytes;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::timeout_at;

/// Most calls that wait for an answer on one link.
pub const CALLS_MAX: usize = 1_024;
/// Most frames that wait to be written. Notes beyond it are dropped, the newest first.
pub const NOTES_MAX: usize = 1_024;
/// Most events that a subscriber may leave unread. One that falls behind further loses its subscription.
pub const SUBSCRIPTION_QUEUE_MAX: usize = 256;
/// Type of service of the store's connections (low delay, RFC 1349): small, seldom, and everybody waits for them.
pub const STORE_TOS: u8 = 0x10;
/// Silence of the peer after which a call that timed out makes us give the connection up and open another.
const STALLED_AFTER: Duration = Duration::from_secs(2);

/// Why a link is down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Down {
    /// Nobody listens at the peer's port: its process is not running.
    Refused,
    /// The connection ended.
    Reset,
    /// No answer to the connection attempt, or none on the connection.
    TimedOut,
    /// One side did not accept the other's certificate.
    Tls(String),
    /// Anything else the system said.
    Other(String),
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Reset => f.write_str("connection reset"),
            Self::TimedOut => f.write_str("no answer"),
            Self::Tls(why) => write!(f, "certificate not accepted: {why}"),
            Self::Other(why) => f.write_str(why),
        }
    }
}

/// How a link is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// The first connection is not there yet, or nobody asked for one.
    Connecting,
    /// Connected.
    Up {
        /// Since when.
        since: Instant,
    },
    /// Not connected; tried again and again.
    Down {
        /// Since when; later failed attempts do not change it.
        since: Instant,
        /// What the last attempt showed.
        why: Down,
    },
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The peer's process is not running. The call was not made.
    #[error("the peer refuses connections: is its agent running?")]
    Refused,
    /// There is no connection. The call was not made.
    #[error("the peer cannot be reached: {0}")]
    Down(Down),
    /// Too much is waiting on this link, or the body is too large. The call was not made.
    #[error("the call was not made: {0}")]
    TooMuch(&'static str),
    /// No answer in time. The call may have been carried out, or may yet be.
    #[error("no answer in time")]
    TimedOut,
    /// The connection ended after the call was made. It may have been carried out.
    #[error("the connection ended before the answer came")]
    Closed,
    /// The peer refused it.
    #[error("{0}")]
    Refusal(String),
}

impl CallError {
    /// Whether the call was certainly not carried out.
    #[must_use]
    pub fn certainly_not_done(&self) -> bool {
        match self {
            Self::Refused | Self::Down(_) | Self::TooMuch(_) | Self::Refusal(_) => true,
            Self::TimedOut | Self::Closed => false,
        }
    }
}

/// What waits for frames of the peer.
pub(crate) enum Waiting {
    Answer(oneshot::Sender<Result<Bytes, CallError>>),
    Events { begun: Option<oneshot::Sender<Result<Bytes, CallError>>>, to: mpsc::Sender<Bytes> },
}

/// What the link and its task share.
pub(crate) struct Shared {
    pub(crate) peer: Peer,
    pub(crate) addr: String,
    /// Type of service of our packets.
    pub(crate) service: Option<u8>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) state: watch::Sender<LinkState>,
    pub(crate) waiting: Mutex<HashMap<u64, Waiting>>,
    /// The queue of the connection that is up.
    pub(crate) queue: Mutex<Option<mpsc::Sender<Frame>>>,
    /// Somebody wants the link.
    pub(crate) wanted: Notify,
    /// The connection seems stalled.
    pub(crate) stalled: Notify,
    /// When the peer was heard last, in milliseconds since `born`.
    pub(crate) heard_ms: AtomicU64,
    pub(crate) born: Instant,
    next: AtomicU64,
}

impl Shared {
    pub(crate) fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn queue(&self) -> Option<mpsc::Sender<Frame>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn age_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn silent_for(&self) -> Duration {
        Duration::from_millis(self.age_ms().saturating_sub(self.heard_ms.load(Ordering::Relaxed)))
    }
}

/// A link to one peer. Cheap to clone; the last clone that is dropped closes it.
#[derive(Clone)]
pub struct Link {
    shared: Arc<Shared>,
    /// Held by every clone and by nobody else: its end ends the task.
    _open: mpsc::Sender<()>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({} at {})", self.shared.peer, self.shared.addr)
    }
}

impl Link {
    /// A link to `peer` at `addr` (`host:port`). Nothing is opened before the first use or [`Self::keep`]; from then on
    /// it is kept up. Must be called inside a tokio runtime.
    #[must_use]
    pub fn new(peer: Peer, addr: String, identity: Arc<Identity>) -> Self {
        Self::marked(peer, addr, identity, None)
    }

    /// The same, with every packet of ours marked with this type of service: networks may prefer it.
    #[must_use]
    pub fn marked(peer: Peer, addr: String, identity: Arc<Identity>, service: Option<u8>) -> Self {
        let (open, ended) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            peer,
            addr,
            service,
            identity,
            state: watch::Sender::new(LinkState::Connecting),
            waiting: Mutex::new(HashMap::new()),
            queue: Mutex::new(None),
            wanted: Notify::new(),
            stalled: Notify::new(),
            heard_ms: AtomicU64::new(0),
            born: Instant::now(),
            next: AtomicU64::new(1),
        });
        tokio::spawn(link_task::run(shared.clone(), ended));
        Self { shared, _open: open }
    }

    /// Opens the link now and keeps it up.
    pub fn keep(&self) {
        self.shared.wanted.notify_one();
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.shared.peer
    }

    /// How the link is, and each change.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.shared.state.subscribe()
    }

    /// Asks the peer and waits for its answer. On a link that is down it fails at once.
    ///
    /// # Errors
    /// [`CallError`], which tells whether the call may have been carried out.
    pub async fn call(&self, channel: u8, body: Bytes, timeout: Duration) -> Result<Bytes, CallError> {
        let deadline = tokio::time::Instant::now() + timeout;
        let (tx, rx) = oneshot::channel();
        let sent = self.send(Kind::Call, channel, body, Waiting::Answer(tx), deadline).await?;
        self.answer(sent, rx, deadline).await
    }

    /// Tells the peer, without an answer. Best effort: dropped when the link is not up or its queue is full.
    /// Returns whether it was queued.
    pub fn note(&self, channel: u8, body: Bytes) -> bool {
        let frame = Frame::new(Kind::Note, 0, channel, body);
        match self.shared.queue() {
            Some(queue) if frame.fits() => queue.try_send(frame).is_ok(),
            Some(_) => false,
            None => {
                self.keep();
                false
            }
        }
    }

    /// Asks the peer for what happens on `channel`. The stream ends with the connection, when the peer ends it, or when
    /// [`SUBSCRIPTION_QUEUE_MAX`] events were left unread; subscribe again then. Dropping it ends it.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn subscribe(&self, channel: u8, body: Bytes, timeout: Duration) -> Result<Subscription, CallError> {
        let deadline = tokio::time::Instant::now() + timeout;
        let (tx, rx) = oneshot::channel();
        let (to, events) = mpsc::channel(SUBSCRIPTION_QUEUE_MAX);
        let waiting = Waiting::Events { begun: Some(tx), to };
        let sent = self.send(Kind::Subscribe, channel, body, waiting, deadline).await?;
        let id = sent.id;
        self.answer(sent, rx, deadline).await?;
        Ok(Subscription { events, shared: self.shared.clone(), id, channel })
    }

    /// Queues a frame on the connection, waiting for the first one if there never was any.
    async fn send(
        &self,
        kind: Kind,
        channel: u8,
        body: Bytes,
        waiting: Waiting,
        deadline: tokio::time::Instant,
    ) -> Result<Sent<'_>, CallError> {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let frame = Frame::new(kind, id, channel, body);
        if !frame.fits() {
            return Err(CallError::TooMuch("its body is larger than a frame"));
        }
        let queue = self.connected(deadline).await?;
        {
            let mut all = self.shared.waiting();
            if all.len() >= CALLS_MAX {
                return Err(CallError::TooMuch("too many calls wait on this link"));
            }
            all.insert(id, waiting);
        }
        let sent = Sent { shared: &self.shared, id };
        match timeout_at(deadline, queue.send(frame)).await {
            Ok(Ok(())) => Ok(sent),
            Ok(Err(_)) => Err(self.down()),
            Err(_) => Err(CallError::TooMuch("the link's queue did not empty in time")),
        }
    }

    async fn connected(&self, deadline: tokio::time::Instant) -> Result<mpsc::Sender<Frame>, CallError> {
        if let Some(queue) = self.shared.queue() {
            return Ok(queue);
        }
        self.keep();
        let mut state = self.state();
        let known = state.wait_for(|s| !matches!(s, LinkState::Connecting));
        // what it gives holds the state's lock, and reading the state again under it waits for ever behind a writer
        let known = timeout_at(deadline, known).await.is_ok();
        if known { self.shared.queue().ok_or_else(|| self.down()) } else { Err(CallError::Down(Down::TimedOut)) }
    }

    fn down(&self) -> CallError {
        match &*self.shared.state.borrow() {
            LinkState::Down { why: Down::Refused, .. } => CallError::Refused,
            LinkState::Down { why, .. } => CallError::Down(why.clone()),
            LinkState::Connecting | LinkState::Up { .. } => CallError::Down(Down::Reset),
        }
    }

    async fn answer(
        &self,
        sent: Sent<'_>,
        rx: oneshot::Receiver<Result<Bytes, CallError>>,
        deadline: tokio::time::Instant,
    ) -> Result<Bytes, CallError> {
        match timeout_at(deadline, rx).await {
            Ok(Ok(answer)) => {
                sent.answered();
                answer
            }
            Ok(Err(_)) => Err(CallError::Closed),
            Err(_) => {
                if self.shared.silent_for() > STALLED_AFTER {
                    self.shared.stalled.notify_one();
                }
                Err(CallError::TimedOut)
            }
        }
    }
}

/// What a peer sends of its own accord. Dropping it tells the peer to stop.
pub struct Subscription {
    events: mpsc::Receiver<Bytes>,
    shared: Arc<Shared>,
    id: u64,
    channel: u8,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscription({} channel {})", self.shared.peer, self.channel)
    }
}

impl Subscription {
    /// The next event; `None` when the stream has ended.
    pub async fn recv(&mut self) -> Option<Bytes> {
        self.events.recv().await
    }

    /// An event that is already here.
    pub fn try_recv(&mut self) -> Option<Bytes> {
        self.events.try_recv().ok()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if self.shared.waiting().remove(&self.id).is_some()
            && let Some(queue) = self.shared.queue()
        {
            let _ = queue.try_send(Frame::new(Kind::Cancel, self.id, self.channel, Bytes::new()));
        }
    }
}

/// A call on its way: forgotten when it is given up, in whatever way.
struct Sent<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Sent<'_> {
    /// The answer came: a call was forgotten by it, a subscription lives on.
    fn answered(self) {
        std::mem::forget(self);
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        self.shared.waiting().remove(&self.id);
    }
}
