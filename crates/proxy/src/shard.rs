//! The threads that sessions live on. A session stays on its shard for life and shares nothing with others on its hot path;
//! what sessions of a shard have in common is the shard's own. The accept loop hands connections over; cancel requests and
//! changes of the view come from outside. Nothing here knows a message.

use crate::ProxyError;
use crate::config::Reads;
use crate::hub::Hub;
use crate::pool::link::{CancelTarget, Fate, Right};
use crate::pool::open::Login;
use crate::pool::{Place, Pools};
use crate::seat::{Seat, Who};
use crate::table::View;
use crate::tally::Database;
use crate::track::Registry;
use dauphin_model::Target;
use dauphin_wire::postgres::scram::Secret;
use std::cell::{Cell, Ref, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, LocalSet, spawn_local};

/// Connections that wait to be taken by a shard; beyond it accepting waits.
const ENTRANTS_MAX: usize = 1024;

/// How often pools are looked through for what nobody needs any more.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// Work for a shard, run on its thread.
pub(crate) type Job = Box<dyn FnOnce(Rc<Shard>) + Send>;

/// Most databases that are told apart; names are the clients' choice.
const DATABASES_MAX: usize = 200;

/// The name under which all others count. No database can be called so by accident.
const OTHERS: &str = "(others)";

/// One thread's part of the proxy.
pub(crate) struct Shard {
    pub(crate) hub: Arc<Hub>,
    pub(crate) number: usize,
    /// Prepared statements of all its sessions.
    pub(crate) registry: Registry,
    all: Shards,
    /// The view, as of `epoch`.
    view: RefCell<Arc<View>>,
    epoch: Cell<u64>,
    seats: RefCell<HashMap<u32, Rc<Seat>>>,
    /// By the startup packet for servers.
    pools: RefCell<HashMap<Vec<u8>, Rc<Pools>>>,
    /// That clients came for, by name.
    databases: RefCell<BTreeMap<String, Rc<Database>>>,
    /// Databases that are yet to come are paused.
    paused: Cell<bool>,
    /// How sessions on the write port read, unless they say otherwise.
    pub(crate) reads: Cell<Reads>,
    /// Where the proxy stands.
    zone: RefCell<Option<Box<str>>>,
    /// How long a statement may take before it is logged.
    pub(crate) slow: Cell<Option<Duration>>,
}

impl Shard {
    fn new(hub: Arc<Hub>, number: usize, all: Shards) -> Self {
        let view = RefCell::new(hub.view());
        let rules = hub.rules();
        let (reads, slow) = (Cell::new(rules.reads), Cell::new(rules.slow));
        Self {
            hub,
            number,
            registry: Registry::default(),
            all,
            view,
            epoch: Cell::new(0),
            seats: RefCell::default(),
            pools: RefCell::default(),
            databases: RefCell::default(),
            paused: Cell::new(false),
            reads,
            zone: RefCell::new(rules.zone.as_deref().map(Box::from)),
            slow,
        }
    }

    /// The view now, as far as sessions have to look at it.
    pub(crate) fn view(&self) -> Ref<'_, View> {
        let epoch = self.hub.epoch();
        if epoch != self.epoch.get() {
            self.epoch.set(epoch);
            self.view.replace(self.hub.view());
        }
        Ref::map(self.view.borrow(), |view| &**view)
    }

    /// What becomes of a server with this right.
    pub(crate) fn fate(&self, right: &Right) -> Fate {
        right.fate(&self.view())
    }

    /// Where new transactions of sessions that write go.
    pub(crate) fn leader(&self) -> Option<(Target, Right)> {
        let view = self.view();
        view.admitting_leader().map(|target| (target.clone(), Right::Leader(view.term)))
    }

    /// What a server needs to be for them.
    pub(crate) fn leader_right(&self) -> Option<Right> {
        let view = self.view();
        view.admitting_leader().map(|_| Right::Leader(view.term))
    }

    /// Where the proxy stands.
    pub(crate) fn zone(&self) -> Ref<'_, Option<Box<str>>> {
        self.zone.borrow()
    }

    /// Replicas that take reads.
    pub(crate) fn replicas(&self) -> Vec<Target> {
        self.view().usable_replicas().cloned().collect()
    }

    /// What is known of this database.
    pub(crate) fn database(&self, name: &str) -> Rc<Database> {
        let mut databases = self.databases.borrow_mut();
        let name = if databases.len() < DATABASES_MAX || databases.contains_key(name) { name } else { OTHERS };
        let new = || Rc::new(Database::new(name, self.paused.get()));
        Rc::clone(databases.entry(name.to_owned()).or_insert_with(new))
    }

    /// The databases of this name; without one, all.
    pub(crate) fn databases(&self, name: Option<&str>) -> Vec<Rc<Database>> {
        let databases = self.databases.borrow();
        databases.values().filter(|database| name.is_none_or(|name| database.name == name)).map(Rc::clone).collect()
    }

    /// All who sit here.
    pub(crate) fn seats(&self) -> Ref<'_, HashMap<u32, Rc<Seat>>> {
        self.seats.borrow()
    }

    /// All pools.
    pub(crate) fn all_pools(&self) -> Vec<Rc<Pools>> {
        self.pools.borrow().values().map(Rc::clone).collect()
    }

    /// Whether databases that are yet to come are paused.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused.get()
    }

    /// Has new transactions in these databases wait, or no longer, and closes the connections that are free.
    pub(crate) fn pause(&self, name: Option<&str>, paused: bool) {
        if name.is_none() {
            self.paused.set(paused);
        }
        for database in self.databases(name) {
            database.paused.set(paused);
        }
        if paused {
            self.close_idle(name);
        }
    }

    /// Another process has taken over: what waits for a RESUME, which nobody can give any more, goes on, and connections that
    /// are free are left to it.
    pub(crate) fn hand_over(&self) {
        self.pause(None, false);
        self.close_idle(None);
    }

    /// Whether new transactions wait for a RESUME anywhere.
    pub(crate) fn has_paused(&self) -> bool {
        self.paused.get() || self.databases(None).iter().any(|database| database.paused.get())
    }

    /// How many clients are in a transaction.
    pub(crate) fn in_transaction(&self) -> u64 {
        self.seats().values().filter(|seat| seat.transaction.get().is_some()).count() as u64
    }

    /// Has each connection for these databases closed once it is free.
    pub(crate) fn reconnect(&self, name: Option<&str>) {
        let now = tokio::time::Instant::now();
        for database in self.databases(name) {
            database.renewed.set(now);
        }
        self.close_idle(name);
    }

    fn close_idle(&self, name: Option<&str>) {
        for pools in self.all_pools().iter().filter(|pools| name.is_none_or(|name| pools.place().database == name)) {
            pools.all().for_each(|pool| pool.close_idle());
        }
    }

    /// The pools of this login.
    pub(crate) fn pools(self: &Rc<Self>, login: Login, secret: Secret) -> Rc<Pools> {
        let mut pools = self.pools.borrow_mut();
        let packet = login.startup.encode();
        if let Some(pools) = pools.get(&packet) {
            pools.renew(secret);
            return Rc::clone(pools);
        }
        let new = Pools::new(self, login, secret);
        pools.insert(packet, Rc::clone(&new));
        new
    }

    /// The budget of this place is used up, and a connection is needed: closes an idle one of another login here, or asks
    /// the other shards to. Whether one was closed.
    pub(crate) fn make_room(&self, place: &Place) -> bool {
        if self.shed(place) {
            return true;
        }
        for (number, sender) in self.all.0.iter().enumerate().filter(|(number, _)| *number != self.number) {
            let place = place.clone();
            let job = move |shard: Rc<Self>| {
                shard.shed(&place);
            };
            if sender.try_send(Box::new(job)).is_err() {
                tracing::debug!(number, "a shard has too much to do to give a connection up");
            }
        }
        false
    }

    fn shed(&self, place: &Place) -> bool {
        self.pools.borrow().values().any(|pools| pools.are_of(place) && pools.shed(place.replica.as_ref()))
    }

    fn sweep(&self) {
        // Lag alone changes no epoch, and which replica is chosen goes by it.
        self.view.replace(self.hub.view());
        let now = Instant::now();
        self.databases.borrow().values().for_each(|database| database.roll(now));
        let mut all = self.pools.borrow_mut();
        all.retain(|_, pools| {
            pools.sweep(self.hub.succession.is_over(), |right| self.fate(right));
            !pools.is_unused()
        });
    }

    /// Takes a session in under the process number that its client knows.
    pub(crate) fn seat(self: &Rc<Self>, pid: u32, who: Who) -> Seated {
        let seat = Rc::new(Seat::new(who));
        self.seats.borrow_mut().insert(pid, Rc::clone(&seat));
        Seated { shard: Rc::clone(self), pid, seat }
    }

    /// Where to cancel what this session runs now.
    pub(crate) fn running_on(&self, pid: u32) -> Option<Rc<CancelTarget>> {
        self.seats.borrow().get(&pid)?.running_on()
    }

    /// Tells this session that somebody cancels what it does here.
    pub(crate) fn interrupt(&self, pid: u32) {
        if let Some(seat) = self.seats.borrow().get(&pid) {
            seat.interrupted.set(true);
        }
    }

    fn wake_all(&self) {
        for seat in self.seats.borrow().values() {
            seat.wake();
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
        let (senders, jobs): (Vec<_>, Vec<_>) = (0..count.max(1)).map(|_| mpsc::channel(ENTRANTS_MAX)).unzip();
        let shards = Self(senders.into());
        for (number, jobs) in jobs.into_iter().enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
            let runtime = runtime.map_err(ProxyError::Threads)?;
            let (hub, life, all) = (Arc::clone(hub), life.clone(), shards.clone());
            let run = move || {
                let shard = Rc::new(Shard::new(hub, number, all));
                // What is blocked on is looked at in every turn of the thread: nothing but the end of what serves.
                let served = async { spawn_local(serve(shard, jobs, life)).await };
                let ended = LocalSet::new().block_on(&runtime, served);
                if let Err(Ok(panic)) = ended.map_err(JoinError::try_into_panic) {
                    std::panic::resume_unwind(panic);
                }
            };
            thread::Builder::new().name(format!("shard-{number}")).spawn(run).map_err(ProxyError::Threads)?;
        }
        Ok(shards)
    }

    /// What each shard says to this; one that has ended says nothing.
    pub(crate) async fn gather<T: Send + 'static>(
        &self,
        question: impl Fn(&Shard) -> T + Clone + Send + 'static,
    ) -> Vec<T> {
        let mut answers = Vec::with_capacity(self.count());
        for number in 0..self.count() {
            let question = question.clone();
            // Who asks may be gone by now.
            let ask = move |shard: Rc<Shard>, sender: oneshot::Sender<T>| drop(sender.send(question(&shard)));
            answers.extend(self.ask(number, ask).await);
        }
        answers
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
    let mut sweeps = tokio::time::interval(SWEEP_EVERY);
    loop {
        tokio::select! {
            // Nobody gives work any more once the proxy stops; sessions may still end in order.
            Some(job) = jobs.recv() => job(Rc::clone(&shard)),
            changed = views.changed() => {
                if changed.is_err() {
                    return;
                }
                let rules = shard.hub.rules();
                shard.reads.set(rules.reads);
                shard.zone.replace(rules.zone.as_deref().map(Box::from));
                shard.slow.set(rules.slow);
                shard.sweep();
                shard.wake_all();
            }
            _ = sweeps.tick() => shard.sweep(),
            _ = life.changed() => return,
        }
    }
}
