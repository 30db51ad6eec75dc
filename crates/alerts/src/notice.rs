//! What is told to people in one go: what was raised, got worse or better, was cleared, or still lasts.

use crate::condition::Kind;
use dauphin_model::{Level, MemberName};
use serde::{Deserialize, Serialize};

/// What became of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is new.
    Raised,
    /// It got worse.
    Worse,
    /// It got better and is not over.
    Better,
    /// It is over.
    Cleared,
    /// It still lasts.
    Reminder,
}

/// One alert of a notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The alert's number: from its raising to its clearing the same.
    pub id: u64,
    /// What became of it.
    pub change: Change,
    /// What it is.
    pub kind: Kind,
    /// Whom it is about.
    pub member: Option<MemberName>,
    /// How bad it is; of one that is over, how bad it was told to be last.
    pub level: Level,
    /// How bad people were told that it is before; `None`: it is new.
    pub before: Option<Level>,
    /// In a sentence.
    pub text: String,
    /// What to do about it.
    pub next: String,
    /// When it was raised, in seconds since 1970; for people.
    pub raised_unix: u64,
}

/// What is told in one go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Its number in this cluster: the same notice, told twice, has the same.
    pub number: u64,
    /// When it was made, in seconds since 1970; for people.
    pub at_unix: u64,
    /// What became of which alert; the worst first.
    pub items: Vec<Item>,
}

impl Notice {
    /// The worst level among what is not over; `None`: all of it is.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        self.items.iter().filter(|item| item.change != Change::Cleared).map(|item| item.level).max()
    }
}
