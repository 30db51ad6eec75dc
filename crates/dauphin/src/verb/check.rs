//! `dauphin check`: one line and an exit code for cron and monitoring: 0 healthy, 1 warning, 2 critical, 3 unknown.

use crate::cli::{Check, Target};
use crate::failure::Outcome;
use crate::say;
use crate::target;
use dauphin_api::dto::{Cluster, Config};
use dauphin_api::{Client, ClientError};
use dauphin_model::ClusterFile;
use serde_json::json;
use std::fmt::Write;

const WORDS: [&str; 4] = ["OK", "WARNING", "CRITICAL", "UNKNOWN"];

pub(crate) fn run(target: &Target, options: &Check) -> Outcome {
    let asked = target::client(target).and_then(|client| {
        let cluster = client.cluster()?;
        let limits = if options.perfdata { limits(&client) } else { Limits::default() };
        Ok((cluster, limits))
    });
    let (code, name, mut text) = match asked {
        Ok((cluster, limits)) => {
            let (code, mut text) = verdict(&cluster);
            if options.perfdata {
                let _ = write!(text, " | {}", measured(&cluster, &limits));
            }
            (code, cluster.cluster, text)
        }
        Err(failure) => (3, "cluster".to_owned(), failure.message),
    };
    text = text.replace('\n', " ");
    let word = WORDS[usize::from(code)];
    if target.json {
        say::json(&json!({"verdict": word.to_lowercase(), "exit": code, "cluster": name, "text": text}))?;
    } else {
        say::line(&format!("{word} {name}: {}", text));
    }
    Ok(code)
}

/// From which lag on a replica counts as late, in seconds: warning and critical. Empty where nobody said.
#[derive(Default)]
struct Limits {
    warning: String,
    critical: String,
}

/// As the cluster's specification has them; monitoring goes by its own if that cannot be asked for.
fn limits(client: &Client) -> Limits {
    let asked: Result<Config, ClientError> = client.get("/v1/config");
    let file = asked.ok().and_then(|config| ClusterFile::parse("specification", &config.text).ok());
    file.map_or_else(Limits::default, |file| {
        let [warning, critical, _] = file.spec.alerts.lag.map(|span| seconds(span.as_ms()));
        Limits { warning, critical }
    })
}

fn seconds(ms: u64) -> String {
    format!("{}", ms as f64 / 1_000.0)
}

/// `label=value[unit];warning;critical;minimum`, by the Monitoring Plugins' guidelines.
fn measured(cluster: &Cluster, limits: &Limits) -> String {
    let replicas: Vec<_> = cluster.members.iter().filter(|m| m.role == "replica").collect();
    let running = replicas.iter().filter(|m| m.state == "running").count();
    let mut values = vec![
        format!("leader={};;;0", u8::from(cluster.leader.is_some() && cluster.open)),
        format!("replicas_running={running};;;0"),
        format!("term={};;;0", cluster.term.unwrap_or_default()),
    ];
    for member in replicas {
        if let Some(lag) = member.lag_seconds {
            values.push(format!("lag_{}={lag:.3}s;{};{};0", member.name, limits.warning, limits.critical));
        }
        if let Some(bytes) = member.lag_bytes {
            values.push(format!("lag_bytes_{}={bytes}B;;;0", member.name));
        }
    }
    values.join(" ")
}

/// The worst of what there is to say, in one line.
fn verdict(cluster: &Cluster) -> (u8, String) {
    let leader = cluster.leader.as_deref().unwrap_or_default();
    if cluster.leader.is_none() || !cluster.open {
        let problem = cluster.problems.first().map(|p| format!(": {p}")).unwrap_or_default();
        return (2, format!("no leader takes writes{problem}"));
    }
    let mut found: Vec<(u8, String)> = Vec::new();
    for member in &cluster.members {
        match member.alert.as_str() {
            "critical" | "emergency" => found.push((2, format!("{} lag {}", member.name, member.alert))),
            "warning" => found.push((1, format!("{} lag warning", member.name))),
            _ => {}
        }
        if member.state != "running" && member.role != "witness" {
            found.push((1, format!("{} is {}", member.name, member.state)));
        }
        if member.role == "witness" && member.state == "unreachable" {
            found.push((1, format!("witness {} is unreachable", member.name)));
        }
    }
    if cluster.commits_wait {
        found.push((2, "commits wait: too few replicas are there to hold them".into()));
    }
    for member in &cluster.members {
        let remarks = member.remarks.iter();
        found.extend(remarks.map(|r| (if r.critical { 2 } else { 1 }, format!("{}: {}", member.name, r.text))));
    }
    if cluster.degraded {
        found.push((1, "degraded: commits have fewer copies than promised".into()));
    }
    if cluster.paused {
        found.push((1, "paused".into()));
    }
    if cluster.health != "healthy" && found.is_empty() {
        found.push((1, cluster.problems.first().cloned().unwrap_or_else(|| format!("health {}", cluster.health))));
    }
    let code = found.iter().map(|(code, _)| *code).max().unwrap_or(0);
    if code == 0 {
        let replicas = cluster.members.iter().filter(|m| m.role == "replica").count();
        let text = format!("leader {leader}, {replicas} replicas, term {}", cluster.term.unwrap_or_default());
        return (0, text);
    }
    found.sort_by_key(|(code, _)| std::cmp::Reverse(*code));
    (code, found.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_api::dto::Member;

    fn healthy() -> Cluster {
        let member = |name: &str, role: &str| Member {
            name: name.into(),
            role: role.into(),
            state: "running".into(),
            alert: "ok".into(),
            ..Member::default()
        };
        Cluster {
            cluster: "lab".into(),
            leader: Some("m1".into()),
            term: Some(3),
            open: true,
            health: "healthy".into(),
            members: vec![member("m1", "leader"), member("m2", "replica")],
            ..Cluster::default()
        }
    }

    #[test]
    fn values_are_drawn_with_the_limits_of_the_cluster() {
        let mut cluster = healthy();
        (cluster.members[1].lag_seconds, cluster.members[1].lag_bytes) = (Some(1.25), Some(4_096));
        let limits = Limits { warning: seconds(10_000), critical: seconds(60_500) };
        let values = measured(&cluster, &limits);
        assert!(values.ends_with("lag_m2=1.250s;10;60.5;0 lag_bytes_m2=4096B;;;0"), "{values}");
    }

    #[test]
    fn the_worst_decides() {
        assert_eq!(verdict(&healthy()), (0, "leader m1, 1 replicas, term 3".into()));
        assert_eq!(verdict(&Cluster { open: false, ..healthy() }).0, 2);
        assert_eq!(verdict(&Cluster { paused: true, ..healthy() }), (1, "paused".into()));
        let mut cluster = healthy();
        cluster.members[1].state = "unreachable".into();
        assert_eq!(verdict(&cluster), (1, "m2 is unreachable".into()));
        assert_eq!(
            measured(&cluster, &Limits::default()),
            "leader=1;;;0 replicas_running=0;;;0 term=3;;;0",
            "what is not known is not drawn"
        );
        cluster.members[1].alert = "emergency".into();
        assert_eq!(verdict(&cluster), (2, "m2 lag emergency; m2 is unreachable".into()));
    }
}
