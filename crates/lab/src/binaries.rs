//! Which PostgreSQL programs a lab runs: named by `--bin`, or the newest supported ones found. It only looks.

use crate::error::LabError;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Oldest and newest major version that members may run.
const MAJOR: std::ops::RangeInclusive<u32> = 15..=18;

/// PostgreSQL's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binaries {
    /// Their folder.
    pub(crate) dir: PathBuf,
    /// As they say: `15.18`.
    pub(crate) version: String,
}

/// Finds them: in `--bin`, or in `.engines` of the current folder, the PATH, the system's folders.
pub(crate) fn find(given: Option<&Path>) -> Result<Binaries, LabError> {
    if let Some(dir) = given {
        let dir = fs::canonicalize(dir).map_err(|e| LabError::Usage(format!("--bin {}: {e}", dir.display())))?;
        let Some(version) = version(&dir) else {
            let text = format!("--bin {} has no `postgres` that runs: name the folder that holds it", dir.display());
            return Err(LabError::Usage(text));
        };
        if !supported(&version) {
            return Err(LabError::Usage(format!(
                "--bin {} is PostgreSQL {version}; members run {} to {}",
                dir.display(),
                MAJOR.start(),
                MAJOR.end()
            )));
        }
        return Ok(Binaries { dir, version });
    }
    for place in places() {
        let mut found: Vec<Binaries> = place
            .into_iter()
            .filter_map(|dir| Some(Binaries { version: version(&dir)?, dir: fs::canonicalize(dir).ok()? }))
            .filter(|b| supported(&b.version))
            .collect();
        found.sort_by_key(|b| number(&b.version));
        if let Some(newest) = found.pop() {
            return Ok(newest);
        }
    }
    Err(LabError::Failed(
        "no PostgreSQL 15 to 18 is installed: apt-get install postgresql, or name its programs with --bin DIR".into(),
    ))
}

/// Folders to look in, by preference.
fn places() -> [Vec<PathBuf>; 3] {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).filter(|dir| dir.join("initdb").exists()).collect();
    [folders(Path::new(".engines"), 3), in_path, {
        let mut system = folders(Path::new("/usr/lib/postgresql"), 2);
        system.extend(folders(Path::new("/usr/local/pgsql"), 1));
        system.extend(folders(Path::new("/opt"), 2));
        system
    }]
}

/// Folders named `bin` at most this deep below `root`.
fn folders(root: &Path, depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.file_name().is_some_and(|name| name == "bin") {
            found.push(path);
        } else if depth > 1 && path.is_dir() {
            found.extend(folders(&path, depth - 1));
        }
    }
    found
}

fn version(dir: &Path) -> Option<String> {
    let program = dir.join("postgres");
    if !program.exists() || !dir.join("initdb").exists() {
        return None;
    }
    let output = Command::new(program).arg("--version").output().ok()?;
    parse(&String::from_utf8_lossy(&output.stdout))
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` is 15.18.
fn parse(text: &str) -> Option<String> {
    let word = text.split_once("(PostgreSQL)")?.1.split_whitespace().next()?;
    word.starts_with(|c: char| c.is_ascii_digit()).then(|| word.to_owned())
}

fn number(version: &str) -> (u32, u32) {
    let mut parts = version.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

fn supported(version: &str) -> bool {
    MAJOR.contains(&number(version).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_judged() {
        assert_eq!(parse("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n").as_deref(), Some("15.18"));
        assert_eq!(parse("postgres (PostgreSQL) 18beta1").as_deref(), Some("18beta1"));
        assert_eq!(parse("mysqld  Ver 8.0"), None);
        assert!(supported("15.1") && supported("18beta1") && !supported("14.9") && !supported("19"));
        assert!(number("15.18") > number("15.9"));
    }

    #[test]
    fn a_folder_without_a_server_is_refused() {
        let error = find(Some(Path::new("/etc"))).expect_err("no server there");
        assert_eq!(error.exit(), 2);
        assert!(error.to_string().contains("postgres"), "{error}");
    }
}
