//! What a person should know of a member's server: found by the agent, carried by beats, told by every face. A remark is
//! reported and never acted on.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Settings that an acknowledged commit's safety rests on.
const VITAL: [&str; 4] = ["fsync", "full_page_writes", "synchronous_commit", "synchronous_standby_names"];

/// One thing worth knowing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remark {
    /// The member's certificate ends soon.
    CertificateEnds {
        /// Days that are left.
        days: i64,
    },
    /// Somebody paused the replay.
    ReplayPaused,
    /// `ALTER SYSTEM` goes before the shared configuration.
    SetByHand {
        /// Names of the settings.
        settings: Vec<String>,
    },
    /// More than one replica is attached under one name.
    SharedName {
        /// The `application_name`.
        name: String,
    },
    /// The member has no vote in the store.
    NoVote {
        /// Its name.
        member: String,
    },
}

impl Remark {
    /// One word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::CertificateEnds { .. } => "certificate_ends",
            Self::ReplayPaused => "replay_paused",
            Self::SetByHand { .. } => "set_by_hand",
            Self::SharedName { .. } => "shared_name",
            Self::NoVote { .. } => "no_vote",
        }
    }

    /// Whether it takes the promise away that an acknowledged commit is safe.
    #[must_use]
    pub fn endangers_commits(&self) -> bool {
        match self {
            Self::SetByHand { settings } => settings.iter().any(|s| VITAL.contains(&s.as_str())),
            Self::SharedName { .. } => true,
            Self::CertificateEnds { .. } | Self::ReplayPaused | Self::NoVote { .. } => false,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn next(&self) -> String {
        match self {
            Self::CertificateEnds { .. } => "dauphin init --renew makes new ones".to_owned(),
            Self::ReplayPaused => "SELECT pg_wal_replay_resume() there".to_owned(),
            Self::SetByHand { .. } => "ALTER SYSTEM RESET there takes a setting back".to_owned(),
            Self::SharedName { .. } => "end the one that is not ours".to_owned(),
            Self::NoVote { member } => format!("dauphin store add {member}"),
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CertificateEnds { days } => write!(f, "its certificate ends in {days} days"),
            Self::ReplayPaused => write!(f, "its replay is paused by hand"),
            Self::SetByHand { settings } => {
                write!(f, "ALTER SYSTEM goes before the shared configuration: {}", settings.join(", "))
            }
            Self::SharedName { name } => {
                write!(f, "two replicas call themselves {name}, and each counts for the other")
            }
            Self::NoVote { .. } => write!(f, "it has no vote in the store"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_endangers_commits_is_told_from_what_is_merely_odd() {
        let by_hand =
            |settings: &[&str]| Remark::SetByHand { settings: settings.iter().map(|s| (*s).into()).collect() };
        assert!(by_hand(&["work_mem", "fsync"]).endangers_commits());
        assert!(!by_hand(&["work_mem"]).endangers_commits());
        assert!(Remark::SharedName { name: "dauphin_m2_1".into() }.endangers_commits());
        assert!(!Remark::ReplayPaused.endangers_commits());
    }
}
