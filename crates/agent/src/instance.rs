//! What every engine needs of the member's file and of this machine: where the data lies, and which user runs here.

use crate::error::AgentError;
use dauphin_model::file::Local;
use std::path::{Path, PathBuf};

/// The data directory; inside the agent's own folder where the file names none.
pub(crate) fn data_dir(local: &Local) -> PathBuf {
    local.data_dir.clone().unwrap_or_else(|| local.state_dir.join("data"))
}

/// The name of the user that this process runs as: the database's superuser is mapped to it.
pub(crate) fn os_user() -> Result<String, AgentError> {
    let uid = rustix::process::getuid().as_raw();
    let path = Path::new("/etc/passwd");
    let text = std::fs::read_to_string(path).map_err(AgentError::file("read", path))?;
    let field = |line: &str, n: usize| line.split(':').nth(n).map(str::to_owned);
    text.lines()
        .find(|line| field(line, 2).and_then(|f| f.parse::<u32>().ok()) == Some(uid))
        .and_then(|line| field(line, 0))
        .ok_or_else(|| {
            AgentError::Configuration(format!("user id {uid} has no name in /etc/passwd; run as a named user"))
        })
}
