//! Wall clocks of the members' own, for a lab made with `--clocks`: the library of `faketime` shows each agent and what it
//! starts the time that the lab wants. Clocks that only count are left alone, as they are on a machine whose time is set.
//! `up` prepares them, `spawn` hands them on, `fault` sets them.

use crate::error::LabError;
use crate::state::{Lab, LabMember};
use std::path::{Path, PathBuf};

/// Folder in the lab's, with a file for each member that says how far its clock is off. Not in the member's own: the clock
/// of a machine goes on when its disk is lost.
pub(crate) const FOLDER: &str = "clocks";
/// A clock that is right.
const RIGHT: &str = "+0";
/// How often the library looks at the file, in seconds: a clock is off at most so late.
pub(crate) const LOOKS_EVERY_S: u64 = 1;

/// Where the library is, on Debian and elsewhere.
fn library() -> Option<PathBuf> {
    let debian = format!("/usr/lib/{}-linux-gnu/faketime", std::env::consts::ARCH);
    let folders = [debian.as_str(), "/usr/lib/faketime", "/usr/lib64/faketime", "/usr/local/lib/faketime"];
    folders.iter().map(|folder| Path::new(folder).join("libfaketime.so.1")).find(|path| path.exists())
}

/// Whether this machine can make them.
#[must_use]
pub fn can_have_clocks() -> bool {
    library().is_some()
}

/// Refuses what this machine cannot make.
pub(crate) fn check() -> Result<(), LabError> {
    let missing = || LabError::Usage("--clocks needs the library of faketime: apt-get install libfaketime".to_owned());
    library().map(|_| ()).ok_or_else(missing)
}

/// What a process of this member finds in its environment.
pub(crate) fn environment(lab: &Lab, member: &LabMember) -> Vec<(&'static str, PathBuf)> {
    let Some(library) = library().filter(|_| lab.clocks) else { return Vec::new() };
    vec![
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", file(lab, member)),
        ("FAKETIME_CACHE_DURATION", LOOKS_EVERY_S.to_string().into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
    ]
}

/// Sets a member's clock so far from the right time, as `faketime` writes it.
pub(crate) fn set(lab: &Lab, member: &LabMember, offset: &str) -> Result<(), LabError> {
    let path = file(lab, member);
    let new = path.with_extension("new");
    // in one step: half a file would be another time
    std::fs::write(&new, offset)
        .and_then(|()| std::fs::rename(&new, &path))
        .map_err(LabError::io("cannot write", &path))
}

/// Sets it right. Says whether it was not.
pub(crate) fn mend(lab: &Lab, member: &LabMember) -> Result<bool, LabError> {
    let wrong = lab.clocks && std::fs::read_to_string(file(lab, member)).is_ok_and(|said| said.trim() != RIGHT);
    if wrong {
        set(lab, member, RIGHT)?;
    }
    Ok(wrong)
}

/// Clocks that are right, before anybody looks at one.
pub(crate) fn make(lab: &Lab) -> Result<(), LabError> {
    let folder = lab.dir.join(FOLDER);
    std::fs::create_dir_all(&folder).map_err(LabError::io("cannot make", &folder))?;
    lab.members.iter().try_for_each(|member| set(lab, member, RIGHT))
}

fn file(lab: &Lab, member: &LabMember) -> PathBuf {
    lab.dir.join(FOLDER).join(&member.name)
}
