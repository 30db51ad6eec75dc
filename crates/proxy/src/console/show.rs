//! What the console shows: tables from what the shards and the hub say. Column names are PgBouncer's where it has them, so that
//! its exporters and dashboards read them. It changes nothing.

use super::command::{DONE, SHOWN, Shown};
use super::stats;
use super::table::{Kind, Table, Value};
use crate::hub::Hub;
use crate::reload::Reloaded;
use crate::session::Port;
use crate::shard::Shards;
use crate::survey::{self, Client, Counts, Doing, Known, Pooled, ServerLink};
use crate::table::View;
use Kind::{Number, Text};
use dauphin_model::{MemberName, Target};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How the program calls itself.
pub(super) const VERSION: &str = concat!("Dauphin ", env!("CARGO_PKG_VERSION"));

/// One view.
pub(super) async fn table(hub: &Hub, shards: &Shards, shown: Shown) -> Table {
    match shown {
        Shown::Clients => clients(shards.gather(survey::clients).await),
        Shown::Config => config(hub),
        Shown::Databases => databases(hub, pooled(shards).await, known(shards).await),
        Shown::Former => former(hub),
        Shown::Help => help(),
        Shown::Lists => lists(hub, &pooled(shards).await, &known(shards).await),
        Shown::Pools => pools(hub, pooled(shards).await),
        Shown::Route => route(hub),
        Shown::Servers => servers(hub, shards.gather(survey::servers).await),
        Shown::State => state(&shards.gather(|shard| shard.is_paused()).await),
        Shown::Stats => stats::table(known(shards).await, &["total_", "avg_"]),
        Shown::StatsAverages => stats::table(known(shards).await, &["avg_"]),
        Shown::StatsTotals => stats::table(known(shards).await, &["total_"]),
        Shown::Totals => stats::totals(hub, &known(shards).await),
        Shown::Users => users(hub, &pooled(shards).await),
        Shown::Version => version(),
    }
}

/// Clients and servers by database and user, all shards together.
pub(super) async fn pooled(shards: &Shards) -> Pooled {
    survey::merge_pooled(shards.gather(survey::pooled).await)
}

/// Databases, all shards together.
pub(super) async fn known(shards: &Shards) -> Vec<Known> {
    survey::merge_databases(shards.gather(survey::databases).await)
}

/// A moment that long ago, for people.
fn ago(length: Duration) -> Value {
    let length = SignedDuration::try_from(length).unwrap_or(SignedDuration::ZERO);
    let then = Timestamp::now().checked_sub(length).unwrap_or(Timestamp::UNIX_EPOCH);
    then.strftime("%Y-%m-%d %H:%M:%S UTC").to_string().into()
}

fn us(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX)
}

fn replication(is: bool) -> &'static str {
    if is { "yes" } else { "none" }
}

fn tls(is: bool) -> &'static str {
    if is { "TLS" } else { "" }
}

fn mode(hub: &Hub) -> &'static str {
    match hub.rules().pooling {
        dauphin_model::Pooling::Transaction => "transaction",
        dauphin_model::Pooling::Session => "session",
    }
}

fn clients(shards: Vec<Vec<Client>>) -> Table {
    let mut table = Table::new(&[
        ("type", Text),
        ("user", Text),
        ("database", Text),
        ("replication", Text),
        ("state", Text),
        ("addr", Text),
        ("port", Number),
        ("connect_time", Text),
        ("request_time", Text),
        ("wait", Number),
        ("wait_us", Number),
        ("link", Text),
        ("tls", Text),
        ("application_name", Text),
        ("id", Number),
        ("via", Text),
        ("xact_us", Number),
    ]);
    for client in shards.into_iter().flatten() {
        let (state, wait) = match client.doing {
            Doing::Waiting(length) => ("waiting", length),
            Doing::Active => ("active", Duration::ZERO),
            Doing::Idle => ("idle", Duration::ZERO),
        };
        let (via, state) = match client.port {
            Some(Port::Write) => ("write", state),
            Some(Port::Read) => ("read", state),
            None => ("console", "active"),
        };
        table.row(vec![
            "C".into(),
            client.user.into(),
            client.database.into(),
            replication(client.replication).into(),
            state.into(),
            client.peer.map(|peer| peer.ip().to_string()).into(),
            client.peer.map(|peer| u64::from(peer.port())).into(),
            ago(client.connected),
            client.asked.map(ago).unwrap_or(Value::Null),
            wait.as_secs().into(),
            u64::from(wait.subsec_micros()).into(),
            client.server.map(|(member, pid)| format!("{member}:{pid}")).into(),
            tls(client.tls).into(),
            client.name.into(),
            u64::from(client.id).into(),
            via.into(),
            client.transaction.map(us).into(),
        ]);
    }
    table
}

fn servers(hub: &Hub, shards: Vec<Vec<ServerLink>>) -> Table {
    let mut table = Table::new(&[
        ("type", Text),
        ("user", Text),
        ("database", Text),
        ("replication", Text),
        ("state", Text),
        ("addr", Text),
        ("port", Number),
        ("connect_time", Text),
        ("request_time", Text),
        ("close_needed", Number),
        ("link", Number),
        ("remote_pid", Number),
        ("tls", Text),
        ("application_name", Text),
        ("member", Text),
        ("role", Text),
        ("zone", Text),
        ("reporting", Number),
    ]);
    let view = hub.view();
    for server in shards.into_iter().flatten() {
        let state = match (&server.client, server.cancelled) {
            (_, true) => "being_canceled",
            (Some(_), false) => "active",
            (None, false) => "idle",
        };
        let (id, name, asked) = match server.client {
            Some((id, name, asked)) => (Some(u64::from(id)), name, asked),
            None => (None, String::new(), None),
        };
        let (zone, reporting) = placed(&view, &server.member);
        table.row(vec![
            "S".into(),
            server.user.into(),
            server.database.into(),
            replication(server.replication).into(),
            state.into(),
            server.address.ip().to_string().into(),
            u64::from(server.address.port()).into(),
            ago(server.opened),
            asked.map(ago).unwrap_or(Value::Null),
            server.closing.into(),
            id.into(),
            u64::from(server.pid).into(),
            tls(hub.dial.is_encrypted()).into(),
            name.into(),
            server.member.to_string().into(),
            if server.leads { "leader" } else { "replica" }.into(),
            zone.into(),
            reporting.into(),
        ]);
    }
    table
}

/// Where a member stands, and whether it is for people and analytics, as far as the route says.
fn placed(view: &View, member: &MemberName) -> (Option<String>, bool) {
    let leader = view.leader.iter().map(|target| (target, false));
    let replicas = view.replicas.iter().map(|replica| (&replica.target, replica.reporting));
    let found = leader.chain(replicas).find(|(target, _)| target.member == *member);
    found.map_or((None, false), |(target, reporting)| (target.zone.clone(), reporting))
}

fn pools(hub: &Hub, pooled: Pooled) -> Table {
    let mut table = Table::new(&[
        ("database", Text),
        ("user", Text),
        ("cl_active", Number),
        ("cl_waiting", Number),
        ("cl_active_cancel_req", Number),
        ("cl_waiting_cancel_req", Number),
        ("sv_active", Number),
        ("sv_active_cancel", Number),
        ("sv_being_canceled", Number),
        ("sv_idle", Number),
        ("sv_used", Number),
        ("sv_tested", Number),
        ("sv_login", Number),
        ("maxwait", Number),
        ("maxwait_us", Number),
        ("pool_mode", Text),
    ]);
    let mode = mode(hub);
    for ((database, user), counts) in pooled {
        table.row(vec![
            database.into(),
            user.into(),
            (counts.active + counts.idle).into(),
            counts.waiting.into(),
            counts.servers_cancelled.into(),
            0.into(),
            counts.servers_active.into(),
            counts.servers_cancelled.into(),
            0.into(),
            counts.servers_idle.into(),
            0.into(),
            0.into(),
            counts.servers_opening.into(),
            counts.longest.as_secs().into(),
            u64::from(counts.longest.subsec_micros()).into(),
            mode.into(),
        ]);
    }
    table
}

fn databases(hub: &Hub, pooled: Pooled, known: Vec<Known>) -> Table {
    let mut table = Table::new(&[
        ("name", Text),
        ("host", Text),
        ("port", Number),
        ("database", Text),
        ("force_user", Text),
        ("pool_size", Number),
        ("min_pool_size", Number),
        ("reserve_pool_size", Number),
        ("pool_mode", Text),
        ("max_connections", Number),
        ("current_connections", Number),
        ("current_client_connections", Number),
        ("paused", Number),
        ("disabled", Number),
        ("max_client_connections", Number),
    ]);
    let most = hub.rules().limits.clients_database.unwrap_or(0) as u64;
    let mut counted: BTreeMap<&str, Counts> = BTreeMap::new();
    for ((database, _), counts) in &pooled {
        counted.entry(database).or_default().add(counts);
    }
    let view = hub.view();
    let leader = view.leader.as_ref();
    for database in known {
        let counts = counted.get(database.name.as_str()).copied().unwrap_or_default();
        table.row(vec![
            database.name.clone().into(),
            leader.map(|leader| leader.host.clone()).into(),
            leader.map(|leader| u64::from(leader.port)).into(),
            database.name.into(),
            Value::Null,
            (hub.rules().limits.pool as u64).into(),
            0.into(),
            0.into(),
            mode(hub).into(),
            0.into(),
            counts.servers().into(),
            (counts.active + counts.idle + counts.waiting).into(),
            database.paused.into(),
            false.into(),
            most.into(),
        ]);
    }
    table
}

fn users(hub: &Hub, pooled: &Pooled) -> Table {
    let mut table = Table::new(&[
        ("name", Text),
        ("pool_size", Number),
        ("pool_mode", Text),
        ("current_connections", Number),
        ("current_client_connections", Number),
        ("console", Text),
        ("max_user_client_connections", Number),
    ]);
    let mut counted: BTreeMap<&str, Counts> = BTreeMap::new();
    let rules = hub.rules();
    let operators = rules.operators.admins.iter().chain(&rules.operators.watchers);
    for user in operators {
        counted.entry(user).or_default();
    }
    for ((_, user), counts) in pooled {
        counted.entry(user).or_default().add(counts);
    }
    for (user, counts) in counted {
        let console = match super::Right::of(user, &rules.operators) {
            Ok(super::Right::Admin) => "admin",
            Ok(super::Right::Watch) => "stats",
            Err(_) => "",
        };
        table.row(vec![
            user.into(),
            Value::Null,
            Value::Null,
            counts.servers().into(),
            (counts.active + counts.idle + counts.waiting).into(),
            console.into(),
            (rules.limits.clients_user.unwrap_or(0) as u64).into(),
        ]);
    }
    table
}

fn lists(hub: &Hub, pooled: &Pooled, known: &[Known]) -> Table {
    let users: BTreeSet<&String> = pooled.keys().map(|(_, user)| user).collect();
    let servers: u64 = pooled.values().map(Counts::servers).sum();
    let stats = hub.stats.snapshot();
    let mut table = Table::new(&[("list", Text), ("items", Number)]);
    for (list, items) in [
        ("databases", known.len() as u64),
        ("users", users.len() as u64),
        ("pools", pooled.len() as u64),
        ("free_clients", 0),
        ("used_clients", stats.clients),
        ("login_clients", stats.logging_in),
        ("free_servers", 0),
        ("used_servers", servers),
        ("dns_names", 0),
        ("dns_zones", 0),
        ("dns_queries", 0),
        ("dns_pending", 0),
    ] {
        table.row(vec![list.into(), items.into()]);
    }
    table
}

fn route(hub: &Hub) -> Table {
    let mut table = Table::new(&[
        ("member", Text),
        ("role", Text),
        ("state", Text),
        ("host", Text),
        ("port", Number),
        ("term", Number),
        ("lag_bytes", Number),
        ("zone", Text),
        ("reporting", Number),
    ]);
    let view = hub.view();
    let leader = match (view.open, view.draining) {
        (true, false) => "open",
        (true, true) => "draining",
        (false, _) => "closed",
    };
    let mut row =
        |target: Option<&Target>, role: &str, state: &str, term: u64, (lag, reporting): (Option<u64>, bool)| {
            table.row(vec![
                target.map(|target| target.member.to_string()).into(),
                role.into(),
                state.into(),
                target.map(|target| target.host.clone()).into(),
                target.map(|target| u64::from(target.port)).into(),
                term.into(),
                lag.into(),
                target.and_then(|target| target.zone.clone()).into(),
                reporting.into(),
            ]);
        };
    row(view.leader.as_ref(), "leader", leader, view.term.0, (None, false));
    let leads = view.leader.as_ref().map(|leader| &leader.member);
    for replica in view.replicas.iter().filter(|replica| Some(&replica.target.member) != leads) {
        let state = if replica.usable { "reads" } else { "no reads" };
        let more = (replica.lag_bytes, replica.reporting);
        row(Some(&replica.target), "replica", state, view.replicas_of.0, more);
    }
    table
}

fn former(hub: &Hub) -> Table {
    let mut table = Table::new(&[
        ("pid", Number),
        ("version", Text),
        ("clients", Number),
        ("in_transaction", Number),
        ("drains_s", Number),
        ("left_s", Number),
    ]);
    for process in hub.succession.formers() {
        table.row(vec![
            u64::from(process.pid).into(),
            process.program.into(),
            process.clients.into(),
            process.in_transaction.into(),
            process.drains_s.into(),
            process.left_s.into(),
        ]);
    }
    table
}

fn state(paused: &[bool]) -> Table {
    let paused = paused.iter().any(|paused| *paused);
    let mut table = Table::new(&[("key", Text), ("value", Text)]);
    for (key, is) in [("active", !paused), ("paused", paused), ("suspended", false)] {
        table.row(vec![key.into(), if is { "yes" } else { "no" }.into()]);
    }
    table
}

fn config(hub: &Hub) -> Table {
    let mut table = Table::new(&[("key", Text), ("value", Text), ("default", Text), ("changeable", Text)]);
    let settings = hub.settings();
    for setting in settings.iter() {
        let live = if setting.live { "yes" } else { "no" };
        table.row(vec![setting.key.into(), setting.value.clone().into(), setting.default().into(), live.into()]);
    }
    // The same under the names that PgBouncer's exporters look for.
    let limits = &hub.rules().limits;
    for (key, value) in [
        ("max_client_conn", limits.clients.to_string()),
        ("max_user_connections", "0".to_owned()),
        ("max_user_client_connections", limits.clients_user.unwrap_or(0).to_string()),
        ("max_db_client_connections", limits.clients_database.unwrap_or(0).to_string()),
        ("default_pool_size", limits.pool.to_string()),
        ("pool_mode", mode(hub).to_owned()),
    ] {
        table.row(vec![key.into(), value.into(), Value::Null, "yes".into()]);
    }
    table
}

/// What a reload changed.
pub(super) fn changes(reloaded: &Reloaded) -> Table {
    let mut table = Table::new(&[("key", Text), ("from", Text), ("to", Text), ("effect", Text)]);
    let applied = reloaded.applied.iter().map(|change| (change, "applied"));
    for (change, effect) in applied.chain(reloaded.restart.iter().map(|change| (change, "needs a restart"))) {
        table.row(vec![change.key.into(), change.from.clone().into(), change.to.clone().into(), effect.into()]);
    }
    table
}

fn help() -> Table {
    let mut table = Table::new(&[("command", Text), ("what it does", Text)]);
    for (name, _, about) in SHOWN {
        table.row(vec![format!("SHOW {}", name.to_uppercase()).into(), about.into()]);
    }
    for (command, about) in DONE {
        table.row(vec![command.into(), about.into()]);
    }
    table
}

fn version() -> Table {
    let mut table = Table::new(&[("version", Text)]);
    table.row(vec![VERSION.into()]);
    table
}
