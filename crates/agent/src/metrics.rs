//! What the agent measures, as OpenMetrics text. docs/metrics.md explains each. Under Patroni's names too, for boards and rules
//! that are there already.

use crate::alerts::Alerts;
use crate::care::Care;
use crate::journal::Journal;
use crate::lengths::Lengths;
use crate::picture::Picture;
use crate::view;
use crate::vigil::Vigil;
use dauphin_alerts::{Disk, Health};
use dauphin_guard::boottime;
use dauphin_ha::Role;
use dauphin_model::{EngineKind, FixKind, MemberKind, Run};
use dauphin_notify::Standing;
use std::fmt::Write;

/// A sheet of gauges in the making.
struct Sheet {
    text: String,
    /// Labels that every sample of the family under way carries.
    labels: String,
    name: &'static str,
}

impl Sheet {
    /// Begins a family; its samples follow.
    fn family(&mut self, name: &'static str, help: &str) -> &mut Self {
        self.name = name;
        let _ = writeln!(self.text, "# TYPE {name} gauge\n# HELP {name} {help}");
        self
    }

    /// Begins a family of histograms and writes them, each with labels of its own.
    fn histograms(&mut self, name: &'static str, help: &str, all: &[(String, Lengths)]) {
        let _ = writeln!(self.text, "# TYPE {name} histogram\n# HELP {name} {help}");
        for (more, lengths) in all {
            let (buckets, sum) = lengths.told();
            let count = buckets.last().map_or(0, |(_, count)| *count);
            for (bound, so_far) in buckets {
                let _ = writeln!(self.text, "{name}_bucket{{{}{more},le=\"{bound}\"}} {so_far}", self.labels);
            }
            let _ =
                writeln!(self.text, "{name}_sum{{{0}{more}}} {sum}\n{name}_count{{{0}{more}}} {count}", self.labels);
        }
    }

    fn sample(&mut self, more: &str, value: f64) {
        let _ = writeln!(self.text, "{}{{{}{more}}} {value}", self.name, self.labels);
    }

    fn one(&mut self, name: &'static str, help: &str, value: f64) {
        self.family(name, help).sample("", value);
    }
}

fn truth(b: bool) -> f64 {
    if b { 1.0 } else { 0.0 }
}

/// The text, with its end mark.
pub(crate) fn text(
    picture: &Picture,
    alerts: &Alerts,
    vigil: &Vigil,
    care: &Care,
    journal: &Journal,
    turned_ms_ago: u64,
) -> String {
    let now = boottime();
    let mut cluster = view::cluster(picture, now, None);
    care.tell(&mut cluster, picture, now, false);
    let labels = format!("cluster=\"{}\",reporter=\"{}\"", picture.spec.cluster, picture.me);
    let mut sheet = Sheet { text: String::new(), labels, name: "" };
    sheet.one("dauphin_term", "Number of the current leadership.", cluster.term.unwrap_or(0) as f64);
    sheet.one("dauphin_open", "1: a leader lets clients in.", truth(cluster.open));
    let help = "1: commits are acknowledged with fewer copies than promised.";
    sheet.one("dauphin_degraded", help, truth(cluster.degraded));
    let help = "1: commits wait, as too few replicas are there to hold them.";
    sheet.one("dauphin_commits_wait", help, truth(cluster.commits_wait));
    sheet.one("dauphin_paused", "1: automatic failover is off.", truth(cluster.paused));
    sheet.one("dauphin_leader", "1: this member leads and is open.", truth(picture.role == Role::Leader));
    let voters = picture.store.leadership.as_ref().map_or(0, |r| r.published.voters.len());
    sheet.one("dauphin_sync_set", "Replicas that vouch for acknowledged commits.", voters as f64);
    sheet.one("dauphin_loop_age_seconds", "Time since the agent's loop turned last.", turned_ms_ago as f64 / 1e3);
    let remarks = cluster.members.iter().map(|m| m.remarks.len()).sum::<usize>();
    sheet.one("dauphin_remarks", "Things that a person should look at: dauphin status.", remarks as f64);
    let mut of_members = |name, help, value: &dyn Fn(&dauphin_api::dto::Member) -> Option<f64>| {
        sheet.family(name, help);
        for member in &cluster.members {
            if let Some(value) = value(member) {
                sheet.sample(&format!(",member=\"{}\"", member.name), value);
            }
        }
    };
    let help = "1: the member's server runs and takes part.";
    of_members("dauphin_member_running", help, &|m| Some(truth(m.state == "running")));
    let help = "Log that the replica has not replayed yet.";
    of_members("dauphin_lag_bytes", help, &|m| m.lag_bytes.map(|lag| lag as f64));
    of_members("dauphin_lag_seconds", "For how long the replica has been behind.", &|m| m.lag_seconds);
    let help = "Log that the replica has not received yet.";
    of_members("dauphin_unreceived_bytes", help, &|m| m.unreceived_bytes.map(|b| b as f64));
    let help = "1: settings wait for a restart of the member.";
    of_members("dauphin_pending_restart", help, &|m| Some(truth(m.pending_restart)));
    sheet.family("dauphin_alert", "An alert that is raised: 1 warning, 2 critical, 3 emergency.");
    for (member, kind, level) in alerts.levels() {
        sheet.sample(&format!(",member=\"{member}\",kind=\"{kind}\""), f64::from(level));
    }
    health(&mut sheet, &cluster, care);
    lengths(&mut sheet, vigil, journal);
    machine(&mut sheet, vigil);
    places(&mut sheet, alerts);
    patroni(&mut sheet, picture, &cluster);
    sheet.text.push_str("# EOF\n");
    sheet.text
}

/// How long the reporter's parts of takeovers took, and how long its commits waited.
fn lengths(sheet: &mut Sheet, vigil: &Vigil, journal: &Journal) {
    let phases = journal.phases().into_iter();
    let phases: Vec<_> = phases.map(|(phase, l)| (format!(",phase=\"{}\"", phase.word()), l)).collect();
    let help = "How long the parts of takeovers took that the reporter did, since its start.";
    sheet.histograms("dauphin_takeover_phase_seconds", help, &phases);
    let waits = vigil.commit_waits().into_iter();
    let waits: Vec<_> = waits.map(|(by, lengths)| (format!(",by=\"{by}\""), lengths)).collect();
    let help = "How long the reporter's commits waited for replicas, as far as that is measured.";
    sheet.histograms("dauphin_commit_wait_seconds", help, &waits);
}

/// How the cluster and its members are, and what the reporter mended.
fn health(sheet: &mut Sheet, cluster: &dauphin_api::dto::Cluster, care: &Care) {
    let number = |word: &str| Health::ALL.into_iter().find(|h| h.word() == word).map(|h| f64::from(h.number()));
    let help = "How a member is (empty: the cluster): 0 healthy, 1 investigate, 2 repair, 3 rejoin, 4 failover.";
    sheet.family("dauphin_health", help);
    let members = cluster.members.iter().map(|m| (m.name.as_str(), m.health.as_str()));
    for (name, health) in std::iter::once(("", cluster.health.as_str())).chain(members) {
        if let Some(number) = number(health) {
            sheet.sample(&format!(",member=\"{name}\""), number);
        }
    }
    sheet.family("dauphin_mended", "How often the reporter mended what, since its start.");
    let mended = care.mended();
    for (word, kind) in FixKind::WORDS {
        sheet.sample(&format!(",fix=\"{word}\""), mended.get(&kind).copied().unwrap_or(0) as f64);
    }
}

/// The reporter's disks and log, and how far the others' clocks are from its own.
fn machine(sheet: &mut Sheet, vigil: &Vigil) {
    let vitals = vigil.own().unwrap_or_default();
    let mut disks = |name, help, value: &dyn Fn(&Disk) -> u64| {
        sheet.family(name, help);
        for disk in &vitals.disks {
            sheet.sample(&format!(",folder=\"{}\"", escaped(&disk.folder)), value(disk) as f64);
        }
    };
    disks("dauphin_disk_bytes", "Bytes that a disk has, by a folder on it.", &|d| d.total);
    disks("dauphin_disk_free_bytes", "Bytes of it that are free.", &|d| d.free);
    sheet.family("dauphin_log_bytes", "Log on the reporter's disk.");
    if let Some(log) = vitals.log {
        sheet.sample("", log.bytes as f64);
    }
    sheet.family("dauphin_clock_ahead_seconds", "How far a member's wall clock is ahead of the reporter's, at least.");
    for (member, ms) in vigil.clocks(boottime()) {
        sheet.sample(&format!(",member=\"{member}\""), ms as f64 / 1_000.0);
    }
}

/// A text between the quotes of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// How the reporter's sending of notices goes, by place.
fn places(sheet: &mut Sheet, alerts: &Alerts) {
    let sending = alerts.sending();
    let mut family = |name, help, value: &dyn Fn(&Standing) -> f64| {
        sheet.family(name, help);
        for (place, standing) in &sending {
            sheet.sample(&format!(",place=\"{place}\""), value(standing));
        }
    };
    let help = "1: the last attempt to deliver a notice there failed.";
    family("dauphin_notify_failing", help, &|s| truth(s.failing.is_some()));
    family("dauphin_notify_waiting", "Notices that wait to be delivered there.", &|s| s.waiting as f64);
    family("dauphin_notify_sent", "Notices that were delivered there, since the agent's start.", &|s| s.sent as f64);
    let help = "Notices for it that were given up, since the agent's start.";
    family("dauphin_notify_dropped", help, &|s| s.dropped as f64);
}

/// What Patroni calls it, of this member: names and meanings of its REST API's `/metrics`. What has no meaning here is left out.
fn patroni(sheet: &mut Sheet, picture: &Picture, cluster: &dauphin_api::dto::Cluster) {
    if picture.spec.engine != EngineKind::Postgres {
        return;
    }
    if picture.spec.members.iter().any(|m| m.name == picture.me && m.kind == MemberKind::Witness) {
        return;
    }
    sheet.labels = format!("scope=\"{}\",name=\"{}\"", picture.spec.cluster, picture.me);
    let (server, record) = (&picture.server, picture.store.leadership.as_ref());
    let running = server.run == Run::Running;
    let leads = picture.role == Role::Leader;
    let replica = running && server.in_recovery == Some(true);
    let sync_state =
        cluster.members.iter().find(|m| m.name == picture.me.as_str()).and_then(|m| m.sync_state.as_deref());
    let replayed = server.replayed.map(|lsn| lsn.0 as f64);
    let position = server.position.as_ref();
    sheet.one("patroni_postgres_running", "1: PostgreSQL runs.", truth(running));
    sheet.one("patroni_primary", "1: it is the leader.", truth(leads));
    sheet.one("patroni_replica", "1: it is a replica.", truth(replica));
    sheet.one("patroni_sync_standby", "1: it is a synchronous replica.", truth(sync_state == Some("sync")));
    sheet.one("patroni_quorum_standby", "1: it is a replica of the quorum.", truth(sync_state == Some("quorum")));
    if let Some(end) = replayed.filter(|_| leads) {
        sheet.one("patroni_xlog_location", "The leader's position in the log, in bytes.", end);
    }
    if let (true, Some(at), Some(replayed)) = (replica, position, replayed) {
        let help = "The replica's received position in the log, in bytes.";
        sheet.one("patroni_xlog_received_location", help, at.lsn.0 as f64);
        let help = "The replica's replayed position in the log, in bytes.";
        sheet.one("patroni_xlog_replayed_location", help, replayed);
        sheet.one("patroni_xlog_paused", "1: replay is paused.", truth(server.replay_paused));
        sheet.one("patroni_postgres_streaming", "1: it streams.", truth(server.streaming.is_some()));
    }
    if let Some(at) = position {
        sheet.one("patroni_postgres_timeline", "Its timeline.", f64::from(at.timeline.0));
    }
    sheet.one("patroni_cluster_unlocked", "1: the cluster has no leader.", truth(record.is_none() || !cluster.open));
    sheet.one("patroni_pending_restart", "1: it needs a restart.", truth(!server.pending_restart.is_empty()));
    sheet.one("patroni_is_paused", "1: automatic failover is off.", truth(picture.store.paused));
}
