//! Which server a program is, from what it says of itself. The dialect follows from it, and who may follow whom.
//! Nothing is ever tried out.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Two servers that went apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// Oracle's, Percona's, anybody's MySQL.
    Mysql,
    /// MariaDB.
    Mariadb,
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Mysql => "MySQL",
            Self::Mariadb => "MariaDB",
        })
    }
}

/// A server's version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Which of the two.
    pub flavour: Flavour,
    /// `(9, 7, 4)`.
    pub number: (u32, u32, u32),
    /// As it writes itself: `9.7.4-2`, `10.11.18-MariaDB-0+deb12u1`.
    pub text: String,
}

impl Version {
    /// From what `mysqld --version` or `mariadbd --version` prints, or from `SELECT VERSION()`.
    #[must_use]
    pub fn parse(said: &str) -> Option<Self> {
        let word = said.split_once("Ver ").map_or(said, |(_, rest)| rest).split_whitespace().next()?;
        let flavour = if said.contains("MariaDB") { Flavour::Mariadb } else { Flavour::Mysql };
        // a MariaDB that speaks to old replicas puts 5.5.5- before its own
        let text = word.strip_prefix("5.5.5-").filter(|_| flavour == Flavour::Mariadb).unwrap_or(word);
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        let mut next = || numbers.next()?.ok();
        let number = (next()?, next()?, next()?);
        Some(Self { flavour, number, text: text.to_owned() })
    }

    /// Its series as a number that grows with it, among those of its family: 8004 for 8.4. Above 0.
    #[must_use]
    pub fn series(&self) -> u32 {
        let (major, minor, _) = self.number;
        major.saturating_mul(1_000).saturating_add(minor).max(1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.flavour {
            Flavour::Mysql => write!(f, "MySQL {}", self.text),
            // it names itself
            Flavour::Mariadb => f.write_str(&self.text),
        }
    }
}

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("no version of a server: {text:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_servers_say() {
        let of = |said| Version::parse(said).map(|v| (v.flavour, v.number));
        let mysql = |a, b, c| Some((Flavour::Mysql, (a, b, c)));
        let mariadb = |a, b, c| Some((Flavour::Mariadb, (a, b, c)));
        assert_eq!(of("/usr/sbin/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))\n"), mysql(9, 7, 4));
        assert_eq!(
            of("/usr/sbin/mysqld  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)"),
            mysql(8, 0, 36)
        );
        assert_eq!(
            of("/usr/sbin/mysqld  Ver 8.4.3-3 for Linux on x86_64 (Percona Server (GPL), Release 3)"),
            mysql(8, 4, 3)
        );
        let debian = "/usr/sbin/mariadbd  Ver 10.11.18-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)";
        assert_eq!(of(debian), mariadb(10, 11, 18));
        assert_eq!(of("5.5.5-10.11.18-MariaDB-log"), mariadb(10, 11, 18));
        assert_eq!(of("11.8.9-MariaDB-0+deb13u1 from Debian"), mariadb(11, 8, 9));
        assert_eq!(of("postgres (PostgreSQL) 15.18"), None);
        assert_eq!(of("Ver 9"), None);
        for text in ["9.7.4-2", "10.11.18-MariaDB-0+deb12u1-log"] {
            let version = Version::parse(text).expect("a version");
            let json = serde_json::to_string(&version).expect("text");
            assert_eq!(serde_json::from_str::<Version>(&json).expect("a version"), version);
        }
    }
}
