//! Where one member's server lives: folders, socket, port. Everything else here works on an [`Instance`].
//! It makes the folders; it never touches what is in the data directory.

use crate::host::files;
use crate::host::folders::{make_private, run_dir};
use crate::host::process::{Process, all_in};
use crate::mysql::{Binaries, Dialect, Error, Refusal, Result};
use dauphin_model::{ClusterName, MemberName};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// One server: its programs, folders and address.
#[derive(Debug, Clone)]
pub struct Instance {
    /// The programs.
    pub bin: Binaries,
    /// The cluster.
    pub cluster: ClusterName,
    /// The member.
    pub member: MemberName,
    /// The member's folder: beside the data, on the same file system.
    pub member_dir: PathBuf,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Folder of the private socket, for nobody but the system user.
    pub run_dir: PathBuf,
    /// Folder of the server's log.
    pub log_dir: PathBuf,
    /// Port.
    pub port: u16,
    /// The system user that agents and servers run as.
    pub os_user: String,
}

impl Instance {
    /// An instance in `member_dir`: `data`, `run` and `log` inside it. The socket's folder moves to `/tmp` under a
    /// hashed name when the path would be too long.
    #[must_use]
    pub fn new(
        bin: Binaries,
        cluster: ClusterName,
        member: MemberName,
        member_dir: &Path,
        port: u16,
        os_user: &str,
    ) -> Self {
        Self {
            bin,
            cluster,
            member,
            member_dir: member_dir.to_owned(),
            data_dir: member_dir.join("data"),
            run_dir: run_dir(member_dir, os_user, socket_in),
            log_dir: member_dir.join("log"),
            port,
            os_user: os_user.to_owned(),
        }
    }

    /// How to speak to the server.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.bin.dialect
    }

    /// Path of the private socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        socket_in(&self.run_dir)
    }

    /// Our configuration file, the only one that the server reads. Outside the data directory, so that no clone carries it
    /// away.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.member_dir.join("dauphin.cnf")
    }

    /// Where a new data directory grows before it becomes one.
    #[must_use]
    pub fn staging_dir(&self) -> PathBuf {
        self.member_dir.join("new")
    }

    /// The server's temporary files, unless the user names another folder. Never one that other servers have too: a MariaDB that
    /// starts removes what it takes for left over there.
    #[must_use]
    pub fn tmp_dir(&self) -> PathBuf {
        self.member_dir.join("tmp")
    }

    /// The server's own log.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.log_dir.join("server.log")
    }

    /// What the server's process writes before its own log is open.
    #[must_use]
    pub fn stderr_path(&self) -> PathBuf {
        self.log_dir.join("stderr.log")
    }

    pub(crate) fn pid_path(&self) -> PathBuf {
        self.run_dir.join("server.pid")
    }

    /// Makes the member's folders, private to the system user.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn make_dirs(&self) -> Result<()> {
        Ok(make_private(&[&self.member_dir, &self.log_dir, &self.run_dir, &self.tmp_dir()])?)
    }

    /// Whether the data directory holds a database at all.
    #[must_use]
    pub fn has_data(&self) -> bool {
        self.data_dir.join("ibdata1").is_file() && self.data_dir.join("mysql").is_dir()
    }

    /// Refuses a data directory that holds anything; one that is not there is empty.
    ///
    /// # Errors
    /// [`Refusal::NotEmpty`], [`Error::File`].
    pub fn require_empty(&self) -> Result<()> {
        let data_dir = &self.data_dir;
        let mut entries = match std::fs::read_dir(data_dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::file("look into", data_dir)(error)),
        };
        let Some(first) = entries.next() else { return Ok(()) };
        let found = first.map_err(Error::file("look into", data_dir))?.file_name().to_string_lossy().into_owned();
        Err(Refusal::NotEmpty { data_dir: data_dir.clone(), found }.into())
    }

    /// The verified server process; `None` if none runs.
    #[must_use]
    pub fn process(&self) -> Option<Process> {
        let text = files::read_or_empty(&self.pid_path()).ok()?;
        Process::in_dir(text.trim().parse().ok()?, &self.data_dir)
    }

    pub(crate) fn require_stopped(&self) -> Result<()> {
        match all_in(&self.data_dir).first() {
            Some(pid) => Err(Error::Running { pid: *pid, data_dir: self.data_dir.clone() }),
            None => Ok(()),
        }
    }
}

fn socket_in(dir: &Path) -> PathBuf {
    dir.join("mysqld.sock")
}
