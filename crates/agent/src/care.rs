//! This agent's part in health: how members are and since when, for every face, and what the specification lets it mend on its
//! own replica. Leading, electing and fencing are the core's; a step of the core's is never under way when something is mended.

use crate::alerts::{Alerts, facts};
use crate::journal::Journal;
use crate::picture::Picture;
use crate::server::{Server, lock};
use crate::vigil::Vigil;
use dauphin_alerts::{Dated, Fix, Kind, Monitor, Own, Treatment, judge};
use dauphin_api::dto;
use dauphin_guard::boottime;
use dauphin_ha::Role;
use dauphin_model::{FixKind, Mono, Run};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;

/// How often it is looked whether there is something to mend.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the server may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The care.
pub(crate) struct Care {
    server: Option<Arc<Server>>,
    picture: watch::Receiver<Arc<Picture>>,
    vigil: Arc<Vigil>,
    alerts: Arc<Alerts>,
    journal: Arc<Journal>,
    monitor: Mutex<Monitor>,
    /// How often what was mended since the agent's start.
    mended: Mutex<BTreeMap<FixKind, u64>>,
}

impl Care {
    pub(crate) fn new(
        server: Option<Arc<Server>>,
        picture: watch::Receiver<Arc<Picture>>,
        vigil: Arc<Vigil>,
        alerts: Arc<Alerts>,
        journal: Arc<Journal>,
    ) -> Arc<Self> {
        let (monitor, mended) = (Mutex::default(), Mutex::default());
        Arc::new(Self { server, picture, vigil, alerts, journal, monitor, mended })
    }

    /// Looks, notes and mends until the agent ends.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut treatment = Treatment::default();
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let picture = Arc::clone(&self.picture.borrow());
            drop(self.note(&picture, boottime()));
            let Some(server) = &self.server else { continue };
            let own = self.own(server, &picture).await;
            let now = boottime();
            let fix = treatment.step(now, &picture.spec, &own);
            self.vigil.held_up_since(treatment.held_up_since());
            if let Some(fix) = fix {
                self.mend(server, &picture, fix).await;
            }
        }
    }

    /// Judges, and keeps since when it is so.
    fn note(&self, picture: &Picture, now: Mono) -> MutexGuard<'_, Monitor> {
        let judgement = judge(&picture.spec, &facts::seen(picture, now, Some(&self.vigil)));
        let mut monitor = lock(&self.monitor);
        monitor.note(now, &judgement);
        monitor
    }

    /// What there is to know before something is mended.
    async fn own(&self, server: &Arc<Server>, picture: &Picture) -> Own {
        let view = &picture.server;
        let runs = view.run == Run::Running && view.in_recovery == Some(true);
        let calm_replica = server.engine.is_mended() && picture.role == Role::Replica && runs && picture.busy.is_none();
        let waits = calm_replica && view.position.as_ref().map(|p| p.lsn) > view.replayed;
        Own {
            calm_replica,
            open: crate::view::is_open(picture),
            unfed: view.streaming.is_none(),
            paused: view.replay_paused,
            pause_is_meant: view.replay_paused && self.alerts.is_meant(Kind::ReplayPaused, &picture.me),
            pending_restart: !view.pending_restart.is_empty(),
            blocker: if waits { server.engine.blocker(ANSWER_WITHIN).await } else { None },
        }
    }

    /// Mends, unless the core is at work on the server, and tells the journal.
    async fn mend(&self, server: &Arc<Server>, picture: &Picture, fix: Fix) {
        // whoever has the hand may be changing what was looked at; a session ends beside all that, and a step need not wait
        let hand = server.hand.try_lock().ok();
        if hand.is_none() && fix.kind() != FixKind::Query {
            return;
        }
        let _hand = hand.filter(|_| fix.kind() != FixKind::Query);
        let now = Arc::clone(&self.picture.borrow());
        let same = (now.role, now.durable.incarnation) == (Role::Replica, picture.durable.incarnation);
        if !same || now.busy.is_some() {
            return;
        }
        // never cut off here: what is on its way to the server must not come after a step of the core's
        let failed = server.engine.mend(&fix).await.err().map(|error| error.to_string());
        *lock(&self.mended).entry(fix.kind()).or_default() += 1;
        let term = now.store.leadership.as_ref().map(|r| r.term).unwrap_or_default();
        self.journal.treated(term, fix, failed);
    }

    /// How often what was mended since the agent's start.
    pub(crate) fn mended(&self) -> BTreeMap<FixKind, u64> {
        lock(&self.mended).clone()
    }

    /// Fills in how all are. With their ages where `aged`: those change all the time.
    pub(crate) fn tell(&self, cluster: &mut dto::Cluster, picture: &Picture, now: Mono, aged: bool) {
        let monitor = self.note(picture, now);
        let age = |dated: &Dated| aged.then(|| now.since(dated.since).as_ms() / 1_000);
        if let Some(dated) = monitor.cluster() {
            dated.health.word().clone_into(&mut cluster.health);
            (cluster.health_reason, cluster.health_seconds) = (Some(dated.why.to_string()), age(dated));
        }
        for spec in &picture.spec.members {
            let member = cluster.members.iter_mut().find(|m| m.name == spec.name.as_str());
            let (Some(member), Some(dated)) = (member, monitor.member(&spec.name)) else { continue };
            dated.health.word().clone_into(&mut member.health);
            (member.health_reason, member.health_seconds) = (Some(dated.why.to_string()), age(dated));
        }
    }
}
