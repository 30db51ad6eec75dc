//! What a shard tells of itself, as data that may leave its thread: clients, servers, pools, databases as they are now. Console
//! and metrics ask every shard and put the answers together. It changes nothing.

use crate::pool::link::CancelTarget;
use crate::seat::Seat;
use crate::session::Port;
use crate::shard::Shard;
use crate::tally::{Database, Recent, Totals};
use dauphin_model::MemberName;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It waits for a server.
    Waiting(Duration),
    /// It has one.
    Active,
    Idle,
}

/// A client.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) id: u32,
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) port: Option<Port>,
    pub(crate) replication: bool,
    pub(crate) doing: Doing,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) tls: bool,
    pub(crate) name: String,
    /// How long ago it came, and how long ago it asked for something last.
    pub(crate) connected: Duration,
    pub(crate) asked: Option<Duration>,
    /// How long it is in a transaction.
    pub(crate) transaction: Option<Duration>,
    /// The member that it has a connection to, and the process there.
    pub(crate) server: Option<(MemberName, u32)>,
}

/// A connection to a server.
#[derive(Debug, Clone)]
pub(crate) struct ServerLink {
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) replication: bool,
    pub(crate) member: MemberName,
    pub(crate) leads: bool,
    pub(crate) address: SocketAddr,
    pub(crate) pid: u32,
    pub(crate) opened: Duration,
    /// It is closed once it is free.
    pub(crate) closing: bool,
    /// Requests to cancel are on their way to it.
    pub(crate) cancelled: bool,
    /// The client that has it, what that calls itself, and how long ago it asked for something.
    pub(crate) client: Option<(u32, String, Option<Duration>)>,
}

/// What clients of one user and database have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Clients with a server, without one and without a need for it, and those that wait.
    pub(crate) active: u64,
    pub(crate) idle: u64,
    pub(crate) waiting: u64,
    /// How long the one that waits for longest does.
    pub(crate) longest: Duration,
    /// Servers that a client has, that are free, that are on their way, and that a cancel request is on its way to.
    pub(crate) servers_active: u64,
    pub(crate) servers_idle: u64,
    pub(crate) servers_opening: u64,
    pub(crate) servers_cancelled: u64,
}

impl Counts {
    /// Puts others to it.
    pub(crate) fn add(&mut self, other: &Self) {
        self.active += other.active;
        self.idle += other.idle;
        self.waiting += other.waiting;
        self.longest = self.longest.max(other.longest);
        self.servers_active += other.servers_active;
        self.servers_idle += other.servers_idle;
        self.servers_opening += other.servers_opening;
        self.servers_cancelled += other.servers_cancelled;
    }

    /// Connections that are open.
    pub(crate) fn servers(&self) -> u64 {
        self.servers_active + self.servers_idle + self.servers_cancelled
    }
}

/// By database and user.
pub(crate) type Pooled = BTreeMap<(String, String), Counts>;

/// A database.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) name: String,
    pub(crate) paused: bool,
    pub(crate) totals: Totals,
    pub(crate) recent: Recent,
}

fn doing(seat: &Seat, now: Instant) -> Doing {
    match seat.waiting.get() {
        Some(since) => Doing::Waiting(now - since),
        None if seat.target.borrow().is_some() => Doing::Active,
        None => Doing::Idle,
    }
}

/// Clients of this shard, those of the console among them.
pub(crate) fn clients(shard: &Shard) -> Vec<Client> {
    let now = Instant::now();
    let client = |(id, seat): (&u32, &Rc<Seat>)| Client {
        id: *id,
        user: seat.who.user.clone(),
        database: seat.who.database.name.clone(),
        port: seat.who.port,
        replication: seat.who.replication,
        doing: doing(seat, now),
        peer: seat.who.peer,
        tls: seat.who.tls,
        name: seat.who.name.clone(),
        connected: now - seat.who.since,
        asked: seat.asked.get().map(|at| now - at),
        transaction: seat.transaction.get().map(|since| now - since),
        server: seat.target.borrow().as_ref().map(|target| (target.member.clone(), target.pid())),
    };
    shard.seats().iter().map(client).collect()
}

/// Connections to servers that clients of this shard have, or could have.
pub(crate) fn servers(shard: &Shard) -> Vec<ServerLink> {
    let now = Instant::now();
    let link = |target: &CancelTarget, user: &str, database: &str| ServerLink {
        user: user.to_owned(),
        database: database.to_owned(),
        replication: false,
        member: target.member.clone(),
        leads: target.leads,
        address: target.address,
        pid: target.pid(),
        opened: target.opened.elapsed(),
        closing: false,
        cancelled: target.cancels.get() > 0,
        client: None,
    };
    let mut found = Vec::new();
    for (id, seat) in shard.seats().iter() {
        let Some(target) = &*seat.target.borrow() else { continue };
        let database = &seat.who.database;
        found.push(ServerLink {
            replication: seat.who.replication,
            closing: target.opened < database.renewed.get() || database.paused.get(),
            client: Some((*id, seat.who.name.clone(), seat.asked.get().map(|at| now - at))),
            ..link(target, &seat.who.user, &database.name)
        });
    }
    for pools in shard.all_pools() {
        let place = pools.place();
        for pool in pools.all() {
            found.extend(pool.idle().map(|target| link(&target, &place.user, &place.database)));
        }
    }
    found
}

/// Clients and servers of this shard, counted.
pub(crate) fn pooled(shard: &Shard) -> Pooled {
    let now = Instant::now();
    let seats = shard.seats();
    let mut all: BTreeMap<(&str, &str), Counts> = BTreeMap::new();
    for seat in seats.values().filter(|seat| seat.who.port.is_some()) {
        let counts = all.entry((&seat.who.database.name, &seat.who.user)).or_default();
        match doing(seat, now) {
            Doing::Waiting(length) => {
                counts.waiting += 1;
                counts.longest = counts.longest.max(length);
            }
            Doing::Active => counts.active += 1,
            Doing::Idle => counts.idle += 1,
        }
        match &*seat.target.borrow() {
            Some(target) if target.cancels.get() > 0 => counts.servers_cancelled += 1,
            Some(_) => counts.servers_active += 1,
            None => {}
        }
    }
    let mut all: Pooled = all.into_iter().map(|((d, u), counts)| ((d.to_owned(), u.to_owned()), counts)).collect();
    for pools in shard.all_pools() {
        let place = pools.place();
        let counts = all.entry((pools.database().name.clone(), place.user.clone())).or_default();
        for pool in pools.all() {
            counts.servers_idle += pool.idle().count() as u64;
            counts.servers_opening += pool.opening() as u64;
        }
    }
    all
}

/// Databases that clients of this shard came for.
pub(crate) fn databases(shard: &Shard) -> Vec<Known> {
    let now = Instant::now();
    let known = |database: Rc<Database>| Known {
        name: database.name.clone(),
        paused: database.paused.get(),
        totals: *database.totals.borrow(),
        recent: database.recent(now),
    };
    shard.databases(None).into_iter().map(known).collect()
}

/// How many transactions of clients of this database run, or of all.
pub(crate) fn running(shard: &Shard, name: Option<&str>) -> usize {
    let runs = |seat: &&Rc<Seat>| {
        let (who, open) = (&seat.who, seat.target.borrow().is_some() && seat.transaction.get().is_some());
        open && !who.replication && who.port.is_some() && name.is_none_or(|name| who.database.name == name)
    };
    shard.seats().values().filter(runs).count()
}

/// Answers of several shards as one.
pub(crate) fn merge_pooled(answers: Vec<Pooled>) -> Pooled {
    let mut all = Pooled::new();
    for (place, counts) in answers.into_iter().flatten() {
        all.entry(place).or_default().add(&counts);
    }
    all
}

/// Answers of several shards as one.
pub(crate) fn merge_databases(answers: Vec<Vec<Known>>) -> Vec<Known> {
    let mut all: BTreeMap<String, Known> = BTreeMap::new();
    for known in answers.into_iter().flatten() {
        match all.get_mut(&known.name) {
            Some(sum) => {
                sum.paused |= known.paused;
                sum.totals += known.totals;
                sum.recent.totals += known.recent.totals;
                // Shards look at about the same time.
                sum.recent.length = sum.recent.length.max(known.recent.length);
            }
            None => drop(all.insert(known.name.clone(), known)),
        }
    }
    all.into_values().collect()
}
