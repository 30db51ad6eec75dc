//! Every key of `dauphin.toml`: what it means, its unit, its default, an example. The reader takes defaults and known
//! names from here, the writer its comments, and `docs/configuration.md` is written from it, so that none can differ.

/// One key of the file.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The table it stands in.
    pub section: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What a value looks like, for people.
    pub form: &'static str,
    /// What it is when left out, as it would be written; `None`: see the meaning.
    pub default: Option<&'static str>,
    /// Whether it must be given.
    pub required: bool,
    /// What it means, in one or two sentences.
    pub about: &'static str,
    /// A value as it would be written.
    pub example: &'static str,
}

/// One table of the file.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Its name.
    pub name: &'static str,
    /// As its header is written.
    pub header: &'static str,
    /// What it holds.
    pub about: &'static str,
}

/// The tables, in the order in which they are written.
pub const SECTIONS: &[Section] = &[
    Section {
        name: "cluster",
        header: "[cluster]",
        about: "What the cluster promises. Shared: it lives in the cluster's store after `dauphin init`, and is changed \
                with `dauphin config`.",
    },
    Section { name: "postgres", header: "[postgres]", about: "PostgreSQL's settings. Shared, like `[cluster]`." },
    Section {
        name: "mysql",
        header: "[mysql]",
        about: "MySQL's or MariaDB's settings, where `engine` says so. Shared, like `[cluster]`.",
    },
    Section {
        name: "alerts",
        header: "[alerts]",
        about: "When people are told that something is wrong: see docs/alerts.md. Shared, like `[cluster]`.",
    },
    Section {
        name: "health",
        header: "[health]",
        about: "What agents mend by themselves on their own replicas: see docs/operating.md. Shared, like `[cluster]`.",
    },
    Section {
        name: "member",
        header: "[[member]]",
        about: "One for each member. Shared, like `[cluster]`. On one host no two ports may be the same.",
    },
    Section {
        name: "notify",
        header: "[[notify]]",
        about: "Where notices are sent, one for each place: see docs/alerts.md. Shared, like `[cluster]`; the files that it names \
                lie on every member's machine.",
    },
    Section {
        name: "local",
        header: "[local]",
        about: "What is this machine's own: needed where an agent runs. Relative paths start at the file's folder.",
    },
    Section { name: "proxy", header: "[proxy]", about: "What `dauphin proxy` listens on: needed where a proxy runs." },
];

const fn key(section: &'static str, name: &'static str, form: &'static str) -> Key {
    Key { section, name, form, default: None, required: false, about: "", example: "" }
}

impl Key {
    const fn default(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self.example = default;
        self
    }
    const fn required(mut self) -> Self {
        self.required = true;
        self
    }
    const fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }
    const fn example(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }
}

/// The keys, in the order in which they are written.
pub const KEYS: &[Key] = &[
    key("cluster", "name", "a name: a-z, 0-9, _, at most 32 characters").required().example("\"shop\"").about(
        "The cluster's name.",
    ),
    key("cluster", "engine", "\"postgres\", \"mysql\" or \"mariadb\"").default("\"postgres\"").about(
        "Which database the members run. Fixed once the cluster is made.",
    ),
    key("cluster", "durability", "\"async\", \"sync\" or \"quorum\"").default("\"quorum\"").about(
        "When a commit is acknowledged: at once, when the replicas of the sync set hold it, or when any `required` of them do.",
    ),
    key("cluster", "required", "a whole number from 1").example("1").about(
        "How many replicas must hold a commit. Left out: half the data members, cut off (`quorum`), or every replica of \
         the sync set (`sync`).",
    ),
    key("cluster", "on_shortage", "\"wait\" or \"degrade\"").default("\"wait\"").about(
        "What to do with fewer replicas than that: commits wait, or go on with fewer copies, which is published first. Must \
         be given with two data members, unless durability is `async`.",
    ),
    key("cluster", "profile", "\"fast\", \"standard\" or \"wan\"").default("\"standard\"").about(
        "How fast failures are believed: lease 2 s, 3 s or 15 s.",
    ),
    key("cluster", "allow_reclone", "true or false").default("false").about(
        "Copy a member's data again from the leader when it cannot be rewound. What would be cut off is archived first.",
    ),
    key("cluster", "read_lag_max", "a size").default("\"16MiB\"").about(
        "Lag beyond which a replica gets no reads from the proxy.",
    ),
    key("postgres", "parameters", "a table of settings").example("{ shared_buffers = \"1GB\", max_connections = 200 }").about(
        "Settings for every member's server. Those on which the cluster's promises rest are Dauphin's own and refused.",
    ),
    key("postgres", "replication_networks", "networks (CIDR)").default("[]").example("[\"10.0.0.0/24\"]").about(
        "Networks that the members' servers are reached from by each other. Left out: the members' own addresses.",
    ),
    key("postgres", "client_networks", "networks (CIDR)").default("[]").example("[\"10.0.0.0/16\"]").about(
        "Networks that clients and proxies come from. They are let in only while the member's role allows it.",
    ),
    key("postgres", "sql_tls", "\"require\" or \"off\"").default("\"require\"").about(
        "Whether clients must use TLS. `off` accepts both, and servers that were built without TLS.",
    ),
    key("postgres", "slot_wal_keep", "a size in whole MiB").default("\"8GiB\"").about(
        "Most log that is kept for an absent replica (`max_slot_wal_keep_size`): it cannot fill the leader's disk.",
    ),
    key("postgres", "locale", "a locale of the system").default("\"C.UTF-8\"").about(
        "Locale of a new cluster's databases. Fixed once the cluster is made.",
    ),
    key("mysql", "parameters", "a table of settings").example("{ innodb_buffer_pool_size = \"1G\", max_connections = 200 }").about(
        "Settings for every member's server, as its own files have them. Those on which the cluster's promises rest are Dauphin's \
         own: an agent, and `dauphin config set`, refuse them with what to use instead.",
    ),
    key("mysql", "sql_tls", "\"require\" or \"off\"").default("\"require\"").about(
        "Whether clients must use TLS. `off` accepts both. Fixed once the cluster is made.",
    ),
    key("alerts", "lag", "three durations that grow").default("[\"10s\", \"1min\", \"5min\"]").about(
        "For how long a replica may have been behind before that is a warning, critical, an emergency.",
    ),
    key("alerts", "lag_bytes", "three sizes that grow").default("[\"256MiB\", \"1GiB\", \"4GiB\"]").about(
        "The same for log that is not replayed yet. The worse of the two counts.",
    ),
    key("alerts", "disk", "three percentages that grow").default("[\"80%\", \"90%\", \"95%\"]").about(
        "How much of a disk that a member needs may be used before that is a warning, critical, an emergency.",
    ),
    key("alerts", "disk_full_in", "three durations that shrink").default("[\"1d\", \"4h\", \"1h\"]").about(
        "The same for how soon it will be full if it goes on filling like this. The worse of the two counts.",
    ),
    key("alerts", "log_size", "three sizes that grow").default("[\"16GiB\", \"64GiB\", \"256GiB\"]").about(
        "The same for the log on a member's disk: PostgreSQL's `pg_wal`, MySQL's and MariaDB's binary and relay logs.",
    ),
    key("alerts", "clocks_apart", "a duration, 100 ms to 1 d").default("\"2s\"").about(
        "How far a member's wall clock may be from most others' before that is a warning.",
    ),
    key("alerts", "replicas", "a whole number, 0 to 30").example("2").about(
        "Fewest replicas that should run. Left out: two, or as many as the members make possible.",
    ),
    key("alerts", "raise_after", "a duration, 1 s to 1 h").default("\"10s\"").about(
        "How long a condition must hold before it is raised.",
    ),
    key("alerts", "clear_after", "a duration, 1 s to 1 h").default("\"30s\"").about(
        "How long it must be gone before it is cleared.",
    ),
    key("alerts", "group_within", "a duration, 1 s to 1 h").default("\"5s\"").about(
        "How long a notification waits for what comes with it.",
    ),
    key("alerts", "remind_every", "a duration, 0 s or 1 min to 30 d").default("\"4h\"").about(
        "How often what is critical or worse is told again while it lasts and nobody has acknowledged it. `0s`: never.",
    ),
    key("health", "fix", "a list of \"receiver\", \"replay\" and \"query\"").default("[\"receiver\"]").about(
        "What is mended: a receiver that is down is restarted; a replay that somebody paused is resumed; what holds a replay up \
         is ended. `[]`: nothing. PostgreSQL alone.",
    ),
    key("health", "replay_after", "a duration, 1 s to 7 d").default("\"10min\"").about(
        "How long a replay may be paused before it is resumed. While a silence covers the alert `replay_paused`, or somebody \
         has it in hand, the pause is meant and stays.",
    ),
    key("health", "query_after", "a duration, 1 s to 7 d").default("\"5min\"").about(
        "How long a replica's replay may be held up before the session that does it is ended. PostgreSQL itself ends such \
         queries after `max_standby_streaming_delay`, 30 s unless set otherwise.",
    ),
    key("member", "name", "a name: a-z, 0-9, _, at most 32 characters").required().example("\"m1\"").about(
        "The member's name.",
    ),
    key("member", "host", "an address or host name").required().example("\"10.0.0.1\"").about(
        "Where the other members, proxies and clients reach it.",
    ),
    key("member", "kind", "\"data\" or \"witness\"").default("\"data\"").about(
        "A database server with its agent, or a vote in the store without data.",
    ),
    key("member", "sql_port", "a port, 1 to 65535").example("5432").about(
        "The database server's port. Required, except that a witness has none.",
    ),
    key("member", "api_port", "a port, 1 to 65535").required().example("8008").about("The agent's HTTP port."),
    key("member", "link_port", "a port, 1 to 65535").required().example("8009").about(
        "The port on which members talk to each other, with mutual TLS.",
    ),
    key("member", "priority", "a whole number, 0 to 1000").default("100").about(
        "Among members with equal logs the highest becomes leader.",
    ),
    key("member", "never_leader", "true or false").default("false").about("It never becomes leader."),
    key("member", "reporting", "true or false").default("false").about(
        "For reports and analytics: never leader, no commit waits for it, and ordinary reads through the proxy go elsewhere \
         (docs/reads.md).",
    ),
    key("member", "zone", "a text").example("\"rack-2\"").about(
        "Where it stands. Among equals, an election prefers the zone of the leader before: clients are near it. A proxy \
         of that zone reads from its replicas first.",
    ),
    key("member", "follow", "a member's name").example("\"m2\"").about(
        "Replicates from this member instead of the leader, while it is there. It is in no sync set then.",
    ),
    key("member", "delay", "a duration, 1 s to 7 d").example("\"1h\"").about(
        "Applies what it receives so much later than it was committed: a `DROP TABLE` of a moment ago is not there yet \
         (docs/operating.md). It never leads, no commit waits for it, and the proxy reads nothing from it.",
    ),
    key("member", "alert_lag", "three durations that grow").example("[\"1h\", \"2h\", \"6h\"]").about(
        "Its own `lag` of `[alerts]`. Left out: `lag`, behind its `delay` if it has one.",
    ),
    key("member", "alert_lag_bytes", "three sizes that grow").example("[\"1GiB\", \"4GiB\", \"16GiB\"]").about(
        "Its own `lag_bytes` of `[alerts]`.",
    ),
    key("notify", "name", "a name: a-z, 0-9, _, at most 32 characters").required().example("\"ops\"").about(
        "What the place is called.",
    ),
    key("notify", "kind", "\"webhook\", \"slack\", \"alertmanager\", \"command\" or \"email\"").required().example("\"webhook\"").about(
        "Dauphin's own JSON by HTTP, a text as Slack's incoming webhooks take it, Alertmanager's API (version 2), a program that \
         gets the JSON on its standard input, or e-mail by SMTP.",
    ),
    key("notify", "url", "an http:// or https:// address").example("\"https://hooks.example.org/dauphin\"").about(
        "Where it is reached; for Alertmanager the address that its own pages have. Required unless `url_file` is given; not \
         for `command` and `email`.",
    ),
    key("notify", "url_file", "an absolute path").example("\"/etc/dauphin/slack-url\"").about(
        "File with the address, where that is itself a secret, as Slack's are.",
    ),
    key("notify", "secret_file", "an absolute path").example("\"/etc/dauphin/hook-key\"").about(
        "File with the key that bodies are signed with (HMAC-SHA256 in `Dauphin-Signature`). Left out: not signed.",
    ),
    key("notify", "token_file", "an absolute path").example("\"/etc/dauphin/hook-token\"").about(
        "File with a token that is sent as `Authorization: Bearer`. Left out: none.",
    ),
    key("notify", "ca_file", "an absolute path").example("\"/etc/dauphin/hook-ca.pem\"").about(
        "PEM file with the CAs that its certificate may be of. Left out: the system's.",
    ),
    key("notify", "command", "an absolute path").example("\"/usr/local/bin/page-me\"").about(
        "The program, for `command`. It runs as the agent's user with an empty environment, for 30 s at most.",
    ),
    key("notify", "server", "a host with a port").example("\"mail.example.org:587\"").about(
        "The mail server, for `email`.",
    ),
    key("notify", "tls", "\"starttls\", \"implicit\" or \"off\"").default("\"starttls\"").about(
        "How the connection to it is kept private: turned into TLS before anything is said, TLS from the first byte on (port 465), \
         or not at all, which only a server on the same machine may be trusted with.",
    ),
    key("notify", "from", "an e-mail address").example("\"dauphin@example.org\"").about("Who sends, for `email`."),
    key("notify", "to", "a list of e-mail addresses, at most 20").default("[]").example("[\"ops@example.org\"]").about(
        "Who gets it, for `email`.",
    ),
    key("notify", "user", "a text").example("\"dauphin\"").about(
        "Who logs in to the mail server. Left out: nobody does.",
    ),
    key("notify", "password_file", "an absolute path").example("\"/etc/dauphin/mail-password\"").about(
        "File with that user's password.",
    ),
    key("notify", "level", "\"warning\", \"critical\" or \"emergency\"").default("\"warning\"").about(
        "From which level on it is told.",
    ),
    key("local", "member", "a member's name").required().example("\"m1\"").about("Which member this machine is."),
    key("local", "data_dir", "a path").example("\"/var/lib/dauphin/data\"").about(
        "The database's folder. Required, except that a witness has none.",
    ),
    key("local", "state_dir", "a path").required().example("\"/var/lib/dauphin/state\"").about(
        "The agent's own folder: the store, pledges, archived log, generated secrets. As lasting as the data.",
    ),
    key("local", "run_dir", "a path").required().example("\"/run/dauphin\"").about(
        "Sockets, locks and the guard's log. May be empty after a restart of the machine.",
    ),
    key("local", "bin_dir", "a path").example("\"/usr/lib/postgresql/15/bin\"").about(
        "Folder of the server's programs. Left out: PATH (PostgreSQL), then the system's folders are searched.",
    ),
    key("local", "listen", "an address").example("\"0.0.0.0\"").about(
        "Address that server and agent listen on. Left out: the member's host.",
    ),
    key("local", "identity", "a path").example("\"/etc/dauphin/identity\"").about(
        "Folder with this member's certificate, its key and the cluster's CA. Left out: `identity` in `state_dir`.",
    ),
    key("local", "secrets", "a path").example("\"/etc/dauphin/secrets.toml\"").about(
        "File with the passwords of Dauphin's own roles, readable by its user only. Left out: `secrets.toml` in `state_dir`.",
    ),
    key("local", "token_file", "a path").example("\"/etc/dauphin/token\"").about(
        "File with the token that operators' requests must carry. Left out: `token` in `state_dir`.",
    ),
    key("local", "api_hosts", "a list of host names").default("[]").example("[\"console.example.org\"]").about(
        "Names that browsers reach the agent's HTTP by, besides addresses, localhost and the members' hosts: of a tunnel, a \
         proxy, a DNS alias. Requests for any other name are refused, but for metrics and health checks (docs/console.md).",
    ),
    key("local", "watchdog", "a path").example("\"/dev/watchdog\"").about(
        "A hardware watchdog, fed by the guard. Its time limit is set with the kernel's module. Left out: none.",
    ),
    key("proxy", "listen_write", "an address with a port").required().example("\"0.0.0.0:6432\"").about(
        "Where clients reach the leader.",
    ),
    key("proxy", "listen_read", "an address with a port").example("\"0.0.0.0:6433\"").about(
        "Where clients reach a replica within `read_lag_max`, or the leader when there is none. Left out: no read port.",
    ),
    key("proxy", "wait_limit", "a duration").default("\"30s\"").about(
        "How long a new connection waits for a leader before it is refused.",
    ),
    key("proxy", "clients_max", "a whole number, 1 to 100000").default("2000").about(
        "Most client connections at a time; more are refused.",
    ),
    key("proxy", "clients_max_user", "a whole number, 1 to 100000").example("500").about(
        "Most client connections of one user at a time; more are refused. Left out: as many as `clients_max`.",
    ),
    key("proxy", "clients_max_database", "a whole number, 1 to 100000").example("1000").about(
        "Most client connections to one database at a time; more are refused. Left out: as many as `clients_max`.",
    ),
    key("proxy", "notice_after", "a duration").default("\"1s\"").about(
        "How long a client waits for a server before it is told by a NOTICE for what, and until when. `\"0s\"`: it is not told.",
    ),
    key("proxy", "pool", "\"transaction\" or \"session\"").default("\"transaction\"").about(
        "When a client's connection to a server serves other clients: between its transactions, or never. Settings and prepared \
         statements follow the client; temporary tables, LISTEN, advisory locks, cursors WITH HOLD and the like keep the \
         connection.",
    ),
    key("proxy", "pool_size", "a whole number, 1 to 10000").default("20").about(
        "Most connections to one server for each user and database, where clients share them.",
    ),
    key("proxy", "client_keepalive", "a duration, 5 s to 2 h").default("\"60s\"").about(
        "How long a client's host may be silent, not even acknowledging what it is sent, before its connection is given up. A \
         client that is there and only reads slowly is never cut off by it.",
    ),
    key("proxy", "client_certificates", "\"off\", \"allow\", \"require\" or \"require-user\"").example("\"off\"").about(
        "Whether clients show certificates: never, if they have one, always, or always one whose common name is the user's \
         name. The password is asked for all the same: the proxy logs in to servers with what its proof gives. \
         Left out: \"allow\" where `client_ca` is given, else \"off\".",
    ),
    key("proxy", "client_ca", "a path").example("\"/etc/dauphin/clients-ca.pem\"").about(
        "PEM file with the CAs that clients' certificates may be of. Needed for any `client_certificates` but \"off\".",
    ),
    key("proxy", "zone", "a text").example("\"rack-2\"").about(
        "Where the proxy stands. Reads go to replicas of the same `zone` first. Left out: all are equally near.",
    ),
    key("proxy", "read_level", "\"strict\", \"leader\", \"session\", \"monotonic\", \"bounded(MILLISECONDS)\" or \"any\"").default("\"leader\"").about(
        "How fresh what sessions on the write port read must be, where neither they nor their role or database say so. With \"session\" \
         and what is below it, statements that only read go to replicas: see docs/reads.md.",
    ),
    key("proxy", "read_wait", "a duration").default("\"20ms\"").about(
        "How long a read waits for a replica that is fresh enough before the leader serves it.",
    ),
    key("proxy", "admin_users", "a list of roles").default("[]").example("[\"postgres\"]").about(
        "Who may use the proxy's console (the database `dauphin` on the write port) for everything: see docs/proxy-console.md. Left \
         out: nobody.",
    ),
    key("proxy", "stats_users", "a list of roles").default("[]").example("[\"monitor\"]").about(
        "Who may only look there.",
    ),
    key("proxy", "metrics_listen", "an address with a port").example("\"127.0.0.1:6434\"").about(
        "Where the proxy serves `/metrics`, as OpenMetrics text, to whoever asks: see docs/metrics.md. Left out: nowhere.",
    ),
    key("proxy", "log_slow", "a duration").example("\"250ms\"").about(
        "Statements that take this long or longer are logged, without their literals. Left out: none.",
    ),
    key("proxy", "drain_limit", "a duration").default("\"1h\"").about(
        "How long clients may stay with a process that another one has taken over from: after that idle ones are ended, and \
         transactions may end for as long again.",
    ),
    key("proxy", "run_dir", "a path").example("\"/run/dauphin\"").about(
        "Folder for the socket by which `dauphin proxy --takeover` takes over from the process that runs: see docs/operating.md. Left \
         out: a restart ends every client's connection.",
    ),
    key("proxy", "threads", "a whole number, 1 to 256").example("4").about(
        "Threads that clients are spread over. Left out: half of the processors.",
    ),
    key("proxy", "token_file", "a path").example("\"/etc/dauphin/token\"").about(
        "File with the token for the members' HTTP. Left out: none is sent; reading needs none.",
    ),
];

/// The keys of one table.
pub fn keys_of(section: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.section == section)
}

/// The key of that name.
#[must_use]
pub fn find(section: &str, name: &str) -> Option<&'static Key> {
    keys_of(section).find(|key| key.name == name)
}

/// The reference page: every key with its meaning, form, default and an example.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(PREFACE);
    for section in SECTIONS {
        page.push_str(&format!("\n## `{}`\n\n{}\n", section.header, section.about));
        page.push_str("\n| key | value | default | meaning |\n|---|---|---|---|\n");
        for key in keys_of(section.name) {
            let default = match (key.required, key.default) {
                (true, _) => "required".to_owned(),
                (false, Some(default)) => format!("`{default}`"),
                (false, None) => "–".to_owned(),
            };
            page.push_str(&format!("| `{}` | {} | {default} | {} |\n", key.name, key.form, key.about));
        }
        page.push_str(&format!("\n```toml\n{}\n", section.header));
        for key in keys_of(section.name) {
            page.push_str(&format!("{} = {}\n", key.name, key.example));
        }
        page.push_str("```\n");
    }
    page.push_str("\n## Settings that are Dauphin's own\n\n");
    page.push_str("These are refused under `[postgres] parameters`, because the cluster's promises rest on them:\n\n");
    page.push_str("| setting | why, and what to use instead |\n|---|---|\n");
    for (name, why) in super::owned::OWNED {
        page.push_str(&format!("| `{name}` | {why} |\n"));
    }
    page
}

const PREFACE: &str = "\
# Configuration: dauphin.toml

One file describes a cluster. `[cluster]`, `[postgres]` or `[mysql]`, `[alerts]`, `[health]`, `[[notify]]` and `[[member]]` are the same on
all machines and move into the cluster's store with `dauphin init`; `[local]` and `[proxy]` belong to one machine. Unknown keys, wrong units and
impossible combinations are refused with line and column, all at once, and with what is allowed.

This page is written from the program's own list of keys: `UPDATE_EXPECT=1 cargo test -p dauphin-model reference`.

**Units.** A size is a whole number with `B`, `KiB`, `MiB`, `GiB` or `TiB`; a duration one with `ms`, `s`, `min`, `h` or
`d`; both are written as text: `\"16MiB\"`, `\"30s\"`. No secret ever stands in this file: it names the files that hold them.
";
