//! `dauphin doctor`: advice about a cluster: what is wrong now, what would hurt later, and what to do about it.

use crate::cli::Target;
use crate::failure::{DONE, Outcome};
use crate::look::wrap;
use crate::say::{self, Tone};
use crate::target;
use dauphin_api::dto::{Alerts, Cluster, Member, StoreStatus};
use serde::Serialize;
use serde_json::json;

/// Width of running text, in columns.
const TEXT_COLUMNS: usize = 92;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Critical,
    Warning,
    Advice,
    Good,
}

/// One thing to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    level: Level,
    /// For programs.
    code: String,
    text: String,
    /// What to do; empty when nothing is needed.
    next: String,
}

pub(crate) fn run(target: &Target) -> Outcome {
    let client = target::client(target)?;
    let cluster = client.cluster()?;
    let store: Option<StoreStatus> = client.get("/v1/store").ok();
    let mut findings = replicas(&cluster);
    findings.extend(now(&cluster));
    let alerts: Option<Alerts> = client.get("/v1/alerts").ok();
    findings.extend(places(alerts.unwrap_or_default()));
    findings.extend(promise(&cluster));
    findings.extend(store_of(&cluster, store.as_ref()));
    findings.sort_by_key(|f| f.level);
    if target.json {
        say::json(&json!({"cluster": cluster.cluster, "findings": findings}))?;
        return Ok(DONE);
    }
    findings.iter().for_each(show);
    Ok(DONE)
}

fn show(finding: &Finding) {
    let (word, tone) = match finding.level {
        Level::Critical => ("critical", Tone::Bad),
        Level::Warning => ("warning", Tone::Warn),
        Level::Advice => ("advice", Tone::Bold),
        Level::Good => ("good", Tone::Good),
    };
    let mut lines = wrap(&finding.text, TEXT_COLUMNS).into_iter();
    let word = tone.paint(&format!("{word:8}"), say::colours_out());
    say::line(&format!("{word}  {}", lines.next().unwrap_or_default()));
    lines.for_each(|line| say::line(&format!("          {line}")));
    if !finding.next.is_empty() {
        wrap(&finding.next, TEXT_COLUMNS - 3).iter().enumerate().for_each(|(i, line)| {
            say::line(&format!("          {} {line}", if i == 0 { "->" } else { "  " }));
        });
    }
}

fn finding(level: Level, code: impl Into<String>, text: impl Into<String>, next: impl Into<String>) -> Finding {
    Finding { level, code: code.into(), text: text.into(), next: next.into() }
}

fn tagged(member: &Member, tag: &str) -> bool {
    member.tags.get(tag).and_then(serde_json::Value::as_bool).unwrap_or(false)
}

/// How many replicas: one to fail over to, one for reporting.
fn replicas(cluster: &Cluster) -> Vec<Finding> {
    let data: Vec<&Member> = cluster.members.iter().filter(|m| m.role != "witness").collect();
    let replicas = data.len().saturating_sub(1);
    let can_lead = data.iter().filter(|m| !tagged(m, "never_leader") && !tagged(m, "reporting")).count();
    let add = "name it in the file before `dauphin init`; a running cluster does not take new members yet";
    let mut found = Vec::new();
    match replicas {
        0 => found.push(finding(
            Level::Critical,
            "no_replica",
            "no replica: when this server is lost, so is the data since the last backup",
            format!("have at least two replicas in production, one to fail over to and one for reporting: {add}"),
        )),
        1 => found.push(finding(
            Level::Warning,
            "one_replica",
            "one replica: while it is down or taking over, nothing else is there to fail over to, and reports run on it",
            format!("have at least two replicas in production, one to fail over to and one for reporting: {add}"),
        )),
        n => found.push(finding(Level::Good, "replicas", format!("{n} replicas"), "")),
    }
    if replicas > 0 && can_lead < 2 {
        found.push(finding(
            Level::Critical,
            "no_successor",
            "no replica may become leader: every one is tagged never_leader or reporting",
            "take the tag off one of them with `dauphin config edit`",
        ));
    }
    if replicas >= 2 && !data.iter().any(|m| tagged(m, "reporting")) {
        found.push(finding(
            Level::Advice,
            "no_reporting",
            "no member is tagged for reporting: long reports may hold up a replica that commits wait for",
            "set `reporting = true` on the member that reports run on; no commit waits for it then",
        ));
    }
    found
}

/// What is wrong at this moment.
fn now(cluster: &Cluster) -> Vec<Finding> {
    let mut found = Vec::new();
    if cluster.leader.is_none() || !cluster.open {
        let why = cluster.problems.join("; ");
        found.push(finding(Level::Critical, "no_leader", format!("no leader takes writes. {why}"), "dauphin explain"));
    }
    for member in &cluster.members {
        if member.state != "running" && !(member.role == "witness" && member.state != "unreachable") {
            let detail = member.detail.as_ref().map(|d| format!(" ({d})")).unwrap_or_default();
            let next = match member.state.as_str() {
                "unreachable" => {
                    format!("look at the machine of {}, start its agent: dauphin agent --config FILE", member.name)
                }
                "crashed" => format!("see the server's log; dauphin reinit {} clones it anew", member.name),
                _ => "dauphin explain".to_owned(),
            };
            let text = format!("{} is {}{detail}", member.name, member.state);
            found.push(finding(Level::Warning, "member_state", text, next));
        }
        for remark in &member.remarks {
            let text = format!("{}: {}", member.name, remark.text);
            let level = if remark.critical { Level::Critical } else { Level::Warning };
            found.push(finding(level, remark.code.as_str(), text, remark.next.clone()));
        }
        if member.alert != "ok" && member.state == "running" {
            let level = if member.alert == "warning" { Level::Warning } else { Level::Critical };
            let text = format!("{} is behind: {}", member.name, crate::verb::status::lag(member));
            found.push(finding(
                level,
                "lag",
                text,
                "look for long queries, slow disks or a slow network there: dauphin lag",
            ));
        }
    }
    let pending: Vec<&str> = cluster.members.iter().filter(|m| m.pending_restart).map(|m| m.name.as_str()).collect();
    if !pending.is_empty() {
        let text = format!("settings of {} wait for a restart", pending.join(", "));
        found.push(finding(Level::Advice, "pending_restart", text, "dauphin restart --all --if-pending"));
    }
    if cluster.paused {
        found.push(finding(Level::Warning, "paused", "paused: no automatic failover", "dauphin resume"));
    }
    found
}

/// Whether people hear of what is wrong.
fn places(alerts: Alerts) -> Vec<Finding> {
    let failing = alerts.places.into_iter().filter_map(|place| {
        let text = format!("notices do not reach {}: {}", place.name, place.failing?);
        let next = "dauphin alerts test tries all places; what waits is sent as soon as they answer";
        Some(finding(Level::Warning, "notify_failing", text, next))
    });
    failing.collect()
}

/// What the cluster promises about acknowledged commits.
fn promise(cluster: &Cluster) -> Vec<Finding> {
    let mut found = Vec::new();
    if cluster.degraded {
        found.push(finding(
            Level::Warning,
            "degraded",
            "degraded: commits are acknowledged with fewer copies than the durability promises",
            "bring the missing replicas back: dauphin status names them",
        ));
    }
    match cluster.durability.as_str() {
        "async" => found.push(finding(
            Level::Advice,
            "async",
            "durability async: a failover may lose the last acknowledged commits",
            "dauphin config set cluster.durability=quorum",
        )),
        other => found.push(finding(
            Level::Good,
            "durability",
            format!("durability {other}: a commit acknowledged through the proxy survives any failover"),
            "",
        )),
    }
    found
}

/// Whether the store outlives the loss of one machine.
fn store_of(cluster: &Cluster, store: Option<&StoreStatus>) -> Vec<Finding> {
    let Some(store) = store else {
        let text = "the cluster's store does not answer";
        return vec![finding(Level::Warning, "store_silent", text, "dauphin store status")];
    };
    let voters = store.members.iter().filter(|m| m.role != "learner").count();
    let spare = "add a witness (kind = \"witness\") on a small third machine: it holds a vote and no data";
    match voters {
        0 => Vec::new(),
        1 if cluster.members.len() > 1 => {
            vec![finding(Level::Warning, "store_single", "one copy of the store: losing it stops failover", spare)]
        }
        1 => Vec::new(),
        n if n % 2 == 0 => {
            let text = format!("{n} votes in the store: no more losses are survived than with {}", n - 1);
            vec![finding(if n == 2 { Level::Warning } else { Level::Advice }, "store_even", text, spare)]
        }
        n => vec![finding(Level::Good, "store", format!("{n} votes in the store: {} may be lost", n / 2), "")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(replicas: usize) -> Cluster {
        let member = |n: usize| Member {
            name: format!("m{n}"),
            role: if n == 0 { "leader" } else { "replica" }.into(),
            state: "running".into(),
            alert: "ok".into(),
            ..Member::default()
        };
        let members = (0..=replicas).map(member).collect();
        Cluster { leader: Some("m0".into()), open: true, durability: "quorum".into(), members, ..Cluster::default() }
    }

    #[track_caller]
    fn says(found: &[Finding], code: &str, level: Level) {
        assert!(found.iter().any(|f| f.code == code && f.level == level), "{code}: {found:?}");
    }

    #[test]
    fn two_replicas_are_advised_and_fewer_warned_of() {
        says(&replicas(&cluster(0)), "no_replica", Level::Critical);
        says(&replicas(&cluster(1)), "one_replica", Level::Warning);
        says(&replicas(&cluster(2)), "replicas", Level::Good);
        says(&replicas(&cluster(2)), "no_reporting", Level::Advice);
        for advice in replicas(&cluster(1)) {
            assert!(advice.next.contains("at least two replicas") && advice.next.contains("reporting"));
        }
    }

    #[test]
    fn what_is_wrong_now_is_named_with_what_to_do() {
        let mut broken = cluster(2);
        broken.members[2].state = "unreachable".into();
        broken.members[1].alert = "critical".into();
        broken.paused = true;
        let found = now(&broken);
        says(&found, "member_state", Level::Warning);
        says(&found, "lag", Level::Critical);
        says(&found, "paused", Level::Warning);
        assert!(found.iter().all(|f| !f.next.is_empty()));
        assert!(now(&cluster(2)).is_empty());
        broken.durability = "async".into();
        says(&promise(&broken), "async", Level::Advice);
    }

    #[test]
    fn a_place_that_notices_do_not_reach_is_told_of() {
        let place = |failing: Option<&str>| dauphin_api::dto::NotifyPlace {
            name: "ops".into(),
            failing: failing.map(str::to_owned),
            ..Default::default()
        };
        let alerts = |failing| Alerts { places: vec![place(failing)], ..Alerts::default() };
        says(&places(alerts(Some("no answer within 10 s"))), "notify_failing", Level::Warning);
        assert!(places(alerts(None)).is_empty());
    }

    #[test]
    fn an_even_number_of_votes_is_no_gain() {
        let votes = |n: usize| StoreStatus {
            members: (0..n)
                .map(|_| dauphin_api::dto::StoreMember { role: "voter".into(), ..Default::default() })
                .collect(),
            ..StoreStatus::default()
        };
        says(&store_of(&cluster(1), Some(&votes(2))), "store_even", Level::Warning);
        says(&store_of(&cluster(2), Some(&votes(3))), "store", Level::Good);
        says(&store_of(&cluster(2), None), "store_silent", Level::Warning);
    }
}
