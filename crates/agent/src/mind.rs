//! The loop: one thread that owns the decision core, takes in what happened, and hands every step to those who carry it
//! out. It never waits for a disk, a server or a network.

use crate::durable::Notes;
use crate::failpoint::{self, Side};
use crate::journal::Journal;
use crate::keys;
use crate::links::Links;
use crate::picture::Picture;
use crate::pulse::Pulse;
use crate::route;
use crate::server::Server;
use crate::store_leader;
use dauphin_ha::{Core, EngineFailure, Event, Reason, Refusal, Role, Step, StoreResult};
use dauphin_model::{Fence, MemberName, Mono, Route, Run};
use dauphin_store::{Store, TxnOutcome};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// Events that may wait for the loop; a full queue drops messages of peers, which repeat themselves.
const EVENTS_MAX: usize = 8_192;
/// Time between two thoughts when something is under way, and when nothing is.
const TICK_BUSY: Duration = Duration::from_millis(20);
const TICK_IDLE: Duration = Duration::from_millis(100);
/// A thought that took longer than this is worth a warning: the lease hangs on it.
const SLOW_STEP: Duration = Duration::from_millis(100);
/// How long a store operation may take before nobody knows.
const STORE_WITHIN: Duration = Duration::from_millis(2_500);
/// The pause between two attempts to read the store for the first time.
const READ_AGAIN: Duration = Duration::from_millis(50);
/// The picture is made anew at most this often when only details changed.
const PICTURE_EVERY: Duration = Duration::from_millis(200);

/// The answer to a person's command.
pub(crate) type Reply = Result<Option<Reason>, Refusal>;

/// Where events go.
#[derive(Debug, Clone)]
pub(crate) struct Inbox {
    sender: SyncSender<Event>,
    replies: Arc<Mutex<BTreeMap<u64, oneshot::Sender<Reply>>>>,
    next: Arc<AtomicU64>,
}

impl Inbox {
    pub(crate) fn new() -> (Self, Receiver<Event>) {
        let (sender, receiver) = sync_channel(EVENTS_MAX);
        (Self { sender, replies: Arc::default(), next: Arc::default() }, receiver)
    }

    /// Something happened. Never waits.
    pub(crate) fn tell(&self, event: Event) {
        // after the loop's end nobody is left to tell
        if let Err(TrySendError::Full(_)) = self.sender.try_send(event) {
            tracing::warn!("the agent's loop is behind: an event was dropped");
        }
    }

    /// Asks on behalf of a person; the answer comes when it is done.
    pub(crate) fn ask(&self, command: dauphin_ha::Command) -> oneshot::Receiver<Reply> {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, receiver) = oneshot::channel();
        self.replies.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        self.tell(Event::Command { id, command });
        receiver
    }

    fn answer(&self, id: u64, reply: Reply) {
        if let Some(sender) = self.replies.lock().unwrap_or_else(PoisonError::into_inner).remove(&id) {
            let _ = sender.send(reply);
        }
    }
}

/// Who carries steps out.
pub(crate) struct Hands {
    pub(crate) me: MemberName,
    pub(crate) inbox: Inbox,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) store: Store,
    pub(crate) links: Arc<Links>,
    /// A witness has none.
    pub(crate) server: Option<Arc<Server>>,
    pub(crate) notes: Notes,
    pub(crate) journal: Arc<Journal>,
    pub(crate) picture: watch::Sender<Arc<Picture>>,
    pub(crate) route: watch::Sender<Option<Route>>,
    /// What the history says of transaction numbers, and its revision then.
    pub(crate) fences: Mutex<(Option<dauphin_store::Rev>, Vec<Fence>)>,
    pub(crate) exit: watch::Sender<bool>,
    /// When the loop last turned, on the boot-time clock: liveness.
    pub(crate) turned: Arc<AtomicU64>,
}

/// Runs the loop until the core asks for the end. Called on a thread of its own.
pub(crate) fn run(mut core: Core, events: &Receiver<Event>, hands: &Hands, mut pulse: Pulse) {
    let mut pictured = Instant::now() - PICTURE_EVERY;
    let mut shown = (Role::Boot, None, false);
    loop {
        let event = match events.recv_timeout(tick(&core)) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => Event::Tick,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let begun = Instant::now();
        if pulse.hangs(begun) {
            tracing::error!("the agent's run time stands still: the agent ends, so that it can be started again");
            std::process::abort();
        }
        let now = dauphin_guard::boottime();
        hands.turned.store(now.0, Ordering::Relaxed);
        let term = core.store().leadership.as_ref().map(|r| r.term).unwrap_or_default();
        for step in core.step(now, event) {
            if matches!(step, Step::Exit) {
                failpoint::pass(Side::Before, step.name());
                hands.exit.send_replace(true);
                return;
            }
            hands.carry_out(step, term);
        }
        let record = core.store().leadership.as_ref().map(|r| (r.term, r.state, r.published.version));
        let show = (core.role(), record, core.leader_accepts());
        if show != shown || pictured.elapsed() >= PICTURE_EVERY {
            (shown, pictured) = (show, Instant::now());
            hands.show(&core);
        } else if core.role().leads() {
            hands.show_route(&Picture::of(&hands.me, &core));
        }
        if begun.elapsed() > SLOW_STEP {
            tracing::warn!(ms = begun.elapsed().as_millis(), "a step of the loop took long");
        }
    }
}

fn tick(core: &Core) -> Duration {
    let calm = match core.role() {
        Role::Leader | Role::Witness => core.under_way().is_none(),
        Role::Replica => core.server().streaming.is_some() && core.under_way().is_none(),
        _ => false,
    };
    if calm && core.server().run != Run::Hung { TICK_IDLE } else { TICK_BUSY }
}

impl Hands {
    fn show(&self, core: &Core) {
        let picture = Picture::of(&self.me, core);
        self.show_route(&picture);
        self.picture.send_replace(Arc::new(picture));
    }

    fn fences(&self) -> Vec<Fence> {
        let mut kept = self.fences.lock().unwrap_or_else(PoisonError::into_inner);
        let store = self.store.watch();
        let snapshot = store.borrow();
        let rev = snapshot.rev(&keys::history());
        if kept.0 != rev {
            *kept = (rev, keys::fences(&snapshot));
        }
        kept.1.clone()
    }

    fn show_route(&self, picture: &Picture) {
        let next = route::of(picture, dauphin_guard::boottime(), self.fences());
        self.route.send_if_modified(|old| {
            let same = match (&old, &next) {
                (Some(old), Some(next)) => Route { generation: old.generation, ..next.clone() } == *old,
                (None, None) => true,
                _ => false,
            };
            if !same {
                let generation = old.as_ref().map_or(0, |o| o.generation) + 1;
                *old = next.map(|n| Route { generation, ..n });
            }
            !same
        });
    }

    fn carry_out(&self, step: Step, term: dauphin_model::Term) {
        let name = step.name();
        failpoint::pass(Side::Before, name);
        // those that go on by themselves come by the other side when they end
        let goes_on = matches!(step, Step::Save(_) | Step::Commit { .. } | Step::Engine(_));
        match step {
            Step::Save(durable) => {
                let (notes, inbox) = (self.notes.clone(), self.inbox.clone());
                self.runtime.spawn_blocking(move || {
                    let saved = notes.save(&durable);
                    failpoint::pass(Side::After, name);
                    inbox.tell(match saved {
                        Ok(()) => Event::Saved,
                        // without its notes it may neither pledge nor lead; the core tries again
                        Err(error) => Event::SaveFailed { because: error.to_string() },
                    });
                });
            }
            Step::Send { to, message } => self.links.send(&to, &message),
            Step::Commit { op, txn } => {
                let (store, inbox) = (self.store.clone(), self.inbox.clone());
                let txn = keys::transaction(&txn, &store.watch().borrow());
                self.runtime.spawn(async move {
                    let result = match store.txn(txn, STORE_WITHIN).await {
                        Ok(TxnOutcome::Committed { rev }) => StoreResult::Committed(dauphin_ha::Rev(rev.0)),
                        Ok(TxnOutcome::Conflict { .. }) => StoreResult::Conflict,
                        Err(error) if error.certainly_not_applied() => {
                            tracing::debug!(%error, "the store did not take a change");
                            StoreResult::Failed
                        }
                        Err(error) => {
                            tracing::debug!(%error, "a change of the store has an unknown end");
                            StoreResult::Unknown
                        }
                    };
                    failpoint::pass(Side::After, name);
                    inbox.tell(Event::StoreResult { op, result });
                });
            }
            Step::Engine(step) => match &self.server {
                Some(server) => server.begin(step),
                None => self.inbox.tell(Event::Engine(Err(EngineFailure::new("a witness has no server")))),
            },
            Step::Fence => {
                if let Some(server) = &self.server {
                    server.fence();
                }
            }
            Step::Deadline(deadline) => {
                if let Some(server) = &self.server {
                    server.deadline(deadline);
                }
            }
            Step::Journal(reason) => self.journal.add(term, reason),
            Step::Reply { id, result } => self.inbox.answer(id, result),
            Step::ElectStore { gone } => {
                let _runtime = self.runtime.enter();
                store_leader::elect_instead_of(&gone, self.store.clone());
            }
            Step::Exit => {}
        }
        if !goes_on {
            failpoint::pass(Side::After, name);
        }
    }
}

/// Follows the store and tells the core of each state that this member applied. The first one holds everything that was
/// committed before: right after a start this member has applied less than it had, and its notes would look newer than
/// the store, as if that had been restored from an old copy.
pub(crate) async fn watch_store(store: Store, inbox: Inbox) {
    while let Err(error) = store.read_linearizable(STORE_WITHIN).await {
        tracing::debug!(%error, "the store is not read yet");
        tokio::time::sleep(READ_AGAIN).await;
    }
    let mut states = store.watch();
    loop {
        let snapshot = states.borrow_and_update().clone();
        if snapshot.identity.is_some()
            && let Some(view) = keys::view(&snapshot, dauphin_guard::boottime(), Instant::now())
        {
            inbox.tell(Event::Store(Box::new(view)));
        }
        if states.changed().await.is_err() {
            return;
        }
    }
}

/// The moment now.
pub(crate) fn now() -> Mono {
    dauphin_guard::boottime()
}
