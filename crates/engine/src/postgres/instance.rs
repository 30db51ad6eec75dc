//! Where one member's server lives: folders, socket, port. Everything else here works on an [`Instance`].
//! It makes the folders; it never touches what is in the data directory.

use crate::host::folders::{make_private, run_dir};
use crate::postgres::{Binaries, Result};
use dauphin_model::{ClusterName, MemberName};
use std::path::{Path, PathBuf};

/// One server: its programs, folders and address.
#[derive(Debug, Clone)]
pub struct Instance {
    /// PostgreSQL's programs.
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
    /// Folder of the server's logs.
    pub log_dir: PathBuf,
    /// Port, of TCP and in the socket's name.
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
        let run_dir = run_dir(member_dir, os_user, |dir| socket_in(dir, port));
        Self {
            bin,
            cluster,
            member,
            member_dir: member_dir.to_owned(),
            data_dir: member_dir.join("data"),
            run_dir,
            log_dir: member_dir.join("log"),
            port,
            os_user: os_user.to_owned(),
        }
    }

    /// Path of the private socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        socket_in(&self.run_dir, self.port)
    }

    /// Replication's and pg_rewind's passwords, outside the data directory so that no clone carries them away.
    #[must_use]
    pub fn passfile(&self) -> PathBuf {
        self.member_dir.join("passfile")
    }

    /// Where clones grow before they become the data directory.
    #[must_use]
    pub fn staging_dir(&self) -> PathBuf {
        self.member_dir.join("clone")
    }

    /// Marks that a rewind of the data directory was begun and not finished.
    #[must_use]
    pub fn rewind_marker(&self) -> PathBuf {
        self.member_dir.join("rewind-begun")
    }

    /// Log segments that a rewind or re-clone cut off.
    #[must_use]
    pub fn cut_off_dir(&self) -> PathBuf {
        self.member_dir.join("cut-off")
    }

    /// What the server's main process writes before its own log is open.
    #[must_use]
    pub fn stderr_path(&self) -> PathBuf {
        self.log_dir.join("postmaster.log")
    }

    /// Makes the member's folders, private to the system user.
    ///
    /// # Errors
    /// [`Error::File`](crate::postgres::Error::File).
    pub fn make_dirs(&self) -> Result<()> {
        make_private(&[&self.member_dir, &self.log_dir, &self.run_dir])?;
        Ok(())
    }
}

fn socket_in(dir: &Path, port: u16) -> PathBuf {
    dir.join(format!(".s.PGSQL.{port}"))
}
