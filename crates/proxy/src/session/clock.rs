//! When what a client asks for begins and ends, and whether it has to wait because its database is paused. Only `session` calls
//! it. It reads the clock twice a round and keeps nothing that a lost server's answer would have ended.

use super::Session;
use super::end::End;
use super::notice::{Board, Why};
use crate::seat::Seat;
use crate::table::View;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

impl Session {
    /// Notes whether something of this client runs, for cancel requests, the console and metrics.
    pub(super) fn mark_busy(&self) {
        let seat = &self.seated.seat;
        let busy = self.track.is_in_flight();
        if busy == seat.busy.replace(busy) {
            return;
        }
        let now = Instant::now();
        let asked = seat.asked.get();
        if busy {
            seat.asked.set(Some(now));
            if seat.transaction.get().is_none() {
                seat.transaction.set(Some(now));
            }
            return;
        }
        let transaction = if self.track.is_at_rest() { seat.transaction.take() } else { None };
        seat.who.database.note(|totals| {
            if let Some(since) = asked {
                totals.queries.note(now - since);
            }
            if let Some(since) = transaction {
                totals.transactions.note(now - since);
            }
        });
        if let Some(since) = asked {
            self.note_slow(now - since);
        }
    }

    /// It has no server any more: what ran there and is not over counts for nothing.
    pub(super) fn stop_clock(&self) {
        self.seated.seat.busy.set(self.track.is_in_flight());
        self.seated.seat.transaction.set(None);
    }

    /// It has a server, without a wait.
    pub(super) fn note_no_wait(&self) {
        self.seated.seat.who.database.note(|totals| totals.waits.note(Duration::ZERO));
    }

    /// Whether new transactions of this client wait.
    pub(super) fn is_paused(&self) -> bool {
        let who = &self.seated.seat.who;
        who.database.paused.get() && !who.replication
    }

    /// Waits while its database is paused. Whether it had to: what it waited does not count.
    ///
    /// # Errors
    /// How the session ends instead.
    pub(super) async fn hold(&self, views: &mut watch::Receiver<Arc<View>>, board: &Board) -> Result<bool, End> {
        if !self.is_paused() {
            return Ok(false);
        }
        let seat = &self.seated.seat;
        let before = seat.waiting.get();
        seat.waiting.set(before.or_else(|| Some(Instant::now())));
        let (why, until) = (board.post(Why::Paused), board.end());
        board.post_end(None);
        while self.is_paused() {
            // Changes when the pause ends, too.
            if self.hub.is_stopping() || views.changed().await.is_err() {
                return Err(End::stopping());
            }
        }
        seat.waiting.set(before);
        board.post(why);
        board.post_end(until);
        Ok(true)
    }
}

/// One wait for a server, told to console and metrics.
pub(super) struct Wait<'a> {
    seat: &'a Seat,
    since: Instant,
    /// No leader took transactions for some of the time.
    leaderless: bool,
    had: bool,
}

impl<'a> Wait<'a> {
    pub(super) fn begin(seat: &'a Seat) -> Self {
        let since = Instant::now();
        seat.waiting.set(Some(since));
        Self { seat, since, leaderless: false, had: false }
    }

    /// This is how things are while it waits.
    pub(super) fn see(&mut self, view: &View) {
        self.leaderless |= view.admitting_leader().is_none();
    }

    /// It has a server.
    pub(super) fn done(mut self) {
        self.had = true;
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.seat.waiting.set(None);
        let (had, leaderless, length) = (self.had, self.leaderless, self.since.elapsed());
        self.seat.who.database.note(|totals| {
            if had {
                totals.waits.note(length);
            }
            if had && leaderless {
                totals.holds.note(length);
            }
        });
    }
}
