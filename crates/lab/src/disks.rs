//! Disks of the members' own, for a lab made with `--disks`: an ext4 file system in a file, on a loop device, for each
//! member's folder. Their power can be cut: what was written and not flushed is gone, as when a machine loses its power.
//! `up` makes them, `down` removes them.

use crate::error::LabError;
use crate::state::{Lab, LabMember};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Folder of the files that hold the disks, in the lab's.
pub(crate) const FOLDER: &str = "disks";
/// How large a disk is; the file holds what is written to it.
const SIZE: &str = "4G";
/// Longest time until nobody uses a disk any more.
const FREE_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often that is tried.
const AGAIN: Duration = Duration::from_millis(50);
/// The programs that this takes, and the Debian packages that bring them.
const PROGRAMS: [(&str, &str); 4] =
    [("mkfs.ext4", "e2fsprogs"), ("mount", "mount"), ("umount", "mount"), ("xfs_io", "xfsprogs")];

/// Whether this machine can make them: root, the programs, loop devices.
#[must_use]
pub fn can_have_disks() -> bool {
    let programs = PROGRAMS.iter().all(|(program, _)| installed(program));
    rustix::process::geteuid().is_root() && programs && Path::new("/dev/loop-control").exists()
}

/// Refuses what this machine cannot make.
pub(crate) fn check(lab: &Lab) -> Result<(), LabError> {
    if !rustix::process::geteuid().is_root() {
        return Err(LabError::Usage("--disks makes file systems, which only root may do".to_owned()));
    }
    if let Some(closed) = &lab.closed_parent {
        let closed = closed.display();
        let text = format!(
            "--disks needs a folder that the members' user can pass to, and {closed} is closed: name another --dir, such as /var/tmp/lab"
        );
        return Err(LabError::Usage(text));
    }
    match PROGRAMS.iter().find(|(program, _)| !installed(program)) {
        Some((program, package)) => {
            Err(LabError::Usage(format!("--disks needs `{program}`: apt-get install {package}")))
        }
        None => Ok(()),
    }
}

/// Whether a program is where systems have theirs.
#[must_use]
pub fn installed(program: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|dir| Path::new(dir).join(program).exists())
}

/// Makes and mounts them, before anything lies in the members' folders.
pub(crate) fn make(lab: &Lab) -> Result<(), LabError> {
    let folder = lab.dir.join(FOLDER);
    std::fs::create_dir_all(&folder).map_err(LabError::io("cannot make", &folder))?;
    // members run in views of the file system of their own: what is unmounted here must be gone there, too
    run("mount", &["--bind", &text(&lab.dir), &text(&lab.dir)])?;
    run("mount", &["--make-shared", &text(&lab.dir)])?;
    for member in &lab.members {
        let (image, place) = (image(lab, member), lab.member_dir(member));
        std::fs::create_dir_all(&place).map_err(LabError::io("cannot make", &place))?;
        run("truncate", &["-s", SIZE, &text(&image)])?;
        run("mkfs.ext4", &["-q", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", &text(&image)])?;
        mount(lab, member)?;
        let found = place.join("lost+found");
        std::fs::remove_dir(&found).map_err(LabError::io("cannot remove", &found))?;
    }
    Ok(())
}

/// Unmounts and removes them, as far as they are there. Processes in them must be gone.
pub(crate) fn remove(lab: &Lab) {
    for member in &lab.members {
        let _ = unmount(&lab.member_dir(member));
    }
    let _ = unmount(&lab.dir);
}

/// The power of this member's disk fails and comes back: everything that was not flushed is gone. Its processes must stand
/// still and never go on: `killed` sees to that once nothing reaches the disk any more.
pub(crate) fn cut(
    lab: &Lab,
    member: &LabMember,
    killed: impl FnOnce() -> Result<(), LabError>,
) -> Result<(), LabError> {
    let place = lab.member_dir(member);
    run("xfs_io", &["-x", "-c", "shutdown", &text(&place)])?;
    killed()?;
    unmount(&place)?;
    mount(lab, member)
}

/// A disk whose power was cut and did not come back is mounted again.
pub(crate) fn revive(lab: &Lab, member: &LabMember) -> Result<(), LabError> {
    let place = lab.member_dir(member);
    match std::fs::File::create(place.join("alive")) {
        Ok(_) => {
            let _ = std::fs::remove_file(place.join("alive"));
            Ok(())
        }
        Err(_) => unmount(&place).and_then(|()| mount(lab, member)),
    }
}

fn image(lab: &Lab, member: &LabMember) -> PathBuf {
    lab.dir.join(FOLDER).join(format!("{}.img", member.name))
}

fn mount(lab: &Lab, member: &LabMember) -> Result<(), LabError> {
    run("mount", &["-o", "loop,noatime", &text(&image(lab, member)), &text(&lab.member_dir(member))])
}

/// Waits until nobody uses it, but not for ever.
fn unmount(place: &Path) -> Result<(), LabError> {
    let deadline = Instant::now() + FREE_WAIT_MAX;
    loop {
        match run("umount", &[&text(place)]) {
            Err(error) if error.to_string().contains("busy") && Instant::now() < deadline => std::thread::sleep(AGAIN),
            ended => return ended,
        }
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn run(program: &str, arguments: &[&str]) -> Result<(), LabError> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output =
        output.map_err(|error| LabError::Usage(format!("--disks needs `{program}`, which does not run: {error}")))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() {
        return Ok(());
    }
    Err(LabError::Failed(format!("the lab's disks: `{program} {}` failed: {said}", arguments.join(" "))))
}
