//! What a member must not forget, on its own disk beside the data: pledge, terms seen, incarnation. Written whole, synced,
//! with a checksum; read once at the start. A damaged file is refused, never guessed at.

use crate::error::AgentError;
use dauphin_ha::Durable;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const FILE: &str = "member.json";

/// Where it lies.
#[derive(Debug, Clone)]
pub(crate) struct Notes {
    path: PathBuf,
}

impl Notes {
    pub(crate) fn in_dir(state_dir: &Path) -> Self {
        Self { path: state_dir.join(FILE) }
    }

    /// Reads them; a member that never wrote any starts with none.
    pub(crate) fn load(&self) -> Result<Durable, AgentError> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Durable::default()),
            Err(error) => return Err(AgentError::file("read", &self.path)(error)),
        };
        read(&text).map_err(|why| AgentError::Damaged { path: self.path.clone(), why })
    }

    /// Writes them; returns when they are on the disk.
    pub(crate) fn save(&self, durable: &Durable) -> Result<(), AgentError> {
        let body = serde_json::to_string(durable).map_err(|e| AgentError::Refused(e.to_string()))?;
        let text = format!("{:08x}\n{body}\n", crc32fast::hash(body.as_bytes()));
        let next = self.path.with_extension("json.new");
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
            file.write_all(text.as_bytes())?;
            file.sync_data()?;
            fs::rename(&next, &self.path)?;
            File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()
        };
        write().map_err(AgentError::file("write", &self.path))
    }
}

fn read(text: &str) -> Result<Durable, String> {
    let (sum, body) = text.split_once('\n').ok_or("it has no checksum line")?;
    let body = body.trim_end();
    let sum = u32::from_str_radix(sum.trim(), 16).map_err(|_| "its checksum cannot be read")?;
    if crc32fast::hash(body.as_bytes()) != sum {
        return Err("its checksum does not fit".to_owned());
    }
    serde_json::from_str(body).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_model::{Incarnation, Term};

    #[test]
    fn what_was_saved_is_read_back_and_damage_is_refused() {
        let dir = std::env::temp_dir().join(format!("dauphin-notes-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a folder");
        let notes = Notes::in_dir(&dir);
        assert_eq!(notes.load().expect("none yet"), Durable::default());
        let durable = Durable { pledge: Term(7), incarnation: Incarnation(2), ..Durable::default() };
        notes.save(&durable).expect("written");
        assert_eq!(notes.load().expect("read"), durable);
        let text = fs::read_to_string(dir.join(FILE)).expect("there").replace("\"pledge\":7", "\"pledge\":1");
        fs::write(dir.join(FILE), text).expect("damaged");
        let refused = notes.load().expect_err("a pledge is never lowered by a bad disk").to_string();
        assert!(refused.contains("checksum") && refused.contains("new copy"), "{refused}");
        fs::remove_dir_all(&dir).expect("gone");
    }
}
