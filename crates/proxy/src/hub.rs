//! What all shards share: the view of where clients go, the register of clients' keys, counters.
//! The service publishes views here; sessions read them. It never touches a socket.

use crate::allowance::Allowance;
use crate::choice::{Load, Wish};
use crate::config::Rules;
use crate::crowd::{Crowd, Names, Room, TooMany};
use crate::dial::Dial;
use crate::marks::Marks;
use crate::pool::Place;
use crate::pool::budget::Budget;
use crate::reload::{Answer, Reloaded};
use crate::settings::Setting;
use crate::stats::Stats;
use crate::table::View;
use crate::takeover::Succession;
use dauphin_model::{MemberName, Target, Term};
use dauphin_wire::postgres::cancel::{CancelKey, SHORT_BYTES};
use dauphin_wire::postgres::startup::MINOR_MAX;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Instant;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// Connections that are opened to servers at once: a leader that has just opened is not met by all its clients at once.
const OPENING_MAX: usize = 64;

/// How often a fresh process number is drawn before giving up; they are 31 random bits.
const PID_DRAWS: usize = 16;

/// Length of the secrets that clients of protocol 3.2 are given, in bytes.
const SECRET_BYTES: usize = 32;

/// A client's key to cancel its own statements, and the shard that its session lives on.
#[derive(Debug)]
struct Entry {
    key: Arc<CancelKey>,
    shard: usize,
}

/// A registered session; leaves the register when dropped.
pub(crate) struct Registered {
    hub: Arc<Hub>,
    /// The key given to the client.
    pub(crate) key: Arc<CancelKey>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock(&self.hub.sessions).remove(&self.key.pid);
    }
}

/// One session counted as a reader of a member; no more when dropped.
#[derive(Debug)]
pub(crate) struct ReadSlot {
    hub: Arc<Hub>,
    member: MemberName,
}

impl Drop for ReadSlot {
    fn drop(&mut self) {
        if let Some(count) = lock(&self.hub.readers).get_mut(&self.member) {
            *count = count.saturating_sub(1);
        }
    }
}

/// A client that counts among those of its user and database; no more when dropped.
#[derive(Debug)]
pub(crate) struct Guest {
    hub: Arc<Hub>,
    names: Names,
}

impl Drop for Guest {
    fn drop(&mut self) {
        lock(&self.hub.crowd).leave(&self.names);
    }
}

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct Hub {
    view: watch::Sender<Arc<View>>,
    /// The view's term, to be read on the hot path.
    term: AtomicU64,
    /// Grows with every change that sessions have to look at.
    epoch: AtomicU64,
    sessions: Mutex<HashMap<u32, Entry>>,
    readers: Mutex<BTreeMap<MemberName, usize>>,
    budgets: Mutex<HashMap<Place, Weak<Budget>>>,
    crowd: Mutex<Crowd>,
    /// Lines about statements.
    lines: Mutex<Allowance>,
    stopping: AtomicBool,
    /// First come, first served.
    pub(crate) opening: Semaphore,
    /// What sessions go by; looked at where one begins or waits.
    rules: Mutex<Arc<Rules>>,
    /// The same and more, as people see it.
    settings: Mutex<Arc<[Setting]>>,
    /// Who reads the configuration again.
    pub(crate) reloads: OnceLock<mpsc::Sender<Answer>>,
    /// Processes before and after this one.
    pub(crate) succession: Succession,
    /// How servers are connected to.
    pub(crate) dial: Dial,
    pub(crate) stats: Stats,
    /// How far servers' logs reach.
    pub(crate) marks: Marks,
}

/// Locks; a panic elsewhere while locked cannot leave these maps half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    pub(crate) fn new(rules: Rules, dial: Dial, marks: Marks) -> Arc<Self> {
        Arc::new(Self {
            view: watch::Sender::new(Arc::new(View::default())),
            term: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            sessions: Mutex::default(),
            readers: Mutex::default(),
            budgets: Mutex::default(),
            crowd: Mutex::default(),
            lines: Mutex::default(),
            stopping: AtomicBool::new(false),
            opening: Semaphore::new(OPENING_MAX),
            rules: Mutex::new(Arc::new(rules)),
            settings: Mutex::new(Arc::new([])),
            reloads: OnceLock::new(),
            succession: Succession::default(),
            dial,
            stats: Stats::default(),
            marks,
        })
    }

    /// Publishes a view; shards wake their sessions if it concerns them. Gives the view before.
    pub(crate) fn publish(&self, view: View) -> Arc<View> {
        // The term first: from here on nothing of an older one is acknowledged.
        self.term.fetch_max(view.term.0, Ordering::AcqRel);
        let view = Arc::new(view);
        let mut before = Arc::clone(&view);
        self.view.send_if_modified(|current| {
            before = std::mem::replace(current, Arc::clone(&view));
            let concerns = before.differs_for_sessions(&view);
            if concerns {
                // Within the lock: who sees the new view sees the new epoch, and the other way round.
                self.epoch.fetch_add(1, Ordering::AcqRel);
            }
            concerns
        });
        before
    }

    /// Tells every session that the proxy stops.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stir();
    }

    /// Has every session look at how things are.
    pub(crate) fn stir(&self) {
        self.view.send_modify(|_| {
            self.epoch.fetch_add(1, Ordering::AcqRel);
        });
    }

    /// The settings, as people see them.
    pub(crate) fn settings(&self) -> Arc<[Setting]> {
        Arc::clone(&lock(&self.settings))
    }

    /// From now on this is so.
    pub(crate) fn set(&self, rules: Rules, settings: Vec<Setting>) {
        for budget in lock(&self.budgets).values().filter_map(Weak::upgrade) {
            budget.limit_to(rules.limits.pool);
        }
        *lock(&self.rules) = Arc::new(rules);
        *lock(&self.settings) = settings.into();
        self.stir();
    }

    /// Has the configuration read again.
    ///
    /// # Errors
    /// Why it stays as it was.
    pub(crate) async fn reload(&self) -> Result<Reloaded, String> {
        let (answer, told) = oneshot::channel();
        let stops = || "the proxy stops".to_owned();
        self.reloads.get().ok_or_else(stops)?.send(answer).await.map_err(|_| stops())?;
        told.await.map_err(|_| stops())?
    }

    /// Whether a line about a statement may be written, and how many were left out since the last one.
    pub(crate) fn may_log(&self, now: Instant) -> Option<u64> {
        lock(&self.lines).ask(now)
    }

    /// What sessions go by.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        Arc::clone(&lock(&self.rules))
    }

    /// Whether the proxy stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The view now.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// Follows the view.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// The highest term heard of.
    pub(crate) fn term(&self) -> Term {
        Term(self.term.load(Ordering::Acquire))
    }

    /// Grows with every change that sessions have to look at.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Registers a session of this shard under a key of its own, as long as the protocol's minor version allows.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub(crate) fn register(self: &Arc<Self>, shard: usize, minor: u16) -> Result<Registered, getrandom::Error> {
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret)?;
        let secret = if minor >= MINOR_MAX { &secret[..] } else { &secret[..SHORT_BYTES] };
        let mut sessions = lock(&self.sessions);
        for _ in 0..PID_DRAWS {
            let pid = getrandom::u32()? & 0x7fff_ffff;
            if pid == 0 || sessions.contains_key(&pid) {
                continue;
            }
            let Some(key) = CancelKey::new(pid, secret).map(Arc::new) else { break };
            sessions.insert(pid, Entry { key: Arc::clone(&key), shard });
            return Ok(Registered { hub: Arc::clone(self), key });
        }
        Err(getrandom::Error::UNEXPECTED)
    }

    /// The shard of the session with this key.
    pub(crate) fn find(&self, key: &CancelKey) -> Option<usize> {
        let sessions = lock(&self.sessions);
        let entry = sessions.get(&key.pid)?;
        (*entry.key == *key).then_some(entry.shard)
    }

    /// Counts a client among those of its user and database.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub(crate) fn count_in(self: &Arc<Self>, user: &str, database: &str) -> Result<Guest, TooMany> {
        let limits = &self.rules().limits;
        let room = Room { user: limits.clients_user, database: limits.clients_database };
        let names = lock(&self.crowd).enter(user, database, room)?;
        Ok(Guest { hub: Arc::clone(self), names })
    }

    /// How many connections there may be to this place, all shards together.
    pub(crate) fn budget(&self, place: Place) -> Arc<Budget> {
        let mut budgets = lock(&self.budgets);
        if let Some(budget) = budgets.get(&place).and_then(Weak::upgrade) {
            return budget;
        }
        budgets.retain(|_, budget| budget.strong_count() > 0);
        let budget = Arc::new(Budget::new(self.rules().limits.pool));
        budgets.insert(place, Arc::downgrade(&budget));
        budget
    }

    /// The usable replica that suits this reader best, and counts it there.
    pub(crate) fn pick_replica(self: &Arc<Self>, view: &View, wish: Wish<'_>) -> Option<(Target, ReadSlot)> {
        let mut readers = lock(&self.readers);
        // Connections that are not shared have no limit that a replica could be full by.
        let load = |member| Load { busy: readers.get(member).copied().unwrap_or(0), full: false };
        let best = view.readable().min_by_key(|replica| wish.rank(replica, load(&replica.target.member)));
        let target = &best?.target;
        *readers.entry(target.member.clone()).or_default() += 1;
        let slot = ReadSlot { hub: Arc::clone(self), member: target.member.clone() };
        Some((target.clone(), slot))
    }
}
