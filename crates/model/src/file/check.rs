//! What must hold of a specification as a whole. The reader runs it on a file, `config set` on a change.
//! It says what is wrong and where; it never corrects anything.

use crate::file::unit::duration_text;
use crate::name::MemberName;
use crate::spec::{Durability, EngineKind, MemberKind, MemberSpec, OnShortage, Spec};
use crate::time::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

/// Most members. The store's votes and everybody's beats grow with them.
pub const MEMBERS_MAX: usize = 31;
/// Most that a member of MySQL or MariaDB may be late: a day less than binary logs are kept.
const LOGGED_DELAY_MAX: Span = Span::ms(2 * 86_400_000);

/// Where in a specification something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A key of `[cluster]`.
    Cluster(&'static str),
    /// A key of a `[[member]]`, counted from 0.
    Member(usize, &'static str),
    /// A key of `[postgres]`.
    Postgres(&'static str),
    /// A key of `[mysql]`.
    Mysql(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(key) => write!(f, "cluster.{key}"),
            Self::Member(index, key) => write!(f, "member {}, {key}", index + 1),
            Self::Postgres(key) => write!(f, "postgres.{key}"),
            Self::Mysql(key) => write!(f, "mysql.{key}"),
        }
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What, and what is allowed.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Everything that is wrong with a specification.
#[must_use]
pub fn problems(spec: &Spec) -> Vec<Problem> {
    let mut found = Vec::new();
    members(spec, &mut found);
    delays(spec, &mut found);
    follows(spec, &mut found);
    promises(spec, &mut found);
    acknowledgements(spec, &mut found);
    for network in spec.postgres.replication_networks.iter().chain(&spec.postgres.client_networks) {
        if let Err(message) = self::network(network) {
            found.push(Problem { place: Place::Postgres("client_networks"), message });
        }
    }
    for (name, value) in &spec.postgres.parameters {
        let refused = super::owned::why(name).map(|why| format!("`{name}` is Dauphin's own setting: {why}"));
        let wrong = parameter_name(name).and_then(|()| parameter(name, value)).err();
        if let Some(message) = refused.or(wrong) {
            found.push(Problem { place: Place::Postgres("parameters"), message });
        }
    }
    for (name, value) in &spec.mysql.parameters {
        if let Err(message) = parameter_name(name).and_then(|()| plain_value(name, value)) {
            found.push(Problem { place: Place::Mysql("parameters"), message });
        }
    }
    found.sort();
    found
}

fn members(spec: &Spec, found: &mut Vec<Problem>) {
    let mut add = |place, message: String| found.push(Problem { place, message });
    if spec.members.len() > MEMBERS_MAX {
        add(Place::Cluster("name"), format!("{} members; at most {MEMBERS_MAX} are allowed", spec.members.len()));
    }
    let mut names: BTreeSet<&MemberName> = BTreeSet::new();
    let mut ports: BTreeMap<(&str, u16), (&MemberName, &str)> = BTreeMap::new();
    for (index, member) in spec.members.iter().enumerate() {
        if !names.insert(&member.name) {
            add(Place::Member(index, "name"), format!("there are two members \"{}\"; names must differ", member.name));
        }
        let sql = member.holds_data().then_some(("sql_port", member.sql_port));
        for (key, port) in sql.into_iter().chain([("api_port", member.api_port), ("link_port", member.link_port)]) {
            if port == 0 {
                add(Place::Member(index, key), format!("`{key}` is 0; allowed: 1 to 65535"));
            } else if let Some((other, used)) = ports.insert((&member.host, port), (&member.name, key)) {
                add(
                    Place::Member(index, key),
                    format!(
                        "`{key}` {port} on {} is taken by `{used}` of \"{other}\"; ports on one host must differ",
                        member.host
                    ),
                );
            }
        }
    }
    if spec.data_members().next().is_none() {
        add(
            Place::Cluster("name"),
            "no member holds data: at least one [[member]] of kind \"data\" is needed".to_owned(),
        );
    } else if !spec.members.iter().any(MemberSpec::may_lead) {
        add(
            Place::Cluster("name"),
            "no member may become leader: take `never_leader`, `reporting` or `delay` off one of them".to_owned(),
        );
    }
}

/// A late replica receives again what it has not applied, from logs that MySQL and MariaDB keep for three days.
fn delays(spec: &Spec, found: &mut Vec<Problem>) {
    if spec.engine == EngineKind::Postgres {
        return;
    }
    for (index, member) in spec.members.iter().enumerate() {
        if member.delay.is_some_and(|delay| delay > LOGGED_DELAY_MAX) {
            let message = format!("`delay` is at most {} on this engine", duration_text(LOGGED_DELAY_MAX));
            found.push(Problem { place: Place::Member(index, "delay"), message });
        }
    }
}

fn follows(spec: &Spec, found: &mut Vec<Problem>) {
    for (index, member) in spec.members.iter().enumerate() {
        let Some(target) = &member.follow else { continue };
        let mut add = |message: String| found.push(Problem { place: Place::Member(index, "follow"), message });
        match spec.member(target) {
            _ if *target == member.name => add(format!("\"{target}\" cannot follow itself")),
            None => {
                let known: Vec<&str> = spec.data_members().map(|m| m.name.as_str()).collect();
                let meant = super::nearest(target.as_str(), known.iter().copied());
                let meant = meant.map(|name| format!("; did you mean \"{name}\"?")).unwrap_or_default();
                add(format!("there is no member \"{target}\" to follow; there are {}{meant}", known.join(", ")));
            }
            Some(followed) if followed.kind == MemberKind::Witness => {
                add(format!("\"{target}\" is a witness: it has no data to follow"));
            }
            Some(followed) if followed.delay.is_some() => {
                add(format!("\"{target}\" applies late on purpose (`delay`): follow another one"));
            }
            Some(_) => {
                if let Some(circle) = circle(spec, member) {
                    add(format!("they follow each other in a circle: {circle}"));
                }
            }
        }
    }
}

fn circle(spec: &Spec, from: &MemberSpec) -> Option<String> {
    let mut path = vec![from.name.as_str()];
    let mut at = from;
    while let Some(next) = at.follow.as_ref().and_then(|name| spec.member(name)) {
        path.push(next.name.as_str());
        if next.name == from.name {
            return Some(path.join(" -> "));
        }
        if path.len() > spec.members.len() {
            // It leads into a circle that is not its own; the members of that one are told.
            return None;
        }
        at = next;
    }
    None
}

/// The fewest replicas that can vouch, whoever leads.
fn voters_at_worst(spec: &Spec) -> usize {
    let voters = spec.members.iter().filter(|member| member.may_vote()).count();
    let leads_and_votes = spec.members.iter().any(|member| member.may_lead() && member.may_vote());
    voters.saturating_sub(usize::from(leads_and_votes))
}

fn promises(spec: &Spec, found: &mut Vec<Problem>) {
    let mut add = |key, message: String| found.push(Problem { place: Place::Cluster(key), message });
    let voters = voters_at_worst(spec);
    let durability = spec.durability;
    match (durability, spec.required) {
        (Durability::Async, Some(_)) => {
            add(
                "required",
                "`required` means nothing with durability \"async\": take it out, or choose \"quorum\"".to_owned(),
            );
        }
        (Durability::Sync | Durability::Quorum, Some(0)) => {
            add(
                "required",
                "`required` is 0: choose durability \"async\" if no replica is to hold a commit".to_owned(),
            );
        }
        (Durability::Sync | Durability::Quorum, Some(required)) if required as usize > voters => {
            add(
                "required",
                format!(
                    "`required` is {required}, but only {} can hold a commit (not the leader, a witness, a reporting member, or one that follows another)",
                    replicas(voters)
                ),
            );
        }
        (Durability::Sync | Durability::Quorum, None)
            if spec.required_min() as usize > voters && spec.on_shortage == OnShortage::Wait =>
        {
            add(
                "durability",
                format!(
                    "\"{durability}\" needs {} to hold a commit, and there {} that can: add members, choose \"async\", or \
                     on_shortage = \"degrade\"",
                    replicas(spec.required_min() as usize),
                    if voters == 1 { "is 1".to_owned() } else { format!("are {voters}") },
                ),
            );
        }
        (Durability::Async | Durability::Sync | Durability::Quorum, _) => {}
    }
}

/// A server that waits for few acknowledgements cannot keep what asks for more.
fn acknowledgements(spec: &Spec, found: &mut Vec<Problem>) {
    let Some(most) = spec.engine.acknowledgements_max() else { return };
    let mut add = |key, message: String| found.push(Problem { place: Place::Cluster(key), message });
    let (engine, voters) = (spec.engine.name(), voters_at_worst(spec));
    match spec.durability {
        Durability::Sync if voters > most as usize => add(
            "durability",
            format!(
                "\"sync\" makes a commit wait for all of {}, and {engine} waits for {most} only: choose \"quorum\" with \
                 `required` = {most}, or leave {} that can hold a commit",
                replicas(voters),
                replicas(most as usize)
            ),
        ),
        Durability::Quorum if spec.required_min() > most => {
            let key = if spec.required.is_some() { "required" } else { "durability" };
            add(
                key,
                format!(
                    "\"quorum\" asks for {} here, and {engine} waits for {most} only: set `required` = {most}",
                    replicas(spec.required_min() as usize)
                ),
            );
        }
        Durability::Async | Durability::Sync | Durability::Quorum => {}
    }
}

fn replicas(n: usize) -> String {
    if n == 1 { "1 replica".to_owned() } else { format!("{n} replicas") }
}

/// Whether a text is a network in CIDR form.
///
/// # Errors
/// What is wrong and what is allowed.
pub fn network(text: &str) -> Result<(), String> {
    let allowed = "a network is an address and a prefix length, as in \"10.0.0.0/24\" or \"fd00::/8\"";
    let parsed =
        text.split_once('/').and_then(|(ip, bits)| Some((ip.parse::<IpAddr>().ok()?, bits.parse::<u32>().ok()?)));
    let Some((ip, bits)) = parsed else { return Err(format!("{text:?} is not a network: {allowed}")) };
    let (value, width) = match ip {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)), 32),
        IpAddr::V6(ip) => (u128::from(ip), 128),
    };
    if bits > width {
        return Err(format!("{text:?} has a prefix longer than {width}: {allowed}"));
    }
    let host = width - bits;
    // PostgreSQL would silently never match such a line.
    if host > 0 && value & (u128::MAX >> (128 - host)) != 0 {
        return Err(format!("{text:?} has bits set behind its prefix; for one address write /{width}"));
    }
    Ok(())
}

/// Whether a text may be the name of a server's setting.
///
/// # Errors
/// What is wrong and what is allowed.
pub fn parameter_name(name: &str) -> Result<(), String> {
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    if name.len() <= 63 && name.split('.').count() <= 2 && name.split('.').all(word) {
        return Ok(());
    }
    Err(format!("{name:?} is not the name of a setting: a-z, 0-9, _ and at most one dot"))
}

/// Whether a value of a PostgreSQL setting keeps what Dauphin needs.
///
/// # Errors
/// What is wrong and what is allowed.
pub fn parameter(name: &str, value: &str) -> Result<(), String> {
    plain_value(name, value)?;
    let at_least = |least: u64| match value.trim().parse::<u64>() {
        Ok(number) if number < least => Err(format!("`{name}` is {number}; replication needs {least} at least")),
        Ok(_) | Err(_) => Ok(()),
    };
    match name {
        "wal_level" if !matches!(value, "replica" | "logical") => {
            Err(format!("`wal_level` is {value:?}; allowed: \"replica\" or \"logical\", replication needs one of them"))
        }
        "max_wal_senders" | "max_replication_slots" => at_least(4),
        _ => Ok(()),
    }
}

/// Whether a server's file can hold this value.
///
/// # Errors
/// What is wrong.
pub fn plain_value(name: &str, value: &str) -> Result<(), String> {
    if value.chars().any(char::is_control) { Err(format!("`{name}` holds control characters")) } else { Ok(()) }
}
