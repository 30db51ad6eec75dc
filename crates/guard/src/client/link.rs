//! The socket between agent and guard, on the agent's side: orders out without waiting, answers and events in.
//! A part of the client; what an order means is no business of this file.

use super::{Event, GuardError};
use crate::protocol::{MESSAGE_BYTES_MAX, Numbered, NumberedReply, Reply, Request, decode, encode};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::AsyncReadExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};

/// Bytes that may wait for a guard that does not read; beyond, it counts as gone.
const OUT_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;

/// Bytes on their way to the guard, and answers awaited.
#[derive(Debug)]
pub(super) struct Shared {
    write: OwnedWriteHalf,
    state: Mutex<State>,
    unsent: Notify,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    outbox: Vec<u8>,
    awaited: BTreeMap<u64, oneshot::Sender<Reply>>,
    gone: bool,
}

impl Shared {
    pub(super) fn new(write: OwnedWriteHalf) -> Self {
        Self { write, state: Mutex::default(), unsent: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock; a poisoned one is as good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an order. Only ever waits for one write to a socket, which does not block.
    pub(super) fn send(&self, request: Request, answer: Option<oneshot::Sender<Reply>>) -> Result<(), GuardError> {
        let mut state = self.state();
        if state.gone || state.outbox.len() > OUT_BYTES_MAX {
            return Err(GuardError::Gone);
        }
        state.next += 1;
        let id = if answer.is_some() { state.next } else { 0 };
        encode(&Numbered { id, request }, &mut state.outbox)
            .map_err(|error| GuardError::Refused { what: "a message", why: error.to_string() })?;
        if let Some(answer) = answer {
            state.awaited.insert(id, answer);
        }
        self.flush(&mut state);
        if !state.outbox.is_empty() {
            self.unsent.notify_one();
        }
        if state.gone { Err(GuardError::Gone) } else { Ok(()) }
    }

    fn flush(&self, state: &mut State) {
        while !state.outbox.is_empty() && !state.gone {
            match self.write.try_write(&state.outbox) {
                Ok(n) if n > 0 => drop(state.outbox.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => self.end(state),
            }
        }
    }

    fn end(&self, state: &mut State) {
        state.gone = true;
        state.awaited.clear();
        self.unsent.notify_one();
    }
}

/// Hands answers to who waits for them, and events to the agent, until the guard is gone.
pub(super) async fn hear(shared: Arc<Shared>, mut read: OwnedReadHalf, events: mpsc::Sender<Event>) {
    let mut inbox = Vec::new();
    'connection: loop {
        let mut chunk = [0; 4096];
        match read.read(&mut chunk).await {
            Ok(n) if n > 0 => inbox.extend_from_slice(chunk.get(..n).unwrap_or(&[])),
            Ok(_) | Err(_) => break,
        }
        loop {
            let message: NumberedReply = match decode(&mut inbox) {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(_) => break 'connection,
            };
            if message.id != 0 {
                let awaited = shared.state().awaited.remove(&message.id);
                if let Some(answer) = awaited {
                    // Who no longer waits has been told why.
                    let _ = answer.send(message.reply);
                }
                continue;
            }
            if let Some(event) = event(message.reply)
                && events.send(event).await.is_err()
            {
                // Nobody listens to events; answers are still wanted.
            }
        }
    }
    shared.end(&mut shared.state());
    let _ = events.send(Event::Gone).await;
}

fn event(reply: Reply) -> Option<Event> {
    match reply {
        Reply::Exited(exit) => Some(Event::Exited(exit)),
        Reply::DeadlinePassed { deadline, killed, at } => Some(Event::DeadlinePassed { deadline, killed, at }),
        Reply::Started { .. }
        | Reply::Done
        | Reply::Refused { .. }
        | Reply::Killed(_)
        | Reply::Pong { .. }
        | Reply::Status(_) => None,
    }
}

/// Sends what did not fit the socket at once.
pub(super) async fn push(shared: Arc<Shared>) {
    loop {
        shared.unsent.notified().await;
        loop {
            {
                let mut state = shared.state();
                shared.flush(&mut state);
                if state.gone {
                    return;
                }
                if state.outbox.is_empty() {
                    break;
                }
            }
            if shared.write.writable().await.is_err() {
                shared.end(&mut shared.state());
                return;
            }
        }
    }
}
