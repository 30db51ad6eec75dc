//! The file of passwords: read at the start, kept in memory, shown nowhere.

use crate::error::AgentError;
use dauphin_engine::host::Secret;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Passwords by role: those of Dauphin's own, and those that the lab asks for.
#[derive(Debug, Clone)]
pub(crate) struct Secrets {
    path: PathBuf,
    all: BTreeMap<String, Secret>,
}

impl Secrets {
    pub(crate) fn load(path: &Path) -> Result<Self, AgentError> {
        let mode = std::fs::metadata(path).map_err(AgentError::file("read", path))?.mode();
        if mode & 0o077 != 0 {
            let text = format!("{} can be read by others (mode {:o}); chmod 600 it", path.display(), mode & 0o777);
            return Err(AgentError::Configuration(text));
        }
        let text = std::fs::read_to_string(path).map_err(AgentError::file("read", path))?;
        // the parser's own message would show the line, and with it the secret
        let all: BTreeMap<String, String> = toml::from_str(&text).map_err(|_| {
            AgentError::Configuration(format!("{}: lines of the form role = \"password\" are expected", path.display()))
        })?;
        let given = all.into_iter().filter(|(_, password)| !password.is_empty());
        Ok(Self { path: path.to_owned(), all: given.map(|(role, password)| (role, Secret::new(password))).collect() })
    }

    /// The password of a role, where there is one.
    pub(crate) fn of(&self, role: &str) -> Option<&Secret> {
        self.all.get(role)
    }

    /// The password of a role that there must be.
    pub(crate) fn need(&self, role: &str) -> Result<Secret, AgentError> {
        self.of(role).cloned().ok_or_else(|| {
            AgentError::Configuration(format!("{}: the password of {role} is missing", self.path.display()))
        })
    }
}
