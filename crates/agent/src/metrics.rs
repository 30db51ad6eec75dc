//! What the agent measures, as OpenMetrics text. docs/metrics.md explains each.

use crate::picture::Picture;
use crate::view;
use dauphin_ha::Role;
use std::fmt::Write;

/// The text, with its end mark.
pub(crate) fn text(picture: &Picture, turned_ms_ago: u64) -> String {
    let cluster = view::cluster(picture, None);
    let mut out = String::new();
    let mut gauge = |name: &str, help: &str, labels: &str, value: f64| {
        if !out.contains(&format!("# TYPE {name} ")) {
            let _ = writeln!(out, "# TYPE {name} gauge\n# HELP {name} {help}");
        }
        let _ =
            writeln!(out, "{name}{{cluster=\"{}\",reporter=\"{}\"{labels}}} {value}", picture.spec.cluster, picture.me);
    };
    let truth = |b: bool| if b { 1.0 } else { 0.0 };
    gauge("dauphin_term", "Number of the current leadership.", "", cluster.term.unwrap_or(0) as f64);
    gauge("dauphin_open", "1: a leader lets clients in.", "", truth(cluster.open));
    gauge(
        "dauphin_degraded",
        "1: commits are acknowledged with fewer copies than promised.",
        "",
        truth(cluster.degraded),
    );
    gauge("dauphin_paused", "1: automatic failover is off.", "", truth(cluster.paused));
    gauge("dauphin_leader", "1: this member leads and is open.", "", truth(picture.role == Role::Leader));
    gauge("dauphin_loop_age_seconds", "Time since the agent's loop turned last.", "", turned_ms_ago as f64 / 1e3);
    for member in &cluster.members {
        let label = format!(",member=\"{}\"", member.name);
        gauge(
            "dauphin_member_running",
            "1: the member's server runs and takes part.",
            &label,
            truth(member.state == "running"),
        );
    }
    for member in &cluster.members {
        let label = format!(",member=\"{}\"", member.name);
        if let Some(lag) = member.lag_bytes {
            gauge("dauphin_lag_bytes", "Log that the replica has not replayed yet.", &label, lag as f64);
        }
    }
    for member in &cluster.members {
        let label = format!(",member=\"{}\"", member.name);
        if let Some(lag) = member.lag_seconds {
            gauge("dauphin_lag_seconds", "Age of the last replayed transaction.", &label, lag);
        }
    }
    out.push_str("# EOF\n");
    out
}
