//! What an engine itself permits at each level: such findings are its own and not ours. One table; docs/consistency.md says
//! the same to people.

use crate::append::Anomaly;

/// What runs the transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Server {
    /// PostgreSQL of this major version.
    Postgres {
        /// 15, 18.
        major: u32,
    },
    /// MySQL or MariaDB, tables of InnoDB.
    Innodb,
}

/// Where and how a transaction ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// On the leader, `READ COMMITTED`: each statement sees a snapshot of its own.
    ReadCommitted,
    /// On the leader, `REPEATABLE READ`. With PostgreSQL snapshot isolation; InnoDB reads a snapshot and writes over whatever is
    /// the newest, and shows the whole of a row that it wrote to itself (Jepsen, "MySQL 8.0.34", 2023).
    RepeatableRead,
    /// On the leader, `SERIALIZABLE`.
    Serializable,
    /// On the leader, every read with `FOR UPDATE`, of rows that exist and are found by their key: two-phase locking.
    Locking,
    /// Reads on a replica: parallel snapshot isolation, as a replica shows commits in the order of the log and the leader in an
    /// order of its own.
    Replica,
}

/// Whether the engine permits that anomaly there.
#[must_use]
pub fn permits(server: Server, level: Level, anomaly: Anomaly) -> bool {
    use Anomaly::{G2Item, GNonadjacent, GSingle, Internal};
    match (level, anomaly) {
        (Level::ReadCommitted, GSingle | GNonadjacent | G2Item)
        | (Level::RepeatableRead, G2Item)
        | (Level::Replica, GNonadjacent | G2Item) => true,
        (Level::RepeatableRead, Internal | GSingle | GNonadjacent) => server == Server::Innodb,
        // reported upstream for 18.4 with INSERT ... ON CONFLICT; workloads append by a plain UPDATE, and still
        (Level::Serializable, G2Item) => matches!(server, Server::Postgres { major: 18.. }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSTGRES: Server = Server::Postgres { major: 15 };
    const LEVELS: [Level; 5] =
        [Level::ReadCommitted, Level::RepeatableRead, Level::Serializable, Level::Locking, Level::Replica];

    #[test]
    fn nothing_permits_what_split_brain_looks_like() {
        use Anomaly::{Duplicate, G0, G1a, G1b, G1c, IncompatibleOrder, Internal, Lost, Unwritten};
        for (server, level) in LEVELS.iter().flat_map(|level| [(POSTGRES, *level), (Server::Innodb, *level)]) {
            for anomaly in [Duplicate, Unwritten, IncompatibleOrder, Lost, G1a, G1b, G0, G1c] {
                assert!(!permits(server, level, anomaly), "{server:?} {level:?} {anomaly}");
            }
        }
        assert!(LEVELS.iter().all(|level| !permits(POSTGRES, *level, Internal)));
        assert!(permits(POSTGRES, Level::Replica, Anomaly::GNonadjacent));
        assert!(!permits(POSTGRES, Level::RepeatableRead, Anomaly::GNonadjacent), "long fork on the leader");
        assert!(!permits(POSTGRES, Level::Serializable, Anomaly::G2Item));
    }

    #[test]
    fn innodb_loses_updates_unless_reads_lock() {
        use Anomaly::{G2Item, GNonadjacent, GSingle, Internal};
        for anomaly in [Internal, GSingle, GNonadjacent, G2Item] {
            assert!(permits(Server::Innodb, Level::RepeatableRead, anomaly), "{anomaly}");
            for level in [Level::Locking, Level::Serializable] {
                assert!(!permits(Server::Innodb, level, anomaly), "{level:?} {anomaly}");
            }
        }
        assert!(!permits(POSTGRES, Level::RepeatableRead, GSingle));
    }
}
