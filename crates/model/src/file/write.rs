//! From values to the text of `dauphin.toml`, with comments. The lab and `init` write their files with it.
//! It writes what differs from the defaults, and what a reader looks for first.

use super::keys::{self, SECTIONS};
use super::{ClientCertificates, ClusterFile, Local, Pooling, ProxyFile, unit};
use crate::alerts::{AlertSpec, TargetSpec};
use crate::health::HealthSpec;
use crate::spec::{Durability, EngineKind, MemberKind, MemberSpec, MysqlSpec, OnShortage, PostgresSpec, Profile, Spec};
use std::collections::BTreeMap;
use std::path::Path;
use toml::Value;

/// Width of comments, in bytes.
const COMMENT_WIDTH: usize = 100;

/// Writes a file.
pub(super) fn file(file: &ClusterFile) -> String {
    let mut out = Out::default();
    out.line("# A Dauphin cluster. Every key is described in docs/configuration.md.");
    cluster(&mut out, &file.spec);
    match file.spec.engine {
        EngineKind::Postgres => postgres(&mut out, &file.spec.postgres),
        EngineKind::Mysql | EngineKind::Mariadb => mysql(&mut out, &file.spec.mysql),
    }
    if file.spec.alerts != AlertSpec::default() {
        alerts(&mut out, &file.spec.alerts);
    }
    if file.spec.health != HealthSpec::default() {
        health(&mut out, &file.spec.health);
    }
    for (index, one) in file.spec.members.iter().enumerate() {
        out.section("member", index == 0);
        member(&mut out, one);
    }
    for (index, one) in file.spec.notify.iter().enumerate() {
        out.section("notify", index == 0);
        notify(&mut out, one);
    }
    if let Some(one) = &file.local {
        local(&mut out, one);
    }
    if let Some(one) = &file.proxy {
        proxy(&mut out, one);
    }
    out.text
}

#[derive(Default)]
struct Out {
    text: String,
    section: &'static str,
}

impl Out {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn comment(&mut self, text: &str) {
        let mut line = String::from("#");
        for word in text.split_whitespace() {
            if line.len() + word.len() >= COMMENT_WIDTH {
                self.line(&line);
                line.truncate(1);
            }
            line.push(' ');
            line.push_str(word);
        }
        self.line(&line);
    }

    fn section(&mut self, name: &'static str, comment: bool) {
        self.line("");
        self.section = name;
        let Some(section) = SECTIONS.iter().find(|section| section.name == name) else { return };
        if comment {
            self.comment(section.about);
        }
        self.line(section.header);
    }

    /// Writes a key, always.
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        let value: Value = value.into();
        self.line(&format!("{name} = {value}"));
    }

    /// Writes a key with what it means.
    fn explain(&mut self, name: &str, value: impl Into<Value>) {
        if let Some(key) = keys::find(self.section, name) {
            self.comment(key.about);
        }
        self.put(name, value);
    }

    /// Writes a key unless it has its default.
    fn differing(&mut self, name: &str, value: impl Into<Value>) {
        let value: Value = value.into();
        let default = keys::find(self.section, name).and_then(|key| key.default);
        if default != Some(value.to_string().as_str()) {
            self.put(name, value);
        }
    }

    fn path(&mut self, name: &str, path: &Path) {
        self.put(name, path.display().to_string());
    }
}

fn cluster(out: &mut Out, spec: &Spec) {
    out.section("cluster", true);
    out.put("name", spec.cluster.as_str());
    out.differing("engine", spec.engine.word());
    out.explain(
        "durability",
        match spec.durability {
            Durability::Async => "async",
            Durability::Sync => "sync",
            Durability::Quorum => "quorum",
        },
    );
    if let Some(required) = spec.required {
        out.put("required", i64::from(required));
    }
    out.explain(
        "on_shortage",
        match spec.on_shortage {
            OnShortage::Wait => "wait",
            OnShortage::Degrade => "degrade",
        },
    );
    out.explain(
        "profile",
        match spec.profile {
            Profile::Fast => "fast",
            Profile::Standard => "standard",
            Profile::Wan => "wan",
        },
    );
    out.explain("allow_reclone", spec.allow_reclone);
    out.differing("read_lag_max", unit::size_text(spec.read_lag_max_bytes));
}

fn postgres(out: &mut Out, postgres: &PostgresSpec) {
    out.section("postgres", true);
    out.explain("client_networks", postgres.client_networks.clone());
    out.explain("replication_networks", postgres.replication_networks.clone());
    out.explain("sql_tls", if postgres.sql_tls { "require" } else { "off" });
    out.differing("slot_wal_keep", unit::size_text(postgres.slot_wal_keep_mib << 20));
    out.differing("locale", postgres.locale.as_str());
    parameters(out, "[postgres.parameters]", &postgres.parameters);
}

fn mysql(out: &mut Out, mysql: &MysqlSpec) {
    out.section("mysql", true);
    out.explain("sql_tls", if mysql.sql_tls { "require" } else { "off" });
    parameters(out, "[mysql.parameters]", &mysql.parameters);
}

fn parameters(out: &mut Out, header: &str, parameters: &BTreeMap<String, String>) {
    if parameters.is_empty() {
        return;
    }
    out.line("");
    out.line(header);
    for (name, value) in parameters {
        let name = if name.contains('.') { format!("\"{name}\"") } else { name.clone() };
        out.put(&name, value.as_str());
    }
}

fn alerts(out: &mut Out, alerts: &AlertSpec) {
    out.section("alerts", true);
    out.differing("lag", alerts.lag.map(unit::duration_text).to_vec());
    out.differing("lag_bytes", alerts.lag_bytes.map(unit::size_text).to_vec());
    out.differing("disk", alerts.disk.map(|percent| format!("{percent}%")).to_vec());
    out.differing("disk_full_in", alerts.disk_full_in.map(unit::duration_text).to_vec());
    out.differing("log_size", alerts.log_size.map(unit::size_text).to_vec());
    out.differing("clocks_apart", unit::duration_text(alerts.clocks_apart));
    if let Some(replicas) = alerts.replicas {
        out.put("replicas", i64::from(replicas));
    }
    for (name, span) in [
        ("raise_after", alerts.raise_after),
        ("clear_after", alerts.clear_after),
        ("group_within", alerts.group_within),
        ("remind_every", alerts.remind_every),
    ] {
        out.differing(name, unit::duration_text(span));
    }
}

fn health(out: &mut Out, health: &HealthSpec) {
    out.section("health", true);
    out.differing("fix", health.fix.iter().map(|kind| kind.word()).collect::<Vec<_>>());
    out.differing("replay_after", unit::duration_text(health.replay_after));
    out.differing("query_after", unit::duration_text(health.query_after));
}

fn notify(out: &mut Out, target: &TargetSpec) {
    out.put("name", target.name.as_str());
    out.put("kind", target.kind.word());
    if let Some(url) = &target.url {
        out.put("url", url.as_str());
    }
    for (name, path) in [
        ("url_file", &target.url_file),
        ("secret_file", &target.secret_file),
        ("token_file", &target.token_file),
        ("ca_file", &target.ca_file),
        ("command", &target.command),
    ] {
        if let Some(path) = path {
            out.path(name, path);
        }
    }
    if let Some(email) = &target.email {
        let host = if email.host.contains(':') { format!("[{}]", email.host) } else { email.host.clone() };
        out.put("server", format!("{host}:{}", email.port));
        out.differing("tls", email.tls.word());
        out.put("from", email.from.as_str());
        out.put("to", email.to.clone());
        if let Some(user) = &email.user {
            out.put("user", user.as_str());
        }
        if let Some(path) = &email.password_file {
            out.path("password_file", path);
        }
    }
    out.differing("level", target.level.word());
}

fn member(out: &mut Out, member: &MemberSpec) {
    out.put("name", member.name.as_str());
    out.put("host", member.host.as_str());
    match member.kind {
        MemberKind::Data => out.put("sql_port", i64::from(member.sql_port)),
        MemberKind::Witness => out.put("kind", "witness"),
    }
    out.put("api_port", i64::from(member.api_port));
    out.put("link_port", i64::from(member.link_port));
    if member.holds_data() {
        out.differing("priority", i64::from(member.priority));
        out.differing("never_leader", member.never_leader);
        out.differing("reporting", member.reporting);
        if let Some(follow) = &member.follow {
            out.put("follow", follow.as_str());
        }
        if let Some(delay) = member.delay {
            out.put("delay", unit::duration_text(delay));
        }
        if let Some(limits) = member.alert_lag {
            out.put("alert_lag", limits.map(unit::duration_text).to_vec());
        }
        if let Some(limits) = member.alert_lag_bytes {
            out.put("alert_lag_bytes", limits.map(unit::size_text).to_vec());
        }
    }
    if let Some(zone) = &member.zone {
        out.put("zone", zone.as_str());
    }
}

fn local(out: &mut Out, local: &Local) {
    out.section("local", true);
    out.put("member", local.member.as_str());
    if let Some(path) = &local.data_dir {
        out.path("data_dir", path);
    }
    out.path("state_dir", &local.state_dir);
    out.path("run_dir", &local.run_dir);
    for (name, path) in [("bin_dir", &local.bin_dir), ("watchdog", &local.watchdog)] {
        if let Some(path) = path {
            out.path(name, path);
        }
    }
    if let Some(listen) = &local.listen {
        out.put("listen", listen.as_str());
    }
    out.path("identity", &local.identity);
    out.path("secrets", &local.secrets);
    out.path("token_file", &local.token_file);
    out.differing("api_hosts", local.api_hosts.clone());
}

fn proxy(out: &mut Out, proxy: &ProxyFile) {
    out.section("proxy", true);
    out.put("listen_write", proxy.listen_write.to_string());
    if let Some(read) = proxy.listen_read {
        out.put("listen_read", read.to_string());
    }
    out.differing("wait_limit", unit::duration_text(proxy.wait_limit));
    out.differing("clients_max", i64::from(proxy.clients_max));
    let few = [("clients_max_user", proxy.clients_max_user), ("clients_max_database", proxy.clients_max_database)];
    for (key, limit) in few {
        if let Some(limit) = limit {
            out.put(key, i64::from(limit));
        }
    }
    out.differing("notice_after", unit::duration_text(proxy.notice_after));
    out.differing(
        "pool",
        match proxy.pool {
            Pooling::Transaction => "transaction",
            Pooling::Session => "session",
        },
    );
    out.differing("pool_size", i64::from(proxy.pool_size));
    out.differing("client_keepalive", unit::duration_text(proxy.client_keepalive));
    let certificates = match proxy.client_certificates {
        ClientCertificates::Off => None,
        ClientCertificates::Allow => Some("allow"),
        ClientCertificates::Require => Some("require"),
        ClientCertificates::RequireUser => Some("require-user"),
    };
    if let Some(certificates) = certificates {
        out.put("client_certificates", certificates);
    }
    if let Some(path) = &proxy.client_ca {
        out.path("client_ca", path);
    }
    if let Some(zone) = &proxy.zone {
        out.put("zone", zone.as_str());
    }
    out.differing("read_level", proxy.read_level.to_string());
    out.differing("read_wait", unit::duration_text(proxy.read_wait));
    out.differing("admin_users", proxy.admin_users.clone());
    out.differing("stats_users", proxy.stats_users.clone());
    if let Some(address) = proxy.metrics_listen {
        out.put("metrics_listen", address.to_string());
    }
    if let Some(slow) = proxy.log_slow {
        out.put("log_slow", unit::duration_text(slow));
    }
    out.differing("drain_limit", unit::duration_text(proxy.drain_limit));
    if let Some(path) = &proxy.run_dir {
        out.path("run_dir", path);
    }
    if let Some(threads) = proxy.threads {
        out.put("threads", i64::from(threads));
    }
    if let Some(path) = &proxy.token_file {
        out.path("token_file", path);
    }
}
