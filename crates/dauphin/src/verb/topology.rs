//! `dauphin topology`: who replicates from whom, as a tree.

use crate::cli::Target;
use crate::failure::{DONE, Outcome};
use crate::say;
use crate::target;
use crate::verb::status::lag;
use dauphin_api::dto::{Cluster, Member};
use serde_json::{Value, json};

pub(crate) fn run(target: &Target) -> Outcome {
    let cluster = target::client(target)?.cluster()?;
    if target.json {
        let members: Vec<Value> = cluster
            .members
            .iter()
            .map(|m| json!({"name": m.name, "role": m.role, "state": m.state, "from": source(&cluster, m)}))
            .collect();
        say::json(&json!({"cluster": cluster.cluster, "leader": cluster.leader, "members": members}))?;
        return Ok(DONE);
    }
    lines(&cluster).iter().for_each(|line| say::line(line));
    Ok(DONE)
}

/// From whom a member replicates: as it says itself; else whom it is told to follow while that one runs, or the leader.
fn source<'a>(cluster: &'a Cluster, member: &'a Member) -> Option<&'a str> {
    if member.role != "replica" {
        return None;
    }
    if let Some(upstream) = &member.upstream {
        return Some(upstream);
    }
    let told = member.tags.get("follow").and_then(Value::as_str);
    let there = |name: &&str| cluster.members.iter().any(|m| m.name == *name && m.state == "running");
    told.filter(there).or(cluster.leader.as_deref())
}

fn lines(cluster: &Cluster) -> Vec<String> {
    let mut lines = Vec::new();
    for root in cluster.members.iter().filter(|m| source(cluster, m).is_none()) {
        lines.push(describe(root));
        below(cluster, &root.name, "", &mut lines);
    }
    lines
}

fn below(cluster: &Cluster, name: &str, indent: &str, lines: &mut Vec<String>) {
    let children: Vec<&Member> =
        cluster.members.iter().filter(|m| m.name != name && source(cluster, m) == Some(name)).collect();
    for (i, child) in children.iter().enumerate() {
        let last = i + 1 == children.len();
        lines.push(format!("{indent}{} {}", if last { "└─" } else { "├─" }, describe(child)));
        // members cannot be deeper than there are members: a ring of `follow` ends here
        if indent.chars().count() / 3 < cluster.members.len() {
            below(cluster, &child.name, &format!("{indent}{}", if last { "   " } else { "│  " }), lines);
        }
    }
}

fn describe(member: &Member) -> String {
    let sync = member.sync_state.as_ref().map(|s| format!(", {s}")).unwrap_or_default();
    let behind = if member.role == "replica" { format!(", behind {}", lag(member)) } else { String::new() };
    format!("{} ({}, {}{sync}{behind})", member.name, member.role, member.state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cascade_is_drawn_and_a_ring_ends() {
        let member = |name: &str, role: &str, follow: Option<&str>| Member {
            name: name.into(),
            role: role.into(),
            state: "running".into(),
            tags: follow.map(|f| ("follow".to_owned(), Value::from(f))).into_iter().collect(),
            ..Member::default()
        };
        let mut cluster = Cluster { leader: Some("m1".into()), ..Cluster::default() };
        cluster.members =
            vec![member("m1", "leader", None), member("m2", "replica", None), member("m3", "replica", Some("m2"))];
        let drawn = lines(&cluster);
        assert_eq!(drawn.len(), 3, "{drawn:?}");
        assert!(drawn[1].starts_with("└─ m2") && drawn[2].starts_with("   └─ m3"), "{drawn:?}");
        cluster.members[1] = member("m2", "replica", Some("m3"));
        assert_eq!(lines(&cluster).len(), 1);
    }
}
