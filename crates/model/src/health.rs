//! What agents may do by themselves for their members' health: the `[health]` part of the specification. The health monitor
//! decides by it.

use crate::time::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Something that can be mended without a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FixKind {
    /// A receiver that is down is restarted.
    Receiver,
    /// A replay that somebody paused is resumed.
    Replay,
    /// What holds a replay up is ended.
    Query,
}

impl FixKind {
    /// All, with their words.
    pub const WORDS: [(&str, Self); 3] =
        [("receiver", Self::Receiver), ("replay", Self::Replay), ("query", Self::Query)];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }
}

/// What is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthSpec {
    /// What is mended.
    pub fix: BTreeSet<FixKind>,
    /// How long a replay may be paused.
    pub replay_after: Span,
    /// How long something may hold a replay up.
    pub query_after: Span,
}

impl Default for HealthSpec {
    fn default() -> Self {
        Self {
            // to restart what should run harms nobody; the others undo what a person does
            fix: BTreeSet::from([FixKind::Receiver]),
            replay_after: Span::ms(600_000),
            query_after: Span::ms(300_000),
        }
    }
}
