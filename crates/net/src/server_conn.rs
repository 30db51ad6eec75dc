//! One accepted connection of a proven peer: reads its frames, runs its calls at once, writes their answers.

use crate::frame::{self, Frame, Kind, READ_BUFFER_BYTES};
use crate::peer::Peer;
use crate::server::{CALLS_PER_CONNECTION_MAX, Handler, Refusal};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::io::{BufReader, ReadHalf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::server::TlsStream;

/// Frames that wait to be written; a peer that does not read them stops its own calls.
const ANSWERS_MAX: usize = 64;

/// Serves the connection until it ends. Calls that still run then are dropped.
pub(crate) async fn run(stream: TlsStream<TcpStream>, peer: Peer, handler: Arc<dyn Handler>) {
    let (read, write) = tokio::io::split(stream);
    let (answers, mut queue) = mpsc::channel(ANSWERS_MAX);
    let _ = answers.try_send(frame::greeting());
    let mut connection = Connection {
        peer,
        handler,
        answers,
        room: Arc::new(Semaphore::new(CALLS_PER_CONNECTION_MAX)),
        tasks: JoinSet::new(),
        subscriptions: HashMap::new(),
    };
    let end = tokio::select! {
        end = connection.read_all(read) => end,
        end = frame::write_all(write, &mut queue) => end,
    };
    if let Err(error) = end {
        tracing::debug!(peer = %connection.peer, %error, "a link ended");
    }
}

struct Connection {
    peer: Peer,
    handler: Arc<dyn Handler>,
    answers: mpsc::Sender<Frame>,
    room: Arc<Semaphore>,
    /// Calls and subscriptions under way; they end with the connection.
    tasks: JoinSet<()>,
    subscriptions: HashMap<u64, AbortHandle>,
}

impl Connection {
    async fn read_all(&mut self, read: ReadHalf<TlsStream<TcpStream>>) -> std::io::Result<()> {
        let mut read = BufReader::with_capacity(READ_BUFFER_BYTES, read);
        while let Some(frame) = frame::read(&mut read).await? {
            while self.tasks.try_join_next().is_some() {}
            match frame.kind {
                Kind::Note => self.handler.note(self.peer.clone(), frame.channel, frame.body),
                Kind::Call => self.call(frame).await,
                Kind::Subscribe => self.subscribe(frame).await,
                Kind::Cancel => {
                    if let Some(subscription) = self.subscriptions.remove(&frame.id) {
                        subscription.abort();
                    }
                }
                Kind::Reply | Kind::Refused | Kind::Event | Kind::End => {}
            }
        }
        Ok(())
    }

    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.room.clone().acquire_owned().await.ok()
    }

    async fn call(&mut self, frame: Frame) {
        let Some(place) = self.place().await else { return };
        let (id, channel, answers) = (frame.id, frame.channel, self.answers.clone());
        let work = self.handler.call(self.peer.clone(), channel, frame.body);
        self.tasks.spawn(async move {
            let answer = answer(id, channel, work.await);
            let _ = answers.send(answer).await;
            drop(place);
        });
    }

    async fn subscribe(&mut self, frame: Frame) {
        let Some(place) = self.place().await else { return };
        let (id, channel, answers) = (frame.id, frame.channel, self.answers.clone());
        let begun = self.handler.subscribe(self.peer.clone(), channel, frame.body);
        self.subscriptions.retain(|_, task| !task.is_finished());
        let task = self.tasks.spawn(async move {
            let mut events = match begun {
                Ok(events) => events,
                Err(refusal) => {
                    let _ = answers.send(answer(id, channel, Err(refusal))).await;
                    return;
                }
            };
            let _ = answers.send(answer(id, channel, Ok(Bytes::new()))).await;
            while let Some(event) = events.recv().await {
                let event = Frame::new(Kind::Event, id, channel, event);
                if !event.fits() || answers.send(event).await.is_err() {
                    break;
                }
            }
            let _ = answers.send(Frame::new(Kind::End, id, channel, Bytes::new())).await;
            drop(place);
        });
        self.subscriptions.insert(id, task);
    }
}

fn answer(id: u64, channel: u8, result: Result<Bytes, Refusal>) -> Frame {
    let refused = |why: String| Frame::new(Kind::Refused, id, channel, Bytes::from(why));
    match result {
        Ok(body) => {
            let frame = Frame::new(Kind::Reply, id, channel, body);
            if frame.fits() { frame } else { refused("the answer is larger than a frame".to_owned()) }
        }
        Err(refusal) => refused(refusal.0),
    }
}
