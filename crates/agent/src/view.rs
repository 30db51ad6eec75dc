//! The cluster as this agent sees it, in the words of CONTRACT.md. It only translates.

use crate::alerts::facts;
use crate::keys::{CutRecord, HistoryRecord};
use crate::picture::Picture;
use dauphin_api::dto;
use dauphin_api::error::ApiError;
use dauphin_api::health::HealthView;
use dauphin_ha::{Beat, IntentKind, Role};
use dauphin_model::{
    Durability, EngineKind, Evidence, LeadershipState, Lsn, MemberKind, MemberSpec, Mono, PastTerm, Remark, Run, Span,
    Timeline,
};
use std::collections::BTreeMap;

pub(crate) fn cluster(picture: &Picture, now: Mono, engine_version: Option<String>) -> dto::Cluster {
    let record = picture.store.leadership.as_ref();
    let mut members: Vec<dto::Member> = picture.spec.members.iter().map(|m| member(picture, now, m)).collect();
    let open = is_open(picture);
    let judged = dauphin_alerts::judge(&picture.spec, &facts::seen(picture, now, None));
    for (member, spec) in members.iter_mut().zip(&picture.spec.members) {
        let health = judged.members.get(&spec.name).map_or("", |(health, _)| health.word());
        health.clone_into(&mut member.health);
    }
    let mut problems = Vec::new();
    if record.is_some() && !open {
        problems.push("no leader is open: writes wait; `dauphin explain` tells why".to_owned());
    }
    for m in members.iter().filter(|m| m.state != "running") {
        let detail = m.detail.as_ref().map(|d| format!(" ({d})")).unwrap_or_default();
        problems.push(format!("{} is {}{detail}", m.name, m.state));
    }
    // the store's word is newer than a beat
    let degraded = record.is_some_and(|r| r.published.degraded);
    let commits_wait = open && !degraded && picture.leading().is_some_and(|l| l.short);
    if commits_wait {
        problems.push("commits wait: too few replicas are there to hold them; bring one back".to_owned());
    }
    for m in &members {
        problems.extend(m.remarks.iter().map(|r| format!("{}: {}: {}", m.name, r.text, r.next)));
    }
    if degraded {
        problems.push("degraded: commits are acknowledged with fewer copies than promised".to_owned());
    }
    dto::Cluster {
        cluster: picture.spec.cluster.to_string(),
        engine: picture.spec.engine.to_string(),
        term: record.map(|r| r.term.0),
        leader: record.map(|r| r.leader.name.to_string()),
        open,
        durability: picture.spec.durability.to_string(),
        degraded,
        health: judged.cluster.0.word().to_owned(),
        // whoever keeps their age tells why, too
        health_reason: None,
        health_seconds: None,
        paused: picture.store.paused,
        members,
        intent: picture.store.intent.as_ref().map(|i| dto::Intent {
            kind: match i.kind {
                IntentKind::Switchover => "switchover".to_owned(),
            },
            to: i.to.as_ref().map(ToString::to_string),
            since: picture.store.intent_since.clone().unwrap_or_default(),
        }),
        reporter: Some(picture.me.to_string()),
        profile: Some(picture.spec.profile.to_string()),
        engine_version,
        problems,
        commits_wait,
        answers: record.map(|r| r.published.answers),
    }
}

/// Whether the record's leader lets clients in, as far as we hear.
pub(crate) fn is_open(picture: &Picture) -> bool {
    picture.leading().is_some_and(|l| l.state == LeadershipState::Open && l.accepting)
}

pub(crate) fn state_of(beat: Option<&Beat>) -> &'static str {
    let Some(beat) = beat else { return "unreachable" };
    match beat.role {
        Role::Witness => "running",
        Role::Cloning => "cloning",
        Role::Rejoining if beat.busy.as_deref() == Some("rewind") => "rewinding",
        Role::Rejoining => "rejoining",
        Role::Boot => "starting",
        Role::Empty if beat.leading.is_none() => "cloning",
        Role::Quarantined => "crashed",
        Role::Winner => "starting",
        Role::Replica if beat.run == Run::Running && !(beat.streaming && beat.serves) => "starting",
        Role::Leader | Role::Replica => match beat.run {
            Run::Running => "running",
            Run::Starting => "starting",
            Run::Stopped => "stopped",
            Run::Crashed | Run::Hung => "crashed",
        },
        Role::Fenced | Role::Frozen | Role::Empty => "fenced",
    }
}

pub(crate) fn member(picture: &Picture, now: Mono, spec: &MemberSpec) -> dto::Member {
    let beat = picture.beat_of(&spec.name);
    let record = picture.store.leadership.as_ref();
    let leads = record.is_some_and(|r| r.leader.name == spec.name);
    let seen = picture.seen(&spec.name);
    let witness = spec.kind == MemberKind::Witness;
    let published = record.is_some_and(|r| r.published.voters.iter().any(|v| v.name == spec.name));
    let sync_state = match seen {
        _ if leads || witness || beat.is_none() => None,
        _ if published && picture.spec.durability == Durability::Quorum => Some("quorum"),
        // `FIRST n`: the others stand by
        Some(seen) if published && seen.sync_state == "potential" => Some("potential"),
        _ if published => Some("sync"),
        // not straight from the leader: a cascade
        None if !beat.is_some_and(|b| b.streaming) => None,
        _ => Some("async"),
    };
    let engine = picture.spec.engine;
    let bytes = |count: Option<u64>| count.filter(|_| engine == EngineKind::Postgres);
    let behind = picture.lag_bytes(&spec.name);
    let lag_bytes = bytes(behind);
    let lag = picture.lag(&spec.name, now).filter(|_| !witness);
    let lag_seconds = lag.map(|lag| lag.ms as f64 / 1_000.0);
    let trend = lag.and_then(|lag| lag.trend);
    let age = lag.filter(|_| !leads).map(|lag| Span::ms(lag.ms));
    let alert = picture.spec.lag_beyond(&spec.name, age, lag_bytes).map_or("ok", |level| level.word());
    let stuck = beat.filter(|b| b.role == Role::Quarantined).map(|_| "needs a person: dauphin explain".to_owned());
    let detail = stuck.or_else(|| beat.and_then(|b| b.busy.clone())).or_else(|| {
        picture.others.get(&spec.name).filter(|h| !h.fresh).map(|_| "nothing is heard of its agent".to_owned())
    });
    dto::Member {
        name: spec.name.to_string(),
        role: if witness {
            "witness"
        } else if leads {
            "leader"
        } else {
            "replica"
        }
        .to_owned(),
        state: state_of(beat).to_owned(),
        sync_state: sync_state.map(str::to_owned),
        timeline: beat.and_then(|b| b.position.as_ref()).and_then(|p| timeline_of(engine, p.timeline)),
        position: beat.and_then(|b| b.position.as_ref()).map(|p| place_of(engine, p.lsn)),
        client_addr: seen.and_then(|r| r.client_addr.clone()),
        lag_bytes,
        lag_transactions: behind.filter(|_| lag_bytes.is_none()),
        lag_seconds,
        unreceived_bytes: bytes(seen.and_then(|s| s.unreceived_bytes)),
        unflushed_bytes: bytes(seen.and_then(|s| s.unflushed_bytes)),
        lag_trend: trend.filter(|_| lag_bytes.is_some()),
        catch_up_seconds: catch_up(behind, trend),
        alert: alert.to_owned(),
        health: String::new(),
        health_reason: None,
        health_seconds: None,
        tags: tags(spec),
        host: Some(spec.host.clone()),
        sql_port: (!witness).then_some(spec.sql_port),
        api_port: Some(spec.api_port),
        pending_restart: beat.is_some_and(|b| b.pending_restart > 0),
        upstream: beat.and_then(|b| b.upstream.as_ref()).map(ToString::to_string),
        remarks: beat.map(|b| b.remarks.iter().map(|remark| told(engine, remark)).collect()).unwrap_or_default(),
        detail,
    }
}

/// A place in the log, in the engine's words: an LSN, or how many transactions lie before it.
pub(crate) fn place_of(engine: EngineKind, at: Lsn) -> String {
    match engine {
        EngineKind::Postgres => at.to_string(),
        EngineKind::Mysql | EngineKind::Mariadb => at.0.to_string(),
    }
}

/// A timeline, where the engine has such a thing.
fn timeline_of(engine: EngineKind, timeline: Timeline) -> Option<u64> {
    (engine == EngineKind::Postgres).then(|| u64::from(timeline.0))
}

/// How long until it has all, if it goes on like this. `None`: it has all, or does not come closer.
fn catch_up(behind: Option<u64>, trend: Option<i64>) -> Option<f64> {
    let (behind, closer) = (behind.filter(|b| *b > 0)?, trend.filter(|t| *t < 0)?);
    Some(behind as f64 / closer.unsigned_abs() as f64)
}

/// A remark as programs get it.
pub(crate) fn told(engine: EngineKind, remark: &Remark) -> dto::Remark {
    dto::Remark {
        code: remark.code().to_owned(),
        text: remark.to_string(),
        next: remark.next(engine),
        critical: remark.endangers_commits(),
    }
}

fn tags(spec: &MemberSpec) -> BTreeMap<String, serde_json::Value> {
    let mut tags = BTreeMap::new();
    let mut tag = |name: &str, value: serde_json::Value| {
        tags.insert(name.to_owned(), value);
    };
    if spec.priority != 100 {
        tag("priority", spec.priority.into());
    }
    if spec.never_leader {
        tag("never_leader", true.into());
    }
    if spec.reporting {
        tag("reporting", true.into());
    }
    if let Some(zone) = &spec.zone {
        tag("zone", zone.clone().into());
    }
    if let Some(follow) = &spec.follow {
        tag("follow", follow.to_string().into());
    }
    if let Some(delay) = spec.delay {
        tag("delay", dauphin_model::file::unit::duration_text(delay).into());
    }
    tags
}

/// This member, for load balancers.
pub(crate) fn health(picture: &Picture, now: Mono, alive: bool) -> HealthView {
    let cluster = cluster(picture, now, None);
    let me = cluster.members.iter().find(|m| m.name == picture.me.as_str());
    let role = me.map_or("replica", |m| m.role.as_str());
    HealthView {
        name: picture.me.to_string(),
        role: role.to_owned(),
        state: me.map_or("unreachable", |m| m.state.as_str()).to_owned(),
        open: picture.role == Role::Leader && cluster.open,
        running: picture.server.run == Run::Running
            && picture.server.serves
            && matches!(picture.role, Role::Leader | Role::Replica),
        sync_state: me.and_then(|m| m.sync_state.clone()),
        // what a caller's own limit counts: bytes, or transactions
        lag_bytes: me.and_then(|m| m.lag_bytes.or(m.lag_transactions)),
        lag_max_bytes: picture.spec.read_lag_max_bytes,
        alive,
        term: cluster.term,
    }
}

/// A term of the history.
pub(crate) fn history(engine: EngineKind, record: &HistoryRecord, lost: Option<String>) -> dto::HistoryEntry {
    let kind = match &record.past.evidence {
        Evidence::Bootstrap => "bootstrap",
        Evidence::FencedLeader { .. } => "switchover",
        Evidence::Frozen { .. } | Evidence::LeaseEnded => "failover",
        Evidence::DataLossAccepted => "forced failover",
    };
    dto::HistoryEntry {
        term: record.past.term.0,
        leader: record.past.leader.name.to_string(),
        timeline: timeline_of(engine, record.past.timeline),
        kind: kind.to_owned(),
        at: record.at.clone(),
        switch_position: Some(place_of(engine, record.past.switch.lsn)),
        reason: record.past.evidence.to_string(),
        lost,
    }
}

/// What a leadership may have cost: nothing, where revocation protected what was acknowledged; else what its members cut
/// off from where it began, or what is known before they are back.
pub(crate) fn lost(engine: EngineKind, past: &PastTerm, cuts: &[CutRecord]) -> Option<String> {
    if !matches!(past.evidence, Evidence::LeaseEnded | Evidence::DataLossAccepted) {
        return None;
    }
    let (from, timeline) = (past.switch.lsn, past.timeline);
    let known: Vec<String> = cuts
        .iter()
        .filter(|c| c.from == from && c.timeline < timeline)
        .map(|c| {
            let (from, to) = (place_of(engine, c.from), place_of(engine, c.to));
            let count = c.to.0.saturating_sub(c.from.0);
            let what = match engine {
                EngineKind::Postgres => format!("{from} to {to} on timeline {} ({count} bytes)", c.timeline),
                EngineKind::Mysql | EngineKind::Mariadb => format!("{count} transactions, {from} to {to}"),
            };
            format!("{what}, kept on {} in {}", c.member, c.folder)
        })
        .collect();
    Some(if known.is_empty() {
        format!("nothing so far: no member came back with log beyond {}", place_of(engine, from))
    } else {
        known.join("; ")
    })
}

/// The member of that name, for a request.
pub(crate) fn known<'a>(picture: &'a Picture, name: &str) -> Result<&'a MemberSpec, ApiError> {
    picture.spec.members.iter().find(|m| m.name.as_str() == name).ok_or_else(|| {
        let all: Vec<&str> = picture.spec.members.iter().map(|m| m.name.as_str()).collect();
        let text = format!("there is no member {name:?}; there are {}", all.join(", "));
        ApiError::usage("no_such_member", text, "dauphin status")
    })
}
