//! Finds the programs of MySQL or MariaDB and reads their version. Everything that runs one of them starts here.
//! It never downloads anything.

use crate::host::tool::Tool;
use crate::mysql::dialect::Dialect;
use crate::mysql::version::Version;
use crate::mysql::{Error, Flavour, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long `mysqld --version` may take.
const VERSION_LIMIT: Duration = Duration::from_secs(10);
/// Folders of a build in which server programs lie.
const PROGRAM_DIRS: [&str; 4] = ["sbin", "bin", "libexec", "scripts"];

/// Where the programs are, and what they need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// The build's folder: `/usr`, `/usr/local/mysql`. Programs, messages and plugins are found from it.
    pub prefix: PathBuf,
    /// The server.
    pub server: PathBuf,
    /// Error messages and, for MariaDB, the tables of a new data directory.
    pub share: PathBuf,
    /// Plugins.
    pub plugins: PathBuf,
    /// Its version.
    pub version: Version,
    /// How to speak to it.
    pub dialect: Dialect,
}

impl Binaries {
    /// Finds the programs of a flavour: `explicit` alone if given, else `.engines` in `roots`, the system's folders, then
    /// `/usr/local` and `/opt`. The newest version that Dauphin runs wins in each place.
    ///
    /// # Errors
    /// [`Error::NoBinaries`], [`Error::Version`], [`Error::Tool`].
    pub async fn find(flavour: Flavour, explicit: Option<&Path>, roots: &[PathBuf]) -> Result<Self> {
        if let Some(dir) = explicit {
            return Self::open(flavour, dir).await;
        }
        let mut looked = Vec::new();
        let mut refused = None;
        for (place, prefixes) in places(roots) {
            let mut best: Option<Self> = None;
            for prefix in prefixes {
                match Self::open(flavour, &prefix).await {
                    Ok(found) if best.as_ref().is_none_or(|b| b.version.number < found.version.number) => {
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
        Err(refused.unwrap_or(Error::NoBinaries { flavour, looked: looked.join(", ") }))
    }

    /// The build in this folder, or around this folder of programs.
    ///
    /// # Errors
    /// [`Error::NoBinaries`] without a server of this flavour, [`Error::Version`] when it is too old or too new.
    pub async fn open(flavour: Flavour, dir: &Path) -> Result<Self> {
        let missing = |what: &str| Error::NoBinaries { flavour, looked: format!("{} ({what})", dir.display()) };
        let name = match flavour {
            Flavour::Mysql => "mysqld",
            Flavour::Mariadb => "mariadbd",
        };
        let inside = dir.file_name().is_some_and(|n| PROGRAM_DIRS.iter().any(|d| n == *d));
        let prefix = if inside { dir.parent().unwrap_or(dir) } else { dir };
        let server = program(prefix, name).ok_or_else(|| missing(&format!("no {name}")))?;
        // a link to the server alone leads to the build
        let server = server.canonicalize().map_err(Error::file("find", &server))?;
        let prefix = server.parent().and_then(Path::parent).unwrap_or(prefix).to_owned();
        let said = Tool::of(&server, name, None).arg("--version").run(VERSION_LIMIT).await?.stdout;
        let unknown = || Error::Version { prefix: prefix.clone(), found: said.trim().to_owned() };
        let version = Version::parse(&said).ok_or_else(unknown)?;
        let dialect = Dialect::of(&version).filter(|d| d.flavour() == flavour).ok_or_else(unknown)?;
        let share = first_with(&prefix, &["share/mysql", "share/mariadb", "share"], "english/errmsg.sys");
        let share = share.ok_or_else(|| missing("no error messages"))?;
        let libs =
            ["lib/mysql/plugin", "lib64/mysql/plugin", "lib/plugin", "lib/mariadb/plugin", "lib64/mariadb/plugin"];
        // MariaDB has what Dauphin needs built in
        let plugins = match flavour {
            Flavour::Mysql => {
                let dir = first_with(&prefix, &libs, "semisync_source.so").ok_or_else(|| missing("no plugins"))?;
                // every server loads it: one without could give no copy, and would say so too late
                let clone = dir.join("mysql_clone.so");
                clone.is_file().then_some(dir).ok_or_else(|| missing("no plugin mysql_clone.so"))?
            }
            Flavour::Mariadb => first_with(&prefix, &libs, "").unwrap_or_else(|| prefix.join("lib/mysql/plugin")),
        };
        let found = Self { prefix, server, share, plugins, version, dialect };
        if flavour == Flavour::Mariadb {
            found.program("mariadb-install-db")?;
        }
        Ok(found)
    }

    /// Path of one program.
    ///
    /// # Errors
    /// [`Error::NoBinaries`] when the build has it not.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let missing = || Error::NoBinaries {
            flavour: self.dialect.flavour(),
            looked: format!("{} (it lacks {name})", self.prefix.display()),
        };
        program(&self.prefix, name).ok_or_else(missing)
    }

    /// The server, to be run as a tool.
    pub(crate) fn server_tool(&self) -> Tool {
        Tool::of(&self.server, self.dialect.server_program(), None)
            .arg("--no-defaults")
            .arg(setting("basedir", &self.prefix))
            .arg(setting("lc-messages-dir", &self.share))
            .arg(setting("plugin-dir", &self.plugins))
    }
}

/// `--name=path`.
pub(crate) fn setting(name: &str, path: &Path) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from(format!("--{name}="));
    option.push(path);
    option
}

fn program(prefix: &Path, name: &str) -> Option<PathBuf> {
    PROGRAM_DIRS.iter().map(|dir| prefix.join(dir).join(name)).find(|path| path.is_file())
}

fn first_with(prefix: &Path, dirs: &[&str], file: &str) -> Option<PathBuf> {
    dirs.iter().map(|dir| prefix.join(dir)).find(|dir| dir.join(file).exists())
}

/// Places to look, in order, each with its builds.
fn places(roots: &[PathBuf]) -> Vec<(String, Vec<PathBuf>)> {
    let mut places = Vec::new();
    for root in roots {
        let engines = root.join(".engines");
        let builds = children(&engines).flat_map(|dir| [dir.join("usr"), dir]).collect();
        places.push((engines.display().to_string(), builds));
    }
    places.push(("/usr".to_owned(), vec![PathBuf::from("/usr")]));
    for parent in ["/usr/local", "/opt"] {
        let own = std::iter::once(PathBuf::from(parent));
        places.push((parent.to_owned(), own.chain(children(Path::new(parent))).collect()));
    }
    places
}

fn children(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    found.sort();
    found.into_iter()
}
