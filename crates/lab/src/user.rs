//! The system user that a lab made by root runs its members as: database servers refuse to run as root.
//! `up` makes it when it is missing, and checks which folders it can pass.

use crate::error::LabError;
use crate::state::LabUser;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The user's name.
const NAME: &str = "dauphin";

/// The user that members run as: none when the caller is not root (then it is the caller).
///
/// # Errors
/// When it is missing and cannot be made.
pub(crate) fn for_members() -> Result<Option<LabUser>, LabError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    if let Some(user) = look_up(NAME) {
        return Ok(Some(user));
    }
    let made = Command::new("useradd")
        .args(["--system", "--user-group", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", NAME])
        .output();
    let why = match made {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(error.to_string()),
    };
    look_up(NAME).map(Some).ok_or_else(|| {
        LabError::Failed(format!(
            "database servers do not run as root, and the system user {NAME} cannot be made ({}): \
             make it with `useradd --system --user-group {NAME}`, or run this as another user",
            why.unwrap_or_else(|| "it is not in /etc/passwd".into())
        ))
    })
}

fn look_up(name: &str) -> Option<LabUser> {
    let text = fs::read_to_string("/etc/passwd").ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next()? == name;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        found.then(|| LabUser { name: name.to_owned(), uid, gid })
    })
}

/// The first folder on the way to `path` (itself included) that this user cannot pass.
pub(crate) fn closed_on_the_way(path: &Path, user: &LabUser) -> Option<PathBuf> {
    let mut way: Vec<&Path> = path.ancestors().collect();
    way.reverse();
    way.into_iter().find(|folder| fs::metadata(folder).is_ok_and(|m| m.is_dir() && !has(&m, user, 0o1))).map(Into::into)
}

/// Whether this user can read and run the program.
pub(crate) fn can_run(program: &Path, user: &LabUser) -> bool {
    closed_on_the_way(program, user).is_none() && fs::metadata(program).is_ok_and(|m| has(&m, user, 0o5))
}

fn has(metadata: &fs::Metadata, user: &LabUser, bits: u32) -> bool {
    let shift = if metadata.uid() == user.uid {
        6
    } else if metadata.gid() == user.gid {
        3
    } else {
        0
    };
    (metadata.mode() >> shift) & bits == bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_first_closed_folder_is_named() {
        let root = std::env::temp_dir().join(format!("dauphin-user-{}", std::process::id()));
        let inner = root.join("closed/inner");
        fs::create_dir_all(&inner).expect("folders");
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("open");
        fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o700)).expect("closed");
        let stranger = LabUser { name: "x".into(), uid: 4_000_001, gid: 4_000_001 };
        assert_eq!(closed_on_the_way(&inner, &stranger), Some(root.join("closed")));
        assert_eq!(closed_on_the_way(&root, &stranger), None);
        fs::remove_dir_all(&root).expect("gone");
    }
}
