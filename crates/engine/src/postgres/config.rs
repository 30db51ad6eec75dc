//! Renders `dauphin.conf`, our own file in the data directory, included by one line at the end of the user's
//! postgresql.conf. Settings that Dauphin owns are refused when a user asks for them. Pure, but for reading it back.

use crate::postgres::{Error, Instance, Result, files};
use dauphin_model::file::owned;
use dauphin_model::spec::PostgresSpec;
use dauphin_model::{ClusterName, MemberName, Span};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

/// Our file's name in the data directory.
pub const FILE: &str = "dauphin.conf";
/// The line that includes it.
pub const INCLUDE: &str = "include_if_exists = 'dauphin.conf'";
/// A name that no server ever connects under: commits that wait for it wait until the real names are set.
pub const NOBODY: &str = "dauphin_nobody";
/// Log segments kept beyond what slots keep, in MiB.
const WAL_KEEP_MIB: u64 = 256;
/// How long a replica waits before it tries again to reach its upstream, in milliseconds.
const RETRIEVE_RETRY_MS: u64 = 100;

/// Certificates for SQL connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificate chain, PEM.
    pub cert: PathBuf,
    /// Private key, PEM, readable by the system user alone.
    pub key: PathBuf,
    /// The cluster's CA, PEM.
    pub ca: PathBuf,
}

/// What stands in `dauphin.conf` from one start to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Addresses to listen on.
    pub listen: Vec<String>,
    /// The user's settings.
    pub user: BTreeMap<String, String>,
    /// Data members of the cluster; room for slots and senders follows from it.
    pub members: u32,
    /// Most log kept for an absent replica, in MiB.
    pub slot_wal_keep_mib: u64,
    /// Silence after which a replication connection is given up, in milliseconds.
    pub replication_timeout_ms: u64,
    /// How often a replica reports its position though nothing changed, in seconds.
    pub status_interval_s: u64,
    /// How much later than its commit a transaction is applied; `None`: at once.
    pub apply_delay: Option<Span>,
    /// Certificates, when SQL connections may use TLS.
    pub tls: Option<Tls>,
}

impl Settings {
    /// Settings from the specification.
    ///
    /// # Errors
    /// [`Error::Setting`] for a user's setting that Dauphin owns or that cannot be written down.
    pub fn new(listen: Vec<String>, members: u32, spec: &PostgresSpec) -> Result<Self> {
        check_user(&spec.parameters)?;
        Ok(Self {
            listen,
            user: spec.parameters.clone(),
            members,
            slot_wal_keep_mib: spec.slot_wal_keep_mib,
            replication_timeout_ms: 10_000,
            status_interval_s: 1,
            apply_delay: None,
            tls: None,
        })
    }
}

/// Whom a replica follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Host, as the other members reach it.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The name under which it replicates: its voter's.
    pub application_name: String,
    /// Its slot on the upstream; none: what the upstream keeps anyway must do.
    pub slot: Option<String>,
    /// Demand TLS and check the upstream's certificate against the cluster's CA.
    pub tls: bool,
}

/// What changes while the server runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// `synchronous_standby_names`. A replica always waits for [`NOBODY`], so that a promoted server acknowledges
    /// nothing before it is told what to wait for.
    pub sync_names: String,
    /// `primary_conninfo`; empty: frozen, or a leader.
    pub conninfo: String,
    /// `primary_slot_name`.
    pub slot: String,
}

impl Default for Live {
    fn default() -> Self {
        Self { sync_names: nobody(), conninfo: String::new(), slot: String::new() }
    }
}

/// `synchronous_standby_names` that nobody satisfies.
#[must_use]
pub fn nobody() -> String {
    format!("ANY 1 (\"{NOBODY}\")")
}

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
        if let Some(instead) = owned::why(key) {
            return refuse(key, format!("Dauphin owns it; {instead}"));
        }
        if value.chars().any(|c| c == '\n' || c == '\r' || c == '\0') {
            return refuse(key, "its value holds a line break or a zero".to_owned());
        }
        if key == "wal_level" && value != "replica" && value != "logical" {
            return refuse(key, "it must be replica or logical".to_owned());
        }
    }
    Ok(())
}

/// A value as postgresql.conf takes it.
#[must_use]
pub fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

fn unquote(value: &str) -> Option<String> {
    let inner = value.strip_prefix('\'')?.strip_suffix('\'')?;
    Some(inner.replace("''", "'").replace("\\\\", "\\"))
}

/// A value inside a connection string.
fn conninfo_value(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// `primary_conninfo` for an upstream. Passwords are in the passfile.
#[must_use]
pub fn conninfo(instance: &Instance, settings: &Settings, upstream: &Upstream) -> String {
    let mut text = format!(
        "host={} port={} user={} passfile={} application_name={} connect_timeout=2 keepalives_idle=5 \
         keepalives_interval=2 keepalives_count=3 tcp_user_timeout={}",
        conninfo_value(&upstream.host),
        upstream.port,
        crate::postgres::roles::REPLICATION,
        conninfo_value(&instance.passfile().display().to_string()),
        conninfo_value(&upstream.application_name),
        settings.replication_timeout_ms,
    );
    match (&settings.tls, upstream.tls) {
        (Some(tls), true) => {
            let ca = conninfo_value(&tls.ca.display().to_string());
            // writing to a String cannot fail
            let _ = write!(text, " sslmode=verify-ca sslrootcert={ca}");
        }
        // without the CA's word it would cost and prove nothing
        (Some(_), false) | (None, _) => text.push_str(" sslmode=disable"),
    }
    text.push_str(" gssencmode=disable");
    text
}

/// The whole file.
#[must_use]
pub fn render(instance: &Instance, settings: &Settings, live: &Live) -> String {
    let mut out = String::from(
        "# Written by dauphin; overwritten at every change. Put settings into the specification (dauphin config set).\n",
    );
    // writing to a String cannot fail
    let mut put = |key: &str, value: &str| {
        let _ = writeln!(out, "{key} = {}", quote(value));
    };
    for (key, value) in &settings.user {
        put(key, value);
    }
    let senders = (settings.members * 2 + 10).to_string();
    let defaults = [
        ("wal_level", "replica"),
        ("hot_standby_feedback", "off"),
        ("log_truncate_on_rotation", "on"),
        ("log_rotation_age", "1d"),
        ("log_rotation_size", "0"),
    ];
    for (key, value) in defaults.into_iter().filter(|(key, _)| !settings.user.contains_key(*key)) {
        put(key, value);
    }
    put("listen_addresses", &settings.listen.join(","));
    put("port", &instance.port.to_string());
    put("unix_socket_directories", &instance.run_dir.display().to_string());
    put("unix_socket_permissions", "0700");
    put("cluster_name", &cluster_name(&instance.cluster, &instance.member));
    put("hot_standby", "on");
    put("fsync", "on");
    put("full_page_writes", "on");
    put("max_wal_senders", &senders);
    put("max_replication_slots", &senders);
    put("wal_keep_size", &format!("{WAL_KEEP_MIB}MB"));
    put("max_slot_wal_keep_size", &format!("{}MB", settings.slot_wal_keep_mib));
    put("wal_log_hints", "on");
    put("restart_after_crash", "off");
    put("recovery_target_timeline", "latest");
    put("restore_command", "");
    put("recovery_min_apply_delay", &format!("{}ms", settings.apply_delay.unwrap_or_default().as_ms()));
    put("wal_retrieve_retry_interval", &format!("{RETRIEVE_RETRY_MS}ms"));
    put("wal_receiver_timeout", &format!("{}ms", settings.replication_timeout_ms));
    put("wal_sender_timeout", &format!("{}ms", settings.replication_timeout_ms));
    put("wal_receiver_status_interval", &format!("{}s", settings.status_interval_s));
    put("password_encryption", "scram-sha-256");
    put("logging_collector", "on");
    put("log_directory", &instance.log_dir.display().to_string());
    put("log_filename", "postgresql-%a.log");
    put("log_file_mode", "0600");
    match &settings.tls {
        Some(tls) => {
            put("ssl", "on");
            put("ssl_cert_file", &tls.cert.display().to_string());
            put("ssl_key_file", &tls.key.display().to_string());
            put("ssl_ca_file", &tls.ca.display().to_string());
        }
        None => put("ssl", "off"),
    }
    put("synchronous_commit", "on");
    put("synchronous_standby_names", &live.sync_names);
    put("primary_conninfo", &live.conninfo);
    put("primary_slot_name", &live.slot);
    out
}

fn cluster_name(cluster: &ClusterName, member: &MemberName) -> String {
    format!("{cluster}_{member}").chars().take(63).collect()
}

/// The user's postgresql.conf with our include as its last setting; unchanged if it is there.
#[must_use]
pub fn with_include(text: &str) -> String {
    let last = text.lines().rev().find(|l| !l.trim().is_empty() && !l.trim_start().starts_with('#'));
    if last.is_some_and(|l| l.trim() == INCLUDE) {
        return text.to_owned();
    }
    let kept: String = text.split_inclusive('\n').filter(|l| l.trim() != INCLUDE).collect();
    let gap = if kept.is_empty() || kept.ends_with('\n') { "" } else { "\n" };
    format!("{kept}{gap}{INCLUDE}\n")
}

/// Reads back what changes at run time; the default if the file is not there.
pub(crate) fn read_live(instance: &Instance) -> Result<Live> {
    let text = files::read_or_empty(&instance.data_dir.join(FILE))?;
    let of = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(" = "));
        line.and_then(unquote)
    };
    let default = Live::default();
    Ok(Live {
        sync_names: of("synchronous_standby_names").unwrap_or(default.sync_names),
        conninfo: of("primary_conninfo").unwrap_or(default.conninfo),
        slot: of("primary_slot_name").unwrap_or(default.slot),
    })
}

/// The command-line options that must hold even against ALTER SYSTEM.
pub(crate) fn pinned() -> [&'static str; 4] {
    ["restart_after_crash=off", "hot_standby=on", "recovery_target_timeline=latest", "restore_command="]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_quoting() {
        for text in ["plain", "it's", "back\\slash", "host='/a b' port=1", ""] {
            assert_eq!(unquote(&quote(text)).as_deref(), Some(text));
        }
    }

    #[test]
    fn settings_of_ours_are_refused_with_what_to_use_instead() {
        let one = |k: &str, v: &str| BTreeMap::from([(k.to_owned(), v.to_owned())]);
        let said = check_user(&one("synchronous_standby_names", "*")).expect_err("owned").to_string();
        assert_eq!(said, "setting synchronous_standby_names: Dauphin owns it; set `durability` and `required`");
        assert!(check_user(&one("work_mem", "a\nb")).is_err());
        assert!(check_user(&one("work mem", "1")).is_err());
        assert!(check_user(&one("wal_level", "minimal")).is_err());
        assert!(check_user(&one("auto_explain.log_min_duration", "1s")).is_ok());
    }

    #[test]
    fn the_include_is_appended_once_and_stays_last() {
        let user = "max_connections = 50";
        let once = with_include(user);
        assert_eq!(once, format!("{user}\n{INCLUDE}\n"));
        assert_eq!(with_include(&once), once);
        let later = format!("{once}work_mem = 1MB\n");
        assert_eq!(with_include(&later), format!("{user}\nwork_mem = 1MB\n{INCLUDE}\n"));
    }
}
