//! Renders `dauphin.cnf`, the one file that the server reads, and what stands on its command line. Settings that Dauphin
//! owns are refused when a user asks for them. Pure.

use crate::mysql::access::CLOSED;
use crate::mysql::{Dialect, Error, Flavour, Instance, Result, ServerId};
use dauphin_model::Voter;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

/// How long binary logs are kept when nothing else is asked, in seconds: longer than a new copy takes.
const LOG_KEEP_S: u64 = 3 * 86_400;
/// Silence after which a receiver gives its connection up, in seconds; the servers know whole seconds only.
const NET_TIMEOUT_S: u32 = 4;
/// How long a commit may wait for an acknowledgement before the server goes on without: a year. It never goes on by itself,
/// and this many milliseconds still fit where the servers count in nanoseconds.
pub(crate) const ACK_TIMEOUT_MS: u64 = 365 * 86_400 * 1_000;

/// Certificates for connections over TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificate chain, PEM.
    pub cert: PathBuf,
    /// Private key, PEM, readable by the system user alone.
    pub key: PathBuf,
    /// The cluster's CA, PEM.
    pub ca: PathBuf,
}

/// What stands in `dauphin.cnf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Address to listen on; the servers of some versions take one only.
    pub listen: String,
    /// Host under which the other members reach this one.
    pub host: String,
    /// The server's number.
    pub server_id: ServerId,
    /// The user's settings.
    pub user: BTreeMap<String, String>,
    /// How long binary logs are kept, in seconds.
    pub log_keep_s: u64,
    /// Certificates, when connections may use TLS.
    pub tls: Option<Tls>,
    /// Whether connections over TCP must use it, replicas' too.
    pub require_tls: bool,
    /// Who the member is, incarnation included: it tells its leader so, and the leader's looks tell it.
    pub voter: Option<Voter>,
}

impl Settings {
    /// Settings of a member.
    ///
    /// # Errors
    /// [`Error::Setting`] for a setting of the user that Dauphin owns, or that no file can hold.
    pub fn new(listen: &str, host: &str, server_id: ServerId, user: BTreeMap<String, String>) -> Result<Self> {
        check_user(&user)?;
        Ok(Self {
            listen: listen.to_owned(),
            host: host.to_owned(),
            server_id,
            user,
            log_keep_s: LOG_KEEP_S,
            tls: None,
            require_tls: false,
            voter: None,
        })
    }
}

/// Settings on which safety rests, with what to use instead; a star stands for any ending.
const OWNED: &[(&str, &str)] = &[
    ("datadir", "`data_dir` under [local]"),
    ("basedir", "`bin_dir` under [local]"),
    ("lc_messages_dir", "`bin_dir` under [local]"),
    ("plugin_*", "`bin_dir` under [local]"),
    ("early_plugin_load", "nothing: plugins of Dauphin's are loaded for you"),
    ("socket", "nothing: the socket is Dauphin's own"),
    ("port", "`port` of the member"),
    ("bind_address", "`listen` under [local]"),
    ("skip_networking", "`listen` under [local]"),
    ("pid_file", "nothing: it is Dauphin's own"),
    ("log_error", "nothing: the log is in the member's folder"),
    ("server_id", "nothing: it is derived from the member's name"),
    ("server_uuid", "nothing: the server makes it"),
    ("log_bin", "nothing: the binary log is always on"),
    ("log_bin_basename", "nothing: the binary log has its own name"),
    ("log_bin_index", "nothing: the binary log has its own name"),
    ("skip_log_bin", "nothing: the binary log is always on"),
    ("binlog_format", "nothing: it is ROW"),
    ("binlog_row_image", "nothing: it is FULL"),
    ("binlog_do_db", "nothing: what is not logged is on no replica, and lost with the leader"),
    ("binlog_ignore_db", "nothing: what is not logged is on no replica, and lost with the leader"),
    ("sql_log_bin", "nothing: what is not logged is on no replica, and lost with the leader"),
    ("replicate_*", "nothing: a replica that leaves something out loses it when it takes over"),
    ("replica_skip_errors", "nothing: what a replica skips is lost when it takes over"),
    ("slave_skip_errors", "nothing: what a replica skips is lost when it takes over"),
    ("replica_exec_mode", "nothing: what a replica skips is lost when it takes over"),
    ("slave_exec_mode", "nothing: what a replica skips is lost when it takes over"),
    ("replica_preserve_commit_order", "nothing: replicas commit in their leader's order"),
    ("slave_preserve_commit_order", "nothing: replicas commit in their leader's order"),
    ("binlog_expire*", "nothing: Dauphin keeps what replicas need"),
    ("expire_logs*", "nothing: Dauphin keeps what replicas need"),
    ("sync_binlog", "`durability`"),
    ("innodb_flush_log_at_trx_commit", "`durability`"),
    ("sync_relay_log", "nothing: what was received must survive a crash"),
    ("relay_log", "nothing: what was received must survive a crash"),
    ("relay_log_recovery", "nothing: what was received must survive a start"),
    ("relay_log_purge", "nothing: what was applied is purged"),
    ("gtid*", "nothing: GTIDs are always on"),
    ("enforce_gtid", "nothing: GTIDs are always on"),
    ("log_replica_updates", "nothing: it is on, so that any replica can lead"),
    ("log_slave_updates", "nothing: it is on, so that any replica can lead"),
    ("read_only", "nothing: who may write is Dauphin's to say"),
    ("super_read_only", "nothing: who may write is Dauphin's to say"),
    ("skip_replica_start", "nothing: every server starts with replication stopped"),
    ("skip_slave_start", "nothing: every server starts with replication stopped"),
    ("replica_net_timeout", "`profile`"),
    ("slave_net_timeout", "`profile`"),
    ("rpl_semi_sync*", "`durability` and `required`"),
    ("init_rpl_role", "nothing: a rejoin decides it"),
    ("persisted_globals_load", "the specification (dauphin config set)"),
    ("report_*", "nothing: the member's own address is reported"),
    ("ssl_*", "`sql_tls`"),
    ("require_secure_transport", "`sql_tls`"),
    ("skip_grant_tables", "nothing: accounts are always asked"),
    ("init_file", "nothing: Dauphin makes its accounts itself"),
    ("init_connect", "nothing: it keeps clients out while the server is closed"),
    ("offline_mode", "nothing: it keeps clients out while the server is closed"),
    ("show_replica_auth_info", "nothing: replicas are told apart by it"),
    ("show_slave_auth_info", "nothing: replicas are told apart by it"),
    ("user", "nothing: the server runs as the agent's system user"),
];

/// Refuses settings that Dauphin owns, bad names and values that no file can hold.
///
/// # Errors
/// [`Error::Setting`].
pub fn check_user(parameters: &BTreeMap<String, String>) -> Result<()> {
    let refuse = |key: &str, why: String| Err(Error::Setting { key: key.chars().take(80).collect(), why });
    for (key, value) in parameters {
        let plain = key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.');
        if key.is_empty() || !plain {
            return refuse(key, "not a setting's name: a-z, 0-9, _ and . only".to_owned());
        }
        // the servers take these before any name
        let bare = ["loose_", "skip_", "disable_", "enable_", "maximum_"].iter().find_map(|p| key.strip_prefix(p));
        let names = [Some(key.as_str()), bare];
        let is_own = |own: &str, name: &str| match own.strip_suffix('*') {
            Some(begin) => name.starts_with(begin),
            None => name == own,
        };
        let own = OWNED.iter().find(|(own, _)| names.iter().flatten().any(|name| is_own(own, name)));
        if let Some((_, instead)) = own {
            return refuse(key, format!("Dauphin owns it; use {instead}"));
        }
        if value.chars().any(char::is_control) {
            return refuse(key, "its value holds a line break or another control character".to_owned());
        }
    }
    Ok(())
}

/// A value as the file takes it.
fn quote(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The whole file.
#[must_use]
pub fn render(instance: &Instance, settings: &Settings) -> String {
    let mut out = String::from(
        "# Written by dauphin; overwritten at every start. Put settings into the specification (dauphin config set).\n[mysqld]\n",
    );
    // writing to a String cannot fail
    let mut put = |key: &str, value: &str| {
        let _ = writeln!(out, "{key} = {}", quote(value));
    };
    for (key, value) in &settings.user {
        put(key, value);
    }
    let path = |path: &std::path::Path| path.display().to_string();
    let dialect = instance.dialect();
    put("basedir", &path(&instance.bin.prefix));
    put("lc_messages_dir", &path(&instance.bin.share));
    put("plugin_dir", &path(&instance.bin.plugins));
    put("datadir", &path(&instance.data_dir));
    put("socket", &path(&instance.socket()));
    put("pid_file", &path(&instance.pid_path()));
    put("log_error", &path(&instance.log_path()));
    if !settings.user.contains_key("tmpdir") {
        put("tmpdir", &path(&instance.tmp_dir()));
    }
    put("port", &instance.port.to_string());
    put("bind_address", &settings.listen);
    put("server_id", &settings.server_id.to_string());
    put("report_host", &settings.host);
    put("report_port", &instance.port.to_string());
    if let Some(voter) = &settings.voter {
        put("report_user", &voter.application_name());
    }
    put(dialect.show_reported_setting(), "ON");
    put("log_bin", "binlog");
    put("binlog_format", "ROW");
    put("binlog_row_image", "FULL");
    put("binlog_expire_logs_seconds", &settings.log_keep_s.to_string());
    put("sync_binlog", "1");
    put("innodb_flush_log_at_trx_commit", "1");
    put(dialect.log_applied_setting(), "ON");
    put("relay_log", "relay");
    // what was received and acknowledged is data: it is neither thrown away at a start nor lost with the machine
    put("relay_log_recovery", "OFF");
    put("sync_relay_log", "1");
    put(dialect.net_timeout_setting(), &NET_TIMEOUT_S.to_string());
    let leader = dialect.semi_sync_leader();
    put(&format!("{leader}_wait_point"), "AFTER_SYNC");
    put(&format!("{leader}_timeout"), &ACK_TIMEOUT_MS.to_string());
    put(&format!("{leader}_enabled"), "OFF");
    put(&format!("{}_enabled", dialect.semi_sync_replica()), "OFF");
    let own: &[(&str, &str)] = match dialect.flavour() {
        Flavour::Mysql => &[
            ("plugin_load_add", "semisync_source.so"),
            ("plugin_load_add", "semisync_replica.so"),
            ("plugin_load_add", "mysql_clone.so"),
            ("gtid_mode", "ON"),
            ("enforce_gtid_consistency", "ON"),
            ("replica_preserve_commit_order", "ON"),
            ("loose_mysqlx", "OFF"),
            ("secure_file_priv", "NULL"),
        ],
        Flavour::Mariadb => &[
            ("gtid_strict_mode", "ON"),
            ("gtid_domain_id", "0"),
            // its place in the relay log is in a file of its own
            ("sync_relay_log_info", "1"),
            ("sync_master_info", "1"),
            // a receiver that stops connects to its leader to end its thread there, and waits so long for one that is frozen
            ("rpl_semi_sync_slave_kill_conn_timeout", "1"),
        ],
    };
    own.iter().for_each(|(key, value)| put(key, value));
    if let Some(tls) = &settings.tls {
        put("ssl_cert", &path(&tls.cert));
        put("ssl_key", &path(&tls.key));
        put("ssl_ca", &path(&tls.ca));
        put("require_secure_transport", if settings.require_tls { "ON" } else { "OFF" });
    }
    out
}

/// The command-line options that must hold whatever stands in a file: closed to writes and to clients, replication stopped,
/// nothing that was persisted by hand (MySQL reads that last).
pub(crate) fn pinned(dialect: Dialect) -> Vec<String> {
    let on = |name: &str| format!("--{}=ON", name.replace('_', "-"));
    let mut options = vec![on(dialect.closed_setting()), on(dialect.skip_start_setting())];
    match dialect.flavour() {
        Flavour::Mysql => options.extend(["--persisted-globals-load=OFF", "--offline-mode=ON"].map(str::to_owned)),
        Flavour::Mariadb => options.push(format!("--init-connect={CLOSED}")),
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_ours_are_refused_with_what_to_use_instead() {
        let one = |k: &str, v: &str| BTreeMap::from([(k.to_owned(), v.to_owned())]);
        let said = |k: &str| check_user(&one(k, "1")).expect_err(k).to_string();
        assert_eq!(said("sync_binlog"), "setting sync_binlog: Dauphin owns it; use `durability`");
        for key in [
            "loose_sync_binlog",
            "rpl_semi_sync_source_timeout",
            "super_read_only",
            "skip_log_bin",
            "relay_log_recovery",
            "binlog_do_db",
            "loose_replicate_ignore_table",
            "slave_skip_errors",
        ] {
            assert!(said(key).contains("Dauphin owns it"), "{key}");
        }
        assert!(check_user(&one("Max_Connections", "1")).is_err());
        assert!(check_user(&one("max_connections", "1\n2")).is_err());
        assert!(check_user(&one("max_connections", "500")).is_ok());
        assert!(check_user(&one("skip_name_resolve", "ON")).is_ok());
        assert!(check_user(&one("log_bin_trust_function_creators", "ON")).is_ok());
    }

    #[test]
    fn a_server_boots_closed_with_replication_stopped() {
        let mysql =
            ["--super-read-only=ON", "--skip-replica-start=ON", "--persisted-globals-load=OFF", "--offline-mode=ON"];
        assert_eq!(pinned(Dialect::Mysql9), mysql);
        let mariadb = pinned(Dialect::Mariadb10);
        assert_eq!(mariadb[..2], ["--read-only=ON", "--skip-slave-start=ON"]);
        assert!(mariadb[2].starts_with("--init-connect=SIGNAL"), "{mariadb:?}");
    }
}
