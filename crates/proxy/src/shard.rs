//! The threads that sessions live on. A session stays on its shard for life and shares nothing with others on its hot path;
//! what sessions of a shard have in common is the shard's own. The accept loop hands connections over; cancel requests and
//! changes of the view come from outside. Nothing here knows a message.

use crate::ProxyError;
use crate::hub::{CancelTarget, Hub};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::thread;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;

/// Connections that wait to be taken by a shard; beyond it accepting waits.
const ENTRANTS_MAX: usize = 1024;

/// Work for a shard, run on its thread.
pub(crate) type Job = Box<dyn FnOnce(Rc<Shard>) + Send>;

/// A session as its shard sees it.
#[derive(Debug, Default)]
pub(crate) struct Seat {
    waker: RefCell<Option<Waker>>,
    /// Something of this client runs on the server now.
    pub(crate) busy: Cell<bool>,
    /// Where to cancel it.
    pub(crate) target: RefCell<Option<Rc<CancelTarget>>>,
}

impl Seat {
    /// Wakes this task when the view changes.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut kept = self.waker.borrow_mut();
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
    }

    /// Where to cancel what the session runs now; none when it runs nothing.
    fn running_on(&self) -> Option<Rc<CancelTarget>> {
        self.target.borrow().clone().filter(|_| self.busy.get())
    }
}

/// One thread's part of the proxy.
pub(crate) struct Shard {
    pub(crate) hub: Arc<Hub>,
    pub(crate) number: usize,
    seats: RefCell<HashMap<u32, Rc<Seat>>>,
}

impl Shard {
    /// Takes a session in under the process number that its client knows.
    pub(crate) fn seat(self: &Rc<Self>, pid: u32) -> Seated {
        let seat = Rc::<Seat>::default();
        self.seats.borrow_mut().insert(pid, Rc::clone(&seat));
        Seated { shard: Rc::clone(self), pid, seat }
    }

    /// Where to cancel what this session runs now.
    pub(crate) fn running_on(&self, pid: u32) -> Option<Rc<CancelTarget>> {
        self.seats.borrow().get(&pid)?.running_on()
    }

    fn wake_all(&self) {
        for seat in self.seats.borrow().values() {
            if let Some(waker) = &*seat.waker.borrow() {
                waker.wake_by_ref();
            }
        }
    }
}

/// A seat that is taken; free again when dropped.
pub(crate) struct Seated {
    shard: Rc<Shard>,
    pid: u32,
    pub(crate) seat: Rc<Seat>,
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.shard.seats.borrow_mut().remove(&self.pid);
    }
}

/// All shards.
#[derive(Debug, Clone)]
pub(crate) struct Shards(Arc<[mpsc::Sender<Job>]>);

impl Shards {
    /// Starts the threads. They end, with whatever runs on them, once `life` is closed.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(hub: &Arc<Hub>, count: usize, life: &watch::Receiver<()>) -> Result<Self, ProxyError> {
        let start = |number| {
            let (sender, jobs) = mpsc::channel(ENTRANTS_MAX);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (hub, life) = (Arc::clone(hub), life.clone());
            let run = move || {
                let shard = Rc::new(Shard { hub, number, seats: RefCell::default() });
                LocalSet::new().block_on(&runtime, serve(shard, jobs, life));
            };
            thread::Builder::new().name(format!("shard-{number}")).spawn(run)?;
            Ok(sender)
        };
        let senders = (0..count.max(1)).map(start).collect::<Result<Arc<[_]>, _>>().map_err(ProxyError::Threads)?;
        Ok(Self(senders))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Has a shard do something; waits while it has too much to do. Nothing is done once the proxy has stopped.
    pub(crate) async fn run(&self, shard: usize, job: Job) {
        let Some(sender) = self.0.get(shard) else { return };
        let _ = sender.send(job).await;
    }

    /// Has a shard answer something.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        shard: usize,
        question: impl FnOnce(Rc<Shard>, oneshot::Sender<T>) + Send + 'static,
    ) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        self.run(shard, Box::new(move |shard| question(shard, sender))).await;
        answer.await.ok()
    }
}

async fn serve(shard: Rc<Shard>, mut jobs: mpsc::Receiver<Job>, mut life: watch::Receiver<()>) {
    let mut views = shard.hub.subscribe();
    loop {
        tokio::select! {
            // Nobody gives work any more once the proxy stops; sessions may still end in order.
            Some(job) = jobs.recv() => job(Rc::clone(&shard)),
            changed = views.changed() => {
                if changed.is_err() {
                    return;
                }
                shard.wake_all();
            }
            _ = life.changed() => return,
        }
    }
}
