//! The settings of a proxy as people see them: by the keys of `dauphin.toml`, and whether a reload takes them over. The console
//! shows them, and a reload tells by them what has changed. Pure; no secret is among them.

use crate::config::{Config, Demand};
use dauphin_model::file::{keys, unit};
use dauphin_model::{Pooling, Span};
use std::net::SocketAddr;
use std::time::Duration;

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// As it is called in `[proxy]`, or elsewhere in the file.
    pub(crate) key: &'static str,
    pub(crate) value: String,
    /// Whether a reload takes a change over; a restart always does.
    pub(crate) live: bool,
}

impl Setting {
    /// What it is when left out.
    pub(crate) fn default(&self) -> Option<String> {
        let default = keys::find("proxy", self.key)?.default?;
        Some(default.trim_matches(['"', '[', ']']).to_owned())
    }
}

/// All of them.
pub(crate) fn settings(config: &Config) -> Vec<Setting> {
    let rules = &config.rules;
    let (limits, operators) = (&rules.limits, &rules.operators);
    let members = config.agents.iter().map(|agent| format!("{}={}:{}", agent.member, agent.host, agent.port));
    let tls = config.tls.as_ref().is_some_and(|tls| tls.required);
    let pool = match rules.pooling {
        Pooling::Transaction => "transaction",
        Pooling::Session => "session",
    };
    let certificates = config.tls.as_ref().and_then(|tls| tls.certificates.as_ref());
    let ca = certificates.map(|certificates| certificates.ca.display().to_string()).unwrap_or_default();
    let certificates = match certificates.map(|certificates| certificates.demand) {
        None => "off",
        Some(Demand::Allowed) => "allow",
        Some(Demand::Required) => "require",
        Some(Demand::OfUser) => "require-user",
    };
    let restart = |key, value| Setting { key, value, live: false };
    let live = |key, value| Setting { key, value, live: true };
    vec![
        restart("listen_write", addresses(&config.listen_write)),
        restart("listen_read", addresses(&config.listen_read)),
        restart("metrics_listen", addresses(config.listen_metrics.as_slice())),
        restart("threads", config.shards.to_string()),
        restart("run_dir", config.run_dir.as_ref().map(|dir| dir.display().to_string()).unwrap_or_default()),
        live("drain_limit", length(limits.drain)),
        live("wait_limit", length(limits.wait)),
        live("notice_after", length(limits.notice)),
        live("clients_max", limits.clients.to_string()),
        live("clients_max_user", number(limits.clients_user)),
        live("clients_max_database", number(limits.clients_database)),
        live("pool", pool.to_owned()),
        live("pool_size", limits.pool.to_string()),
        live("zone", rules.zone.clone().unwrap_or_default()),
        live("read_level", rules.reads.level.to_string()),
        live("read_wait", length(rules.reads.wait)),
        live("admin_users", operators.admins.join(", ")),
        live("stats_users", operators.watchers.join(", ")),
        live("log_slow", rules.slow.map(length).unwrap_or_default()),
        live("member", members.collect::<Vec<_>>().join(", ")),
        live("client_keepalive", length(limits.client_keepalive)),
        live("client_certificates", certificates.to_owned()),
        live("client_ca", ca),
        restart("sql_tls", if tls { "require" } else { "off" }.to_owned()),
    ]
}

fn addresses(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// None: nothing is set.
fn number(number: Option<usize>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

fn length(length: Duration) -> String {
    unit::duration_text(Span::ms(u64::try_from(length.as_millis()).unwrap_or(u64::MAX)))
}
