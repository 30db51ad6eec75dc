//! Dauphin's accounts in the server, with least privilege, and their passwords; its tables too. Made before the server first
//! opens a port, and in no log: every member has them. Accounts of voters come later, when members are known ([`super::grants`]).
//! Its own account and root have no password: they are the system user's and root's, over the socket alone.

use crate::host::Secret;
use crate::mysql::client::literal;
use crate::mysql::{Error, Flavour, Result, barrier, heartbeat, timelines};
use dauphin_model::MemberName;

/// Streams the log to replicas.
pub const REPLICATION: &str = "dauphin_replication";
/// Accounts of members whose acknowledgements count begin with this, one for each member.
const VOTER: &str = "dauphin_voter_";
/// Longest name of an account: MySQL's.
const NAME_MAX: usize = 32;
/// Looks at the server.
pub const MONITOR: &str = "dauphin_monitor";
/// Copies a whole MySQL member from another machine. MariaDB has it not: there the member's own agent reads.
pub const COPY: &str = "dauphin_copy";
/// The agent's own account on MySQL, where an account may belong to a system user of another name.
const AGENT: &str = "dauphin";

/// Passwords of Dauphin's accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Of [`REPLICATION`] and of the voters' accounts.
    pub replication: Secret,
    /// Of [`MONITOR`].
    pub monitor: Secret,
    /// Of [`COPY`].
    pub copy: Secret,
}

impl Credentials {
    /// Refuses passwords that no line of statements can hold.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn check(&self) -> Result<()> {
        for (key, secret) in [
            ("password of replication", &self.replication),
            ("password of the monitor", &self.monitor),
            ("password of copies", &self.copy),
        ] {
            if secret.expose().is_empty() || secret.expose().chars().any(char::is_control) {
                let why = "it is empty or holds a control character; take printable characters".to_owned();
                return Err(Error::Setting { key: key.to_owned(), why });
            }
        }
        Ok(())
    }
}

/// The account with which a member replicates while its acknowledgements count.
#[must_use]
pub fn voter(member: &MemberName) -> String {
    let name = format!("{VOTER}{member}");
    if name.len() <= NAME_MAX {
        return name;
    }
    // FNV-1a: the same on every machine and in every build
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{VOTER}{:016x}", member.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

/// Whether it is an account with which members replicate.
pub(crate) fn replicates(account: &str) -> bool {
    account == REPLICATION || is_voter(account)
}

/// Whether it is a voter's account.
pub(crate) fn is_voter(account: &str) -> bool {
    account.starts_with(VOTER)
}

/// The right to come in while clients are kept out, by the family's name for it.
pub(crate) const fn passes(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Mysql => "CONNECTION_ADMIN",
        Flavour::Mariadb => "CONNECTION ADMIN",
    }
}

/// The account that the agent connects as.
#[must_use]
pub fn agent(flavour: Flavour, os_user: &str) -> &str {
    match flavour {
        Flavour::Mysql => AGENT,
        // unix_socket lets in the system user of the account's own name, and no other
        Flavour::Mariadb => os_user,
    }
}

/// The statements that make the accounts in a data directory just initialised, one on each line.
#[must_use]
pub(crate) fn statements(flavour: Flavour, os_user: &str, credentials: &Credentials) -> String {
    let (owner, agent) = (literal(os_user), literal(agent(flavour, os_user)));
    let all = "GRANT ALL PRIVILEGES ON *.*";
    let mut lines = match flavour {
        Flavour::Mysql => vec![
            "INSTALL PLUGIN auth_socket SONAME 'auth_socket.so'".to_owned(),
            format!("CREATE USER {agent}@'localhost' IDENTIFIED WITH auth_socket AS {owner}"),
            format!("{all} TO {agent}@'localhost' WITH GRANT OPTION"),
            "ALTER USER 'root'@'localhost' IDENTIFIED WITH auth_socket".to_owned(),
        ],
        Flavour::Mariadb => vec![
            "FLUSH PRIVILEGES".to_owned(),
            "DELETE FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host <> 'localhost')".to_owned(),
            "FLUSH PRIVILEGES".to_owned(),
            format!("CREATE OR REPLACE USER {agent}@'localhost' IDENTIFIED VIA unix_socket"),
            format!("{all} TO {agent}@'localhost' WITH GRANT OPTION"),
            "CREATE OR REPLACE USER 'root'@'localhost' IDENTIFIED VIA unix_socket".to_owned(),
            format!("{all} TO 'root'@'localhost' WITH GRANT OPTION"),
        ],
    };
    let looks = match flavour {
        Flavour::Mysql => "PROCESS, REPLICATION CLIENT",
        Flavour::Mariadb => "PROCESS, SLAVE MONITOR, BINLOG MONITOR",
    };
    let passes = passes(flavour);
    let mut accounts = vec![
        (REPLICATION, &credentials.replication, format!("REPLICATION SLAVE, {passes}")),
        (MONITOR, &credentials.monitor, looks.to_owned()),
    ];
    if flavour == Flavour::Mysql {
        accounts.push((COPY, &credentials.copy, format!("BACKUP_ADMIN, {passes}")));
    }
    for (user, secret, rights) in accounts {
        lines.push(format!("CREATE USER '{user}'@'%' IDENTIFIED BY {}", literal(secret.expose())));
        lines.push(format!("GRANT {rights} ON *.* TO '{user}'@'%'"));
    }
    if flavour == Flavour::Mysql {
        lines.push(format!("GRANT SELECT ON performance_schema.* TO '{MONITOR}'@'%'"));
    }
    lines.push("CREATE DATABASE IF NOT EXISTS dauphin".to_owned());
    lines.extend([timelines::TABLE, barrier::TABLE, heartbeat::TABLE].map(str::to_owned));
    lines.join(";\n") + ";\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voters_account_fits_and_is_its_own() {
        let of = |text: &str| voter(&MemberName::new(text).expect("a name"));
        assert_eq!(of("m2"), "dauphin_voter_m2");
        let long = ["a_member_with_a_long_name_1", "a_member_with_a_long_name_2"].map(of);
        assert_ne!(long[0], long[1]);
        assert!(long.iter().all(|name| name.len() <= NAME_MAX && replicates(name)), "{long:?}");
        assert!(!replicates(MONITOR));
    }

    #[test]
    fn passwords_that_would_break_a_statement_are_refused_or_quoted() {
        let with = |text: &str| Credentials {
            replication: Secret::new(text.to_owned()),
            monitor: Secret::new("m".to_owned()),
            copy: Secret::new("c".to_owned()),
        };
        assert!(with("a\nb").check().is_err() && with("").check().is_err());
        assert!(with("it's \\ fine").check().is_ok());
        let text = statements(Flavour::Mysql, "dauphin", &with("it's \\ fine"));
        assert!(text.contains("IDENTIFIED BY 'it''s \\\\ fine';\n"), "{text}");
        assert!(!format!("{:?}", with("hunter2")).contains("hunter2"));
    }
}
