//! The clients: each kind writes and reads through the proxy for as long as a leg lasts and records what it saw. They keep
//! on whatever happens; an operation whose end they do not learn is unknown.

mod append;
pub(crate) mod bank;
mod fork;
mod sessions;
mod set;

use crate::db::{Broken, Clock, Place, Rows, Session};
use crate::dialect::{self, Dialect};
use dauphin_histories::{Outcome, append as lists, bank as balances, fork as forks, sessions as steps, set as adds};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

/// How long one statement may take before the client gives its connection up.
pub const WITHIN: Duration = Duration::from_secs(20);
/// The pause before connecting again.
const AGAIN: Duration = Duration::from_millis(30);

/// What all clients share.
#[derive(Clone)]
pub struct Shared {
    /// The proxy's write port.
    pub writing: Place,
    /// Its read port.
    pub reading: Place,
    /// Their clock.
    pub clock: Clock,
    /// Set at the end of a leg.
    pub stop: Arc<AtomicBool>,
    /// Unique values.
    pub next: Arc<AtomicU64>,
    /// Errors by kind.
    pub errors: Arc<Mutex<BTreeMap<String, u64>>>,
    /// Unique inserts that were acknowledged.
    pub acked: Arc<AtomicU64>,
}

impl Shared {
    fn dialect(&self) -> &'static dyn Dialect {
        dialect::of(self.writing.engine)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn unique(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn count(&self, broken: &Broken) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        *errors.entry(broken.kind()).or_default() += 1;
    }
}

/// What was recorded in a leg.
#[derive(Debug, Default, Clone)]
pub struct Histories {
    /// Unique inserts.
    pub adds: Vec<adds::Add>,
    /// Reads of the newest of them, on replicas.
    pub reads: Vec<adds::Read>,
    /// List-append transactions.
    pub lists: Vec<lists::Txn>,
    /// Reads of all accounts.
    pub balances: Vec<balances::Balances>,
    /// Transfers that were done.
    pub transfers: u64,
    /// Counters, by session.
    pub steps: Vec<steps::Step>,
    /// Reads of keys that others were writing.
    pub seen: Vec<forks::Seen>,
}

/// How many clients of each kind.
const SETS: u32 = 5;
const APPENDS: u32 = 4;
const BANKS: u32 = 2;
const SESSIONS: u32 = 3;
const FORKS: u32 = 3;

/// Makes the tables.
///
/// # Errors
/// What the server said.
pub async fn prepare(session: &Session, dialect: &dyn Dialect) -> Result<(), Broken> {
    for sql in dialect.tables() {
        session.rows(&sql, WITHIN).await?;
    }
    Ok(())
}

/// Runs all clients until they are stopped.
pub async fn run(shared: Shared) -> Histories {
    let into = Arc::new(Mutex::new(Histories::default()));
    let mut clients = JoinSet::new();
    for _ in 0..SETS {
        clients.spawn(set::client(shared.clone(), Arc::clone(&into)));
    }
    clients.spawn(set::reader(shared.clone(), Arc::clone(&into)));
    for n in 0..APPENDS {
        clients.spawn(append::client(shared.clone(), n, Arc::clone(&into)));
    }
    for n in 0..BANKS {
        clients.spawn(bank::client(shared.clone(), n == 0, Arc::clone(&into)));
    }
    for n in 0..SESSIONS {
        clients.spawn(sessions::client(shared.clone(), n, Arc::clone(&into)));
    }
    for n in 0..FORKS {
        clients.spawn(fork::client(shared.clone(), n, Arc::clone(&into)));
    }
    while clients.join_next().await.is_some() {}
    let mut found = into.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::take(&mut *found)
}

/// Where a client records.
type Into = Arc<Mutex<Histories>>;

fn note(into: &Into, what: impl FnOnce(&mut Histories)) {
    what(&mut into.lock().unwrap_or_else(PoisonError::into_inner));
}

/// A client's connection, opened again whenever it is lost.
struct Line {
    shared: Shared,
    session: Option<Session>,
}

impl Line {
    fn new(shared: &Shared) -> Self {
        Self { shared: shared.clone(), session: None }
    }

    /// A connection; `None` once the leg is over.
    async fn session(&mut self) -> Option<&Session> {
        while !self.shared.stopped() {
            if self.session.as_ref().is_some_and(|s| !s.is_closed()) {
                break;
            }
            self.session = match Session::open(&self.shared.writing).await {
                Ok(session) => Some(session),
                Err(broken) => {
                    self.shared.count(&broken);
                    tokio::time::sleep(AGAIN).await;
                    None
                }
            };
        }
        if self.shared.stopped() { None } else { self.session.as_ref() }
    }

    /// A statement failed: a connection that may be in the middle of something is given up.
    async fn failed(&mut self, broken: &Broken) {
        self.shared.count(broken);
        if broken.outcome() == Outcome::Unknown {
            self.session = None;
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Runs a transaction of several messages. `None` in the answer's place: it did not get as far as COMMIT.
    async fn transaction(&mut self, begin: &str, statements: &[String]) -> (Outcome, Vec<Rows>) {
        let mut answers = Vec::new();
        let Some(session) = self.session().await else { return (Outcome::Failed, answers) };
        let mut broken = session.rows(begin, WITHIN).await.err();
        if broken.is_none() {
            for sql in statements {
                match session.rows(sql, WITHIN).await {
                    Ok(rows) => answers.push(rows),
                    Err(error) => {
                        broken = Some(error);
                        break;
                    }
                }
            }
        }
        if let Some(broken) = broken {
            // COMMIT was never sent
            self.shared.count(&broken);
            let again = match &self.session {
                Some(session) => session.rows("ROLLBACK", WITHIN).await.is_ok(),
                None => false,
            };
            if !again {
                self.session = None;
                tokio::time::sleep(AGAIN).await;
            }
            return (Outcome::Failed, answers);
        }
        match session.rows("COMMIT", WITHIN).await {
            Ok(_) => (Outcome::Ok, answers),
            Err(error) => {
                self.failed(&error).await;
                (error.outcome(), answers)
            }
        }
    }
}

/// The numbers in the first column.
fn numbers(rows: &[Vec<Option<String>>]) -> Vec<u64> {
    rows.iter().filter_map(|row| row.first()?.as_deref()?.parse().ok()).collect()
}
