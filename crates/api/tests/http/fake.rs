//! A fake agent: it answers every question with full documents and notes the commands it was given.

use dauphin_api::dto::{self, *};
use dauphin_api::operations::Answer;
use dauphin_api::{ApiError, HealthView, Operations, Progress, Suppose};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::sync::broadcast;

pub(crate) struct Fake {
    pub asked: Mutex<Vec<String>>,
    pub health: HealthView,
    pub events: broadcast::Sender<dto::Event>,
}

impl Default for Fake {
    fn default() -> Self {
        let health = HealthView {
            name: "m1".into(),
            role: "replica".into(),
            state: "running".into(),
            running: true,
            alive: true,
            sync_state: Some("quorum".into()),
            lag_bytes: Some(10),
            lag_max_bytes: 100,
            ..HealthView::default()
        };
        Self { asked: Mutex::default(), health, events: broadcast::channel(4).0 }
    }
}

impl Fake {
    fn done(&self, what: String) -> Answer<Done> {
        self.asked.lock().expect("no panic").push(what.clone());
        Ok(Done { message: what, leader: Some("m2".into()), term: Some(8), gap_ms: Some(120), lost: None })
    }
}

pub(crate) fn cluster() -> Cluster {
    let member = Member {
        upstream: None,
        remarks: Vec::new(),
        health: "healthy".to_owned(),
        health_reason: None,
        health_seconds: None,
        name: "m1".into(),
        role: "leader".into(),
        state: "running".into(),
        sync_state: Some("quorum".into()),
        timeline: Some(3),
        position: Some("0/5000060".into()),
        client_addr: Some("127.0.0.1".into()),
        lag_bytes: Some(0),
        lag_transactions: None,
        lag_seconds: Some(0.5),
        unreceived_bytes: Some(0),
        unflushed_bytes: Some(0),
        lag_trend: Some(-512),
        catch_up_seconds: Some(2.0),
        alert: "ok".into(),
        tags: BTreeMap::from([("priority".into(), json!(100))]),
        host: Some("127.0.0.1".into()),
        sql_port: Some(15001),
        api_port: Some(15101),
        pending_restart: true,
        detail: Some("writing".into()),
    };
    Cluster {
        cluster: "lab".into(),
        engine: "postgres".into(),
        term: Some(7),
        leader: Some("m1".into()),
        open: true,
        durability: "quorum".into(),
        health: "healthy".into(),
        members: vec![
            member,
            Member {
                name: "m2".into(),
                role: "replica".into(),
                state: "fenced".into(),
                alert: "ok".into(),
                ..Member::default()
            },
        ],
        intent: Some(Intent { kind: "switchover".into(), to: Some("m2".into()), since: "2026-11-24T00:00:00Z".into() }),
        reporter: Some("m1".into()),
        profile: Some("standard".into()),
        engine_version: Some("15.18".into()),
        problems: vec!["m2 is fenced".into()],
        answers: Some(2),
        ..Cluster::default()
    }
}

fn entry() -> JournalEntry {
    JournalEntry {
        id: 4,
        at: "2026-11-24T00:00:00Z".into(),
        term: 7,
        member: "m1".into(),
        reason: "lease_lost".into(),
        text: "the lease ran out".into(),
        evidence: json!({"silence_ms": 1500}),
    }
}

fn difference() -> Difference {
    Difference { key: "postgres.work_mem".into(), from: None, to: Some("64MB".into()), applies: "reload".into() }
}

impl Operations for Fake {
    fn cluster(&self) -> Cluster {
        cluster()
    }
    fn health(&self) -> HealthView {
        self.health.clone()
    }
    fn metrics_text(&self) -> String {
        "# TYPE dauphin_term gauge\ndauphin_term 7\n# EOF\n".into()
    }
    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
    async fn history(&self) -> Answer<History> {
        Ok(History {
            history: vec![HistoryEntry {
                term: 7,
                leader: "m1".into(),
                timeline: Some(3),
                kind: "failover".into(),
                at: "2026-11-24T00:00:00Z".into(),
                switch_position: Some("0/5000000".into()),
                reason: "m2 was silent".into(),
                lost: Some("0/5000000 to 0/5000060".into()),
            }],
        })
    }
    async fn journal(&self, after: Option<u64>, limit: usize) -> Answer<Journal> {
        self.asked.lock().expect("no panic").push(format!("journal {after:?} {limit}"));
        Ok(Journal { entries: vec![entry()] })
    }
    async fn explain_member(&self, name: String) -> Answer<Explanation> {
        Ok(Explanation { summary: format!("{name} does not lead"), entries: vec![entry()] })
    }
    async fn what_if(&self, suppose: Suppose) -> Answer<WhatIf> {
        let end = Foretold { leader: Some("m2".into()), draws: 3, gap_ms: Some(900), ..Foretold::default() };
        Ok(WhatIf {
            suppose: format!("{suppose:?}"),
            leader: "m1".into(),
            draws: 3,
            ends: vec![end],
            notes: Vec::new(),
        })
    }
    async fn explain(&self, id: Option<u64>) -> Answer<Explanation> {
        match id {
            Some(404) => Err(ApiError::new(
                dauphin_api::Kind::NotFound,
                "no_such_entry",
                "there is no decision 404",
                "dauphin history",
            )),
            _ => Ok(Explanation { summary: "m1 took over".into(), entries: vec![entry()] }),
        }
    }
    async fn config(&self) -> Answer<Config> {
        Ok(Config {
            version: 2,
            text: "[cluster]".into(),
            values: BTreeMap::from([("cluster.name".into(), "lab".into())]),
            pending_restart: BTreeMap::from([("m1".into(), vec!["shared_buffers".into()])]),
        })
    }
    async fn config_history(&self) -> Answer<ConfigHistory> {
        Ok(ConfigHistory {
            versions: vec![ConfigVersion {
                version: 2,
                at: "2026-11-24T00:00:00Z".into(),
                differences: vec![difference()],
            }],
        })
    }
    async fn store_status(&self) -> Answer<StoreStatus> {
        Ok(StoreStatus {
            kind: "raft".into(),
            leader: Some("m1".into()),
            term: Some(2),
            applied: Some(9),
            snapshot: Some(5),
            members: vec![StoreMember {
                name: "m1".into(),
                address: "127.0.0.1:15201".into(),
                role: "leader".into(),
                matched: Some(9),
            }],
        })
    }
    async fn proxies(&self) -> Answer<Proxies> {
        let pool = ProxyPool { database: "app".into(), user: "app".into(), clients: 2, ..ProxyPool::default() };
        let proxy = Proxy { name: "web".into(), leader: Some("m1".into()), pools: vec![pool], ..Proxy::default() };
        Ok(Proxies { proxies: vec![proxy] })
    }
    async fn alerts(&self) -> Answer<Alerts> {
        Ok(Alerts {
            reporter: "m1".into(),
            speaker: Some("m2".into()),
            alerts: vec![Alert {
                id: 3,
                kind: "lag".into(),
                member: Some("m2".into()),
                level: "critical".into(),
                text: "m2 is behind: 61.0 s".into(),
                next: "dauphin lag".into(),
                since: "2026-11-24T00:00:00Z".into(),
                told: Some("2026-11-24T00:00:05Z".into()),
                acknowledged_by: Some("eva".into()),
                silenced: true,
            }],
            silences: vec![Silence {
                id: 4,
                member: Some("m2".into()),
                kind: Some("lag".into()),
                until: "2026-11-24T02:00:00Z".into(),
                by: "eva".into(),
                because: "a new disk".into(),
            }],
            places: vec![NotifyPlace {
                name: "ops".into(),
                kind: "webhook".into(),
                level: "warning".into(),
                failing: Some("no answer within 10 s".into()),
                waiting: 2,
            }],
        })
    }
    async fn alerts_test(&self) -> Answer<NotifyTest> {
        let answer = NotifyAnswer { name: "ops".into(), delivered: true, answer: "200 OK".into() };
        Ok(NotifyTest { reporter: "m1".into(), places: vec![answer] })
    }
    async fn alerts_silence(&self, request: SilenceRequest) -> Answer<Done> {
        self.done(format!("silence {:?} {:?} {}", request.member, request.kind, request.seconds))
    }
    async fn alerts_unsilence(&self, request: UnsilenceRequest) -> Answer<Done> {
        self.done(format!("unsilence {}", request.id))
    }
    async fn alerts_ack(&self, request: AcknowledgeRequest) -> Answer<Done> {
        self.done(format!("ack {}", request.id))
    }
    async fn switchover(&self, request: SwitchoverRequest, progress: Progress) -> Answer<Done> {
        progress.say("holding new transactions");
        progress.say("promoting m2");
        if request.to.as_deref() == Some("m9") {
            return Err(ApiError::usage("no_such_member", "there is no member m9", "dauphin status"));
        }
        self.done(format!("switchover {:?}", request.to))
    }
    async fn failover(&self, request: FailoverRequest, _: Progress) -> Answer<Done> {
        if !request.allow_data_loss {
            return Err(ApiError::refused("too_few_answers", "m3 may hold the last writes", "add --allow-data-loss"));
        }
        self.done(format!("failover {}", request.to))
    }
    async fn restart(&self, request: RestartRequest, _: Progress) -> Answer<Done> {
        self.done(format!("restart {:?} {}", request.member, request.if_pending))
    }
    async fn reinit(&self, request: ReinitRequest, _: Progress) -> Answer<Done> {
        self.done(format!("reinit {}", request.member))
    }
    async fn pause(&self) -> Answer<Done> {
        self.done("pause".into())
    }
    async fn resume(&self) -> Answer<Done> {
        self.done("resume".into())
    }
    async fn config_set(&self, request: ConfigSetRequest, _: Progress) -> Answer<ConfigChange> {
        self.done(format!("set {:?}", request.set))?;
        Ok(ConfigChange {
            version: 3,
            differences: vec![difference()],
            applied: !request.dry_run,
            message: "applied".into(),
        })
    }
    async fn config_undo(&self, _: Progress) -> Answer<ConfigChange> {
        Ok(ConfigChange { version: 4, differences: vec![difference()], applied: true, message: "taken back".into() })
    }
    async fn store_add(&self, request: StoreMemberRequest) -> Answer<Done> {
        self.done(format!("store add {}", request.member))
    }
    async fn store_remove(&self, request: StoreMemberRequest) -> Answer<Done> {
        self.done(format!("store remove {}", request.member))
    }
    async fn store_snapshot(&self) -> Answer<Done> {
        self.done("snapshot".into())
    }
}
