//! What the proxy measures, as OpenMetrics text; docs/metrics.md explains each. A handle of the proxy makes it when somebody asks.
//! The number of series is bounded by the members, the buckets and the databases that are told apart.

use crate::hub::Hub;
use crate::stats::Snapshot;
use crate::survey::{Counts, Known, Pooled};
use crate::table::View;
use crate::tally::{BOUNDS_US, Spread, Totals};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A number of the whole proxy: its name, what it says, where it is.
type Plain = (&'static str, &'static str, fn(&Snapshot) -> u64);

/// A number of one database's.
type Counted = (&'static str, &'static str, fn(&Totals) -> u64);

/// Those that rise and fall.
pub(crate) const GAUGES: [Plain; 4] = [
    ("dauphin_proxy_clients", "Clients connected, those that log in among them.", |s| s.clients),
    ("dauphin_proxy_clients_logging_in", "Clients that log in.", |s| s.logging_in),
    ("dauphin_proxy_clients_held", "Clients that wait for a server.", |s| s.held),
    (
        "dauphin_proxy_former_clients",
        "Clients that processes before this one, which it took over from, still have.",
        |s| s.former,
    ),
];

/// Those that only rise.
pub(crate) const COUNTERS: [Plain; 13] = [
    ("dauphin_proxy_logins_total", "Logins that succeeded.", |s| s.logins),
    ("dauphin_proxy_logins_refused_total", "Logins refused.", |s| s.refused),
    ("dauphin_proxy_reattached_total", "Sessions that went on with another server of their own.", |s| s.reattached),
    ("dauphin_proxy_cut_pinned_total", "Sessions ended at a change of leader for what they had.", |s| s.cut_pinned),
    ("dauphin_proxy_cut_busy_total", "Statements or transactions that lost their server.", |s| s.cut_busy),
    ("dauphin_proxy_outcomes_unknown_total", "Statements whose outcome nobody can tell.", |s| s.unknown),
    ("dauphin_proxy_commits_resolved_total", "Commits whose fate the next leader told.", |s| s.resolved),
    ("dauphin_proxy_waits_cancelled_total", "Commits whose wait for replicas was cancelled.", |s| s.cancelled_waits),
    ("dauphin_proxy_waits_too_long_total", "Clients that waited for a server too long.", |s| s.waited_too_long),
    ("dauphin_proxy_cancels_total", "Cancel requests forwarded.", |s| s.cancels),
    ("dauphin_proxy_reads_total", "Reads of sessions that also write, which a replica answered.", |s| s.reads),
    ("dauphin_proxy_reads_again_total", "Of those, refused or lost by the replica, then served by the leader.", |s| {
        s.reads_again
    }),
    ("dauphin_proxy_reads_behind_total", "Reads that the leader served as no replica was fresh in time.", |s| {
        s.reads_behind
    }),
];

/// Text in the making.
struct Page {
    text: String,
    cluster: String,
}

impl Page {
    /// Begins a family; a counter's is called as its samples are without their ending.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let family = name.strip_suffix("_total").unwrap_or(name);
        let _ = writeln!(self.text, "# TYPE {family} {kind}\n# HELP {family} {help}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let _ = write!(self.text, "{name}{{cluster=\"{}\"", self.cluster);
        for (label, value) in labels {
            let _ = write!(self.text, ",{label}=\"{}\"", escaped(value));
        }
        let _ = writeln!(self.text, "}} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    fn histogram(&mut self, name: &str, help: &str, spread: &Spread) {
        self.family(name, "histogram", help);
        let bounds = BOUNDS_US.iter().map(|us| (*us as f64 / 1e6).to_string()).chain(["+Inf".to_owned()]);
        let mut so_far = 0;
        for (bound, count) in bounds.zip(spread.buckets) {
            so_far += count;
            self.sample(&format!("{name}_bucket"), &[("le", &bound)], so_far as f64);
        }
        self.sample(&format!("{name}_sum"), &[], spread.sum_us as f64 / 1e6);
        self.sample(&format!("{name}_count"), &[], so_far as f64);
    }
}

/// Names are what clients call their databases.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The text, with its end mark.
pub(crate) fn text(cluster: &str, hub: &Hub, pooled: &Pooled, known: &[Known]) -> String {
    let mut page = Page { text: String::new(), cluster: escaped(cluster) };
    route(&mut page, &hub.view());
    let stats = hub.stats.snapshot();
    for (name, help, value) in GAUGES {
        page.gauge(name, help, value(&stats) as f64);
    }
    for (name, help, value) in COUNTERS {
        page.family(name, "counter", help);
        page.sample(name, &[], value(&stats) as f64);
    }
    pools(&mut page, pooled, known);
    let mut sum = Totals::default();
    known.iter().for_each(|known| sum += known.totals);
    for (name, help, spread) in [
        ("dauphin_proxy_wait_seconds", "From the wish for a server to having one.", sum.waits),
        ("dauphin_proxy_hold_seconds", "Of those, with a time without an open leader.", sum.holds),
        ("dauphin_proxy_transaction_seconds", "From a transaction's first message to its end.", sum.transactions),
        ("dauphin_proxy_query_seconds", "From something sent to everything answered.", sum.queries),
    ] {
        page.histogram(name, help, &spread);
    }
    page.text.push_str("# EOF\n");
    page.text
}

fn route(page: &mut Page, view: &View) {
    let truth = |is: bool| f64::from(u8::from(is));
    page.gauge("dauphin_proxy_term", "The highest term heard of.", view.term.0 as f64);
    page.gauge("dauphin_proxy_open", "1: a leader takes clients.", truth(view.open));
    page.gauge("dauphin_proxy_draining", "1: new transactions are held for a switchover.", truth(view.draining));
    page.family("dauphin_proxy_leader", "gauge", "1: clients that write go to this member, once it is open.");
    if let Some(leader) = &view.leader {
        page.sample("dauphin_proxy_leader", &[("member", leader.member.as_str())], 1.0);
    }
    page.family("dauphin_proxy_replica_usable", "gauge", "1: the replica takes reads.");
    for replica in &view.replicas {
        let member = [("member", replica.target.member.as_str())];
        page.sample("dauphin_proxy_replica_usable", &member, truth(replica.usable));
    }
    page.family("dauphin_proxy_replica_info", "gauge", "Always 1; where the replica stands and what it is for.");
    for replica in &view.replicas {
        let (zone, reporting) = (replica.target.zone.as_deref().unwrap_or_default(), replica.reporting.to_string());
        let labels = [("member", replica.target.member.as_str()), ("zone", zone), ("reporting", &*reporting)];
        page.sample("dauphin_proxy_replica_info", &labels, 1.0);
    }
    page.family("dauphin_proxy_replica_lag_bytes", "gauge", "Log that the replica has not replayed.");
    for replica in &view.replicas {
        if let Some(lag) = replica.lag_bytes {
            let member = [("member", replica.target.member.as_str())];
            page.sample("dauphin_proxy_replica_lag_bytes", &member, lag as f64);
        }
    }
}

fn pools(page: &mut Page, pooled: &Pooled, known: &[Known]) {
    let mut counted: BTreeMap<&str, Counts> = known.iter().map(|known| (&*known.name, Counts::default())).collect();
    for ((database, _), counts) in pooled {
        counted.entry(database).or_default().add(counts);
    }
    page.family("dauphin_proxy_pool_clients", "gauge", "Clients of a database, by what they do.");
    for (database, counts) in &counted {
        for (state, value) in [("active", counts.active), ("idle", counts.idle), ("waiting", counts.waiting)] {
            page.sample("dauphin_proxy_pool_clients", &[("database", database), ("state", state)], value as f64);
        }
    }
    page.family("dauphin_proxy_pool_servers", "gauge", "Connections to servers for a database.");
    for (database, counts) in &counted {
        let active = counts.servers_active + counts.servers_cancelled;
        for (state, value) in [("active", active), ("idle", counts.servers_idle), ("opening", counts.servers_opening)] {
            page.sample("dauphin_proxy_pool_servers", &[("database", database), ("state", state)], value as f64);
        }
    }
    page.family("dauphin_proxy_pool_longest_wait_seconds", "gauge", "How long the client that waits for longest does.");
    for (database, counts) in &counted {
        let longest = counts.longest.as_secs_f64();
        page.sample("dauphin_proxy_pool_longest_wait_seconds", &[("database", database)], longest);
    }
    page.family("dauphin_proxy_pool_paused", "gauge", "1: new transactions wait for RESUME.");
    for known in known {
        let paused = f64::from(u8::from(known.paused));
        page.sample("dauphin_proxy_pool_paused", &[("database", &known.name)], paused);
    }
    let counters: [Counted; 4] = [
        ("dauphin_proxy_transactions_total", "Transactions that ended.", |totals| totals.transactions.count()),
        ("dauphin_proxy_queries_total", "Queries that were answered.", |totals| totals.queries.count()),
        ("dauphin_proxy_received_bytes_total", "Bytes from clients.", |totals| totals.received),
        ("dauphin_proxy_sent_bytes_total", "Bytes from servers.", |totals| totals.sent),
    ];
    for (name, help, value) in counters {
        page.family(name, "counter", help);
        for known in known {
            page.sample(name, &[("database", &known.name)], value(&known.totals) as f64);
        }
    }
}
