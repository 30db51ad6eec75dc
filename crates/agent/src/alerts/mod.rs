//! The agent's part in alerts: one agent of the cluster speaks, steps the board once a second, and keeps its memory in the
//! store, so that the next one goes on where it stopped. It reports, and decides nothing about the cluster.

pub(crate) mod facts;
mod shown;
mod speaker;
mod wishes;

use crate::keys;
use crate::picture::Picture;
use crate::proxies::Proxies;
use crate::vigil::Vigil;
use dauphin_alerts::{Board, Change, KeptAlert, Kind, Memory, Notice, look};
use dauphin_model::{MemberName, Mono};
use dauphin_notify::{Letter, Post};
use dauphin_store::{Rev, Store, StoreHealth, Txn, TxnOutcome};
use speaker::Turn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often the board is stepped.
const STEP_EVERY: Duration = Duration::from_secs(1);
/// Least time between two writes of the memory: it must never crowd out a lease.
const WRITE_EVERY: Duration = Duration::from_secs(2);
/// How long one write may take; the board stands still meanwhile.
const WRITE_WITHIN: Duration = Duration::from_secs(2);

/// What is kept of why a place fails, in characters.
const FAILURE_CHARS_MAX: usize = 200;

/// What this agent does about alerts.
pub(crate) struct Alerts {
    me: MemberName,
    store: Store,
    picture: watch::Receiver<Arc<Picture>>,
    post: Arc<Post>,
    vigil: Arc<Vigil>,
    proxies: Arc<Proxies>,
    /// What the board holds while this agent speaks; newer than the store's by one write.
    speaking: Mutex<Option<Memory>>,
}

/// The board of an agent that speaks, and what the store has of it.
struct Podium {
    board: Board,
    /// The memory's revision that the board has taken in.
    known: Option<Rev>,
    /// What lies in the store under it.
    kept: Memory,
    written: Mono,
}

impl Alerts {
    pub(crate) fn new(
        me: MemberName,
        store: Store,
        picture: watch::Receiver<Arc<Picture>>,
        post: Arc<Post>,
        vigil: Arc<Vigil>,
        proxies: Arc<Proxies>,
    ) -> Arc<Self> {
        Arc::new(Self { me, store, picture, post, vigil, proxies, speaking: Mutex::default() })
    }

    /// The picture as it is now. Never two borrows at a time: a second one waits for the loop that wants to write, which
    /// waits for the first.
    fn picture(&self) -> Arc<Picture> {
        Arc::clone(&self.picture.borrow())
    }

    /// Sends what waits, also what this agent put there when it spoke last. Runs until the agent ends.
    pub(crate) async fn send(self: Arc<Self>) {
        let targets = || self.picture().spec.notify.clone();
        Arc::clone(&self.post).run(targets).await;
    }

    /// Steps the board while it is this agent's turn. Runs until the agent ends.
    pub(crate) async fn run(self: Arc<Self>) {
        let (mut turn, mut podium) = (Turn::default(), None);
        let mut ticks = tokio::time::interval(STEP_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let picture = self.picture();
            let health = self.store.health().borrow().clone();
            let now = dauphin_guard::boottime();
            if !turn.is_ours(now, &picture, &health) {
                self.show(None);
                if let Some(at) = &podium
                    && (self.tells_nothing_new(at) || self.hand_over(at, &health).await)
                {
                    podium = None;
                }
                continue;
            }
            let at = podium.get_or_insert_with(|| self.take_the_podium(now));
            self.listen(at, now);
            let proxies = self.proxies.certificates(Instant::now());
            let facts = facts::of(&picture, now, &health, &self.vigil, proxies);
            let (unix, seen) = (unix_now(), look(&picture.spec, &facts));
            let notice = at.board.step(now, unix, &picture.spec, &seen);
            if notice.is_some() {
                // at once: an agent that dies now must not leave the next one to tell it again
                at.written = Mono::default();
            }
            if let Some(notice) = notice {
                tell(&notice);
                // on the disk before the memory says that people know
                self.put(&picture, notice).await;
            }
            self.show(Some(self.remember(&at.board)));
            self.keep(at, now, &health).await;
        }
    }

    fn take_the_podium(&self, now: Mono) -> Podium {
        let (known, kept) = self.stored();
        Podium { board: Board::load(&kept, now, unix_now()), known, kept, written: Mono::default() }
    }

    /// Takes in what others wrote: people's wishes, or all of it, where another agent spoke meanwhile.
    fn listen(&self, at: &mut Podium, now: Mono) {
        let (known, kept) = self.stored();
        if known == at.known {
            return;
        }
        if kept.speaker.as_ref() == Some(&self.me) || kept.tells_like(&at.kept) {
            at.board.take_wishes(&kept, now, unix_now());
        } else {
            at.board = Board::load(&kept, now, unix_now());
        }
        (at.known, at.kept) = (known, kept);
    }

    /// Whether the store knows all that this agent told.
    fn tells_nothing_new(&self, at: &Podium) -> bool {
        self.remember(&at.board).tells_like(&at.kept)
    }

    /// Another agent's turn has come, and it has not heard what this one told while nothing could be written. Whether it has
    /// now.
    async fn hand_over(&self, at: &Podium, health: &StoreHealth) -> bool {
        if !speaker::majority(health) {
            return false;
        }
        let (rev, mut memory) = self.stored();
        memory.take_in(&self.remember(&at.board));
        memory.speaker = Some(self.me.clone());
        let value = serde_json::to_vec(&memory).unwrap_or_default();
        let txn = Txn { expect: vec![(keys::alerts(), rev)], put: vec![(keys::alerts(), value)], delete: Vec::new() };
        matches!(self.store.txn(txn, WRITE_WITHIN).await, Ok(TxnOutcome::Committed { .. }))
    }

    /// Writes the memory if there is news.
    async fn keep(&self, at: &mut Podium, now: Mono, health: &StoreHealth) {
        let wanted = self.remember(&at.board);
        let unchanged = Memory { speaker: at.kept.speaker.clone(), ..wanted.clone() } == at.kept;
        if unchanged || !speaker::majority(health) || now.since(at.written).duration() < WRITE_EVERY {
            return;
        }
        at.written = now;
        let value = serde_json::to_vec(&wanted).unwrap_or_default();
        let expect = vec![(keys::alerts(), at.known)];
        let txn = Txn { expect, put: vec![(keys::alerts(), value)], delete: Vec::new() };
        match self.store.txn(txn, WRITE_WITHIN).await {
            Ok(TxnOutcome::Committed { rev }) => (at.known, at.kept) = (Some(rev), wanted),
            // a wish came in between: the next step takes it in
            Ok(TxnOutcome::Conflict { .. }) => {}
            Err(error) => tracing::debug!(%error, "the alerts' memory is not written yet"),
        }
    }

    /// Puts a notice into the outbox, for each place that it concerns.
    async fn put(&self, picture: &Picture, notice: Notice) {
        let (cluster, reporter) = (picture.spec.cluster.to_string(), self.me.to_string());
        let letter = Letter { cluster, reporter, notice, test: false };
        let (post, targets) = (Arc::clone(&self.post), picture.spec.notify.clone());
        match tokio::task::spawn_blocking(move || post.take(&targets, &letter)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, "a notice cannot be kept for sending; it stands in this log alone")
            }
            Err(error) => tracing::error!(%error, "a notice was not kept for sending"),
        }
    }

    /// What must be kept: the board's memory, and which places fail.
    fn remember(&self, board: &Board) -> Memory {
        let failing = self.post.standings().into_iter().filter_map(|(place, s)| Some((place, s.failing?)));
        let short = |why: String| why.chars().take(FAILURE_CHARS_MAX).collect();
        Memory { failing: failing.map(|(place, why)| (place, short(why))).collect(), ..board.memory(&self.me) }
    }

    fn stored(&self) -> (Option<Rev>, Memory) {
        let snapshot = self.store.watch().borrow().clone();
        (snapshot.rev(&keys::alerts()), keys::get(&snapshot, &keys::alerts()).unwrap_or_default())
    }

    fn show(&self, memory: Option<Memory>) {
        *self.speaking.lock().unwrap_or_else(PoisonError::into_inner) = memory;
    }

    /// Whether somebody has said that it is meant to be so: by a silence, or by taking the alert in hand.
    pub(crate) fn is_meant(&self, kind: Kind, member: &MemberName) -> bool {
        let (memory, now) = (self.memory(), unix_now());
        let silenced = memory.silences.iter().any(|s| s.until_unix > now && s.covers(kind, Some(member)));
        let of = |a: &&KeptAlert| a.kind == kind && a.member.as_ref() == Some(member);
        silenced || memory.alerts.iter().filter(of).any(|a| a.acknowledged.is_some())
    }

    /// What is raised and silenced, as far as this agent knows.
    pub(crate) fn memory(&self) -> Memory {
        let speaking = self.speaking.lock().unwrap_or_else(PoisonError::into_inner).clone();
        speaking.unwrap_or_else(|| self.stored().1)
    }
}

/// The log hears everything that people are told.
fn tell(notice: &Notice) {
    for item in &notice.items {
        let (change, level, kind) = (shown::word(item.change), item.level.word(), item.kind.code());
        if item.change == Change::Cleared {
            tracing::info!(alert = item.id, level, kind, "{change}: {}", item.text);
        } else {
            tracing::info!(alert = item.id, level, kind, next = item.next, "{change}: {}", item.text);
        }
    }
}

/// The wall clock, in seconds since 1970: for people, and for what people gave in it.
fn unix_now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}
