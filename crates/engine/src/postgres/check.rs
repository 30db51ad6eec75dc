//! Refuses data that is not this member's: another version, another cluster, empty where data was expected, or foreign
//! data where nothing was expected. Each refusal says what to do. Nothing is ever changed here.

use crate::postgres::control::identity_on_disk;
use crate::postgres::{Error, Instance, Result};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Why a data directory is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another major version made it.
    #[error(
        "{} was made by PostgreSQL {found} and the programs are {programs}; name the programs of {found} (`bin_dir` \
         under [local]), or, if the other members run {programs}, move the folder away and start the agent: it copies \
         the data from the leader", data_dir.display()
    )]
    Version {
        /// The folder.
        data_dir: PathBuf,
        /// Major version of the data.
        found: u32,
        /// Major version of the programs.
        programs: u32,
    },
    /// The member to copy from runs another major version.
    #[error(
        "{member} runs PostgreSQL {theirs} and the programs here are {programs}: its data would be of no use; name the \
         programs of {theirs} (`bin_dir` under [local])"
    )]
    SourceVersion {
        /// The member to copy from.
        member: String,
        /// Its major version.
        theirs: u32,
        /// Major version of the programs.
        programs: u32,
    },
    /// It belongs to another cluster.
    #[error(
        "{} belongs to another cluster (system identifier {found}; this cluster's is {expected}); name the right folder \
         (`data_dir` under [local]), or move this one away and start the agent: it copies the data from the leader",
        data_dir.display()
    )]
    System {
        /// The folder.
        data_dir: PathBuf,
        /// Its identity.
        found: u64,
        /// The cluster's.
        expected: u64,
    },
    /// Empty, or not there, where data was expected.
    #[error(
        "{} holds no data though this member had some; is its disk mounted? If the data is really gone, run \
         `dauphin reinit`", data_dir.display()
    )]
    NoData {
        /// The folder.
        data_dir: PathBuf,
    },
    /// Something where nothing was expected.
    #[error(
        "{} is not empty (it holds {found}) and is no data of this member's; nothing was changed in it. Move it away or \
         name another folder (`data_dir` under [local]): the member copies its data from the leader", data_dir.display()
    )]
    NotEmpty {
        /// The folder.
        data_dir: PathBuf,
        /// One of the names in it.
        found: String,
    },
    /// A rewind was begun and never finished: the data is neither the old nor the new.
    #[error(
        "{} is half rewound and cannot be started; only a new copy helps (`dauphin reinit`); what was cut off is in \
         the folder cut-off beside it", data_dir.display()
    )]
    HalfRewound {
        /// The folder.
        data_dir: PathBuf,
    },
    /// Rewinding is not possible.
    #[error("{} cannot be rewound: {why}", data_dir.display())]
    Rewind {
        /// The folder.
        data_dir: PathBuf,
        /// The precondition that fails, and what to do.
        why: String,
    },
    /// TLS is required and the server cannot speak it.
    #[error(
        "sql_tls is required and the PostgreSQL in {} was built without TLS; use another build, or set sql_tls = \
         \"off\"", bin.display()
    )]
    NoTls {
        /// Folder of the programs.
        bin: PathBuf,
    },
}

/// Refuses a folder that holds anything; one that is not there is empty.
///
/// # Errors
/// [`Refusal::NotEmpty`], [`Error::File`].
pub fn require_empty(data_dir: &Path) -> Result<()> {
    let mut entries = match std::fs::read_dir(data_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::file("look into", data_dir)(error)),
    };
    match entries.next() {
        None => Ok(()),
        Some(entry) => {
            let found = entry.map_err(Error::file("look into", data_dir))?.file_name().to_string_lossy().into_owned();
            Err(Refusal::NotEmpty { data_dir: data_dir.to_owned(), found }.into())
        }
    }
}

impl Instance {
    /// Whether the data directory holds a database at all.
    #[must_use]
    pub fn has_data(&self) -> bool {
        self.data_dir.join("PG_VERSION").is_file() && self.data_dir.join("global/pg_control").is_file()
    }

    /// Whether something was begun there that is no whole database yet: an initdb that was cut off.
    #[must_use]
    pub fn has_beginnings(&self) -> bool {
        self.data_dir.join("PG_VERSION").is_file() || self.data_dir.join("global").is_dir()
    }

    /// Checks that the data directory is this member's and that these programs can run it. `expected` is the cluster's
    /// system identifier, once known. Gives the one found.
    ///
    /// # Errors
    /// The [`Refusal`] that names the difference; [`Error::File`].
    pub fn check_data(&self, expected: Option<u64>) -> Result<u64> {
        let data_dir = || self.data_dir.clone();
        if !self.has_data() {
            return Err(Refusal::NoData { data_dir: data_dir() }.into());
        }
        if self.rewind_marker().exists() {
            return Err(Refusal::HalfRewound { data_dir: data_dir() }.into());
        }
        let (major, found) = identity_on_disk(&self.data_dir).map_err(Error::file("read", &self.data_dir))?;
        if major != self.bin.version.major {
            let programs = self.bin.version.major;
            return Err(Refusal::Version { data_dir: data_dir(), found: major, programs }.into());
        }
        match expected {
            Some(expected) if expected != found => {
                Err(Refusal::System { data_dir: data_dir(), found, expected }.into())
            }
            Some(_) | None => Ok(found),
        }
    }

    /// Checks that this build speaks TLS, when clients must use it.
    ///
    /// # Errors
    /// [`Refusal::NoTls`], [`Error::File`].
    pub fn check_tls(&self) -> Result<()> {
        let program = self.bin.program("postgres");
        let bytes = std::fs::read(&program).map_err(Error::file("read", &program))?;
        let speaks = bytes.windows(b"libssl.so".len()).any(|w| w == b"libssl.so");
        if speaks { Ok(()) } else { Err(Refusal::NoTls { bin: self.bin.dir.clone() }.into()) }
    }
}
