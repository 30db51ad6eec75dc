//! What an agent may do for its own replica's health, and when: restart a receiver, resume a replay, end what holds it up.
//! Only what the specification allows, after a time, and a few times at most. It never touches who leads, and a leader gets
//! no treatment at all.

use crate::finding::shown_span;
use dauphin_model::{FixKind, Mono, Span, Spec};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A receiver is given this many times the profile's `suspect` to come up by itself.
const RECEIVER_SUSPECTS: u64 = 3;
/// Pause between two attempts, in times of `suspect`.
const AGAIN_SUSPECTS: u64 = 5;
/// Looks without it after which a replay is not held up any more.
const CLEAR_AFTER: u32 = 3;
/// How often the same trouble is treated before it is left to people.
const TRIES_MAX: u32 = 3;

/// A session that holds replay up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// Its process.
    pub pid: i32,
    /// When it began, as the server writes it: numbers of processes are used again.
    pub began: String,
}

/// What an agent knows of its own member.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Own {
    /// It is a replica whose server runs, with nothing under way.
    pub calm_replica: bool,
    /// A leader lets clients in.
    pub open: bool,
    /// It receives nothing.
    pub unfed: bool,
    /// Its replay is paused.
    pub paused: bool,
    /// Somebody has said that this is meant: a silence, or the alert is in hand.
    pub pause_is_meant: bool,
    /// Settings wait for a restart: a server pauses by itself where its own are too small to go on, and would stop if resumed.
    pub pending_restart: bool,
    /// What holds its replay up.
    pub blocker: Option<Blocker>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fix")]
pub enum Fix {
    /// Restart its receiver.
    Receiver {
        /// For how long nothing was received.
        after: Span,
    },
    /// Resume its replay.
    Replay {
        /// For how long it was paused.
        after: Span,
    },
    /// End what a session does.
    Query {
        /// Its process.
        pid: i32,
        /// When it began.
        began: String,
        /// For how long replay was held up.
        after: Span,
    },
}

impl Fix {
    /// What it is for.
    #[must_use]
    pub const fn kind(&self) -> FixKind {
        match self {
            Self::Receiver { .. } => FixKind::Receiver,
            Self::Replay { .. } => FixKind::Replay,
            Self::Query { .. } => FixKind::Query,
        }
    }
}

impl fmt::Display for Fix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receiver { after } => {
                let after = shown_span(*after);
                write!(f, "restarted the server's receiver: nothing was received for {after}, though a leader is open")
            }
            Self::Replay { after } => {
                let after = shown_span(*after);
                write!(f, "resumed the replay: it was paused for {after}, and nobody had said that this is meant")
            }
            Self::Query { pid, after, .. } => {
                write!(f, "ended what process {pid} did: it held the replay up for {}", shown_span(*after))
            }
        }
    }
}

/// One kind of trouble.
#[derive(Debug, Clone, Default)]
struct Trouble {
    since: Option<Mono>,
    tries: u32,
    last: Option<Mono>,
}

impl Trouble {
    /// Whether it is time to act. Counts it as done.
    fn is_due(&mut self, now: Mono, lasts: bool, after: Span, again: Span) -> Option<Span> {
        if !lasts {
            *self = Self::default();
            return None;
        }
        let held = now.since(*self.since.get_or_insert(now));
        let rested = self.last.is_none_or(|last| now.since(last) >= again);
        if held < after || !rested || self.tries >= TRIES_MAX {
            return None;
        }
        self.tries += 1;
        self.last = Some(now);
        Some(held)
    }
}

/// What was found and tried so far.
#[derive(Debug, Clone, Default)]
pub struct Treatment {
    receiver: Trouble,
    replay: Trouble,
    query: Trouble,
    /// Whom the attempts of `query` were about.
    blocker: Option<Blocker>,
    /// Looks in a row that saw nothing hold the replay up: between two waits of the server there is a moment.
    clear: u32,
    /// Since when something has.
    held_up: Option<Mono>,
}

impl Treatment {
    /// Since when something has held the replay up.
    #[must_use]
    pub const fn held_up_since(&self) -> Option<Mono> {
        self.held_up
    }

    /// What to do now, if anything.
    pub fn step(&mut self, now: Mono, spec: &Spec, own: &Own) -> Option<Fix> {
        let (wanted, suspect) = (&spec.health, spec.profile.suspect());
        let allowed = |kind| wanted.fix.contains(&kind) && own.calm_replica;
        let again = suspect.times(AGAIN_SUSPECTS);
        let deaf = allowed(FixKind::Receiver) && own.open && own.unfed;
        if let Some(after) = self.receiver.is_due(now, deaf, suspect.times(RECEIVER_SUSPECTS), again) {
            return Some(Fix::Receiver { after });
        }
        let forgotten = allowed(FixKind::Replay) && own.paused && !own.pause_is_meant && !own.pending_restart;
        if let Some(after) = self.replay.is_due(now, forgotten, wanted.replay_after, again) {
            return Some(Fix::Replay { after });
        }
        // how long replay is held up counts, whoever does it; attempts count for each
        if own.blocker.is_some() && self.blocker != own.blocker {
            self.blocker.clone_from(&own.blocker);
            (self.query.tries, self.query.last) = (0, None);
        }
        self.clear = if own.blocker.is_some() { 0 } else { self.clear.saturating_add(1) };
        if self.clear >= CLEAR_AFTER {
            self.held_up = None;
        } else if own.blocker.is_some() {
            self.held_up.get_or_insert(now);
        }
        let held_up = allowed(FixKind::Query) && self.clear < CLEAR_AFTER && !own.paused;
        if held_up && own.blocker.is_none() {
            return None;
        }
        let after = self.query.is_due(now, held_up, wanted.query_after, suspect)?;
        let Blocker { pid, began } = own.blocker.clone()?;
        Some(Fix::Query { pid, began, after })
    }
}
