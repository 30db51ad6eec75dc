//! Tells a client that waits for a server for what it waits and until when: once in a wait, and only if that takes longer than a moment.
//! Sessions wait under it. It writes between messages only, and never to a client that hides notices.

use super::Session;
use crate::seat::Seat;
use crate::stream::{Stream, poll_flush_kept};
use crate::table::View;
use dauphin_model::MemberName;
use dauphin_wire::postgres::message;
use jiff::{SignedDuration, Timestamp};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use tokio::time::{Instant, sleep};

/// What a session waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    NoLeader,
    /// A planned switchover is about to happen.
    Switchover,
    /// The database is paused on the console.
    Paused,
    Busy {
        limit: usize,
        member: MemberName,
    },
    Opening(MemberName),
    /// A COMMIT is in doubt.
    Doubt,
    /// What a server said, or why it could not be asked.
    Said(String),
}

impl Why {
    /// Nobody takes transactions now.
    pub(super) fn of(view: &View) -> Self {
        if view.open && view.draining { Self::Switchover } else { Self::NoLeader }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLeader => f.write_str("no leader is open"),
            Self::Switchover => f.write_str("the leader is about to change"),
            Self::Paused => f.write_str("its database is paused"),
            Self::Busy { limit, member } => write!(f, "all {limit} connections to {member} are in use"),
            Self::Opening(member) => write!(f, "a connection to {member} is being opened"),
            Self::Doubt => f.write_str("the answer to COMMIT was lost with the leader, and the next one is asked"),
            Self::Said(text) => f.write_str(text),
        }
    }
}

/// How a wait stands, for whoever tells of it.
#[derive(Debug)]
pub(super) struct Board {
    why: RefCell<Why>,
    /// When it ends at the latest; none: nobody knows.
    until: Cell<Option<Instant>>,
}

impl Board {
    fn new() -> Self {
        Self { why: RefCell::new(Why::NoLeader), until: Cell::new(None) }
    }

    pub(super) fn why(&self) -> Why {
        self.why.borrow().clone()
    }

    /// Gives what it was before.
    pub(super) fn post(&self, why: Why) -> Why {
        self.why.replace(why)
    }

    /// A connection is on its way. Why the last one could not be had says more.
    pub(super) fn post_opening(&self, member: &MemberName) {
        if !matches!(*self.why.borrow(), Why::Said(_)) {
            self.post(Why::Opening(member.clone()));
        }
    }

    pub(super) fn post_end(&self, until: Option<Instant>) {
        self.until.set(until);
    }

    pub(super) fn end(&self) -> Option<Instant> {
        self.until.get()
    }

    /// The notice, if there is something to tell.
    fn text(&self, now: Instant, today: Timestamp) -> (String, String) {
        let why = self.why.borrow();
        let then = match *why {
            Why::Doubt => "is told 08007 (outcome unknown)",
            _ => "is refused with 57P03",
        };
        let detail = match self.until.get() {
            None => "It waits until RESUME on the proxy's console.".to_owned(),
            Some(until) => {
                let left = SignedDuration::try_from(until.saturating_duration_since(now)).unwrap_or_default();
                let until = today.checked_add(left).unwrap_or(today).strftime("%Y-%m-%d %H:%M:%S UTC");
                format!("It waits until {until} at most (wait_limit), and {then} after that.")
            }
        };
        (format!("waiting for a server: {why}"), detail)
    }
}

/// A client that waits, and what it was sent and has not taken.
struct Line {
    client: Stream,
    kept: Vec<u8>,
    told: bool,
}

impl Line {
    /// Sends the notice. A client that has not been let in yet is told first that its password was right: only behind that it takes one.
    async fn tell(&mut self, board: &Board, seat: &Seat, greeted: bool) {
        if !greeted && !seat.let_in.replace(true) {
            message::put_authentication_ok(&mut self.kept);
        }
        let (text, detail) = board.text(Instant::now(), Timestamp::now());
        message::put_notice(&mut self.kept, &text, &detail);
        self.told = true;
        let Self { client, kept, .. } = self;
        if poll_fn(|cx| poll_flush_kept(client, cx, kept)).await.is_err() {
            // It is gone, and that is found out where it is read from.
            self.kept.clear();
        }
    }
}

impl Session {
    /// Waits, and tells the client of it if it takes long.
    pub(super) async fn waiting<T>(&mut self, wait: impl AsyncFnOnce(&mut Self, &Board) -> T) -> T {
        let board = Board::new();
        let after = self.hub.rules().limits.notice;
        // Within a wait its client is somewhere else already.
        let elsewhere = matches!(self.client, Stream::Closed);
        let hidden = self.asked().quiet == Some(true);
        if after.is_zero() || elsewhere || hidden || !self.track.is_between_server_messages() {
            return wait(self, &board).await;
        }
        let (seat, greeted) = (Rc::clone(&self.seated.seat), self.greeted);
        let client = std::mem::replace(&mut self.client, Stream::Closed);
        let mut line = Line { client, kept: std::mem::take(&mut self.to_client), told: false };
        let outcome = {
            let mut waiting = pin!(wait(self, &board));
            let telling = async {
                sleep(after).await;
                line.tell(&board, &seat, greeted).await;
            };
            tokio::select! {
                biased;
                outcome = &mut waiting => outcome,
                () = telling => waiting.await,
            }
        };
        self.client = line.client;
        self.unflushed |= line.told;
        if !line.kept.is_empty() {
            line.kept.append(&mut self.to_client);
            self.to_client = line.kept;
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn check(why: Why, left: Option<u64>, text: &str, detail: &str) {
        let (now, board) = (Instant::now(), Board::new());
        board.post(why);
        board.post_end(left.map(|seconds| now + Duration::from_secs(seconds)));
        let today = "2026-11-27T23:59:45Z".parse().expect("a moment");
        assert_eq!(board.text(now, today), (format!("waiting for a server: {text}"), detail.to_owned()));
    }

    #[test]
    fn what_is_waited_for_and_until_when() {
        let member = MemberName::new("m1").expect("a name");
        let refused =
            "It waits until 2026-11-28 00:00:05 UTC at most (wait_limit), and is refused with 57P03 after that.";
        check(Why::NoLeader, Some(20), "no leader is open", refused);
        check(Why::Switchover, Some(20), "the leader is about to change", refused);
        let busy = Why::Busy { limit: 3, member: member.clone() };
        check(busy, Some(20), "all 3 connections to m1 are in use", refused);
        check(Why::Opening(member.clone()), Some(20), "a connection to m1 is being opened", refused);
        check(Why::Paused, None, "its database is paused", "It waits until RESUME on the proxy's console.");
        let unknown = "It waits until 2026-11-27 23:59:45 UTC at most (wait_limit), and is told 08007 (outcome unknown) after that.";
        check(Why::Doubt, Some(0), "the answer to COMMIT was lost with the leader, and the next one is asked", unknown);
        let board = Board::new();
        board.post_opening(&member);
        assert_eq!(board.why(), Why::Opening(member.clone()));
        board.post(Why::Said("m1: refused".into()));
        board.post_opening(&member);
        assert_eq!(board.why(), Why::Said("m1: refused".into()));
    }
}
