//! The demo's eight clients: each inserts row after row through the write port and reconnects after 10 ms when its
//! connection breaks. They note what was acknowledged, and when.

use super::sql::{Login, STATEMENT_WAIT_MAX, Session};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// How many there are.
pub(super) const CLIENTS: i32 = 8;
/// Rest after a broken connection.
const RECONNECT_AFTER: Duration = Duration::from_millis(10);
/// Rest between two rows of one client: the demo shows continuity, not speed.
const REST: Duration = Duration::from_millis(4);

/// What the clients saw.
#[derive(Default)]
struct Seen {
    /// Rows acknowledged: client and number.
    acknowledged: BTreeSet<(i32, i32)>,
    /// When the rows were acknowledged, in order.
    moments: Vec<Instant>,
    /// Statements and connections that failed.
    errors: u64,
}

/// The running clients.
pub(super) struct Clients {
    seen: Arc<Mutex<Seen>>,
    stop: watch::Sender<bool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Clients {
    /// Starts them.
    pub(super) fn start(runtime: &Handle, login: &Login) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (stop, stopped) = watch::channel(false);
        let tasks = (1..=CLIENTS)
            .map(|client| runtime.spawn(write(client, login.clone(), Arc::clone(&seen), stopped.clone())))
            .collect();
        Self { seen, stop, tasks }
    }

    fn look<T>(&self, read: impl FnOnce(&Seen) -> T) -> T {
        read(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many rows were acknowledged so far.
    pub(super) fn acknowledged(&self) -> usize {
        self.look(|seen| seen.acknowledged.len())
    }

    /// How many statements and connections failed so far.
    pub(super) fn errors(&self) -> u64 {
        self.look(|seen| seen.errors)
    }

    /// How many rows were acknowledged since.
    pub(super) fn acknowledged_since(&self, since: Instant) -> usize {
        self.look(|seen| seen.moments.iter().rev().take_while(|at| **at > since).count())
    }

    /// The longest time without any acknowledgement that ended after `since`.
    pub(super) fn longest_gap(&self, since: Instant) -> Duration {
        self.look(|seen| {
            let pairs = seen.moments.windows(2).filter(|pair| pair[1] > since);
            pairs.map(|pair| pair[1].saturating_duration_since(pair[0])).max().unwrap_or_default()
        })
    }

    /// Stops them; what was acknowledged.
    pub(super) fn stop(self, runtime: &Handle) -> BTreeSet<(i32, i32)> {
        let _ = self.stop.send(true);
        for task in self.tasks {
            let _ = runtime.block_on(task);
        }
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner).acknowledged)
    }
}

async fn write(client: i32, login: Login, seen: Arc<Mutex<Seen>>, stopped: watch::Receiver<bool>) {
    let mut number = 0;
    while !*stopped.borrow() {
        match login.connect().await {
            Some(mut session) => number = rows(&mut session, client, number, &seen, &stopped).await,
            None => failed(&seen),
        }
        tokio::time::sleep(RECONNECT_AFTER).await;
    }
}

fn failed(seen: &Mutex<Seen>) {
    seen.lock().unwrap_or_else(PoisonError::into_inner).errors += 1;
}

/// Inserts rows until one fails or the end; the last number used. A number whose outcome is unknown is not used again.
async fn rows(
    session: &mut Session,
    client: i32,
    mut number: i32,
    seen: &Mutex<Seen>,
    stopped: &watch::Receiver<bool>,
) -> i32 {
    while !*stopped.borrow() {
        number += 1;
        let row = format!("INSERT INTO orders (client, number) VALUES ({client}, {number})");
        let sent = tokio::time::timeout(STATEMENT_WAIT_MAX, session.rows(&row)).await;
        if !matches!(sent, Ok(Ok(_))) {
            failed(seen);
            break;
        }
        note(seen, (client, number));
        tokio::time::sleep(REST).await;
    }
    number
}

fn note(seen: &Mutex<Seen>, row: (i32, i32)) {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.acknowledged.insert(row);
    seen.moments.push(Instant::now());
}
