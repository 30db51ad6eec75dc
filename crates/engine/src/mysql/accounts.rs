//! Dauphin's accounts in the server, with least privilege, and their passwords. Made before the server first opens a port.
//! Its own account and root have no password: they are the system user's and root's, over the socket alone.

use crate::host::Secret;
use crate::mysql::client::literal;
use crate::mysql::{Error, Flavour, Result};

/// Streams the log to replicas.
pub const REPLICATION: &str = "dauphin_replication";
/// Looks at the server.
pub const MONITOR: &str = "dauphin_monitor";
/// Copies a whole MySQL member from another machine. MariaDB has it not: there the member's own agent reads.
pub const COPY: &str = "dauphin_copy";
/// The agent's own account on MySQL, where an account may belong to a system user of another name.
const AGENT: &str = "dauphin";

/// Passwords of Dauphin's accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Of [`REPLICATION`].
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
    let mut accounts =
        vec![(REPLICATION, &credentials.replication, "REPLICATION SLAVE"), (MONITOR, &credentials.monitor, looks)];
    if flavour == Flavour::Mysql {
        accounts.push((COPY, &credentials.copy, "BACKUP_ADMIN"));
    }
    for (user, secret, rights) in accounts {
        lines.push(format!("CREATE USER '{user}'@'%' IDENTIFIED BY {}", literal(secret.expose())));
        lines.push(format!("GRANT {rights} ON *.* TO '{user}'@'%'"));
    }
    if flavour == Flavour::Mysql {
        lines.push(format!("GRANT SELECT ON performance_schema.* TO '{MONITOR}'@'%'"));
    }
    lines.join(";\n") + ";\n"
}

#[cfg(test)]
mod tests {
    use super::*;

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
