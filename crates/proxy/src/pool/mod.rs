//! Connections of one login to one kind of server, kept for whichever of its sessions needs one next: a shard's own. What is
//! given back goes to who has waited longest; what is missing is opened, as far as the budget that all shards share
//! allows. It knows no message and never waits.

pub(crate) mod budget;
pub(crate) mod link;
pub(crate) mod open;

use crate::choice::Load;
use crate::hub::Hub;
use crate::server::OpenError;
use crate::shard::Shard;
use crate::tally::Database;
use crate::track::Reported;
use crate::track::own::Asked;
use budget::{Budget, Permit, Starving};
use dauphin_model::{MemberName, Target};
use dauphin_wire::postgres::scram::Secret;
use link::{CancelTarget, Counted, Fate, Link, Right};
use open::Login;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout};

/// How long opening one connection may take before it is tried again, perhaps elsewhere.
const OPEN_TIMEOUT: Duration = Duration::from_secs(4);

/// Connections of a pool that are opened at once. Those that are open already get on with the work meanwhile, and a server
/// that has just taken over does not spend its first moments on logins that nobody needs once the rush is over.
const OPENING_MAX: usize = 4;

/// How long a connection that nobody needs is kept.
const IDLE_MAX: Duration = Duration::from_secs(600);

/// The same once another process has taken over, which needs connections as well.
const IDLE_DRAINING_MAX: Duration = Duration::from_secs(10);

/// Of so many connections that are given back, one goes to sessions of other shards that wait.
const SHARE_EVERY: u32 = 8;

/// A session that waits in vain.
pub(crate) struct Hungry {
    pool: Rc<Pool>,
    _starving: Starving,
}

impl Drop for Hungry {
    fn drop(&mut self) {
        self.pool.starving.set(self.pool.starving.get() - 1);
    }
}

/// What a waiting session is given.
pub(crate) type Offer = Result<Box<Link>, OpenError>;

/// Of which server, as a budget counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) user: String,
    pub(crate) database: String,
    /// None: whoever leads.
    pub(crate) replica: Option<MemberName>,
}

/// The pools of one login.
pub(crate) struct Pools {
    shard: Weak<Shard>,
    login: Login,
    secret: RefCell<Rc<Secret>>,
    pub(crate) leader: Rc<Pool>,
    database: Rc<Database>,
    replicas: RefCell<BTreeMap<MemberName, Rc<Pool>>>,
    /// What the leader reports at login, and what replicas do: clients are let in without one.
    greetings: [RefCell<Option<Reported>>; 2],
    /// How sessions read by what the role or the database has set.
    pub(crate) asked: Cell<Asked>,
}

/// Connections of one login to whoever leads, or to one replica.
pub(crate) struct Pool {
    idle: RefCell<Vec<(Box<Link>, Instant)>>,
    waiting: RefCell<VecDeque<oneshot::Sender<Offer>>>,
    /// Connections on their way, by what they are to be.
    opening: RefCell<Vec<Right>>,
    /// Sessions of this pool that wait and may not open one.
    starving: Cell<usize>,
    /// How often one was given back.
    given: Cell<u32>,
    /// In use by sessions.
    pub(crate) busy: Cell<usize>,
    /// Of which server it is.
    pub(crate) place: Place,
    pub(crate) budget: Arc<Budget>,
    database: Rc<Database>,
}

impl Pools {
    pub(crate) fn new(shard: &Rc<Shard>, login: Login, secret: Secret) -> Rc<Self> {
        let database = shard.database(login.startup.database());
        let leader = Pool::new(&shard.hub, &login, None, &database);
        Rc::new(Self {
            shard: Rc::downgrade(shard),
            login,
            secret: RefCell::new(Rc::new(secret)),
            leader,
            database,
            replicas: RefCell::default(),
            greetings: Default::default(),
            asked: Cell::default(),
        })
    }

    /// What the leader, or a replica, reported last at login.
    pub(crate) fn greeting(&self, leads: bool) -> &RefCell<Option<Reported>> {
        &self.greetings[usize::from(leads)]
    }

    /// Whether they are of this user and database.
    pub(crate) fn are_of(&self, place: &Place) -> bool {
        let ours = &self.leader.place;
        ours.user == place.user && ours.database == place.database
    }

    /// A client has just proved this.
    pub(crate) fn renew(&self, secret: Secret) {
        self.secret.replace(Rc::new(secret));
    }

    /// The pool of a replica.
    pub(crate) fn replica(&self, hub: &Hub, member: &MemberName) -> Rc<Pool> {
        let mut replicas = self.replicas.borrow_mut();
        if let Some(pool) = replicas.get(member) {
            return Rc::clone(pool);
        }
        let pool = Pool::new(hub, &self.login, Some(member.clone()), &self.database);
        replicas.insert(member.clone(), Rc::clone(&pool));
        pool
    }

    /// Where they log in.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// Whom they log in as, and where.
    pub(crate) fn place(&self) -> &Place {
        &self.leader.place
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = Rc<Pool>> {
        let replicas: Vec<_> = self.replicas.borrow().values().map(Rc::clone).collect();
        replicas.into_iter().chain([Rc::clone(&self.leader)])
    }

    /// Closes what may not be used any more, and what nobody has needed for long.
    pub(crate) fn sweep(&self, is_over: bool, fate: impl Fn(&Right) -> Fate) {
        let idle_max = if is_over { IDLE_DRAINING_MAX } else { IDLE_MAX };
        for pool in self.all() {
            let kept = |(link, since): &mut (Box<Link>, Instant)| {
                let usable = matches!(fate(&link.right), Fate::Admitted | Fate::Hold);
                usable && since.elapsed() < idle_max && !pool.is_closing(link) && link.is_quiet()
            };
            pool.idle.borrow_mut().retain_mut(kept);
        }
    }

    /// Nothing is open and nobody waits.
    pub(crate) fn is_unused(self: &Rc<Self>) -> bool {
        Rc::strong_count(self) == 1
            && self
                .all()
                .all(|pool| pool.idle.borrow().is_empty() && pool.busy.get() == 0 && pool.opening.borrow().is_empty())
    }

    /// Closes the connection that was idle for longest, for others of this user and database. Whether there was one.
    pub(crate) fn shed(&self, replica: Option<&MemberName>) -> bool {
        let pool = match replica {
            None => Some(Rc::clone(&self.leader)),
            Some(member) => self.replicas.borrow().get(member).map(Rc::clone),
        };
        let Some(pool) = pool else { return false };
        let mut idle = pool.idle.borrow_mut();
        let found = !idle.is_empty();
        idle.drain(..usize::from(found));
        found
    }

    /// Opens a connection for who waits in this pool, unless enough are on their way. False when the budget is used up.
    pub(crate) fn want(self: &Rc<Self>, pool: &Rc<Pool>, target: &Target, right: &Right) -> bool {
        let on_their_way = pool.opening.borrow().iter().filter(|opening| *opening == right).count();
        if on_their_way >= pool.waiting().min(OPENING_MAX) {
            return true;
        }
        let Some(permit) = pool.budget.take() else { return false };
        let Some(shard) = self.shard.upgrade() else { return true };
        pool.opening.borrow_mut().push(right.clone());
        let (pools, pool, target, right) = (Rc::clone(self), Rc::clone(pool), target.clone(), right.clone());
        spawn_local(async move {
            let opened = pools.open(&shard, &pool, &target, &right, permit).await;
            // The next one, if somebody needs it; who was told that it failed asks again.
            if opened && shard.fate(&right) == Fate::Admitted {
                pools.want(&pool, &target, &right);
            }
        });
        true
    }

    async fn open(&self, shard: &Shard, pool: &Pool, target: &Target, right: &Right, permit: Permit) -> bool {
        let renewed = self.database.renewed.get();
        let secret = Rc::clone(&self.secret.borrow());
        let leads = matches!(right, Right::Leader(_));
        let opened = timeout(OPEN_TIMEOUT, open::open(&shard.hub, target, leads, &self.login, &secret)).await;
        let place = pool.opening.borrow().iter().position(|opening| opening == right);
        if let Some(place) = place {
            pool.opening.borrow_mut().swap_remove(place);
        }
        match opened.unwrap_or_else(|_| Err(OpenError::NotYet(format!("{} does not answer", target.member)))) {
            Ok(_) if renewed != self.database.renewed.get() => {
                drop(permit);
                pool.tell(OpenError::NotYet("connections are being made anew".into()));
                false
            }
            Ok((server, asked)) => {
                self.asked.set(asked);
                let mut link = Link::new(server, right.clone(), Counted::Pool(permit));
                let greeting = self.greeting(leads);
                link.reported = link.reported.shared_with(greeting.borrow().as_ref());
                greeting.replace(Some(link.reported.clone()));
                pool.keep(link, shard);
                true
            }
            Err(error) => {
                drop(permit);
                pool.tell(error);
                false
            }
        }
    }
}

impl Pool {
    fn new(hub: &Hub, login: &Login, replica: Option<MemberName>, database: &Rc<Database>) -> Rc<Self> {
        let startup = &login.startup;
        let place = Place { user: startup.user().to_owned(), database: startup.database().to_owned(), replica };
        Rc::new(Self {
            idle: RefCell::default(),
            waiting: RefCell::default(),
            opening: RefCell::default(),
            starving: Cell::new(0),
            given: Cell::new(0),
            busy: Cell::new(0),
            budget: hub.budget(place.clone()),
            place,
            database: Rc::clone(database),
        })
    }

    /// A connection that may be used now, at best one that has these settings already; the last used first.
    pub(crate) fn take(&self, right: impl Fn(&Right) -> bool, state: u64, only: bool) -> Option<Box<Link>> {
        let mut idle = self.idle.borrow_mut();
        while !idle.is_empty() {
            let same = idle.iter().rposition(|(link, _)| link.state == state);
            let at = if only { same? } else { same.unwrap_or(idle.len() - 1) };
            let (mut link, _) = idle.remove(at);
            if right(&link.right) && link.is_quiet() {
                self.busy.set(self.busy.get() + 1);
                return Some(link);
            }
        }
        None
    }

    /// A session has done with it.
    pub(crate) fn give(&self, link: Box<Link>, shard: &Shard) {
        self.busy.set(self.busy.get() - 1);
        self.keep(link, shard);
    }

    /// A session has closed it.
    pub(crate) fn closed(&self) {
        self.busy.set(self.busy.get() - 1);
    }

    /// For who has waited longest, else for later.
    fn keep(&self, link: Box<Link>, shard: &Shard) {
        let usable = link.target.cancels.get() == 0 && matches!(shard.fate(&link.right), Fate::Admitted | Fate::Hold);
        if !usable || self.is_closing(&link) {
            return;
        }
        self.given.set(self.given.get().wrapping_add(1));
        let others = self.budget.starving() > self.starving.get();
        if others && self.given.get().is_multiple_of(SHARE_EVERY) {
            // Sessions of other shards wait as well: now and then one of them may open one instead.
            return;
        }
        let mut link = link;
        while let Some(first) = self.waiting.borrow_mut().pop_front() {
            self.busy.set(self.busy.get() + 1);
            match first.send(Ok(link)) {
                Ok(()) => return,
                Err(back) => {
                    self.busy.set(self.busy.get() - 1);
                    let Ok(back) = back else { return };
                    link = back;
                }
            }
        }
        // Clients of another shard wait and may not open one: this one is closed for them.
        if !others {
            self.idle.borrow_mut().push((link, Instant::now()));
        }
    }

    /// Whether this connection serves nobody any more once it is free.
    fn is_closing(&self, link: &Link) -> bool {
        self.database.paused.get() || link.opened < self.database.renewed.get() || self.budget.is_over()
    }

    /// Closes what is free.
    pub(crate) fn close_idle(&self) {
        self.idle.borrow_mut().clear();
    }

    /// What is free.
    pub(crate) fn idle(&self) -> impl Iterator<Item = Rc<CancelTarget>> {
        self.idle.borrow().iter().map(|(link, _)| Rc::clone(&link.target)).collect::<Vec<_>>().into_iter()
    }

    /// How busy it is.
    pub(crate) fn load(&self) -> Load {
        let busy = self.busy.get();
        Load { busy, full: self.idle.borrow().is_empty() && self.budget.is_exhausted(busy) }
    }

    /// How many are on their way.
    pub(crate) fn opening(&self) -> usize {
        self.opening.borrow().len()
    }

    fn tell(&self, error: OpenError) {
        let mut error = error;
        while let Some(first) = self.waiting.borrow_mut().pop_front() {
            match first.send(Err(error)) {
                Ok(()) => return,
                Err(Err(back)) => error = back,
                Err(Ok(_)) => return,
            }
        }
    }

    /// Says that a session of this pool waits and may not open a connection, until it is dropped.
    pub(crate) fn starve(self: &Rc<Self>) -> Hungry {
        self.starving.set(self.starving.get() + 1);
        Hungry { pool: Rc::clone(self), _starving: self.budget.starve() }
    }

    /// Waits in turn.
    pub(crate) fn queue(&self) -> oneshot::Receiver<Offer> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().push_back(sender);
        receiver
    }

    /// How many sessions wait; those that gave up are no longer waited for.
    fn waiting(&self) -> usize {
        let mut waiting = self.waiting.borrow_mut();
        while waiting.front().is_some_and(oneshot::Sender::is_closed) {
            waiting.pop_front();
        }
        waiting.len()
    }
}
