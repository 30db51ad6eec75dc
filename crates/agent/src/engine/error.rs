//! What can go wrong with this member's server, whichever engine it is, and what of it the core has to know.

use dauphin_engine::postgres;
use dauphin_ha::EngineFailure;
use std::path::PathBuf;

/// Why an act on the server failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// PostgreSQL's.
    #[error(transparent)]
    Postgres(#[from] postgres::Error),
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
            Self::Ended { .. } => true,
            Self::Guard(_) => false,
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
                postgres::Error::Setting { .. }
                | postgres::Error::NoBinaries { .. }
                | postgres::Error::Version { .. },
            ) => 2,
            Self::Postgres(postgres::Error::Refused(_)) => 3,
            Self::Postgres(_) | Self::Ended { .. } | Self::Guard(_) => 1,
        }
    }
}
