//! How far a member of either family reaches: looks, freezes and promotions give it.
//! The comparisons are the model's; here is only which of the two types it is.

use dauphin_model::{GtidSet, Held, MariaPosition};
use std::fmt;

/// What a server has executed, received, or both together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// A GTID set.
    Mysql(GtidSet),
    /// A GTID position.
    Mariadb(MariaPosition),
}

impl Reached {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Mysql(set) => set.is_empty(),
            Self::Mariadb(position) => position.is_empty(),
        }
    }

    /// What of it `other` does not hold, for people.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> String {
        match (self, other) {
            (Self::Mysql(ours), Self::Mysql(theirs)) => ours.subtract(theirs).on_one_line(),
            (Self::Mariadb(_), Self::Mariadb(_)) => format!("what follows {other} up to {self}"),
            (Self::Mysql(_), Self::Mariadb(_)) | (Self::Mariadb(_), Self::Mysql(_)) => self.to_string(),
        }
    }
}

impl Held for Reached {
    fn holds(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Mysql(ours), Self::Mysql(theirs)) => ours.holds(theirs),
            (Self::Mariadb(ours), Self::Mariadb(theirs)) => ours.holds(theirs),
            (Self::Mysql(_), Self::Mariadb(_)) | (Self::Mariadb(_), Self::Mysql(_)) => false,
        }
    }

    fn join(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Mysql(ours), Self::Mysql(theirs)) => ours.join(theirs).map(Self::Mysql),
            (Self::Mariadb(ours), Self::Mariadb(theirs)) => ours.join(theirs).map(Self::Mariadb),
            (Self::Mysql(_), Self::Mariadb(_)) | (Self::Mariadb(_), Self::Mysql(_)) => None,
        }
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mysql(set) => f.write_str(&set.on_one_line()),
            Self::Mariadb(position) => position.fmt(f),
        }
    }
}
