//! `lab.json`: what a lab was made as. Written once by `up`, read by every other verb. It holds passwords: mode 0600.
//! It holds no pids; those are looked up in `/proc` when they are needed.

use crate::error::LabError;
use crate::network::{LabNetwork, Namespace};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

const FILE: &str = "lab.json";

/// A lab as it was made.
#[derive(Clone, Serialize, Deserialize)]
pub struct Lab {
    /// Name of the cluster.
    pub cluster: String,
    /// The engine's kind.
    pub engine: String,
    /// The engine's version, as its binaries say.
    pub version: String,
    /// `async`, `sync` or `quorum`.
    pub durability: String,
    /// `fast`, `standard` or `wan`.
    pub profile: String,
    /// The folder.
    pub dir: PathBuf,
    /// The members.
    pub members: Vec<LabMember>,
    /// The proxy.
    pub proxy: Option<LabProxy>,
    /// The token of the agents' HTTP ports.
    pub token: String,
    /// Owner of the database for applications.
    pub app: Login,
    /// A superuser.
    pub admin: Login,
    /// The program that agents run.
    pub program: PathBuf,
    /// The user that agents run as, when the lab was made by root.
    pub user: Option<LabUser>,
    /// A parent of the folder that the user cannot pass: processes see the folder through a mount of their own.
    #[serde(default)]
    pub closed_parent: Option<PathBuf>,
    /// The engine's programs, where they lie behind `closed_parent` too.
    #[serde(default)]
    pub engine_home: Option<PathBuf>,
    /// The members' hosts, when they have hosts of their own.
    #[serde(default)]
    pub network: Option<LabNetwork>,
    /// Whether each member has a disk of its own.
    #[serde(default)]
    pub disks: bool,
    /// Whether each member's wall clock can be set.
    #[serde(default)]
    pub clocks: bool,
    /// Whether `up` made the folder itself.
    pub made_dir: bool,
    /// What `up` made in the folder: what `down` removes.
    pub made: Vec<String>,
}

/// A member of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabMember {
    /// Its name.
    pub name: String,
    /// Its address.
    pub host: String,
    /// Its server's port; 0 for a witness.
    pub sql_port: u16,
    /// Its agent's HTTP port.
    pub api_port: u16,
    /// Its agent's port for other members.
    pub link_port: u16,
    /// Whether it is a witness.
    pub witness: bool,
}

/// The proxy of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabProxy {
    /// Its address.
    pub host: String,
    /// Sessions to the leader.
    pub write_port: u16,
    /// Sessions to replicas.
    pub read_port: u16,
}

/// A database user.
#[derive(Clone, Serialize, Deserialize)]
pub struct Login {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: String,
}

/// A system user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabUser {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its group's number.
    pub gid: u32,
}

impl Lab {
    /// The lab in this folder.
    ///
    /// # Errors
    /// [`LabError::NoLab`] when there is none; I/O errors.
    pub fn load(dir: &Path) -> Result<Self, LabError> {
        let dir = fs::canonicalize(dir).map_err(|_| LabError::NoLab(dir.to_owned()))?;
        let path = dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(LabError::NoLab(dir)),
            Err(e) => return Err(LabError::io("cannot read", &path)(e)),
        };
        let mut lab: Self = serde_json::from_str(&text)
            .map_err(|e| LabError::Failed(format!("{} is damaged: {e}; remove the folder by hand", path.display())))?;
        // the folder may have been named by another path then
        lab.dir = dir;
        Ok(lab)
    }

    /// Whether a lab was made in this folder.
    #[must_use]
    pub fn is_in(dir: &Path) -> bool {
        dir.join(FILE).exists()
    }

    /// Writes `lab.json`.
    ///
    /// # Errors
    /// I/O errors.
    pub fn save(&self) -> Result<(), LabError> {
        let text = serde_json::to_string_pretty(self).map_err(|e| LabError::Failed(e.to_string()))?;
        crate::bundle::write_private(&self.dir.join(FILE), text.as_bytes())
    }

    /// Name of the file with this state, in the folder.
    #[must_use]
    pub fn file_name() -> &'static str {
        FILE
    }

    /// The member of that name.
    ///
    /// # Errors
    /// [`LabError::Usage`] naming those that there are.
    pub fn member(&self, name: &str) -> Result<&LabMember, LabError> {
        self.members.iter().find(|m| m.name == name).ok_or_else(|| {
            let names: Vec<_> = self.members.iter().map(|m| m.name.as_str()).collect();
            LabError::Usage(format!("there is no member {name:?} in this lab: there are {}", names.join(", ")))
        })
    }

    /// The folder of a member.
    #[must_use]
    pub fn member_dir(&self, member: &LabMember) -> PathBuf {
        self.dir.join(&member.name)
    }

    /// The configuration file of a member.
    #[must_use]
    pub fn config(&self, member: &LabMember) -> PathBuf {
        self.member_dir(member).join("dauphin.toml")
    }

    /// The data directory of a member.
    #[must_use]
    pub fn data_dir(&self, member: &LabMember) -> PathBuf {
        self.member_dir(member).join("data")
    }

    /// The folder of the proxy.
    #[must_use]
    pub fn proxy_dir(&self) -> PathBuf {
        self.dir.join("proxy")
    }

    /// Where the processes of a member run, when it has a host of its own.
    pub(crate) fn namespace(&self, member: &LabMember) -> Option<Namespace> {
        self.network.as_ref().map(|network| network.namespace(member))
    }

    /// The agents' HTTP addresses.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|m| format!("{}:{}", m.host, m.api_port)).collect()
    }
}
