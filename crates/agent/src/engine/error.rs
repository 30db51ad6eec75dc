//! What can go wrong with this member's server, whichever engine it is, and what of it the core has to know.

use dauphin_engine::{mysql, postgres};
use dauphin_ha::EngineFailure;
use dauphin_model::MemberName;
use std::path::PathBuf;

/// Why an act on the server failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// PostgreSQL's.
    #[error(transparent)]
    Postgres(#[from] postgres::Error),
    /// MySQL's or MariaDB's.
    #[error(transparent)]
    Mysql(#[from] mysql::Error),
    /// Logs parted, and this engine's data cannot be taken back to where they did.
    #[error("{engine} does not go back to where logs part, and its data is to be copied anew{kept}")]
    NoWayBack {
        /// Which engine.
        engine: &'static str,
        /// What it alone holds, what that did, and where it is kept, beginning with "; ", or empty.
        kept: String,
    },
    /// Another cluster's data.
    #[error(
        "{} holds the data of another cluster; nothing was changed in it. Move it away, or name another folder (`data_dir` under \
         [local])", data_dir.display()
    )]
    Foreign {
        /// The data directory.
        data_dir: PathBuf,
    },
    /// Another member's agent does not say what is needed.
    #[error("the agent of {member} does not say {about}; it is asked again")]
    NoAnswer {
        /// Which member.
        member: MemberName,
        /// What was asked.
        about: &'static str,
    },
    /// The specification does not name a member.
    #[error("the specification does not name {member}")]
    Unnamed {
        /// Which.
        member: MemberName,
    },
    /// The server ended while it was started.
    #[error("the server on {} ended by itself while it started; its log says why", data_dir.display())]
    Ended {
        /// Its data directory.
        data_dir: PathBuf,
    },
    /// The guard did not do what it was asked.
    #[error("{0}")]
    Guard(String),
}

impl Error {
    /// Whether the data is to blame: a server that ended by itself, or data that is not what it should be.
    fn blames_data(&self) -> bool {
        match self {
            Self::Postgres(error) => {
                matches!(error, postgres::Error::NotRunning { .. } | postgres::Error::Refused(_))
            }
            Self::Mysql(error) => error.blames_data(),
            Self::NoWayBack { .. } | Self::Foreign { .. } | Self::Ended { .. } => true,
            Self::NoAnswer { .. } | Self::Unnamed { .. } | Self::Guard(_) => false,
        }
    }

    /// What the core is told. `half_done`: the data is marked as unfinished.
    pub(crate) fn told(&self, half_done: bool) -> EngineFailure {
        EngineFailure { because: self.to_string(), bad_data: half_done || self.blames_data() }
    }

    /// The exit code of an agent that cannot start for it: 2 for what a person has to put right in a file, 3 for what is
    /// refused for safety.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Postgres(
                postgres::Error::Setting { .. } | postgres::Error::NoBinaries { .. } | postgres::Error::Version { .. },
            )
            | Self::Mysql(
                mysql::Error::Setting { .. } | mysql::Error::NoBinaries { .. } | mysql::Error::Version { .. },
            ) => 2,
            Self::Postgres(postgres::Error::Refused(_))
            | Self::Mysql(mysql::Error::Refused(_))
            | Self::Foreign { .. } => 3,
            Self::Postgres(_)
            | Self::Mysql(_)
            | Self::NoWayBack { .. }
            | Self::NoAnswer { .. }
            | Self::Unnamed { .. }
            | Self::Ended { .. }
            | Self::Guard(_) => 1,
        }
    }
}
