//! Names and counters: each its own type, so that two numbers never stand side by side in a signature.
//! Everything uses these; they never mean anything but identity and order.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest name of a cluster or member, in bytes. PostgreSQL cuts identifiers (slots, application names) at 63; a
/// generated name is `dauphin_<member>_<incarnation>`.
pub const NAME_BYTES_MAX: usize = 32;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BadName {
    /// The text as given.
    pub given: String,
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a name: 1 to {NAME_BYTES_MAX} characters, a-z, 0-9 and _, starting with a letter",
            self.given
        )
    }
}

impl std::error::Error for BadName {}

fn check(text: &str) -> Result<String, BadName> {
    let mut chars = text.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_lowercase());
    let rest = chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if first && rest && text.len() <= NAME_BYTES_MAX {
        Ok(text.to_owned())
    } else {
        Err(BadName { given: text.chars().take(80).collect() })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Parses a name.
            ///
            /// # Errors
            /// [`BadName`] when the text breaks the rule for names.
            pub fn new(text: &str) -> Result<Self, BadName> {
                check(text).map(Self)
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                Self::new(&text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }
    };
}

name!(
    /// Name of a cluster.
    ClusterName
);
name!(
    /// Name of a member: one database server and its agent, or a witness.
    MemberName
);

macro_rules! counter {
    ($(#[$doc:meta])* $type:ident, $int:ty) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $type(pub $int);

        impl $type {
            /// The next one; stays at the largest when the counter is exhausted.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

counter!(
    /// The number of a leadership. Only grows; also the fencing epoch.
    Term,
    u64
);
counter!(
    /// A PostgreSQL timeline. Dauphin hands out each number once in the life of a cluster.
    Timeline,
    u32
);
counter!(
    /// Which copy of a member's data: grows when the data is wiped and cloned again.
    Incarnation,
    u32
);
counter!(
    /// Version of the published sync set. Only grows.
    SetVersion,
    u64
);

/// One copy of one member's data: what may vouch for acknowledged commits. A member cloned again is another voter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Voter {
    /// The member.
    pub name: MemberName,
    /// Which copy of its data.
    pub incarnation: Incarnation,
}

impl Voter {
    /// A voter.
    #[must_use]
    pub fn new(name: MemberName, incarnation: Incarnation) -> Self {
        Self { name, incarnation }
    }

    /// The `application_name` under which this voter replicates, and the name of its slot. Unique by construction:
    /// one name counted twice would satisfy `ANY 2` alone.
    #[must_use]
    pub fn application_name(&self) -> String {
        format!("dauphin_{}_{}", self.name, self.incarnation)
    }

    /// The voter whose [`Self::application_name`] this is.
    #[must_use]
    pub fn from_application_name(text: &str) -> Option<Self> {
        let (name, incarnation) = text.strip_prefix("dauphin_")?.rsplit_once('_')?;
        Some(Self { name: MemberName::new(name).ok()?, incarnation: Incarnation(incarnation.parse().ok()?) })
    }
}

impl fmt::Display for Voter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.name, self.incarnation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_word_that_every_engine_accepts() {
        for good in ["m1", "lab", "eu_west_2", "a"] {
            assert!(MemberName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "1m", "M1", "m-1", "m 1", "é", "_m", &"m".repeat(33)] {
            assert!(MemberName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_voter_is_read_back_from_its_application_name() {
        let voter = Voter::new(MemberName::new("eu_1").expect("a name"), Incarnation(12));
        assert_eq!(voter.application_name(), "dauphin_eu_1_12");
        assert_eq!(Voter::from_application_name("dauphin_eu_1_12"), Some(voter));
        for other in ["psql", "dauphin_eu", "dauphin__1", "dauphin_m1_x"] {
            assert_eq!(Voter::from_application_name(other), None, "{other}");
        }
    }
}
