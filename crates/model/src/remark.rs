//! What a person should know of a member's server: found by the agent, carried by beats, told by every face. A remark is
//! reported and never acted on.

use crate::spec::EngineKind;
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
    /// Somebody changed settings on a running server that are Dauphin's, and they were set back.
    SetBack {
        /// Their names.
        settings: Vec<String>,
    },
    /// The member holds transactions that no leader wrote.
    Errant {
        /// Which, for people.
        transactions: String,
    },
    /// Commits were told as done while too few replicas held them: somebody ended their wait.
    Unacknowledged {
        /// How many.
        commits: u64,
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
            Self::SetBack { .. } => "set_back",
            Self::Errant { .. } => "errant",
            Self::Unacknowledged { .. } => "unacknowledged",
        }
    }

    /// Whether it takes the promise away that an acknowledged commit is safe.
    #[must_use]
    pub fn endangers_commits(&self) -> bool {
        match self {
            Self::SetByHand { settings } => settings.iter().any(|s| VITAL.contains(&s.as_str())),
            // who may write on a replica takes nothing away that was acknowledged; all else that is Dauphin's does
            Self::SetBack { settings } => settings.iter().any(|s| !s.ends_with("read_only")),
            Self::SharedName { .. } | Self::Unacknowledged { .. } => true,
            Self::CertificateEnds { .. } | Self::ReplayPaused | Self::NoVote { .. } | Self::Errant { .. } => false,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn next(&self, engine: EngineKind) -> String {
        match self {
            Self::CertificateEnds { .. } => "dauphin init --renew makes new ones".to_owned(),
            Self::ReplayPaused => format!("{} there", engine.resumes_replay()),
            Self::SetByHand { .. } => "ALTER SYSTEM RESET there takes a setting back".to_owned(),
            Self::SharedName { .. } => "end the one that is not ours".to_owned(),
            Self::NoVote { member } => format!("dauphin store add {member}"),
            Self::SetBack { .. } => "find out who did; settings are changed with dauphin config set".to_owned(),
            Self::Errant { .. } => {
                "dauphin explain MEMBER names what they did and where they are kept; dauphin reinit MEMBER copies it anew"
                    .to_owned()
            }
            Self::Unacknowledged { .. } => {
                "bring the replicas back before anything happens to the leader; end no wait by hand".to_owned()
            }
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
            Self::SetBack { settings } => {
                write!(f, "somebody changed what is Dauphin's, and it was set back: {}", settings.join(", "))
            }
            Self::Errant { transactions } => {
                write!(f, "it holds what no leader wrote ({transactions}), and is never elected with that")
            }
            Self::Unacknowledged { commits } => {
                write!(
                    f,
                    "{commits} commits were reported as done, and too few replicas hold them: their wait was ended"
                )
            }
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
        let back = |settings: &[&str]| Remark::SetBack { settings: settings.iter().map(|s| (*s).into()).collect() };
        assert!(back(&["super_read_only", "rpl_semi_sync_source_timeout"]).endangers_commits());
        assert!(!back(&["read_only"]).endangers_commits() && !back(&["super_read_only"]).endangers_commits());
    }
}
