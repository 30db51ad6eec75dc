//! A cluster of stores in one process over an in-memory network that can cut, lose and delay messages.
//! For the store's integration tests; it opens no sockets.
#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub)]

use bytes::Bytes;
use dauphin_model::MemberName;
use dauphin_store::{
    BoxFuture, Entry, Key, Open, RaftTransport, Rev, Start, Store, StoreError, StoreHealth, Timings, TransportError,
    Txn, TxnOutcome,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(10);

pub fn name(text: &str) -> MemberName {
    MemberName::new(text).unwrap()
}

pub fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

#[derive(Default)]
pub struct Net {
    stores: Mutex<BTreeMap<MemberName, Store>>,
    cut: Mutex<BTreeSet<(MemberName, MemberName)>>,
    /// Of 1000 messages (and of 1000 answers), how many are lost.
    pub loss: AtomicU64,
    dice: AtomicU64,
}

impl Net {
    fn lost(&self) -> bool {
        let step = |x: u64| Some(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
        let dice = self.dice.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).unwrap();
        (dice >> 33) % 1_000 < self.loss.load(Ordering::Relaxed)
    }

    pub fn cut(&self, a: &MemberName, b: &MemberName) {
        let mut cut = self.cut.lock().unwrap();
        cut.insert((a.clone(), b.clone()));
        cut.insert((b.clone(), a.clone()));
    }

    pub fn heal(&self) {
        self.cut.lock().unwrap().clear();
    }

    fn is_cut(&self, from: &MemberName, to: &MemberName) -> bool {
        self.cut.lock().unwrap().contains(&(from.clone(), to.clone()))
    }
}

struct Wire {
    me: MemberName,
    net: Arc<Net>,
}

impl RaftTransport for Wire {
    fn call(
        &self,
        to: &MemberName,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let (me, to, net) = (self.me.clone(), to.clone(), self.net.clone());
        Box::pin(async move {
            let mine = net.stores.lock().unwrap().contains_key(&me);
            let Some(store) = net.stores.lock().unwrap().get(&to).cloned().filter(|_| mine) else {
                return Err(TransportError::Unreachable { to, why: "connection refused".to_owned() });
            };
            if net.is_cut(&me, &to) || net.lost() {
                tokio::time::sleep(timeout).await;
                return Err(TransportError::TimedOut { to });
            }
            let answer = store.handle(&me, body).await;
            if net.is_cut(&me, &to) || net.lost() {
                return Err(TransportError::Broken { to, why: "connection reset".to_owned() });
            }
            answer.map_err(|e| TransportError::Broken { to, why: e.to_string() })
        })
    }
}

pub struct Cluster {
    pub net: Arc<Net>,
    pub dir: tempfile::TempDir,
    pub timings: Timings,
    pub names: BTreeSet<MemberName>,
}

impl Cluster {
    /// `n` members, founded and with a leader.
    pub async fn of(n: usize) -> Self {
        let cluster = Self::empty(n);
        for member in cluster.names.clone() {
            let start = Start::Bootstrap { members: cluster.names.clone() };
            cluster.start(&member, Some(start)).await.unwrap();
        }
        cluster.settled().await;
        cluster
    }

    pub fn empty(n: usize) -> Self {
        Self {
            net: Arc::new(Net::default()),
            dir: tempfile::tempdir().unwrap(),
            timings: Timings::default(),
            names: (1..=n).map(|n| name(&format!("m{n}"))).collect(),
        }
    }

    pub fn dir(&self, member: &MemberName) -> PathBuf {
        self.dir.path().join(member.as_str())
    }

    pub async fn start(&self, member: &MemberName, start: Option<Start>) -> Result<Store, StoreError> {
        let transport = Arc::new(Wire { me: member.clone(), net: self.net.clone() });
        let open = Open { dir: self.dir(member), name: member.clone(), start, timings: self.timings, transport };
        let store = Store::open(open).await?;
        self.net.stores.lock().unwrap().insert(member.clone(), store.clone());
        Ok(store)
    }

    /// Cuts the member off at once, as a kill does, then lets its file go.
    pub async fn kill(&self, member: &MemberName) {
        let store = self.net.stores.lock().unwrap().remove(member).unwrap();
        store.shutdown().await;
    }

    pub fn store(&self, member: &MemberName) -> Store {
        self.net.stores.lock().unwrap().get(member).cloned().unwrap()
    }

    pub fn stores(&self) -> Vec<Store> {
        self.net.stores.lock().unwrap().values().cloned().collect()
    }

    /// Waits until every running member knows the identity and the same leader.
    pub async fn settled(&self) -> MemberName {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stores = self.stores();
            let health: Vec<StoreHealth> = stores.iter().map(|s| s.health().borrow().clone()).collect();
            let leaders: BTreeSet<_> = health.iter().map(|h| h.leader.clone()).collect();
            let known = stores.iter().all(|s| s.watch().borrow().identity.is_some());
            let there = |leader: &MemberName| self.net.stores.lock().unwrap().contains_key(leader);
            if let (1, true, Some(Some(leader))) = (leaders.len(), known, leaders.first())
                && there(leader)
            {
                return leader.clone();
            }
            assert!(Instant::now() < deadline, "no agreement: {health:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn others(&self, but: &MemberName) -> Vec<MemberName> {
        self.names.iter().filter(|n| *n != but).cloned().collect()
    }
}

pub fn put(on: &str, expect: Option<Rev>, value: impl ToString) -> Txn {
    Txn { expect: vec![(key(on), expect)], put: vec![(key(on), value.to_string().into_bytes())], delete: vec![] }
}

/// Puts and returns the revision.
pub async fn set(store: &Store, on: &str, expect: Option<Rev>, value: impl ToString) -> Rev {
    match store.txn(put(on, expect, value), PATIENCE).await.unwrap() {
        TxnOutcome::Committed { rev } => rev,
        TxnOutcome::Conflict { current } => panic!("conflict: {current:?}"),
    }
}

pub async fn get(store: &Store, on: &str) -> Option<Entry> {
    store.read_linearizable(PATIENCE).await.unwrap().get(&key(on)).cloned()
}

pub fn text(entry: &Entry) -> String {
    String::from_utf8(entry.value.clone()).unwrap()
}

/// Waits until `holds`, with a deadline.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
