//! What people ask of an agent over HTTP: answered from the picture, handed to the core, or passed on to the member that
//! can do it. The checks are the core's; this module only carries questions and answers.

use crate::alerts::Alerts;
use crate::asks::Ask;
use crate::care::Care;
use crate::change;
use crate::journal::{Entry, Journal, Line, decisions};
use crate::keys::{self, CutRecord, HistoryRecord};
use crate::links::Links;
use crate::mind::Inbox;
use crate::picture::Picture;
use crate::proxies::Proxies;
use crate::server::Server;
use crate::standing::Asked;
use crate::vigil::Vigil;
use crate::what_if::WhatIf;
use crate::{metrics, view, why};
use dauphin_api::dto;
use dauphin_api::error::ApiError;
use dauphin_api::health::HealthView;
use dauphin_api::operations::Answer;
use dauphin_api::{Operations, Progress, Suppose};
use dauphin_guard::boottime;
use dauphin_ha::{Command, Reason};
use dauphin_model::{Evidence, MemberKind, MemberName, Remark, Term};
use dauphin_store::{Standing, Store};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, broadcast, watch};

/// How long a command may take in all; a copy takes as long as the data is large.
pub(crate) const COMMAND_WITHIN: Duration = Duration::from_secs(90);
const REINIT_WITHIN: Duration = Duration::from_secs(6 * 3_600);
/// The loop must turn at least this often for the agent to be alive.
const TURNS_WITHIN_US: u64 = 5_000_000;
/// How long the store may take for what is asked of it.
const STORE_WITHIN: Duration = Duration::from_secs(10);
/// How long a switchover waits for a leader that it could move.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// What was mended on a member, as far as it is shown.
const MENDED_SHOWN_MAX: usize = 5;
/// How often it is looked whether something that is to come is there.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The agent, for the HTTP server and for other agents.
pub(crate) struct Agent {
    pub(crate) me: MemberName,
    pub(crate) store: Store,
    pub(crate) links: Arc<Links>,
    pub(crate) inbox: Inbox,
    pub(crate) journal: Arc<Journal>,
    pub(crate) picture: watch::Receiver<Arc<Picture>>,
    pub(crate) server: Option<Arc<Server>>,
    pub(crate) turned: Arc<AtomicU64>,
    pub(crate) alerts: Arc<Alerts>,
    pub(crate) vigil: Arc<Vigil>,
    pub(crate) care: Arc<Care>,
    /// Who simulates holds its one turn.
    pub(crate) simulates: Arc<Semaphore>,
    /// Proxies that are heard.
    pub(crate) proxies: Arc<Proxies>,
}

impl Agent {
    pub(crate) fn picture(&self) -> Arc<Picture> {
        Arc::clone(&self.picture.borrow())
    }

    fn turned_us_ago(&self) -> u64 {
        boottime().0.saturating_sub(self.turned.load(Ordering::Relaxed))
    }

    fn leader(&self) -> Result<MemberName, ApiError> {
        let picture = self.picture();
        let record = picture.store.leadership.as_ref();
        record.map(|r| r.leader.name.clone()).ok_or_else(|| {
            ApiError::unavailable("no_leader", "the cluster has no leader yet", "dauphin status --watch")
        })
    }

    fn named(&self, name: &str) -> Result<MemberName, ApiError> {
        view::known(&self.picture(), name).map(|member| member.name.clone())
    }

    /// A member without a vote in the store is one loss less that the cluster survives.
    fn tell_of_votes(&self, cluster: &mut dto::Cluster) {
        let health = self.store.health().borrow().clone();
        if health.standing == Standing::Removed || health.voters.is_empty() {
            let text = "this agent has no part in the store, and what it says may be old: ask another member";
            cluster.problems.insert(0, text.to_owned());
            return;
        }
        let engine = self.picture().spec.engine;
        for member in &mut cluster.members {
            if !health.voters.iter().any(|v| v.as_str() == member.name) {
                let remark = view::told(engine, &Remark::NoVote { member: member.name.clone() });
                cluster.problems.push(format!("{}: {}: {}", member.name, remark.text, remark.next));
                member.remarks.push(remark);
            }
        }
    }

    /// Only who has a part in the store can change its members.
    fn has_a_part(&self) -> Result<(), ApiError> {
        if self.store.health().borrow().standing == Standing::Removed {
            let text = format!("{} has no vote in the store any more, and cannot change it", self.me);
            return Err(ApiError::unavailable("no_vote", text, "the same, with the file of another member (--config)"));
        }
        Ok(())
    }

    /// A leader may be about to open, or have been open all along, as far as an agent that has only just started can tell: it
    /// has not even read who leads.
    async fn until_open(&self, progress: &Progress) -> Result<(), ApiError> {
        let mut told = false;
        let deadline = Instant::now() + OPEN_WITHIN;
        loop {
            if view::is_open(&self.picture()) {
                return Ok(());
            }
            let leader = self.leader();
            if Instant::now() > deadline {
                let text = format!("{} led last and lets nobody in just now", leader?);
                let next = "dauphin status --watch, until a leader is open; dauphin explain tells why";
                return Err(ApiError::unavailable("not_open", text, next));
            }
            if !told {
                progress.say(match leader {
                    Ok(leader) => format!("{leader} led last and is not seen to be open: waits for it"),
                    Err(_) => "no leader is known here yet: waits for one".to_owned(),
                });
                told = true;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The member of that name, which has a server.
    fn with_server(&self, name: &str) -> Result<MemberName, ApiError> {
        let member = self.named(name)?;
        let witness = self.picture().spec.member(&member).is_some_and(|m| m.kind == MemberKind::Witness);
        if witness {
            let text = format!("{member} is a witness: it has a vote, and no server");
            return Err(ApiError::usage("witness", text, "dauphin status lists the members"));
        }
        Ok(member)
    }

    /// What came of a command, as the cluster stands now.
    fn done(&self, message: String) -> dto::Done {
        let picture = self.picture();
        let record = picture.store.leadership.as_ref();
        dto::Done {
            message,
            leader: record.map(|r| r.leader.name.to_string()),
            term: record.map(|r| r.term.0),
            gap_ms: None,
            lost: None,
        }
    }

    /// What the present leadership may have cost, if a person accepted that after the term `before`: the word of it comes
    /// through the store.
    async fn at_risk(&self, before: Term) -> Option<String> {
        let record = self.picture().store.leadership.clone().filter(|r| r.evidence == Evidence::DataLossAccepted)?;
        let deadline = Instant::now() + STORE_WITHIN;
        loop {
            let entries = self.entries();
            let since = |e: &&Entry| matches!(e.reason, Reason::RangeAtRisk { term, .. } if term > before && term <= record.term);
            if let Some(entry) = entries.iter().rev().find(since) {
                return Some(entry.text());
            }
            if Instant::now() > deadline {
                return Some("what was lost is not known yet: dauphin explain".to_owned());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn lines(&self) -> Vec<Line> {
        let snapshot = self.store.watch().borrow().clone();
        self.journal.all(&snapshot)
    }

    fn entries(&self) -> Vec<Entry> {
        decisions(&self.lines())
    }
}

/// Puts what was mended on a member into what is said of it.
fn mended(name: &str, lines: &[Line], explained: &mut dto::Explanation) {
    let of = |line: &&Line| matches!(line, Line::Treated(treated) if treated.member.as_str() == name);
    let treated: Vec<dto::JournalEntry> = lines.iter().rev().filter(of).take(MENDED_SHOWN_MAX).map(Line::dto).collect();
    if let Some(last) = treated.first() {
        explained.summary = format!("{} Last mended by itself, at {}: {}.", explained.summary, last.at, last.text);
    }
    explained.entries.extend(treated);
    explained.entries.sort_by_key(|entry| entry.id);
}

impl Operations for Agent {
    fn cluster(&self) -> dto::Cluster {
        let version = self.server.as_ref().map(|s| s.engine.version());
        let (picture, now) = (self.picture(), boottime());
        let mut cluster = view::cluster(&picture, now, version);
        self.care.tell(&mut cluster, &picture, now, true);
        self.vigil.tell(&mut cluster, &picture, now);
        self.tell_of_votes(&mut cluster);
        cluster
    }

    fn health(&self) -> HealthView {
        view::health(&self.picture(), boottime(), self.turned_us_ago() < TURNS_WITHIN_US)
    }

    fn metrics_text(&self) -> String {
        metrics::text(
            &self.picture(),
            &self.alerts,
            &self.vigil,
            &self.care,
            &self.journal,
            self.turned_us_ago() / 1_000,
        )
    }

    fn events(&self) -> broadcast::Receiver<dto::Event> {
        self.journal.events.subscribe()
    }

    async fn history(&self) -> Answer<dto::History> {
        let past: Vec<HistoryRecord> = keys::get(&self.store.watch().borrow(), &keys::history()).unwrap_or_default();
        let cuts: Vec<CutRecord> = keys::get(&self.store.watch().borrow(), &keys::cut_off()).unwrap_or_default();
        let engine = self.picture().spec.engine;
        let entry = |h: &HistoryRecord| view::history(engine, h, view::lost(engine, &h.past, &cuts));
        Ok(dto::History { history: past.iter().map(entry).collect() })
    }

    async fn journal(&self, after: Option<u64>, limit: usize) -> Answer<dto::Journal> {
        let all = self.lines();
        let entries: Vec<dto::JournalEntry> = match after {
            Some(after) => all.iter().filter(|line| line.id() > after).take(limit).map(Line::dto).collect(),
            None => all.iter().skip(all.len().saturating_sub(limit)).map(Line::dto).collect(),
        };
        Ok(dto::Journal { entries })
    }

    async fn explain(&self, id: Option<u64>) -> Answer<dto::Explanation> {
        let lines = self.lines();
        // what was mended stands for itself
        if let Some(Line::Treated(treated)) = lines.iter().find(|line| Some(line.id()) == id) {
            let entry = Line::Treated(treated.clone()).dto();
            let summary = format!("{}: {}", treated.member, treated.text());
            return Ok(dto::Explanation { summary, entries: vec![entry] });
        }
        let all = decisions(&lines);
        let chosen = match id {
            Some(id) => all.iter().find(|e| e.id == id),
            None => {
                // why commits wait is what is asked, while they do
                let short = self.picture().leading().is_some_and(|l| l.short);
                all.iter().rev().find(|e| match e.reason {
                    Reason::Opened { .. }
                    | Reason::TooFewAnswers { .. }
                    | Reason::HeldBesideStray { .. }
                    | Reason::HeldByNewer { .. }
                    | Reason::Quarantined { .. } => true,
                    Reason::ShortOfReplicas { .. } => short,
                    _ => false,
                })
            }
        };
        let Some(chosen) = chosen else {
            if id.is_none() {
                let text = "the journal holds no decision yet; it follows within seconds";
                return Err(ApiError::unavailable("no_decision", text, "dauphin explain, once more"));
            }
            return Err(ApiError::new(
                dauphin_api::error::Kind::NotFound,
                "no_such_decision",
                "there is no such decision in the journal",
                "dauphin history, or dauphin explain without a number",
            ));
        };
        Ok(why::explanation(&all, chosen))
    }

    async fn explain_member(&self, name: String) -> Answer<dto::Explanation> {
        let picture = self.picture();
        let spec = view::known(&picture, &name)?;
        let cluster = self.cluster();
        let member = view::member(&picture, boottime(), spec);
        let member = cluster.members.iter().find(|m| m.name == name).cloned().unwrap_or(member);
        let lines = self.lines();
        let leader = cluster.leader.as_deref().and_then(|leader| view::known(&picture, leader).ok());
        let asked = Asked { cluster: &cluster, spec, member: &member, leader, all: &decisions(&lines) };
        let mut explained = asked.explain();
        mended(&name, &lines, &mut explained);
        Ok(explained)
    }

    async fn what_if(&self, suppose: Suppose) -> Answer<dto::WhatIf> {
        let Ok(turn) = Arc::clone(&self.simulates).try_acquire_owned() else {
            let text = "something else is being simulated";
            return Err(ApiError::unavailable("busy", text, "the same again in some seconds"));
        };
        let picture = self.picture();
        let question = WhatIf::new(&picture, &view::cluster(&picture, boottime(), None), &suppose)?;
        let answer = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            question.answer()
        });
        answer.await.map_err(|error| ApiError::failed("simulation", error.to_string(), "dauphin status"))?
    }

    async fn config(&self) -> Answer<dto::Config> {
        Ok(change::show(&self.store, &self.picture()))
    }

    async fn config_history(&self) -> Answer<dto::ConfigHistory> {
        Ok(change::history(&self.store))
    }

    async fn store_status(&self) -> Answer<dto::StoreStatus> {
        let status = self.store.status();
        let picture = self.picture();
        let address = |name: &MemberName| {
            picture.spec.member(name).map_or_else(String::new, |m| format!("{}:{}", m.host, m.link_port))
        };
        let member = |name: &MemberName, role: &str| dto::StoreMember {
            name: name.to_string(),
            address: address(name),
            role: if status.health.leader.as_ref() == Some(name) { "leader".to_owned() } else { role.to_owned() },
            matched: status.progress.get(name).and_then(|p| p.matched),
        };
        let voters = status.health.voters.iter().map(|n| member(n, "voter"));
        let learners = status.health.learners.iter().map(|n| member(n, "learner"));
        Ok(dto::StoreStatus {
            kind: "raft".to_owned(),
            leader: status.health.leader.as_ref().map(ToString::to_string),
            term: Some(status.health.term),
            applied: Some(status.applied.0),
            snapshot: status.snapshot,
            members: voters.chain(learners).collect(),
        })
    }

    async fn proxies(&self) -> Answer<dto::Proxies> {
        let picture = self.picture();
        let leads = picture.store.leadership.as_ref().filter(|_| view::is_open(&picture)).map(|r| &r.leader.name);
        Ok(self.proxies.document(Instant::now(), leads))
    }

    async fn alerts(&self) -> Answer<dto::Alerts> {
        Ok(self.alerts.document())
    }

    async fn alerts_test(&self) -> Answer<dto::NotifyTest> {
        Ok(self.alerts.rehearse().await)
    }

    async fn alerts_silence(&self, request: dto::SilenceRequest) -> Answer<dto::Done> {
        self.has_a_part()?;
        Ok(self.done(self.alerts.silence(request).await?))
    }

    async fn alerts_unsilence(&self, request: dto::UnsilenceRequest) -> Answer<dto::Done> {
        self.has_a_part()?;
        Ok(self.done(self.alerts.unsilence(request.id).await?))
    }

    async fn alerts_ack(&self, request: dto::AcknowledgeRequest) -> Answer<dto::Done> {
        self.has_a_part()?;
        Ok(self.done(self.alerts.acknowledge(request).await?))
    }

    async fn switchover(&self, request: dto::SwitchoverRequest, progress: Progress) -> Answer<dto::Done> {
        let to = request.to.as_deref().map(|name| self.named(name)).transpose()?;
        self.until_open(&progress).await?;
        let leader = self.leader()?;
        let begun = Instant::now();
        self.have(&leader, Ask::Switchover { to }, COMMAND_WITHIN, &progress).await?;
        let gap_ms = u64::try_from(begun.elapsed().as_millis()).ok();
        let done = self.done(String::new());
        let message = format!("{} leads in term {}", done.leader.clone().unwrap_or_default(), done.term.unwrap_or(0));
        Ok(dto::Done { message, gap_ms, ..done })
    }

    async fn failover(&self, request: dto::FailoverRequest, progress: Progress) -> Answer<dto::Done> {
        let to = self.named(&request.to)?;
        let before = self.picture().store.leadership.as_ref().map(|r| r.term).unwrap_or_default();
        self.have(&to, Ask::Failover { allow_data_loss: request.allow_data_loss }, COMMAND_WITHIN, &progress).await?;
        let done = self.done(String::new());
        let message = format!("{to} leads in term {}", done.term.unwrap_or(0));
        Ok(dto::Done { message, lost: self.at_risk(before).await, ..done })
    }

    async fn restart(&self, request: dto::RestartRequest, progress: Progress) -> Answer<dto::Done> {
        let members = match &request.member {
            Some(name) => vec![self.with_server(name)?],
            None => change::restart_order(&self.picture()),
        };
        if request.if_pending {
            self.pending_is_known(&members).await;
        }
        let (mut restarted, before) = (Vec::new(), self.leader().ok());
        for member in members {
            let pending = self.picture().beat_of(&member).is_some_and(|b| b.pending_restart > 0);
            if request.if_pending && !pending {
                continue;
            }
            progress.say(format!("restarting {member}"));
            self.have(&member, Ask::Restart, COMMAND_WITHIN, &progress).await?;
            self.until_back(&member, &progress).await?;
            restarted.push(member.to_string());
        }
        let moved = self.leader().ok().filter(|now| before.as_ref().is_some_and(|b| b != now));
        let moved = moved.map(|now| format!("; {now} leads now")).unwrap_or_default();
        let message = if restarted.is_empty() {
            "nothing waits for a restart".to_owned()
        } else {
            format!("restarted {}{moved}", restarted.join(", "))
        };
        Ok(self.done(message))
    }

    async fn reinit(&self, request: dto::ReinitRequest, progress: Progress) -> Answer<dto::Done> {
        let member = self.with_server(&request.member)?;
        if self.leader().is_ok_and(|leader| leader == member) {
            let text = format!("{member} leads, and a leader's data is not thrown away");
            return Err(ApiError::refused("leads", text, format!("dauphin switchover, then dauphin reinit {member}")));
        }
        self.have(&member, Ask::Reinit, REINIT_WITHIN, &progress).await?;
        Ok(self.done(format!("{member} holds a fresh copy and follows")))
    }

    async fn pause(&self) -> Answer<dto::Done> {
        self.has_a_part()?;
        self.command(Command::Pause).await?;
        Ok(self.done("automatic failover is paused; `dauphin resume` switches it on again".to_owned()))
    }

    async fn resume(&self) -> Answer<dto::Done> {
        self.command(Command::Resume).await?;
        Ok(self.done("automatic failover is on".to_owned()))
    }

    async fn config_set(&self, request: dto::ConfigSetRequest, _progress: Progress) -> Answer<dto::ConfigChange> {
        change::set(&self.store, &self.picture(), self.server.as_deref(), request).await
    }

    async fn config_undo(&self, _progress: Progress) -> Answer<dto::ConfigChange> {
        change::undo(&self.store, &self.picture(), self.server.as_deref()).await
    }

    async fn store_add(&self, request: dto::StoreMemberRequest) -> Answer<dto::Done> {
        self.has_a_part()?;
        let member = self.named(&request.member)?;
        self.store.add_member(&member, STORE_WITHIN).await.map_err(store_error)?;
        Ok(self.done(format!("{member} has a vote in the store")))
    }

    async fn store_remove(&self, request: dto::StoreMemberRequest) -> Answer<dto::Done> {
        self.has_a_part()?;
        let member = self.named(&request.member)?;
        // a member that lives would go on with the view of the store that it had, and never hear of anything later
        if self.picture().beat_of(&member).is_some() {
            let text = format!("{member} is alive, and its agent needs the store");
            return Err(ApiError::refused(
                "member_lives",
                text,
                format!("stop the agent of {member} first, then the same"),
            ));
        }
        self.store.remove_member(&member, STORE_WITHIN).await.map_err(store_error)?;
        let left = self.store.health().borrow().voters.iter().filter(|v| **v != member).count();
        let back = format!("`dauphin store add {member}` gives it back");
        Ok(self.done(format!("{member} has no vote in the store any more; {left} are left. {back}")))
    }

    async fn store_snapshot(&self) -> Answer<dto::Done> {
        self.store.snapshot().await.map_err(store_error)?;
        Ok(self.done("the store's state is being saved".to_owned()))
    }
}

fn store_error(error: dauphin_store::StoreError) -> ApiError {
    match error {
        dauphin_store::StoreError::Refused { .. } => {
            ApiError::refused("store", error.to_string(), "dauphin store status")
        }
        error => ApiError::unavailable("store", error.to_string(), "dauphin store status"),
    }
}
