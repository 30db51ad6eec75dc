//! Renders our block of pg_hba.conf and pg_ident.conf: who may connect while the server is closed, and who once it is
//! open. Pure. The user's own lines stay below the block and count only while the server is open.

use crate::postgres::roles::{MONITOR, PROXY, REPLICATION, REWIND};
use crate::postgres::session::SUPERUSER;
use std::fmt::Write;

/// Name of the map from the system user to the superuser role.
const MAP: &str = "dauphin";

/// Who may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The agent and the members only.
    Closed,
    /// Clients too.
    Open,
}

/// Where connections come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networks {
    /// Networks (CIDR) of the members and their proxies.
    pub replication: Vec<String>,
    /// Networks (CIDR) of clients.
    pub clients: Vec<String>,
    /// Clients and members must use TLS.
    pub require_tls: bool,
}

/// Our block of pg_hba.conf. The first line that matches a connection decides.
#[must_use]
pub fn render(access: Access, networks: &Networks) -> String {
    let host = if networks.require_tls { "hostssl" } else { "host" };
    let mut out = format!("# {}\n", if access == Access::Open { "open" } else { "closed" });
    // writing to a String cannot fail
    let mut line = |kind: &str, database: &str, user: &str, from: &str, method: &str| {
        let _ = writeln!(out, "{kind} {database} {user} {from} {method}");
    };
    let peer = format!("peer map={MAP}");
    line("local", "all", SUPERUSER, "", &peer);
    line("local", "replication", SUPERUSER, "", &peer);
    line("host", "all", SUPERUSER, "all", "reject");
    for network in &networks.replication {
        line(host, "replication", REPLICATION, network, "scram-sha-256");
        line(host, "postgres", &format!("{REWIND},{MONITOR},{PROXY}"), network, "scram-sha-256");
    }
    let ours = [REPLICATION, REWIND, MONITOR, PROXY].join(",");
    for (kind, from) in [("local", ""), ("host", "all")] {
        line(kind, "all", &ours, from, "reject");
        line(kind, "replication", &ours, from, "reject");
    }
    match access {
        Access::Open => {
            for network in &networks.clients {
                line(host, "all", "all", network, "scram-sha-256");
            }
            if networks.require_tls {
                // initdb's own lines, below, would let plain connections in
                line("hostnossl", "all", "all", "all", "reject");
                line("hostnossl", "replication", "all", "all", "reject");
            }
        }
        Access::Closed => {
            for (kind, from) in [("local", ""), ("host", "all")] {
                line(kind, "all", "all", from, "reject");
                line(kind, "replication", "all", from, "reject");
            }
        }
    }
    out
}

/// Our block of pg_ident.conf: the system user is the superuser role, on the local socket.
#[must_use]
pub fn render_ident(os_user: &str) -> String {
    format!("{MAP} {os_user} {SUPERUSER}\n")
}

/// What the block in this pg_hba.conf says; `None` without a block.
#[must_use]
pub fn access_in(text: &str) -> Option<Access> {
    let mut lines = text.lines().skip_while(|l| l.trim_end() != crate::postgres::files::BLOCK_BEGIN);
    match lines.nth(1)?.trim() {
        "# open" => Some(Access::Open),
        "# closed" => Some(Access::Closed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::files::with_block_on_top;

    #[test]
    fn closed_rejects_everybody_else_before_the_users_lines() {
        let networks = Networks {
            replication: vec!["10.0.0.0/24".to_owned()],
            clients: vec!["10.1.0.0/16".to_owned()],
            require_tls: false,
        };
        let closed = render(Access::Closed, &networks);
        assert!(!closed.contains("10.1.0.0/16"));
        assert!(closed.trim_end().ends_with("host replication all all reject"));
        let open = render(Access::Open, &networks);
        assert!(open.contains("host all all 10.1.0.0/16 scram-sha-256"));
        assert!(!open.contains("host all all all reject"));
        assert_eq!(access_in(&with_block_on_top("local all all trust\n", &closed)), Some(Access::Closed));
        assert_eq!(access_in(&with_block_on_top("", &open)), Some(Access::Open));
        assert_eq!(access_in("local all all trust\n"), None);
    }

    #[test]
    fn with_tls_required_no_plain_line_lets_anybody_in() {
        let networks =
            Networks { replication: vec!["::/0".to_owned()], clients: vec!["::/0".to_owned()], require_tls: true };
        for line in render(Access::Open, &networks).lines().filter(|l| l.starts_with("host ")) {
            assert!(line.ends_with("reject"), "{line}");
        }
    }
}
