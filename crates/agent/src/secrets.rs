//! The file of passwords: read at the start, kept in memory, shown nowhere.

use crate::error::AgentError;
use dauphin_engine::postgres::{Credentials, Secret};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Passwords of Dauphin's roles, and of those that the lab asks for.
#[derive(Debug, Clone)]
pub(crate) struct Secrets {
    pub(crate) credentials: Credentials,
    pub(crate) admin: Option<Secret>,
    pub(crate) app: Option<Secret>,
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
        let of = |role: &str| {
            all.get(role).filter(|p| !p.is_empty()).cloned().map(Secret::new).ok_or_else(|| {
                AgentError::Configuration(format!("{}: the password of {role} is missing", path.display()))
            })
        };
        Ok(Self {
            credentials: Credentials {
                replication: of("replication")?,
                rewind: of("rewind")?,
                monitor: of("monitor")?,
                proxy: of("proxy")?,
            },
            admin: of("admin").ok(),
            app: of("app").ok(),
        })
    }
}
