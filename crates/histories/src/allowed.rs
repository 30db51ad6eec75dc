//! What an engine itself permits at each level: such findings are its own and not ours. One table; docs/consistency.md says
//! the same to people.

use crate::append::Anomaly;

/// Where and how a transaction ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// PostgreSQL, on the leader, `READ COMMITTED`: each statement sees a snapshot of its own.
    ReadCommitted,
    /// PostgreSQL, on the leader, `REPEATABLE READ`: snapshot isolation.
    RepeatableRead,
    /// PostgreSQL, on the leader, `SERIALIZABLE`.
    Serializable,
    /// PostgreSQL, reads on a replica: parallel snapshot isolation, as a replica shows commits in the order of the log and the
    /// leader in the order of its process array.
    Replica,
}

/// Whether the engine permits that anomaly there. `version` is PostgreSQL's major version.
#[must_use]
pub fn permits(level: Level, version: u32, anomaly: Anomaly) -> bool {
    use Anomaly::{G2Item, GNonadjacent, GSingle};
    match (level, anomaly) {
        (Level::ReadCommitted, GSingle | GNonadjacent | G2Item)
        | (Level::RepeatableRead, G2Item)
        | (Level::Replica, GNonadjacent | G2Item) => true,
        // reported upstream for 18.4 with INSERT ... ON CONFLICT; workloads append by a plain UPDATE, and still
        (Level::Serializable, G2Item) => version >= 18,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_permits_what_split_brain_looks_like() {
        use Anomaly::{Duplicate, G0, G1a, G1b, G1c, IncompatibleOrder, Internal, Lost, Unwritten};
        for level in [Level::ReadCommitted, Level::RepeatableRead, Level::Serializable, Level::Replica] {
            for anomaly in [Duplicate, Unwritten, IncompatibleOrder, Lost, Internal, G1a, G1b, G0, G1c] {
                assert!(!permits(level, 15, anomaly), "{level:?} {anomaly}");
            }
        }
        assert!(permits(Level::Replica, 15, Anomaly::GNonadjacent));
        assert!(!permits(Level::RepeatableRead, 15, Anomaly::GNonadjacent), "long fork on the leader");
        assert!(!permits(Level::Serializable, 15, Anomaly::G2Item));
    }
}
