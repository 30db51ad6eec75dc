//! Finds PostgreSQL's programs and reads their version. Everything that runs one of them starts here.
//! It never downloads anything.

use crate::postgres::{Error, Result, tool};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Oldest and newest major version that Dauphin runs.
pub const MAJOR_MIN: u32 = 15;
/// See [`MAJOR_MIN`].
pub const MAJOR_MAX: u32 = 18;
/// What a member needs.
const PROGRAMS: [&str; 5] = ["postgres", "initdb", "pg_controldata", "pg_basebackup", "pg_rewind"];
/// How long `postgres --version` may take.
const VERSION_LIMIT: Duration = Duration::from_secs(10);
/// How deep `.engines` is searched for a `bin` folder.
const ENGINES_DEPTH_MAX: usize = 4;

/// A version of PostgreSQL, as `postgres --version` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// 15 to 18.
    pub major: u32,
    /// As it writes itself: `15.18`.
    pub text: String,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// Where PostgreSQL's programs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// The folder that holds `postgres`, `initdb`, `pg_rewind`…
    pub dir: PathBuf,
    /// Their version.
    pub version: Version,
    /// Folders for `LD_LIBRARY_PATH`: builds that were moved keep their libraries beside them.
    pub library_path: Option<String>,
}

impl Binaries {
    /// Finds the programs: `explicit` alone if given, else `.engines` in `roots`, PATH, then the system's folders;
    /// the newest version that Dauphin runs wins in each place.
    ///
    /// # Errors
    /// [`Error::NoBinaries`], [`Error::Version`], [`Error::Tool`].
    pub async fn find(explicit: Option<&Path>, roots: &[PathBuf]) -> Result<Self> {
        if let Some(dir) = explicit {
            let nested = dir.join("bin");
            let dir = if dir.join("postgres").is_file() || !nested.is_dir() { dir.to_owned() } else { nested };
            return Self::open(&dir).await;
        }
        let mut looked = Vec::new();
        let mut refused = None;
        for (place, dirs) in places(roots) {
            let mut best: Option<Self> = None;
            for dir in dirs {
                match Self::open(&dir).await {
                    Ok(found) if best.as_ref().is_none_or(|b| b.version.major < found.version.major) => {
                        best = Some(found);
                    }
                    Ok(_) | Err(Error::NoBinaries { .. }) => {}
                    Err(error) => refused = Some(error),
                }
            }
            if let Some(best) = best {
                return Ok(best);
            }
            looked.push(place);
        }
        Err(refused.unwrap_or(Error::NoBinaries { looked: looked.join(", ") }))
    }

    /// The programs in this folder.
    ///
    /// # Errors
    /// [`Error::NoBinaries`] without a `postgres` there, [`Error::Version`] when it is too old or too new.
    pub async fn open(dir: &Path) -> Result<Self> {
        let postgres = dir.join("postgres");
        if !postgres.is_file() {
            return Err(Error::NoBinaries { looked: dir.display().to_string() });
        }
        // a link to the server alone (/usr/local/bin/postgres) leads to the folder with all of it
        let real = postgres.canonicalize().map_err(Error::file("find", &postgres))?;
        let dir = real.parent().unwrap_or(dir);
        if let Some(missing) = PROGRAMS.iter().find(|name| !dir.join(name).is_file()) {
            return Err(Error::NoBinaries { looked: format!("{} (it lacks {missing})", dir.display()) });
        }
        let library_path = libraries_beside(dir);
        let mut binaries =
            Self { dir: dir.to_owned(), version: Version { major: 0, text: String::new() }, library_path };
        let said = tool::Tool::new(&binaries, "postgres").arg("--version").run(VERSION_LIMIT).await?;
        binaries.version =
            parse_version(&said.stdout).ok_or_else(|| Error::Version { dir: dir.to_owned(), found: said.stdout })?;
        if !(MAJOR_MIN..=MAJOR_MAX).contains(&binaries.version.major) {
            return Err(Error::Version { dir: dir.to_owned(), found: binaries.version.text });
        }
        Ok(binaries)
    }

    /// Path of one program.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// `postgres (PostgreSQL) 15.18 (Debian …)` → 15.18.
fn parse_version(text: &str) -> Option<Version> {
    let number = text.split_once("(PostgreSQL) ")?.1.split_whitespace().next()?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    Some(Version { major: digits.parse().ok()?, text: number.to_owned() })
}

/// Places to look, in order, each with its candidates.
fn places(roots: &[PathBuf]) -> Vec<(String, Vec<PathBuf>)> {
    let mut places = Vec::new();
    for root in roots {
        let engines = root.join(".engines");
        let mut dirs = Vec::new();
        bin_dirs(&engines, ENGINES_DEPTH_MAX, &mut dirs);
        places.push((engines.display().to_string(), dirs));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    places.push(("PATH".to_owned(), std::env::split_paths(&path).collect()));
    for parent in ["/usr/lib/postgresql", "/opt/postgresql", "/usr/local"] {
        places.push((parent.to_owned(), children(Path::new(parent)).map(|d| d.join("bin")).collect()));
    }
    let pgdg = children(Path::new("/usr")).filter(|d| name_of(d).starts_with("pgsql-")).map(|d| d.join("bin"));
    places.push(("/usr/pgsql-*".to_owned(), pgdg.collect()));
    places
}

fn children(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    found.sort();
    found.into_iter()
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|n| n.to_str()).unwrap_or_default()
}

fn bin_dirs(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if dir.join("postgres").is_file() {
        found.push(dir.to_owned());
    } else if depth > 0 {
        for child in children(dir).filter(|c| c.is_dir()) {
            bin_dirs(&child, depth - 1, found);
        }
    }
}

/// `X/pginstall18/bin` with `X.libs` or `X/lib` around: the libraries of a build that was moved.
fn libraries_beside(bin: &Path) -> Option<String> {
    let prefix = bin.parent()?;
    let package = prefix.parent()?;
    let beside = package.parent()?.join(format!("{}.libs", name_of(package)));
    let own = prefix.join("lib");
    beside.is_dir().then(|| format!("{}:{}", own.display(), beside.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_postgres_says() {
        let of = |text| parse_version(text).map(|v| (v.major, v.text));
        assert_eq!(of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some((15, "15.18".to_owned())));
        assert_eq!(of("postgres (PostgreSQL) 19devel"), Some((19, "19devel".to_owned())));
        assert_eq!(of("mysqld Ver 8"), None);
    }
}
