//! What each server calls things: statements, variables, columns. Chosen once from the version; every difference between
//! servers that is a word stands here, and what is a difference in behaviour is where the behaviour is.

use crate::mysql::version::{Flavour, Version};

/// How to speak to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// MySQL 8.0, from 8.0.26 on.
    Mysql80,
    /// MySQL 8.4.
    Mysql84,
    /// MySQL 9.
    Mysql9,
    /// MariaDB 10.11.
    Mariadb10,
    /// MariaDB 11.
    Mariadb11,
}

/// What Dauphin runs, for errors.
pub const SUPPORTED: &str = "MySQL 8.0 (from 8.0.26), 8.4 and 9, MariaDB 10.11 and 11";

impl Dialect {
    /// The dialect of a version; `None`: Dauphin does not run it. MySQL before 8.0.26 has other names for half of this.
    #[must_use]
    pub const fn of(version: &Version) -> Option<Self> {
        match (version.flavour, version.number) {
            (Flavour::Mysql, (8, 0, 26..)) => Some(Self::Mysql80),
            (Flavour::Mysql, (8, 4, _)) => Some(Self::Mysql84),
            (Flavour::Mysql, (9, _, _)) => Some(Self::Mysql9),
            (Flavour::Mariadb, (10, 11, _)) => Some(Self::Mariadb10),
            (Flavour::Mariadb, (11, _, _)) => Some(Self::Mariadb11),
            _ => None,
        }
    }

    /// Which of the two families it is.
    #[must_use]
    pub const fn flavour(self) -> Flavour {
        match self {
            Self::Mysql80 | Self::Mysql84 | Self::Mysql9 => Flavour::Mysql,
            Self::Mariadb10 | Self::Mariadb11 => Flavour::Mariadb,
        }
    }

    const fn either(self, mysql: &'static str, mariadb: &'static str) -> &'static str {
        match self.flavour() {
            Flavour::Mysql => mysql,
            Flavour::Mariadb => mariadb,
        }
    }

    /// The server's program.
    #[must_use]
    pub const fn server_program(self) -> &'static str {
        self.either("mysqld", "mariadbd")
    }

    /// One row for each channel.
    #[must_use]
    pub const fn replica_status(self) -> &'static str {
        self.either("SHOW REPLICA STATUS", "SHOW ALL SLAVES STATUS")
    }

    /// Starts the receiver.
    #[must_use]
    pub const fn start_receiver(self) -> &'static str {
        self.either("START REPLICA IO_THREAD", "START SLAVE IO_THREAD")
    }

    /// Starts the applier.
    #[must_use]
    pub const fn start_applier(self) -> &'static str {
        self.either("START REPLICA SQL_THREAD", "START SLAVE SQL_THREAD")
    }

    /// Stops the receiver.
    #[must_use]
    pub const fn stop_receiver(self) -> &'static str {
        self.either("STOP REPLICA IO_THREAD", "STOP SLAVE IO_THREAD")
    }

    /// Stops the applier.
    #[must_use]
    pub const fn stop_applier(self) -> &'static str {
        self.either("STOP REPLICA SQL_THREAD", "STOP SLAVE SQL_THREAD")
    }

    /// Deletes what was received and not applied; whom it follows stays.
    #[must_use]
    pub const fn forget_received(self) -> &'static str {
        self.either("RESET REPLICA", "RESET SLAVE")
    }

    /// Forgets the source and deletes the relay log with all that was not applied.
    #[must_use]
    pub const fn forget_source(self) -> &'static str {
        self.either("RESET REPLICA ALL", "RESET SLAVE ALL")
    }

    /// Deletes the binary log and all record of what was executed.
    #[must_use]
    pub const fn forget_log(self) -> &'static str {
        match self {
            Self::Mysql80 | Self::Mariadb10 | Self::Mariadb11 => "RESET MASTER",
            Self::Mysql84 | Self::Mysql9 => "RESET BINARY LOGS AND GTIDS",
        }
    }

    /// Closes the server to every write but the applier's.
    #[must_use]
    pub const fn close_writes(self) -> &'static str {
        self.either("SET GLOBAL super_read_only = ON", "SET GLOBAL read_only = ON")
    }

    /// Opens it.
    #[must_use]
    pub const fn open_writes(self) -> &'static str {
        // on MySQL, clearing read_only clears super_read_only with it
        "SET GLOBAL read_only = OFF"
    }

    /// The setting that closes it at boot.
    #[must_use]
    pub const fn closed_setting(self) -> &'static str {
        self.either("super_read_only", "read_only")
    }

    /// Keeps the receiver and the applier stopped at boot.
    #[must_use]
    pub const fn skip_start_setting(self) -> &'static str {
        self.either("skip_replica_start", "skip_slave_start")
    }

    /// Whether what was received is logged again when it is applied.
    #[must_use]
    pub const fn log_applied_setting(self) -> &'static str {
        self.either("log_replica_updates", "log_slave_updates")
    }

    /// Reads the certificates again.
    #[must_use]
    pub const fn reload_tls(self) -> &'static str {
        self.either("ALTER INSTANCE RELOAD TLS", "FLUSH SSL")
    }

    /// The replicas that are attached and say who they are; one row for each.
    #[must_use]
    pub const fn attached(self) -> &'static str {
        self.either("SHOW REPLICAS", "SHOW SLAVE HOSTS")
    }

    /// Shows what replicas report as their user: Dauphin's replicas say who they are with it.
    #[must_use]
    pub const fn show_reported_setting(self) -> &'static str {
        self.either("show_replica_auth_info", "show_slave_auth_info")
    }

    /// Silence after which a receiver gives its connection up, in seconds.
    #[must_use]
    pub const fn net_timeout_setting(self) -> &'static str {
        self.either("replica_net_timeout", "slave_net_timeout")
    }

    /// Variables of the leader's side of semi-synchronous replication begin with this.
    #[must_use]
    pub const fn semi_sync_leader(self) -> &'static str {
        self.either("rpl_semi_sync_source", "rpl_semi_sync_master")
    }

    /// The same of the replica's side.
    #[must_use]
    pub const fn semi_sync_replica(self) -> &'static str {
        self.either("rpl_semi_sync_replica", "rpl_semi_sync_slave")
    }

    /// What a session says it does while its commit waits for an acknowledgement.
    #[must_use]
    pub const fn waiting_state(self) -> &'static str {
        self.either("Waiting for semi-sync ACK from replica", "Waiting for semi-sync ACK from slave")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dialect_follows_from_the_version() {
        let of = |said| Version::parse(said).as_ref().and_then(Dialect::of);
        assert_eq!(of("Ver 8.0.26 for"), Some(Dialect::Mysql80));
        assert_eq!(of("Ver 8.0.25 for"), None, "before the names of today");
        assert_eq!(of("Ver 8.1.0 for"), None, "an innovation release that ended");
        assert_eq!(of("Ver 8.4.9 for"), Some(Dialect::Mysql84));
        assert_eq!(of("Ver 9.0.1 for"), Some(Dialect::Mysql9));
        assert_eq!(of("Ver 5.7.44 for"), None);
        assert_eq!(of("10.11.18-MariaDB"), Some(Dialect::Mariadb10));
        assert_eq!(of("11.8.9-MariaDB"), Some(Dialect::Mariadb11));
        assert_eq!(of("10.6.20-MariaDB"), None);
        assert_eq!(of("12.0.1-MariaDB"), None, "its read_only has more values than two");
    }

    #[test]
    fn statements_that_were_taken_away_are_not_spoken() {
        for dialect in [Dialect::Mysql84, Dialect::Mysql9] {
            let all =
                [dialect.replica_status(), dialect.start_receiver(), dialect.forget_source(), dialect.forget_log()];
            assert!(all.iter().all(|sql| !sql.contains("SLAVE") && !sql.contains("MASTER")), "{all:?}");
        }
        assert_eq!(Dialect::Mysql80.forget_log(), "RESET MASTER");
    }
}
