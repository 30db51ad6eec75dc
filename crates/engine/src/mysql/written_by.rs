//! Which server wrote a member's data: of which family, by its files, and of which version last, by a note beside it. A start with
//! programs that could not read it, or would read half of it, is refused before anything is changed.

use crate::host::files;
use crate::mysql::follow::is_older;
use crate::mysql::{Flavour, Instance, Refusal, Result, Version};
use std::path::PathBuf;

impl Instance {
    /// Says beside the data which version runs on it.
    fn written_by_path(&self) -> PathBuf {
        self.member_dir.join("server-version")
    }

    /// Refuses data of the other family, or of a newer series than these programs.
    pub(crate) fn require_own_data(&self) -> Result<()> {
        let own = &self.bin.version;
        let refuse = |theirs: String, why: &'static str| {
            Err(Refusal::Data { data_dir: self.data_dir.clone(), own: own.clone(), theirs, why }.into())
        };
        let (other, sign) = match own.flavour {
            Flavour::Mysql => (Flavour::Mariadb, "aria_log_control"),
            Flavour::Mariadb => (Flavour::Mysql, "mysql.ibd"),
        };
        if self.data_dir.join(sign).exists() {
            return refuse(
                other.to_string(),
                "neither family reads the other's files; move it away, or name its own programs",
            );
        }
        let noted = files::read_or_empty(&self.written_by_path())?;
        match Version::parse(noted.trim()).filter(|theirs| is_older(own, theirs)) {
            Some(theirs) => refuse(
                theirs.to_string(),
                "a server of an older series does not read it; name programs of that version, or have the member copied anew",
            ),
            None => Ok(()),
        }
    }

    /// Notes that a server of this version has the data now.
    pub(crate) fn note_version(&self) -> Result<()> {
        let text = &self.bin.version.text;
        if files::read_or_empty(&self.written_by_path())? != *text {
            files::replace(&self.written_by_path(), text, true)?;
        }
        Ok(())
    }

    /// The data is gone: whoever comes next finds none of anybody's.
    pub(crate) fn forget_version(&self) -> Result<()> {
        Ok(files::remove(&self.written_by_path())?)
    }
}
