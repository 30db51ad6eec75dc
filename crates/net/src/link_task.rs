//! Keeps one link's connection up: connects, reads, notices its end, connects again. Sleeps when nothing happens.

use crate::frame::{self, Frame, Kind, READ_BUFFER_BYTES};
use crate::link::{CallError, Down, LinkState, NOTES_MAX, Shared, Waiting};
use crate::socket;
use bytes::Bytes;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{BufReader, ReadHalf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long a connection attempt may take, name lookup and TLS included.
const CONNECT_WITHIN: Duration = Duration::from_millis(1_500);
/// First pause between two attempts.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest pause between two attempts.
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// Runs until every handle of the link is gone.
pub(crate) async fn run(shared: Arc<Shared>, mut ended: mpsc::Receiver<()>) {
    tokio::select! {
        () = shared.wanted.notified() => {}
        _ = ended.recv() => return,
    }
    tokio::select! {
        () = keep_up(&shared) => {}
        _ = ended.recv() => {}
    }
    disconnected(&shared);
}

async fn keep_up(shared: &Shared) {
    let mut backoff = BACKOFF_MIN;
    loop {
        let why = match timeout(CONNECT_WITHIN, connect(shared)).await {
            Ok(Ok(stream)) => {
                let began = Instant::now();
                let why = serve(shared, stream).await;
                disconnected(shared);
                if began.elapsed() > BACKOFF_MIN {
                    // At once, once: if the peer's process is gone, its port refuses, and that is worth knowing now.
                    down(shared, why);
                    backoff = BACKOFF_MIN;
                    continue;
                }
                why
            }
            Ok(Err(why)) => why,
            Err(_) => Down::TimedOut,
        };
        down(shared, why);
        sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

async fn connect(shared: &Shared) -> Result<TlsStream<TcpStream>, Down> {
    let stream = socket::connect(&shared.addr, shared.service).await.map_err(|e| reason(&e))?;
    socket::prepare(&stream).map_err(|e| reason(&e))?;
    let name = shared.identity.expect(&shared.peer).map_err(|e| Down::Tls(e.to_string()))?;
    let connector = TlsConnector::from(shared.identity.client());
    let mut stream = connector.connect(name, stream).await.map_err(|e| reason(&e))?;
    // With TLS 1.3 our side is done before the peer has looked at our certificate: wait until it greets us.
    match frame::read(&mut stream).await.map_err(|e| reason(&e))? {
        Some(greeting) if greeting == frame::greeting() => Ok(stream),
        Some(_) => Err(Down::Other("it speaks another version of the link".to_owned())),
        None => Err(Down::Reset),
    }
}

/// Why an attempt or a connection failed.
#[expect(clippy::wildcard_enum_match_arm, reason = "the system's own words for everything else")]
fn reason(error: &io::Error) -> Down {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(tls) = tls {
        return Down::Tls(tls.to_string());
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Down::Refused,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Down::Reset,
        io::ErrorKind::TimedOut => Down::TimedOut,
        _ => Down::Other(error.to_string()),
    }
}

/// Reads until the connection ends; says why it did.
async fn serve(shared: &Shared, stream: TlsStream<TcpStream>) -> Down {
    let (read, write) = tokio::io::split(stream);
    let (tx, mut rx) = mpsc::channel(NOTES_MAX);
    shared.heard_ms.store(shared.age_ms(), Ordering::Relaxed);
    *shared.queue.lock().unwrap_or_else(PoisonError::into_inner) = Some(tx);
    shared.state.send_replace(LinkState::Up { since: Instant::now() });
    tokio::select! {
        why = read_all(shared, read) => why,
        end = frame::write_all(write, &mut rx) => end.err().map_or(Down::Reset, |e| reason(&e)),
        () = shared.stalled.notified() => Down::TimedOut,
    }
}

async fn read_all(shared: &Shared, read: ReadHalf<TlsStream<TcpStream>>) -> Down {
    let mut read = BufReader::with_capacity(READ_BUFFER_BYTES, read);
    loop {
        match frame::read(&mut read).await {
            Ok(Some(frame)) => {
                shared.heard_ms.store(shared.age_ms(), Ordering::Relaxed);
                deliver(shared, frame);
            }
            Ok(None) => return Down::Reset,
            Err(error) => return reason(&error),
        }
    }
}

/// Gives a frame to who waits for it. Nobody may wait any more: then it is dropped.
fn deliver(shared: &Shared, frame: Frame) {
    let mut all = shared.waiting();
    match frame.kind {
        Kind::Reply => match all.get_mut(&frame.id) {
            Some(Waiting::Events { begun, .. }) => tell(begun.take(), Ok(frame.body)),
            Some(Waiting::Answer(_)) => finish(all.remove(&frame.id), Ok(frame.body)),
            None => {}
        },
        Kind::Refused => {
            let why = String::from_utf8_lossy(&frame.body).into_owned();
            finish(all.remove(&frame.id), Err(CallError::Refusal(why)));
        }
        Kind::Event => {
            let kept = match all.get(&frame.id) {
                Some(Waiting::Events { to, .. }) => to.try_send(frame.body).is_ok(),
                Some(Waiting::Answer(_)) | None => false,
            };
            if !kept {
                // Its reader is too slow or gone. Without its sender the stream ends; the peer is told.
                all.remove(&frame.id);
                drop(all);
                if let Some(queue) = shared.queue() {
                    let _ = queue.try_send(Frame::new(Kind::Cancel, frame.id, frame.channel, Bytes::new()));
                }
            }
        }
        Kind::End => finish(all.remove(&frame.id), Err(CallError::Closed)),
        Kind::Call | Kind::Note | Kind::Subscribe | Kind::Cancel => {}
    }
}

fn finish(waiting: Option<Waiting>, answer: Result<Bytes, CallError>) {
    match waiting {
        Some(Waiting::Answer(tx)) => tell(Some(tx), answer),
        Some(Waiting::Events { begun, .. }) => tell(begun, answer),
        None => {}
    }
}

fn tell(tx: Option<oneshot::Sender<Result<Bytes, CallError>>>, answer: Result<Bytes, CallError>) {
    if let Some(tx) = tx {
        let _ = tx.send(answer);
    }
}

/// Everything that waited on the connection ends.
fn disconnected(shared: &Shared) {
    *shared.queue.lock().unwrap_or_else(PoisonError::into_inner) = None;
    let all: Vec<Waiting> = shared.waiting().drain().map(|(_, waiting)| waiting).collect();
    for waiting in all {
        finish(Some(waiting), Err(CallError::Closed));
    }
}

fn down(shared: &Shared, why: Down) {
    shared.state.send_if_modified(|state| {
        let since = match state {
            LinkState::Down { since, .. } => *since,
            LinkState::Connecting | LinkState::Up { .. } => Instant::now(),
        };
        let next = LinkState::Down { since, why };
        let changed = *state != next;
        *state = next;
        changed
    });
}
