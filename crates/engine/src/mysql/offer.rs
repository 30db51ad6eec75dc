//! What a member says of itself before it is copied: version, size, plugins, tables that a copy would leave out. The other
//! agent checks it before it throws anything away. Looking is here, and judging, which is pure; copying is not.

use crate::mysql::threads::LOOK_LIMIT;
use crate::mysql::{Error, Flavour, Mysql, Refusal, Result, Version};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

const DOING: &str = "looking at what there is to copy";
/// Most tables that are named as left out.
const NAMED_MAX: usize = 10;
/// From this point release on MySQL 8.0 copies between any two of them; before, between equals alone.
const ANY_POINT_RELEASE: u32 = 37;

/// Commits of which none is acknowledged for so long stand: voters answer within milliseconds.
const STANDS_AFTER: Duration = Duration::from_millis(1_000);
/// How often that is looked at.
const STANDS_POLL: Duration = Duration::from_millis(50);

/// Engines whose tables a clone brings with their rows, or which keep none on a disk.
const LEFT_OUT: &str = "SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME, ' (', ENGINE, ')') FROM information_schema.TABLES \
     WHERE TABLE_TYPE = 'BASE TABLE' AND ENGINE NOT IN ('InnoDB', 'MEMORY', 'BLACKHOLE', 'PERFORMANCE_SCHEMA') \
     AND TABLE_SCHEMA NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema') LIMIT 10";
const PLUGINS: &str = "SELECT PLUGIN_NAME, PLUGIN_LIBRARY FROM information_schema.PLUGINS \
     WHERE PLUGIN_STATUS = 'ACTIVE' AND PLUGIN_LIBRARY IS NOT NULL";

/// A plugin that was loaded from a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    /// Its name.
    pub name: String,
    /// Its file in the plugins' folder.
    pub library: String,
}

/// What a member offers to whoever wants to copy it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its server.
    pub version: Version,
    /// MySQL's UUID of the server: the copy must have another.
    pub uuid: Option<String>,
    /// About how many bytes there are to copy.
    pub bytes: u64,
    /// Plugins that run in it; MySQL copies only onto a server that runs them too.
    pub plugins: Vec<Plugin>,
    /// Tables whose rows MySQL would not copy; ten at most.
    pub left_out: Vec<String>,
    /// Commits that wait for replicas there while none is acknowledged: a copy would wait for them, and may hold others up.
    pub waiting: u32,
}

impl Mysql {
    /// How many commits wait for replicas, if none of them is acknowledged for a while. Under load some commit waits at every
    /// moment, and that holds no copy up.
    pub(crate) async fn commits_that_stand(&self) -> Result<u32> {
        let first = self.look(LOOK_LIMIT).await?.semi_sync;
        let until = Instant::now() + STANDS_AFTER;
        loop {
            let now = self.look(LOOK_LIMIT).await?.semi_sync;
            if now.waiting == 0 || now.acknowledged != first.acknowledged {
                return Ok(0);
            }
            if Instant::now() >= until {
                return Ok(now.waiting);
            }
            tokio::time::sleep(STANDS_POLL).await;
        }
    }

    /// What this member offers to whoever wants to copy it.
    ///
    /// # Errors
    /// [`Error::Sql`], [`Error::File`].
    pub async fn offer(&self) -> Result<Offer> {
        let view = self.look(LOOK_LIMIT).await?;
        let (mut plugins, mut left_out) = (Vec::new(), Vec::new());
        if self.dialect().flavour() == Flavour::Mysql {
            let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
            let rows = self.act(DOING, PLUGINS).await?;
            plugins.extend(rows.iter().map(|row| Plugin { name: text(row.at(0)), library: text(row.at(1)) }));
            left_out.extend(self.act(DOING, LEFT_OUT).await?.iter().take(NAMED_MAX).map(|row| text(row.at(0))));
        }
        let data_dir = self.instance.data_dir.clone();
        let sized = tokio::task::spawn_blocking(move || bytes_in(&data_dir)).await;
        let lost = |e: tokio::task::JoinError| Error::Answer { doing: DOING, answer: e.to_string() };
        let (bytes, waiting) = (sized.map_err(lost)?, self.commits_that_stand().await?);
        Ok(Offer { version: view.version, uuid: view.uuid, bytes, plugins, left_out, waiting })
    }
}

/// Bytes of a data directory without its logs; what vanishes during the look counts for nothing.
fn bytes_in(dir: &Path) -> u64 {
    let logs = ["binlog.", "relay.", "ib_logfile", "#innodb_redo", "#innodb_temp", "ibtmp"];
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let kept = entries.filter(|entry| !logs.iter().any(|log| entry.file_name().to_string_lossy().starts_with(log)));
    kept.map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes_in(&entry.path()),
        Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |m| m.len()),
        Ok(_) | Err(_) => 0,
    })
    .sum()
}

/// Whether a server's data may be copied whole onto a server of version `own`.
///
/// # Errors
/// [`Refusal::Copy`]; [`Refusal::CopyWaits`], which passes.
pub fn check_copy(own: &Version, offer: &Offer) -> std::result::Result<(), Refusal> {
    let theirs = &offer.version;
    let refuse = |why: String| Err(Refusal::Copy { own: own.clone(), source_version: theirs.clone(), why });
    if own.flavour != theirs.flavour {
        let why = "MySQL and MariaDB do not read each other's files; only a logical dump goes between them, and Dauphin makes none";
        return refuse(why.to_owned());
    }
    let (series, point) = ((own.number.0, own.number.1), own.number.2);
    if series != (theirs.number.0, theirs.number.1) {
        let (major, minor, _) = theirs.number;
        let why = format!(
            "files are copied within one series only, and Dauphin makes no logical dump; install {major}.{minor} here, copy, and \
             upgrade then"
        );
        return refuse(why);
    }
    let exact = own.flavour == Flavour::Mysql && series == (8, 0) && point.min(theirs.number.2) < ANY_POINT_RELEASE;
    if exact && point != theirs.number.2 {
        return refuse(format!("before 8.0.{ANY_POINT_RELEASE} MySQL copies between equal point releases only"));
    }
    if offer.waiting > 0 {
        return Err(Refusal::CopyWaits { sessions: offer.waiting });
    }
    if !offer.left_out.is_empty() {
        return refuse(format!(
            "MySQL copies InnoDB tables only, and these would be there without rows: {}; convert them (ALTER TABLE … ENGINE = InnoDB)",
            offer.left_out.join(", ")
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_to_a_server_of_their_series_and_nowhere_else() {
        let version = |text: &str| Version::parse(text).expect("a version");
        let offer = |text: &str, left_out: &[&str]| Offer {
            version: version(text),
            uuid: None,
            bytes: 0,
            plugins: Vec::new(),
            left_out: left_out.iter().map(|t| (*t).to_owned()).collect(),
            waiting: 0,
        };
        let may = |own: &str, theirs: &str| check_copy(&version(own), &offer(theirs, &[])).map_err(|e| e.to_string());
        for (own, theirs) in [
            ("9.7.4", "9.7.2"),
            ("8.4.1", "8.4.9"),
            ("8.0.42", "8.0.37"),
            ("8.0.36", "8.0.36"),
            ("10.11.2-MariaDB", "10.11.18-MariaDB"),
        ] {
            assert_eq!(may(own, theirs), Ok(()), "{own} from {theirs}");
        }
        for (own, theirs, why) in [
            ("9.7.4", "9.6.0", "install 9.6 here"),
            ("8.4.1", "8.0.42", "install 8.0 here"),
            ("8.0.36", "8.0.42", "equal point releases"),
            ("8.0.42", "8.0.36", "equal point releases"),
            ("11.8.9-MariaDB", "11.4.1-MariaDB", "install 11.4 here"),
            ("11.8.9-MariaDB", "9.7.4", "do not read each other's files"),
        ] {
            let said = may(own, theirs).expect_err(own);
            assert!(said.contains(why) && said.contains("Nothing was changed"), "{said}");
        }
        let with_isam = check_copy(&version("9.7.4"), &offer("9.7.4", &["app.old (MyISAM)"]));
        assert!(with_isam.expect_err("left out").to_string().contains("app.old (MyISAM)"));
        let waits = check_copy(&version("9.7.4"), &Offer { waiting: 2, ..offer("9.7.4", &[]) });
        let waits = waits.expect_err("it waits");
        assert!(waits.to_string().contains("2 commits wait for replicas there"));
        // a member whose copy is refused for now must not be left to a person
        assert!(!Error::from(waits).blames_data());
        let other = check_copy(&version("9.7.4"), &offer("9.6.0", &[])).expect_err("another series");
        // nor one that waits for its leader's upgrade, or its own
        assert!(!Error::from(other).blames_data());
        let family = check_copy(&version("9.7.4"), &offer("11.8.9-MariaDB", &[])).expect_err("another family");
        assert!(Error::from(family).blames_data());
    }
}
