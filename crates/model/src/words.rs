//! Places in a log as each engine's people say them: PostgreSQL has byte positions on timelines, MySQL and MariaDB have
//! transactions, of leaderships (docs/mysql-positions.md). Whoever shows a place to people asks here.

use crate::name::Timeline;
use crate::position::{Lsn, Position};
use crate::spec::EngineKind;

impl EngineKind {
    /// A place in the log.
    #[must_use]
    pub fn place(self, at: Lsn) -> String {
        match self {
            Self::Postgres => at.to_string(),
            Self::Mysql | Self::Mariadb => format!("transaction {}", at.0),
        }
    }

    /// What a leadership writes on.
    #[must_use]
    pub fn timeline(self, timeline: Timeline) -> String {
        format!("{} {timeline}", self.timeline_word())
    }

    /// What a timeline is called.
    #[must_use]
    pub const fn timeline_word(self) -> &'static str {
        match self {
            Self::Postgres => "timeline",
            Self::Mysql | Self::Mariadb => "leadership",
        }
    }

    /// How far a log reaches.
    #[must_use]
    pub fn position(self, at: &Position) -> String {
        match self {
            Self::Postgres => at.to_string(),
            Self::Mysql | Self::Mariadb => format!("{} of {}", self.place(at.lsn), self.timeline(at.timeline)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_engine_has_words_of_its_own() {
        let at = Position::new(Timeline(2), Lsn(0x1A));
        assert_eq!(EngineKind::Postgres.position(&at), "0/1A on timeline 2");
        assert_eq!(EngineKind::Mysql.position(&at), "transaction 26 of leadership 2");
        assert_eq!(
            (EngineKind::Postgres.place(at.lsn), EngineKind::Mariadb.place(at.lsn)),
            ("0/1A".into(), "transaction 26".into())
        );
        assert_eq!(EngineKind::Mariadb.timeline(Timeline(3)), "leadership 3");
    }
}
