//! The shared specification: shown, changed by compare-and-set after it was checked, taken back, and brought to the
//! server. A change that needs a restart says so; restarting is a command of its own.

use crate::engine::{self, RESTART};
use crate::keys::{self, SpecRecord};
use crate::picture::Picture;
use crate::server::Server;
use dauphin_api::dto;
use dauphin_api::error::ApiError;
use dauphin_api::operations::Answer;
use dauphin_ha::Role;
use dauphin_model::file::ClusterFile;
use dauphin_model::{MemberName, Spec};
use dauphin_store::{Snapshot, Store, StoreError, Txn, TxnOutcome};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long the store may take to accept a change.
const STORE_WITHIN: Duration = Duration::from_secs(5);
/// How often the server's settings are compared with the specification.
const COMPARE_EVERY: Duration = Duration::from_secs(1);
/// Earlier versions kept.
const VERSIONS_MAX: usize = 20;

fn text_of(spec: &Spec) -> String {
    ClusterFile { spec: spec.clone(), local: None, proxy: None }.render()
}

fn current(snapshot: &Snapshot, picture: &Picture) -> SpecRecord {
    keys::get(snapshot, &keys::spec()).unwrap_or_else(|| SpecRecord {
        version: 1,
        at: String::new(),
        spec: picture.spec.clone(),
    })
}

fn before(snapshot: &Snapshot) -> Vec<SpecRecord> {
    keys::get(snapshot, &keys::spec_before()).unwrap_or_default()
}

/// Every value of a TOML text under its dotted key; members under their names.
fn values(text: &str) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    if let Ok(table) = text.parse::<toml::Table>() {
        flatten("", &toml::Value::Table(table), &mut out);
    }
    out
}

fn flatten(at: &str, value: &toml::Value, out: &mut BTreeMap<String, String>) {
    let join = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    match value {
        toml::Value::Table(table) => table.iter().for_each(|(key, value)| flatten(&join(key), value, out)),
        toml::Value::Array(list) if list.iter().all(toml::Value::is_table) => {
            for (n, value) in list.iter().enumerate() {
                let name = value.get("name").and_then(toml::Value::as_str).map_or_else(|| n.to_string(), str::to_owned);
                flatten(&join(&name), value, out);
            }
        }
        toml::Value::String(text) => {
            out.insert(at.to_owned(), text.clone());
        }
        other => {
            out.insert(at.to_owned(), other.to_string());
        }
    }
}

fn differences(from: &str, to: &str) -> Vec<dto::Difference> {
    let (from, to) = (values(from), values(to));
    let keys: std::collections::BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    keys.into_iter()
        .filter(|key| from.get(*key) != to.get(*key))
        .map(|key| dto::Difference {
            key: key.clone(),
            from: from.get(key).cloned(),
            to: to.get(key).cloned(),
            applies: if engine::PARAMETERS.iter().any(|section| key.starts_with(section)) {
                "reload or restart, as the server says"
            } else {
                "at once"
            }
            .to_owned(),
        })
        .collect()
}

pub(crate) fn show(store: &Store, picture: &Picture) -> dto::Config {
    let record = current(&store.watch().borrow(), picture);
    let text = text_of(&record.spec);
    let mut pending_restart = BTreeMap::new();
    let ours = &picture.server.pending_restart;
    for member in picture.spec.data_members() {
        let count = match picture.beat_of(&member.name) {
            _ if member.name == picture.me => ours.len(),
            beat => beat.map_or(0, |b| b.pending_restart as usize),
        };
        // the others tell only how many; they were all given the same
        let settings = if count == ours.len() { ours.clone() } else { vec![format!("{count} of its settings")] };
        if count > 0 {
            pending_restart.insert(member.name.to_string(), settings);
        }
    }
    dto::Config { version: record.version, values: values(&text), text, pending_restart }
}

pub(crate) fn history(store: &Store) -> dto::ConfigHistory {
    let snapshot = store.watch().borrow().clone();
    let mut all = before(&snapshot);
    all.extend(keys::get::<SpecRecord>(&snapshot, &keys::spec()));
    let mut last = String::new();
    let versions = all.iter().map(|record| {
        let text = text_of(&record.spec);
        let changed = if last.is_empty() { Vec::new() } else { differences(&last, &text) };
        last = text;
        dto::ConfigVersion { version: record.version, at: record.at.clone(), differences: changed }
    });
    dto::ConfigHistory { versions: versions.collect() }
}

/// The text with some keys set or removed.
fn edited(text: &str, request: &dto::ConfigSetRequest) -> Result<String, ApiError> {
    let usage = |text: String| ApiError::usage("bad_key", text, "dauphin config show lists the keys");
    let mut table: toml::Table = text.parse().map_err(|e: toml::de::Error| usage(e.to_string()))?;
    let changes = request.set.iter().map(|(k, v)| (k, Some(v))).chain(request.unset.iter().map(|k| (k, None)));
    for (key, value) in changes {
        let parts: Vec<&str> = key.split('.').collect();
        let Some((last, path)) = parts.split_last() else { continue };
        if path.is_empty() {
            return Err(usage(format!("{key:?} names no section: a server's setting is postgres.parameters.{key}")));
        }
        let unknown = |part: &str| usage(format!("there is no section {part:?} in {key:?}"));
        let mut at = &mut table;
        match path {
            [PLACES] if value.is_none() => {
                if remove_place(at, last) {
                    continue;
                }
                return Err(usage(format!("{key:?} is not set")));
            }
            [PLACES, name] => at = place(at, name).ok_or_else(|| unknown(PLACES))?,
            _ => {
                for part in path {
                    at = step_into(at, part).ok_or_else(|| unknown(part))?;
                }
            }
        }
        match value {
            Some(value) => {
                at.insert((*last).to_owned(), literal(value));
            }
            None => {
                at.remove(*last).ok_or_else(|| usage(format!("{key:?} is not set")))?;
            }
        }
    }
    Ok(table.to_string())
}

/// The places that notices are sent to: an array, whose tables are made and removed by their names.
const PLACES: &str = "notify";

/// The place of that name; a new one if there is none.
fn place<'a>(table: &'a mut toml::Table, name: &str) -> Option<&'a mut toml::Table> {
    let list = table.entry(PLACES).or_insert_with(|| toml::Value::Array(Vec::new())).as_array_mut()?;
    let at = list.iter().position(|p| p.get("name").and_then(toml::Value::as_str) == Some(name));
    let at = at.unwrap_or_else(|| {
        let new = toml::Table::from_iter([("name".to_owned(), toml::Value::String(name.to_owned()))]);
        list.push(toml::Value::Table(new));
        list.len() - 1
    });
    list.get_mut(at)?.as_table_mut()
}

/// Whether there was a place of that name; it is gone then.
fn remove_place(table: &mut toml::Table, name: &str) -> bool {
    let Some(list) = table.get_mut(PLACES).and_then(toml::Value::as_array_mut) else { return false };
    let before = list.len();
    list.retain(|p| p.get("name").and_then(toml::Value::as_str) != Some(name));
    list.len() < before
}

fn step_into<'a>(table: &'a mut toml::Table, part: &str) -> Option<&'a mut toml::Table> {
    if let Some(at) = table
        .get("member")
        .and_then(toml::Value::as_array)
        .and_then(|list| list.iter().position(|m| m.get("name").and_then(toml::Value::as_str) == Some(part)))
    {
        return table.get_mut("member")?.as_array_mut()?.get_mut(at)?.as_table_mut();
    }
    if part == "member" {
        return Some(table);
    }
    table.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new())).as_table_mut()
}

/// `true`, `3` and `["a"]` as TOML says; anything else is a text.
fn literal(value: &str) -> toml::Value {
    let parsed = format!("v = {value}").parse::<toml::Table>().ok();
    parsed.and_then(|mut t| t.remove("v")).unwrap_or_else(|| toml::Value::String(value.to_owned()))
}

fn checked(text: &str, old: &Spec) -> Result<Spec, ApiError> {
    let file = ClusterFile::parse("the new configuration", text)
        .map_err(|faults| ApiError::usage("bad_configuration", faults.to_string(), "dauphin config show"))?;
    let fixed = |spec: &Spec| {
        let members: Vec<_> = spec
            .members
            .iter()
            .map(|m| (m.name.clone(), m.kind, m.host.clone(), m.sql_port, m.api_port, m.link_port))
            .collect();
        (spec.cluster.clone(), members)
    };
    if fixed(&file.spec) != fixed(old) {
        let text = "the cluster's name and its members' names, kinds and addresses cannot be changed this way";
        return Err(ApiError::usage("fixed", text, "dauphin store add | remove changes members of the store"));
    }
    engine::check_change(&file.spec, old)?;
    Ok(file.spec)
}

/// What this member's server says to the new settings.
async fn ask_server(server: Option<&Server>, spec: &Spec, differences: &mut [dto::Difference]) -> Result<(), ApiError> {
    match server {
        Some(server) => server.engine.ask_settings(spec, differences).await,
        None => Ok(()),
    }
}

pub(crate) async fn set(
    store: &Store,
    picture: &Picture,
    server: Option<&Server>,
    request: dto::ConfigSetRequest,
) -> Answer<dto::ConfigChange> {
    let snapshot = store.watch().borrow().clone();
    let old = current(&snapshot, picture);
    if let Some(expected) = request.expect_version
        && expected != old.version
    {
        let text = format!(
            "the configuration is at version {} and not {expected}: somebody changed it meanwhile",
            old.version
        );
        return Err(ApiError::refused("changed", text, "dauphin config show, then try again"));
    }
    let from = text_of(&old.spec);
    let to = match &request.text {
        Some(text) => text.clone(),
        None => edited(&from, &request)?,
    };
    let spec = checked(&to, &old.spec)?;
    let mut differences = differences(&from, &text_of(&spec));
    ask_server(server, &spec, &mut differences).await?;
    if request.dry_run || differences.is_empty() {
        let message = if differences.is_empty() { "nothing changes" } else { "not applied: this was a rehearsal" };
        return Ok(dto::ConfigChange {
            version: old.version,
            differences,
            applied: false,
            message: message.to_owned(),
        });
    }
    put(store, &snapshot, old, spec, differences).await
}

async fn put(
    store: &Store,
    snapshot: &Snapshot,
    old: SpecRecord,
    spec: Spec,
    differences: Vec<dto::Difference>,
) -> Answer<dto::ConfigChange> {
    let version = old.version + 1;
    let mut earlier = before(snapshot);
    earlier.push(old);
    earlier.drain(..earlier.len().saturating_sub(VERSIONS_MAX));
    let record = SpecRecord { version, at: keys::now_text(), spec };
    let json =
        |value: Result<Vec<u8>, serde_json::Error>| value.map_err(|e| ApiError::failed("json", e.to_string(), ""));
    let txn = Txn {
        expect: vec![(keys::spec(), snapshot.rev(&keys::spec()))],
        put: vec![
            (keys::spec(), json(serde_json::to_vec(&record))?),
            (keys::spec_before(), json(serde_json::to_vec(&earlier))?),
        ],
        delete: Vec::new(),
    };
    match store.txn(txn, STORE_WITHIN).await {
        Ok(TxnOutcome::Committed { .. }) => {
            let waits = differences.iter().any(|d| d.applies == RESTART);
            let restart =
                if waits { "; `dauphin restart --all --if-pending` restarts one member after the other" } else { "" };
            let message = format!("version {version} is in force{restart}");
            Ok(dto::ConfigChange { version, differences, applied: true, message })
        }
        Ok(TxnOutcome::Conflict { .. }) => {
            Err(ApiError::refused("changed", "somebody changed it meanwhile", "dauphin config show, then try again"))
        }
        Err(error @ StoreError::Unknown { .. }) => {
            Err(ApiError::failed("unknown", error.to_string(), "dauphin config show"))
        }
        Err(error) => Err(ApiError::unavailable("store", error.to_string(), "dauphin store status")),
    }
}

pub(crate) async fn undo(store: &Store, picture: &Picture, server: Option<&Server>) -> Answer<dto::ConfigChange> {
    let snapshot = store.watch().borrow().clone();
    let old = current(&snapshot, picture);
    let Some(last) = before(&snapshot).pop() else {
        return Err(ApiError::unavailable("nothing_before", "there is no earlier version", "dauphin config show"));
    };
    let mut differences = differences(&text_of(&old.spec), &text_of(&last.spec));
    ask_server(server, &last.spec, &mut differences).await?;
    put(store, &snapshot, old, last.spec, differences).await
}

/// Replicas first, the leader last: it hands over before it restarts.
pub(crate) fn restart_order(picture: &Picture) -> Vec<MemberName> {
    let leader = picture.store.leadership.as_ref().map(|r| r.leader.name.clone());
    let mut all: Vec<MemberName> = picture.spec.data_members().map(|m| m.name.clone()).collect();
    all.sort_by_key(|name| Some(name) == leader.as_ref());
    all
}

/// Brings the specification's settings to the server whenever they differ from what it was given.
pub(crate) async fn keep_settings(server: Arc<Server>) {
    loop {
        tokio::time::sleep(COMPARE_EVERY).await;
        let role = server.picture.borrow().role;
        if matches!(role, Role::Leader | Role::Replica) {
            server.engine.keep_settings(&server).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_notices_are_sent_to_are_made_changed_and_removed_by_their_names() {
        let request = |set: &[(&str, &str)], unset: &[&str]| dto::ConfigSetRequest {
            set: set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            unset: unset.iter().map(|k| (*k).to_owned()).collect(),
            ..dto::ConfigSetRequest::default()
        };
        let made = [("notify.ops.kind", "webhook"), ("notify.ops.url", "http://a/"), ("notify.m1.kind", "slack")];
        let text = edited("[[member]]\nname = \"m1\"\n", &request(&made, &[])).unwrap();
        let at = |text: &str, key: &str| values(text).get(key).cloned();
        assert_eq!(at(&text, "notify.ops.url").as_deref(), Some("http://a/"));
        assert_eq!(at(&text, "notify.m1.kind").as_deref(), Some("slack"), "no member is meant");
        assert_eq!(at(&text, "member.m1.kind"), None);
        let text = edited(&text, &request(&[("notify.ops.url", "http://b/")], &["notify.m1"])).unwrap();
        assert_eq!(at(&text, "notify.ops.url").as_deref(), Some("http://b/"));
        assert_eq!(at(&text, "notify.m1.kind"), None);
        let error = edited(&text, &request(&[], &["notify.m9"])).unwrap_err();
        assert!(error.message.contains("not set"), "{error:?}");
    }
}
