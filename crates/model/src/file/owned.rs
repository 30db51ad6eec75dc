//! PostgreSQL settings that Dauphin renders itself, because what it promises rests on them.
//! The checks and the reference page read this list; the engine renders the settings.

/// Name, and why it is refused, with what to use instead. A name that ends in `*` stands for all that begin so.
pub const OWNED: &[(&str, &str)] = &[
    ("listen_addresses", "set `listen` under `[local]`"),
    ("port", "set `sql_port` of the member"),
    ("data_directory", "set `data_dir` under `[local]`"),
    ("config_file", "Dauphin starts the server with it"),
    ("hba_file", "set `client_networks` and `replication_networks`; rules of your own stay in pg_hba.conf"),
    ("ident_file", "Dauphin starts the server with it"),
    ("external_pid_file", "Dauphin watches the process itself"),
    ("unix_socket_directories", "Dauphin's own probes use it"),
    ("cluster_name", "it carries the member's name"),
    ("fsync", "without it no log is safe; it is always on"),
    ("full_page_writes", "without it no rewind is safe; it is always on"),
    ("wal_log_hints", "rewinding needs it; it is always on"),
    ("restart_after_crash", "a crashed leader must not come back by itself; it is always off"),
    ("hot_standby", "probes need it; it is always on"),
    ("synchronous_standby_names", "set `durability` and `required`"),
    ("synchronous_commit", "set `durability`; a session may still ask for less for itself"),
    ("primary_conninfo", "Dauphin points replicas at the leader; see `follow`"),
    ("primary_slot_name", "each copy of a member's data has a slot of its own"),
    ("restore_command", "an election must be able to stop all sources of log"),
    ("recovery_min_apply_delay", "set `delay` of the member"),
    ("recovery_target*", "restoring to a point in time is an operation of its own"),
    ("max_wal_senders", "it follows from the number of members"),
    ("max_replication_slots", "it follows from the number of members"),
    ("wal_keep_size", "slots keep the log; `slot_wal_keep` bounds it"),
    ("wal_retrieve_retry_interval", "takeover times rest on it"),
    ("wal_receiver_timeout", "set `profile`"),
    ("wal_sender_timeout", "set `profile`"),
    ("wal_receiver_status_interval", "set `profile`"),
    ("logging_collector", "the agent reads the server's log where it put it"),
    ("log_directory", "the agent reads the server's log where it put it"),
    ("log_filename", "the agent reads the server's log where it put it"),
    ("log_file_mode", "the server's log is nobody else's business"),
    ("unix_socket_permissions", "Dauphin's own probes use it"),
    ("include", "put settings under `[postgres] parameters`"),
    ("include_if_exists", "put settings under `[postgres] parameters`"),
    ("include_dir", "put settings under `[postgres] parameters`"),
    ("allow_in_place_tablespaces", "it is for PostgreSQL's own tests"),
    ("zero_damaged_pages", "it hides damage"),
    ("ignore_checksum_failure", "it hides damage"),
    ("promote_trigger_file", "leadership changes by election, or with `dauphin switchover`"),
    ("max_slot_wal_keep_size", "set `slot_wal_keep`"),
    ("password_encryption", "it is always scram-sha-256"),
    ("ssl", "set `sql_tls`"),
    ("ssl_cert_file", "certificates come from `identity`"),
    ("ssl_key_file", "certificates come from `identity`"),
    ("ssl_ca_file", "certificates come from `identity`"),
];

/// Why a setting is refused; `None`: it is the user's.
#[must_use]
pub fn why(name: &str) -> Option<&'static str> {
    OWNED
        .iter()
        .find(|(owned, _)| match owned.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *owned,
        })
        .map(|(_, why)| *why)
}
