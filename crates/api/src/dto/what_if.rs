//! The document about what would happen if something befell the cluster.

use serde::{Deserialize, Serialize};

/// What would happen, simulated from the state as it is: `GET /v1/what-if`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WhatIf {
    /// What was supposed, in words.
    pub suppose: String,
    /// Who leads now.
    pub leader: String,
    /// How often it was simulated.
    pub draws: u32,
    /// How that ended, the most frequent end first.
    pub ends: Vec<Foretold>,
    /// What the simulation was told of the cluster as it is, and what it cannot know.
    pub notes: Vec<String>,
}

/// One way in which it can end.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Foretold {
    /// Who leads and lets clients in afterwards; null: nobody.
    pub leader: Option<String>,
    /// In so many of the draws.
    pub draws: u32,
    /// For how long no commit is acknowledged, in milliseconds: the median. Null: to the end.
    pub gap_ms: Option<u64>,
    /// The longest such time.
    pub gap_ms_max: Option<u64>,
    /// Acknowledged commits of at most so many milliseconds before it are lost.
    pub lost_ms_max: u64,
    /// Why nobody leads, if a member said.
    pub because: Option<String>,
}
