//! Which server's programs a lab runs: named by `--bin`, or the newest supported ones found. It only looks.

use crate::error::LabError;
use dauphin_model::EngineKind;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders of a build in which server programs lie.
const PROGRAM_DIRS: [&str; 3] = ["bin", "sbin", "libexec"];

/// A server's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binaries {
    /// Their folder.
    pub(crate) dir: PathBuf,
    /// As they say: `15.18`, `9.7.4`.
    pub(crate) version: String,
}

/// What tells the programs of an engine, and where they lie when nobody says.
struct Kind {
    engine: EngineKind,
    /// The server's program.
    server: &'static str,
    /// What must lie beside it.
    beside: Option<&'static str>,
    /// The system's folders, and how deep to look in each.
    system: &'static [(&'static str, usize)],
    /// Which versions members run.
    runs: &'static str,
    /// How it is installed.
    install: &'static str,
}

const fn kind(engine: EngineKind) -> Kind {
    match engine {
        EngineKind::Postgres => Kind {
            engine,
            server: "postgres",
            beside: Some("initdb"),
            system: &[("/usr/lib/postgresql", 2), ("/usr/local/pgsql", 1), ("/opt", 2)],
            runs: "15 to 18",
            install: "apt-get install postgresql",
        },
        EngineKind::Mysql => Kind {
            engine,
            server: "mysqld",
            beside: None,
            system: &[("/usr", 1), ("/usr/local", 2), ("/opt", 2)],
            runs: "8.0 (from 8.0.26), 8.4 and 9",
            install: "make engines, or MySQL's own packages",
        },
        EngineKind::Mariadb => Kind {
            engine,
            server: "mariadbd",
            beside: None,
            system: &[("/usr", 1), ("/usr/local", 2), ("/opt", 2)],
            runs: "10.11 and 11",
            install: "apt-get install mariadb-server mariadb-backup",
        },
    }
}

/// Finds them: in `--bin`, or in `.engines` of the current folder, the PATH, the system's folders.
pub(crate) fn find(engine: EngineKind, given: Option<&Path>) -> Result<Binaries, LabError> {
    let kind = kind(engine);
    if let Some(dir) = given {
        return kind.named(dir);
    }
    for place in kind.places() {
        let mut found: Vec<Binaries> = place.iter().filter_map(|dir| kind.open(dir)).collect();
        found.retain(|b| kind.supports(&b.version));
        found.sort_by_key(|b| number(&b.version));
        if let Some(newest) = found.pop() {
            return Ok(newest);
        }
    }
    Err(LabError::Failed(format!(
        "no {} {} is installed: {}, or name its programs with --bin DIR",
        engine.name(),
        kind.runs,
        kind.install
    )))
}

impl Kind {
    /// The programs in the folder that somebody named, or in the build around which that folder lies.
    fn named(&self, given: &Path) -> Result<Binaries, LabError> {
        let usage = |text: String| Err(LabError::Usage(text));
        let dir = fs::canonicalize(given).map_err(|e| LabError::Usage(format!("--bin {}: {e}", given.display())))?;
        let inside = PROGRAM_DIRS.iter().flat_map(|name| [dir.join(name), dir.join("usr").join(name)]);
        let Some(found) = std::iter::once(dir.clone()).chain(inside).find_map(|dir| self.open(&dir)) else {
            return usage(format!(
                "--bin {} has no `{}` that runs: name the folder that holds it",
                dir.display(),
                self.server
            ));
        };
        if !self.supports(&found.version) {
            let (name, runs) = (self.engine.name(), self.runs);
            return usage(format!("--bin {} is {name} {}; members run {runs}", dir.display(), found.version));
        }
        Ok(found)
    }

    fn open(&self, dir: &Path) -> Option<Binaries> {
        let program = dir.join(self.server);
        if !program.exists() || self.beside.is_some_and(|beside| !dir.join(beside).exists()) {
            return None;
        }
        let output = Command::new(program).arg("--version").output().ok()?;
        let version = self.parse(&String::from_utf8_lossy(&output.stdout))?;
        Some(Binaries { version, dir: fs::canonicalize(dir).ok()? })
    }

    /// Folders to look in, by preference.
    fn places(&self) -> [Vec<PathBuf>; 3] {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let in_path = std::env::split_paths(&path).filter(|dir| dir.join(self.server).exists()).collect();
        let system = self.system.iter().flat_map(|(root, depth)| folders(Path::new(root), *depth)).collect();
        [folders(Path::new(".engines"), 3), in_path, system]
    }

    /// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` is 15.18, `mariadbd  Ver 11.8.9-MariaDB` is 11.8.9.
    fn parse(&self, text: &str) -> Option<String> {
        let mark = match self.engine {
            EngineKind::Postgres => "(PostgreSQL)",
            EngineKind::Mysql | EngineKind::Mariadb => "Ver",
        };
        let word = text.split_once(mark)?.1.split_whitespace().next()?;
        let version = match self.engine {
            EngineKind::Postgres => word,
            // MariaDB is installed under MySQL's names, too
            EngineKind::Mysql if word.contains("MariaDB") => return None,
            EngineKind::Mariadb if !word.contains("MariaDB") => return None,
            EngineKind::Mysql | EngineKind::Mariadb => word.split('-').next()?,
        };
        version.starts_with(|c: char| c.is_ascii_digit()).then(|| version.to_owned())
    }

    fn supports(&self, version: &str) -> bool {
        match (self.engine, number(version)) {
            (EngineKind::Postgres, (major, ..)) => (15..=18).contains(&major),
            (EngineKind::Mysql, (8, 0, release)) => release >= 26,
            (EngineKind::Mysql, (major, minor, _)) => major == 9 || (major, minor) == (8, 4),
            (EngineKind::Mariadb, (major, minor, _)) => major == 11 || (major, minor) == (10, 11),
        }
    }
}

/// Folders of programs at most this deep below `root`.
fn folders(root: &Path, depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.file_name().is_some_and(|name| PROGRAM_DIRS.iter().any(|dir| name == *dir)) {
            found.push(path);
        } else if depth > 1 && path.is_dir() {
            found.extend(folders(&path, depth - 1));
        }
    }
    found
}

fn number(version: &str) -> (u32, u32, u32) {
    let mut parts = version.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSTGRES: Kind = kind(EngineKind::Postgres);
    const MYSQL: Kind = kind(EngineKind::Mysql);
    const MARIADB: Kind = kind(EngineKind::Mariadb);

    #[test]
    fn versions_are_read_and_judged() {
        let read = |kind: &Kind, text: &str| kind.parse(text);
        assert_eq!(read(&POSTGRES, "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n").as_deref(), Some("15.18"));
        assert_eq!(read(&POSTGRES, "postgres (PostgreSQL) 18beta1").as_deref(), Some("18beta1"));
        let (mysql, mariadb) =
            ("/usr/sbin/mysqld  Ver 9.7.4-2 for Linux on x86_64 (Debian)", "mariadbd  Ver 11.8.9-MariaDB-4 for debian");
        assert_eq!(read(&MYSQL, mysql).as_deref(), Some("9.7.4"));
        assert_eq!(read(&MARIADB, mariadb).as_deref(), Some("11.8.9"));
        // each other's programs under the same name
        for (kind, text) in [(&POSTGRES, mysql), (&MYSQL, mariadb), (&MARIADB, mysql)] {
            assert_eq!(read(kind, text), None, "{text}");
        }
        for (kind, good, bad) in [
            (&POSTGRES, ["15.1", "18beta1"], ["14.9", "19"]),
            (&MYSQL, ["8.0.26", "9.7.4"], ["8.0.25", "8.3.0"]),
            (&MARIADB, ["10.11.2", "11.8.9"], ["10.6.1", "12.0.1"]),
        ] {
            assert!(good.iter().all(|version| kind.supports(version)), "{good:?}");
            assert!(!bad.iter().any(|version| kind.supports(version)), "{bad:?}");
        }
        assert!(number("15.18") > number("15.9"));
    }

    #[test]
    fn a_folder_without_a_server_is_refused() {
        for (engine, server) in
            [(EngineKind::Postgres, "`postgres`"), (EngineKind::Mysql, "`mysqld`"), (EngineKind::Mariadb, "`mariadbd`")]
        {
            let error = find(engine, Some(Path::new("/etc"))).expect_err("no server there");
            assert_eq!(error.exit(), 2);
            assert!(error.to_string().contains(server), "{error}");
        }
    }
}
