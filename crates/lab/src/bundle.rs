//! The files that make a machine a member: its identity, the cluster's secrets and token, its configuration. `lab up`
//! and `dauphin init` write them through here. Nothing secret is shown, logged or readable by others.

use crate::error::LabError;
use dauphin_model::EngineKind;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Random bytes in a password or token: 160 bits.
const SECRET_BYTES: usize = 20;
/// The same where 32 characters are the most that a replica of MySQL can log in with.
const SHORT_SECRET_BYTES: usize = 16;

/// The passwords of the roles that Dauphin makes in the database, and those that a lab adds.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets {
    /// Role and password, in the order in which they are written.
    roles: Vec<(&'static str, String)>,
}

impl Secrets {
    /// New passwords for Dauphin's own roles in this engine.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn random(engine: EngineKind) -> Result<Self, LabError> {
        let (names, bytes): (&[&'static str], _) = match engine {
            EngineKind::Postgres => (&["replication", "rewind", "monitor", "proxy", "admin"], SECRET_BYTES),
            EngineKind::Mysql | EngineKind::Mariadb => {
                (&["replication", "copy", "monitor", "admin"], SHORT_SECRET_BYTES)
            }
        };
        let roles = names.iter().map(|role| Ok((*role, word_of(bytes)?))).collect::<Result<_, LabError>>()?;
        Ok(Self { roles })
    }

    /// The same, with the owner of the database `app`.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn with_app(mut self) -> Result<Self, LabError> {
        self.roles.push(("app", random_word()?));
        Ok(self)
    }

    /// The password of a role.
    #[must_use]
    pub fn of(&self, role: &str) -> &str {
        self.roles.iter().find(|(name, _)| *name == role).map_or("", |(_, password)| password)
    }

    /// The secrets file.
    #[must_use]
    pub fn text(&self) -> String {
        let lines = self.roles.iter().map(|(role, password)| format!("{role} = \"{password}\"\n"));
        lines.fold("# Passwords of the roles in the database. Keep this file to its user.\n".to_owned(), |a, b| a + &b)
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(hidden)")
    }
}

/// A word that nobody guesses: for passwords and tokens.
///
/// # Errors
/// When the system gives no random bytes.
pub fn random_word() -> Result<String, LabError> {
    word_of(SECRET_BYTES)
}

fn word_of(length: usize) -> Result<String, LabError> {
    let mut bytes = vec![0_u8; length];
    let source = Path::new("/dev/urandom");
    let mut file = fs::File::open(source).map_err(LabError::io("cannot open", source))?;
    file.read_exact(&mut bytes).map_err(LabError::io("cannot read", source))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// Writes a file that only its owner can read: whole, or not at all.
///
/// # Errors
/// I/O errors.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), LabError> {
    write_whole(path, bytes, 0o600).map_err(LabError::io("cannot write", path))
}

/// Writes a file that everybody can read: whole, or not at all.
///
/// # Errors
/// I/O errors.
pub fn write_public(path: &Path, bytes: &[u8]) -> Result<(), LabError> {
    write_whole(path, bytes, 0o644).map_err(LabError::io("cannot write", path))
}

fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = Path::new(&name);
    let _ = fs::remove_file(new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(new, path)
}

/// Makes a folder (and its parents) that only its owner can enter; one that exists stays as it is.
///
/// # Errors
/// I/O errors.
pub fn make_private(path: &Path) -> Result<(), LabError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(LabError::io("cannot make", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn secrets_differ_and_are_not_shown() {
        let a = Secrets::random(EngineKind::Postgres).and_then(Secrets::with_app).expect("random bytes");
        let b = Secrets::random(EngineKind::Mysql).expect("random bytes");
        assert_ne!(a.of("admin"), b.of("admin"));
        assert_ne!(a.of("admin"), a.of("app"));
        assert_eq!(a.of("app").len(), 2 * SECRET_BYTES);
        assert!(!format!("{a:?}").contains(a.of("app")) && a.text().contains(a.of("app")));
        assert_eq!(b.of("app"), "");
        assert_eq!(b.of("replication").len(), 32, "the most that a replica of MySQL can log in with");
    }

    #[test]
    fn private_files_are_private() {
        let dir = std::env::temp_dir().join(format!("dauphin-bundle-{}", std::process::id()));
        make_private(&dir).expect("a folder");
        let file = dir.join("x");
        write_private(&file, b"1").and_then(|()| write_private(&file, b"2")).expect("written twice");
        let mode = |path: &Path| fs::metadata(path).expect("there").mode() & 0o777;
        assert_eq!((mode(&dir), mode(&file)), (0o700, 0o600));
        assert_eq!(fs::read(&file).expect("read"), b"2");
        fs::remove_dir_all(&dir).expect("gone");
    }
}
