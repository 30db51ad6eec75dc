//! What members' machines and servers suffer from, besides what elections need: measured here, asked of the others, and kept
//! for whoever shows it or tells people of it. It carries and remembers; the rules are those of the alerts.

use crate::asks::{Ask, Told};
use crate::lengths::Lengths;
use crate::links::Links;
use crate::picture::Picture;
use crate::server::{Server, lock};
use bytes::Bytes;
use dauphin_alerts::{Disk, LogSize, SLOTS_MAX, Slot, Trend, Vitals, clock_off, strain};
use dauphin_api::dto;
use dauphin_engine::host::space;
use dauphin_guard::boottime;
use dauphin_ha::Role;
use dauphin_model::{EngineKind, Level, MemberName, Mono, Span};
use dauphin_net::Identity;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// How often it is measured, and the others are asked.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long another agent, or the server, may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// For how long what was heard counts.
const HEARD_FOR: Span = Span::ms(20_000);

/// What one agent answers another one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Its wall clock, in milliseconds since 1970. Nothing is decided by it: only how far apart two are.
    unix_ms: i64,
    /// `None`: nothing was measured yet, which is not to say that all is well.
    vitals: Option<Vitals>,
}

/// What was heard of another member.
#[derive(Debug)]
struct Heard {
    at: Mono,
    vitals: Option<Vitals>,
    /// How far its wall clock is ahead of ours at least, in milliseconds.
    ahead_ms: i64,
}

/// What is kept between two looks.
#[derive(Debug, Default)]
struct Trends {
    disks: BTreeMap<u64, Trend>,
    log: Trend,
    /// What the server said last: it is no better because it does not answer.
    slots: Vec<Slot>,
    damaged: u64,
}

/// The watch over this member and, as far as they tell, the others.
pub(crate) struct Vigil {
    me: MemberName,
    server: Option<Arc<Server>>,
    state_dir: PathBuf,
    identity: Arc<Identity>,
    links: Arc<Links>,
    picture: watch::Receiver<Arc<Picture>>,
    own: Mutex<Option<Vitals>>,
    /// Since when something has held our replay up.
    held_up: Mutex<Option<Mono>>,
    heard: Mutex<BTreeMap<MemberName, Heard>>,
}

impl Vigil {
    pub(crate) fn new(
        me: MemberName,
        server: Option<Arc<Server>>,
        state_dir: PathBuf,
        identity: Arc<Identity>,
        links: Arc<Links>,
        picture: watch::Receiver<Arc<Picture>>,
    ) -> Arc<Self> {
        let (own, held_up, heard) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { me, server, state_dir, identity, links, picture, own, held_up, heard })
    }

    /// Measures and asks until the agent ends.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut trends = Trends::default();
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(vitals) = self.measure(&mut trends).await {
                *lock(&self.own) = Some(vitals);
            }
            self.ask_all().await;
        }
    }

    /// What there is to tell of ourselves. `None`: the disks cannot be looked at.
    async fn measure(&self, trends: &mut Trends) -> Option<Vitals> {
        let engine = self.server.as_ref().map(|server| &server.engine);
        let mut folders: Vec<PathBuf> = engine.iter().map(|engine| engine.data_dir().to_owned()).collect();
        let log = engine.map(|engine| engine.log_files());
        folders.extend(log.iter().map(|(folder, _)| folder.clone()));
        folders.push(self.state_dir.clone());
        // a disk that hangs holds up a thread and this loop, and nothing that decides
        let looked = tokio::task::spawn_blocking(move || {
            let there = folders.iter().map(|folder| existing(folder));
            let spaces: Vec<_> = there.filter_map(|f| Some((space::of(&f).ok()?, f))).collect();
            let taken = log.and_then(|(folder, counts)| space::taken_in(&folder, counts).ok());
            (spaces, taken)
        });
        let (spaces, taken) = looked.await.ok()?;
        let now = boottime();
        let mut disks: BTreeMap<u64, Disk> = BTreeMap::new();
        for (space, folder) in spaces {
            if disks.contains_key(&space.device) {
                continue;
            }
            let trend = trends.disks.entry(space.device).or_default();
            trend.note(now, space.free);
            let (total, free, full_in) = (space.total, space.free, trend.gone_in());
            disks.insert(space.device, Disk { folder: folder.display().to_string(), total, free, full_in });
        }
        trends.disks.retain(|device, _| disks.contains_key(device));
        if let Some(taken) = taken {
            trends.log.note(now, taken);
        }
        if let Some(engine) = engine
            && let Some(signs) = engine.signs(ANSWER_WITHIN).await
        {
            let slot = |s: dauphin_engine::postgres::signs::OtherSlot| Slot {
                name: s.name,
                active: s.active,
                lost: s.lost,
                held: s.held,
            };
            self.note_wait(&signs.acknowledged_us);
            trends.slots = signs.slots.into_iter().take(SLOTS_MAX).map(slot).collect();
            trends.damaged = signs.damaged;
        }
        Some(Vitals {
            disks: disks.into_values().collect(),
            log: taken.map(|bytes| LogSize { bytes, per_hour: trends.log.per_hour() }),
            slots: trends.slots.clone(),
            damaged: trends.damaged,
            held_up_ms: None,
            authority_days: Some(self.identity.authority_days_left()),
        })
    }

    /// A commit waits for the slowest of the fastest that are enough.
    fn note_wait(&self, acknowledged_us: &[u64]) {
        let picture = Arc::clone(&self.picture.borrow());
        let record = picture.store.leadership.as_ref().filter(|_| picture.role == Role::Leader);
        let required = record.map_or(0, |record| picture.spec.required_of(record.published.voters.len()));
        let waited = usize::try_from(required).ok().and_then(|n| acknowledged_us.get(n.checked_sub(1)?));
        if let (Some(us), Some(server)) = (waited, &self.server) {
            lock(&server.commit_waits).note(Duration::from_micros(*us));
        }
    }

    /// How long commits waited here, as far as that is measured, and by what.
    pub(crate) fn commit_waits(&self) -> Option<(&'static str, Lengths)> {
        let server = self.server.as_ref()?;
        let by = match server.spec().engine {
            EngineKind::Postgres => "flush_lag",
            EngineKind::Mysql | EngineKind::Mariadb => "heartbeat",
        };
        Some((by, *lock(&server.commit_waits)))
    }

    async fn ask_all(self: &Arc<Self>) {
        let others: Vec<MemberName> = self.picture.borrow().others.keys().cloned().collect();
        let mut asked = tokio::task::JoinSet::new();
        for name in others {
            let vigil = Arc::clone(self);
            asked.spawn(async move {
                if let Some(heard) = vigil.ask(&name).await {
                    lock(&vigil.heard).insert(name, heard);
                }
            });
        }
        while asked.join_next().await.is_some() {}
    }

    /// Asks one. `None`: it does not answer, or its agent is older than this question.
    async fn ask(&self, name: &MemberName) -> Option<Heard> {
        let body = Bytes::from(serde_json::to_vec(&Ask::Vitals).ok()?);
        let (asked, ours) = (boottime(), unix_ms());
        let answer = self.links.ask(name, body, ANSWER_WITHIN).await.ok()?;
        let at = boottime();
        let Ok(Told::Vitals(report)) = serde_json::from_slice(&answer) else { return None };
        let half = i64::try_from(at.since(asked).as_ms() / 2).ok()?;
        let ahead = report.unix_ms.saturating_sub(ours.saturating_add(half));
        // anywhere on its way the answer may have been made
        let least = ahead.signum() * ahead.saturating_abs().saturating_sub(half).max(0);
        Some(Heard { at, vitals: report.vitals, ahead_ms: least })
    }

    /// What another agent is answered.
    pub(crate) fn report(&self) -> Report {
        Report { unix_ms: unix_ms(), vitals: self.own() }
    }

    /// What was measured here last.
    pub(crate) fn own(&self) -> Option<Vitals> {
        let held_up_ms = lock(&self.held_up).map(|since| boottime().since(since).as_ms());
        lock(&self.own).clone().map(|own| Vitals { held_up_ms, ..own })
    }

    /// Since when something has held our replay up.
    pub(crate) fn held_up_since(&self, since: Option<Mono>) {
        *lock(&self.held_up) = since;
    }

    /// What a member tells, and how far its clock is from most others', as far as both are known.
    pub(crate) fn of(&self, name: &MemberName, now: Mono) -> (Option<Vitals>, Option<i64>) {
        let heard = lock(&self.heard);
        let fresh = |h: &&Heard| now.since(h.at) <= HEARD_FOR;
        let its = heard.get(name).filter(fresh);
        let ours = *name == self.me;
        let vitals = if ours { self.own() } else { its.and_then(|h| h.vitals.clone()) };
        let ahead = if ours { Some(0) } else { its.map(|h| h.ahead_ms) };
        let others = heard.iter().filter(|(other, h)| *other != name && fresh(h)).map(|(_, h)| h.ahead_ms);
        let others: Vec<i64> = others.chain((!ours).then_some(0)).collect();
        let off = ahead.and_then(|ahead| {
            let from_it: Vec<i64> = others.iter().map(|other| other.saturating_sub(ahead)).collect();
            clock_off(&from_it)
        });
        (vitals, off)
    }

    /// How far the others' clocks are ahead of ours, in milliseconds.
    pub(crate) fn clocks(&self, now: Mono) -> Vec<(MemberName, i64)> {
        let heard = lock(&self.heard);
        let fresh = heard.iter().filter(|(_, h)| now.since(h.at) <= HEARD_FOR);
        fresh.map(|(name, h)| (name.clone(), h.ahead_ms)).collect()
    }

    /// Puts what members suffer from among their remarks.
    pub(crate) fn tell(&self, cluster: &mut dto::Cluster, picture: &Picture, now: Mono) {
        for spec in &picture.spec.members {
            let Some(member) = cluster.members.iter_mut().find(|m| m.name == spec.name.as_str()) else { continue };
            let (vitals, off) = self.of(&spec.name, now);
            for finding in strain(&picture.spec, vitals.as_ref(), off) {
                let remark = dto::Remark {
                    code: finding.kind().code().to_owned(),
                    text: finding.strain(),
                    next: finding.next(Some(&spec.name), picture.spec.engine),
                    critical: finding.level() >= Level::Critical,
                };
                cluster.problems.push(format!("{}: {}: {}", spec.name, remark.text, remark.next));
                member.remarks.push(remark);
            }
        }
    }
}

/// A folder, or the nearest above it that is there: data may have yet to be copied.
fn existing(folder: &Path) -> PathBuf {
    folder.ancestors().find(|f| f.exists()).unwrap_or(folder).to_owned()
}

/// The wall clock, in milliseconds since 1970: for comparison with other machines' alone.
fn unix_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
