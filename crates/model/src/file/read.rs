//! From the text of `dauphin.toml` to its values. `ClusterFile::parse` calls it. It collects every fault that it can
//! find and never stops at the first.

use super::section::{Faults, Section, shown};
use super::{
    ClientCertificates, ClusterFile, FAULTS_MAX, FILE_BYTES_MAX, FileError, FileErrors, Local, Pooling, ProxyFile,
    check, keys, nearest, notify, owned,
};
use crate::alerts::AlertSpec;
use crate::health::{FixKind, HealthSpec};
use crate::name::{ClusterName, MemberName};
use crate::read_level::ReadLevel;
use crate::spec::{Durability, EngineKind, MemberKind, MemberSpec, MysqlSpec, OnShortage, PostgresSpec, Profile, Spec};
use crate::time::Span;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Longest text of a host, zone or locale, in bytes.
const TEXT_BYTES_MAX: usize = 255;

/// Longest name of a role, in bytes.
const ROLE_BYTES_MAX: usize = 63;
/// How long a client's host may be silent: the kernel counts seconds, and asks several times.
const CLIENT_KEEPALIVE_MIN: Span = Span::ms(5_000);
const CLIENT_KEEPALIVE_MAX: Span = Span::ms(7_200_000);

/// How long a condition may have to hold, and how long a notification may wait for company.
const ALERT_WAIT_MIN: Span = Span::ms(1_000);
const ALERT_WAIT_MAX: Span = Span::ms(3_600_000);
/// What clocks that are kept by NTP are better than, and what is no clock any more.
const CLOCKS_APART_MIN: Span = Span::ms(100);
const CLOCKS_APART_MAX: Span = Span::ms(86_400_000);
/// How long something may last before an agent mends it.
const FIX_AFTER_MIN: Span = Span::ms(1_000);
const FIX_AFTER_MAX: Span = Span::ms(7 * 86_400_000);
/// How much later than its commit a member may apply a transaction; PostgreSQL takes at most 24 days.
const DELAY_MIN: Span = Span::ms(1_000);
const DELAY_MAX: Span = Span::ms(7 * 86_400_000);
/// How often people may be told the same thing again.
const REMIND_MIN: Span = Span::ms(60_000);
const REMIND_MAX: Span = Span::ms(30 * 86_400_000);

/// Reads a file.
pub(super) fn file(name: &str, text: &str) -> Result<ClusterFile, FileErrors> {
    let faults = Faults::default();
    let read = if text.len() > FILE_BYTES_MAX {
        faults.add(0, format!("{} bytes; a configuration has at most {FILE_BYTES_MAX}", text.len()));
        None
    } else {
        let (document, broken) = DeTable::parse_recoverable(text);
        for error in &broken {
            let at = error.span().map_or(0, |span| span.start);
            faults.add(at, format!("this is not TOML: {}", error.message()));
        }
        // Half a document would only bring faults that are none.
        if broken.is_empty() { Document { table: document.get_ref(), faults: &faults }.read() } else { None }
    };
    let found = faults.list.into_inner();
    match read {
        Some(file) if found.is_empty() => Ok(file),
        _ => Err(FileErrors { name: name.to_owned(), faults: placed(text, found) }),
    }
}

fn placed(text: &str, mut found: Vec<(usize, String)>) -> Vec<FileError> {
    found.sort();
    found.dedup();
    found.truncate(FAULTS_MAX);
    let place = |(at, message): (usize, String)| {
        let before = text.get(..at).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        FileError { line, column, message }
    };
    found.into_iter().map(place).collect()
}

struct Document<'a, 'i> {
    table: &'a DeTable<'i>,
    faults: &'a Faults,
}

impl<'a, 'i> Document<'a, 'i> {
    fn read(&self) -> Option<ClusterFile> {
        for (key, value) in self.table {
            let known = keys::SECTIONS.iter().map(|section| section.name);
            if !known.clone().any(|name| name == key.get_ref()) {
                let meant = nearest(key.get_ref(), known).map(|name| format!("; did you mean [{name}]?"));
                let belongs = keys::KEYS.iter().find(|k| k.name == key.get_ref());
                let belongs = belongs.map(|k| format!("; it belongs under [{}]", k.section));
                let hint = meant.or(belongs).unwrap_or_default();
                let what = if value.get_ref().is_table() { "table" } else { "key" };
                self.faults.add(key.span().start, format!("unknown {what} `{}`{hint}", key.get_ref()));
            }
        }
        let spec = self.spec();
        let local = self.section("local").and_then(|section| local(&section, spec.as_ref()));
        let proxy = self.section("proxy").and_then(|section| {
            if let Some(engine) = spec.as_ref().map(|spec| spec.engine).filter(|engine| !engine.is_read_by_proxy()) {
                for key in section.places.keys().filter(|key| !BY_PORT.iter().any(|its| its == key)) {
                    let text = format!(
                        "`{key}` means nothing for {}: the proxy does not read its protocol, and takes {} there",
                        engine.name(),
                        BY_PORT.join(", ")
                    );
                    section.fault(section.place(key), text);
                }
            }
            proxy(&section)
        });
        Some(ClusterFile { spec: spec?, local, proxy })
    }

    fn section(&self, name: &'static str) -> Option<Section<'a, 'i>> {
        let value = self.table.get(name)?;
        match value.get_ref().as_table() {
            Some(table) => Some(Section::new(name, value.span().start, table, self.faults)),
            None => {
                self.faults.add(
                    value.span().start,
                    format!("`{name}` is {}; it must be a table: [{name}]", shown(value.get_ref())),
                );
                None
            }
        }
    }

    fn members(&self) -> Vec<Section<'a, 'i>> {
        if self.table.get("member").is_none() {
            self.faults.add(0, "no member: at least one [[member]] is needed");
        }
        self.sections("member", "[[member]], one for each member")
    }

    /// The tables of an array of them.
    fn sections(&self, name: &'static str, form: &str) -> Vec<Section<'a, 'i>> {
        let Some(value) = self.table.get(name) else { return Vec::new() };
        let wrong = |value: &Spanned<DeValue<'_>>| {
            self.faults.add(value.span().start, format!("`{name}` must be written as {form}"));
        };
        let Some(array) = value.get_ref().as_array() else {
            wrong(value);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_table() {
                Some(table) => sections.push(Section::new(name, item.span().start, table, self.faults)),
                None => wrong(item),
            }
        }
        sections
    }

    /// The shared part, checked as a whole if each of its values could be read.
    fn spec(&self) -> Option<Spec> {
        let before = self.faults.count();
        let cluster = self.section("cluster");
        if self.table.get("cluster").is_none() {
            self.faults.add(0, "[cluster] is missing: it needs at least `name`");
        }
        let sections = self.members();
        let members: Vec<Option<MemberSpec>> = sections.iter().map(member).collect();
        let spec = cluster.as_ref().and_then(|cluster| cluster_spec(cluster, members));
        let whole = self.faults.count() == before;
        let nothing = DeTable::new();
        let postgres = self.section("postgres").unwrap_or_else(|| Section::new("postgres", 0, &nothing, self.faults));
        let postgres_spec = postgres_spec(&postgres);
        let mysql = self.section("mysql").unwrap_or_else(|| Section::new("mysql", 0, &nothing, self.faults));
        let mysql_spec = mysql_spec(&mysql);
        let alerts = self.section("alerts").unwrap_or_else(|| Section::new("alerts", 0, &nothing, self.faults));
        let alerts = alert_spec(&alerts);
        let health = self.section("health").unwrap_or_else(|| Section::new("health", 0, &nothing, self.faults));
        let health = health_spec(&health);
        let places = self.sections("notify", "[[notify]], one for each place");
        let notify = notify::targets(&places);
        let (cluster, mut spec) = (cluster?, spec?);
        self.one_engine(spec.engine);
        if whole {
            // Without the engine's part: its values were checked one by one, each with its own place.
            for problem in check::problems(&spec) {
                self.faults.add(place(&problem.place, &cluster, &sections, [&postgres, &mysql]), problem.message);
            }
            let two = spec.data_members().count() == 2 && spec.durability != Durability::Async;
            if two && !cluster.places.contains_key("on_shortage") {
                cluster.fault(
                    cluster.at,
                    "two data members need `on_shortage`: \"wait\" (commits wait while the other is gone) or \
                     \"degrade\" (they go on with one copy)",
                );
            }
        }
        spec.postgres = postgres_spec;
        spec.mysql = mysql_spec;
        spec.alerts = alerts?;
        spec.health = health?;
        spec.notify = notify?;
        Some(spec)
    }

    /// Refuses the sections of other engines.
    fn one_engine(&self, engine: EngineKind) {
        for other in ["postgres", "mysql"].into_iter().filter(|name| *name != engine.section()) {
            if let Some(value) = self.table.get(other) {
                let message = format!(
                    "[{other}] means nothing with engine \"{engine}\": its settings belong under [{}]",
                    engine.section()
                );
                self.faults.add(value.span().start, message);
            }
        }
    }
}

fn place(
    place: &check::Place,
    cluster: &Section<'_, '_>,
    members: &[Section<'_, '_>],
    [postgres, mysql]: [&Section<'_, '_>; 2],
) -> usize {
    match place {
        check::Place::Cluster(key) => cluster.place(key),
        check::Place::Member(index, key) => members.get(*index).map_or(0, |section| section.place(key)),
        check::Place::Postgres(key) => postgres.place(key),
        check::Place::Mysql(key) => mysql.place(key),
    }
}

fn cluster_spec(cluster: &Section<'_, '_>, members: Vec<Option<MemberSpec>>) -> Option<Spec> {
    let name = cluster.text("name", |text| ClusterName::new(text).map_err(|error| error.to_string()));
    let engine = cluster.word(
        "engine",
        &[EngineKind::Postgres, EngineKind::Mysql, EngineKind::Mariadb].map(|engine| (engine.word(), engine)),
    );
    let durability = cluster.word(
        "durability",
        &[("async", Durability::Async), ("sync", Durability::Sync), ("quorum", Durability::Quorum)],
    );
    let required = cluster.number("required", 1..1_000).and_then(|n| u32::try_from(n).ok());
    let on_shortage = cluster.word("on_shortage", &[("wait", OnShortage::Wait), ("degrade", OnShortage::Degrade)]);
    let profile =
        cluster.word("profile", &[("fast", Profile::Fast), ("standard", Profile::Standard), ("wan", Profile::Wan)]);
    let allow_reclone = cluster.flag("allow_reclone");
    let read_lag_max_bytes = cluster.size("read_lag_max");
    Some(Spec {
        cluster: name?,
        engine: engine?,
        durability: durability?,
        required,
        on_shortage: on_shortage?,
        profile: profile?,
        allow_reclone: allow_reclone?,
        members: members.into_iter().collect::<Option<_>>()?,
        postgres: PostgresSpec::default(),
        mysql: MysqlSpec::default(),
        read_lag_max_bytes: read_lag_max_bytes?,
        alerts: AlertSpec::default(),
        health: HealthSpec::default(),
        notify: Vec::new(),
    })
}

fn member(section: &Section<'_, '_>) -> Option<MemberSpec> {
    let named = |text: &str| MemberName::new(text).map_err(|error| error.to_string());
    let name = section.text("name", named);
    let host = section.text("host", host);
    let kind = section.word("kind", &[("data", MemberKind::Data), ("witness", MemberKind::Witness)]);
    let sql_port = match kind {
        Some(MemberKind::Witness) => {
            for key in ["sql_port", "priority", "never_leader", "reporting", "follow"] {
                if section.places.contains_key(key) {
                    section.fault(
                        section.place(key),
                        format!("a witness has no data, so `{key}` means nothing: take it out"),
                    );
                }
            }
            Some(0)
        }
        Some(MemberKind::Data) | None => {
            if !section.places.contains_key("sql_port") {
                section.fault(section.at, "`sql_port` is missing: a port, as in sql_port = 5432");
            }
            section.port("sql_port")
        }
    };
    let (api_port, link_port) = (section.port("api_port"), section.port("link_port"));
    let priority = section.number("priority", 0..1_001).and_then(|n| u32::try_from(n).ok());
    let (never_leader, reporting) = (section.flag("never_leader"), section.flag("reporting"));
    let zone = section.text("zone", |text| plain(text).map(str::to_owned));
    let follow = section.text("follow", named);
    if kind == Some(MemberKind::Witness) {
        for key in ["delay", "alert_lag", "alert_lag_bytes"].into_iter().filter(|key| section.places.contains_key(*key))
        {
            section.fault(section.place(key), format!("a witness has no data, so `{key}` means nothing: take it out"));
        }
    }
    let delay = section.duration_within("delay", DELAY_MIN, DELAY_MAX);
    let alert_lag = section.three("alert_lag", super::unit::duration);
    let alert_lag_bytes = section.three("alert_lag_bytes", super::unit::size);
    Some(MemberSpec {
        name: name?,
        kind: kind?,
        host: host?,
        sql_port: sql_port?,
        api_port: api_port?,
        link_port: link_port?,
        priority: priority?,
        never_leader: never_leader?,
        reporting: reporting?,
        zone,
        follow,
        delay,
        alert_lag,
        alert_lag_bytes,
    })
}

fn alert_spec(section: &Section<'_, '_>) -> Option<AlertSpec> {
    let lag = section.three("lag", super::unit::duration);
    let lag_bytes = section.three("lag_bytes", super::unit::size);
    let replicas = section.number("replicas", 0..check::MEMBERS_MAX as u64).and_then(|n| u32::try_from(n).ok());
    let disk = section.three("disk", super::unit::percent);
    // sooner is worse
    let sooner = |text: &str| super::unit::duration(text).map(std::cmp::Reverse);
    let disk_full_in = section.three("disk_full_in", sooner).map(|three| three.map(|limit| limit.0));
    let log_size = section.three("log_size", super::unit::size);
    let clocks_apart = section.duration_within("clocks_apart", CLOCKS_APART_MIN, CLOCKS_APART_MAX);
    let moment = |name| section.duration_within(name, ALERT_WAIT_MIN, ALERT_WAIT_MAX);
    let (raise_after, clear_after, group_within) =
        (moment("raise_after"), moment("clear_after"), moment("group_within"));
    let remind_every = section.duration("remind_every");
    if let Some(given) = remind_every.filter(|given| *given != Span::ZERO && !(REMIND_MIN..=REMIND_MAX).contains(given))
    {
        let given = super::unit::duration_text(given);
        let text = format!("`remind_every` is {given}; allowed: a duration, 0 s or 1 min to 30 d");
        section.fault(section.place("remind_every"), text);
    }
    Some(AlertSpec {
        lag: lag?,
        lag_bytes: lag_bytes?,
        disk: disk?,
        disk_full_in: disk_full_in?,
        log_size: log_size?,
        clocks_apart: clocks_apart?,
        replicas,
        raise_after: raise_after?,
        clear_after: clear_after?,
        group_within: group_within?,
        remind_every: remind_every?,
    })
}

fn health_spec(section: &Section<'_, '_>) -> Option<HealthSpec> {
    let word = |text: &str| {
        let found = FixKind::WORDS.iter().find(|(word, _)| *word == text).map(|(_, kind)| *kind);
        let known = FixKind::WORDS.map(|(word, _)| word).join(", ");
        found.ok_or_else(|| format!("{text:?} is nothing that can be mended; there are {known}"))
    };
    let given = section.places.contains_key("fix");
    let fix = if given { section.list("fix", word).into_iter().collect() } else { HealthSpec::default().fix };
    let [replay_after, query_after] =
        ["replay_after", "query_after"].map(|name| section.duration_within(name, FIX_AFTER_MIN, FIX_AFTER_MAX));
    Some(HealthSpec { fix, replay_after: replay_after?, query_after: query_after? })
}

fn postgres_spec(section: &Section<'_, '_>) -> PostgresSpec {
    let slot_wal_keep = section.text("slot_wal_keep", |text| {
        let bytes = super::unit::size(text)?;
        if bytes == 0 || !bytes.is_multiple_of(1 << 20) {
            return Err(format!("{text:?} is not a whole number of MiB, 1 at least"));
        }
        Ok(bytes >> 20)
    });
    let networks = |key| section.list(key, |text| check::network(text).map(|()| text.to_owned()));
    PostgresSpec {
        parameters: parameters(section, |name, value| {
            owned::why(name).map_or(Ok(()), |why| Err(format!("`{name}` is Dauphin's own setting: {why}")))?;
            check::parameter(name, value)
        }),
        replication_networks: networks("replication_networks"),
        client_networks: networks("client_networks"),
        sql_tls: section.word("sql_tls", &[("require", true), ("off", false)]).unwrap_or(true),
        slot_wal_keep_mib: slot_wal_keep.unwrap_or_default(),
        locale: section.text("locale", |text| plain(text).map(str::to_owned)).unwrap_or_default(),
    }
}

fn mysql_spec(section: &Section<'_, '_>) -> MysqlSpec {
    MysqlSpec {
        parameters: parameters(section, check::plain_value),
        sql_tls: section.word("sql_tls", &[("require", true), ("off", false)]).unwrap_or(true),
    }
}

fn parameters(section: &Section<'_, '_>, check: impl Fn(&str, &str) -> Result<(), String>) -> BTreeMap<String, String> {
    section.table("parameters", |name, value| {
        check::parameter_name(name)?;
        let text = if let Some(text) = value.as_str() {
            text.to_owned()
        } else if let Some(flag) = value.as_bool() {
            if flag { "on" } else { "off" }.to_owned()
        } else if value.is_integer() || value.is_float() {
            shown(value)
        } else {
            return Err(format!("`{name}` is {}; allowed: a text, a number, true or false", shown(value)));
        };
        check(name, &text).map(|()| text)
    })
}

fn local(section: &Section<'_, '_>, spec: Option<&Spec>) -> Option<Local> {
    let member = section.text("member", |text| MemberName::new(text).map_err(|error| error.to_string()));
    let data_dir = section.path("data_dir");
    if let (Some(name), Some(spec)) = (&member, spec) {
        match spec.member(name) {
            None => {
                let known: Vec<&str> = spec.members.iter().map(|member| member.name.as_str()).collect();
                let message = format!("`member` is \"{name}\", which no [[member]] is; there are {}", known.join(", "));
                section.fault(section.place("member"), message);
            }
            Some(member) if member.holds_data() && !section.places.contains_key("data_dir") => {
                section.fault(section.at, format!("`data_dir` is missing: \"{name}\" holds data"));
            }
            Some(member) if !member.holds_data() && section.places.contains_key("data_dir") => {
                let message = format!("\"{name}\" is a witness and holds no data: take `data_dir` out");
                section.fault(section.place("data_dir"), message);
            }
            Some(_) => {}
        }
    }
    let listen = section.text("listen", host);
    let api_hosts = section.list("api_hosts", host);
    let (state_dir, run_dir) = (section.path("state_dir"), section.path("run_dir"));
    let (bin_dir, watchdog) = (section.path("bin_dir"), section.path("watchdog"));
    let (identity, secrets, token) = (section.path("identity"), section.path("secrets"), section.path("token_file"));
    let state_dir = state_dir?;
    Some(Local {
        member: member?,
        data_dir,
        run_dir: run_dir?,
        bin_dir,
        listen,
        identity: identity.unwrap_or_else(|| state_dir.join("identity")),
        secrets: secrets.unwrap_or_else(|| state_dir.join("secrets.toml")),
        token_file: token.unwrap_or_else(|| state_dir.join("token")),
        api_hosts,
        watchdog,
        state_dir,
    })
}

/// What a proxy goes by that gives sessions out by port.
const BY_PORT: [&str; 7] =
    ["listen_write", "listen_read", "wait_limit", "clients_max", "client_keepalive", "zone", "token_file"];

fn proxy(section: &Section<'_, '_>) -> Option<ProxyFile> {
    let address = |key| {
        section.text(key, |text| {
            text.parse::<SocketAddr>()
                .map_err(|_| format!("{text:?} is not an address with a port, as in \"0.0.0.0:6432\" or \"[::]:6432\""))
        })
    };
    let (listen_write, listen_read) = (address("listen_write"), address("listen_read"));
    if listen_write.is_some() && listen_write == listen_read {
        section.fault(section.place("listen_read"), "`listen_read` and `listen_write` are the same address");
    }
    let wait_limit = section.duration("wait_limit");
    let clients = |key| section.number(key, 1..100_001).and_then(|n| u32::try_from(n).ok());
    let (clients_max, clients_max_user) = (clients("clients_max"), clients("clients_max_user"));
    let clients_max_database = clients("clients_max_database");
    let notice_after = section.duration("notice_after");
    let zone = section.text("zone", |text| plain(text).map(str::to_owned));
    let pool = section.word("pool", &[("transaction", Pooling::Transaction), ("session", Pooling::Session)]);
    let pool_size = section.number("pool_size", 1..10_001).and_then(|n| u32::try_from(n).ok());
    let client_keepalive = section.duration("client_keepalive");
    if let Some(given) = client_keepalive
        && !(CLIENT_KEEPALIVE_MIN..=CLIENT_KEEPALIVE_MAX).contains(&given)
    {
        let given = super::unit::duration_text(given);
        section.fault(
            section.place("client_keepalive"),
            format!("`client_keepalive` is {given}; allowed: a duration, 5 s to 2 h"),
        );
    }
    let client_certificates = section.word(
        "client_certificates",
        &[
            ("off", ClientCertificates::Off),
            ("allow", ClientCertificates::Allow),
            ("require", ClientCertificates::Require),
            ("require-user", ClientCertificates::RequireUser),
        ],
    );
    let client_ca = section.path("client_ca");
    let client_certificates = match (client_certificates, &client_ca) {
        (Some(ClientCertificates::Off), Some(_)) => {
            let text = "`client_ca` is of no use while `client_certificates` is \"off\": \"allow\", \"require\" or \"require-user\"";
            section.fault(section.place("client_ca"), text);
            ClientCertificates::Off
        }
        (Some(demand), None) if demand != ClientCertificates::Off => {
            let text =
                "`client_certificates` needs `client_ca`: the file with the CAs that clients' certificates may be of";
            section.fault(section.place("client_certificates"), text);
            demand
        }
        (Some(demand), _) => demand,
        (None, Some(_)) => ClientCertificates::Allow,
        (None, None) => ClientCertificates::Off,
    };
    let read_level = section.text("read_level", |text| text.parse::<ReadLevel>());
    let read_wait = section.duration("read_wait");
    let (admin_users, stats_users) = (section.list("admin_users", role), section.list("stats_users", role));
    let metrics_listen = address("metrics_listen");
    if metrics_listen.is_some() && (metrics_listen == listen_write || metrics_listen == listen_read) {
        section.fault(section.place("metrics_listen"), "`metrics_listen` is an address that clients come to");
    }
    let log_slow = section.duration("log_slow");
    let (drain_limit, run_dir) = (section.duration("drain_limit"), section.path("run_dir"));
    let threads = section.number("threads", 1..257).and_then(|n| u32::try_from(n).ok());
    let token_file = section.path("token_file");
    Some(ProxyFile {
        listen_write: listen_write?,
        listen_read,
        wait_limit: wait_limit?,
        clients_max: clients_max?,
        clients_max_user,
        clients_max_database,
        notice_after: notice_after?,
        pool: pool?,
        pool_size: pool_size?,
        client_keepalive: client_keepalive?,
        client_certificates,
        client_ca,
        zone,
        read_level: read_level?,
        read_wait: read_wait?,
        admin_users,
        stats_users,
        metrics_listen,
        log_slow,
        drain_limit: drain_limit?,
        run_dir,
        threads,
        token_file,
    })
}

/// A role as PostgreSQL names it.
fn role(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.len() <= ROLE_BYTES_MAX && !text.contains('\0');
    fits.then(|| text.to_owned()).ok_or_else(|| format!("{text:?} is no role; a name has 1 to {ROLE_BYTES_MAX} bytes"))
}

fn host(text: &str) -> Result<String, String> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    let label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if text.len() <= TEXT_BYTES_MAX && text.split('.').all(label) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is neither an address nor a host name; the port has a key of its own"))
}

fn plain(text: &str) -> Result<&str, String> {
    let fits = !text.is_empty() && text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control);
    fits.then_some(text).ok_or_else(|| format!("{text:?} is empty, too long, or holds control characters"))
}
