//! What people ask of an agent over HTTP: answered from the picture, handed to the core, or passed on to the member that
//! can do it. The checks are the core's; this module only carries questions and answers.

use crate::change;
use crate::journal::{Entry, Journal};
use crate::keys::{self, HistoryRecord};
use crate::links::Links;
use crate::mind::Inbox;
use crate::picture::Picture;
use crate::server::Server;
use crate::{metrics, view};
use bytes::Bytes;
use dauphin_api::dto;
use dauphin_api::error::ApiError;
use dauphin_api::health::HealthView;
use dauphin_api::operations::Answer;
use dauphin_api::{Operations, Progress};
use dauphin_ha::{Command, Reason, Refusal, Role};
use dauphin_model::{Evidence, MemberName, Run, Term};
use dauphin_store::Store;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, watch};

/// How long a command may take in all; a copy takes as long as the data is large.
const COMMAND_WITHIN: Duration = Duration::from_secs(90);
const REINIT_WITHIN: Duration = Duration::from_secs(6 * 3_600);
/// The loop must turn at least this often for the agent to be alive.
const TURNS_WITHIN_US: u64 = 5_000_000;
/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(1_000);
/// How long the store may take for what is asked of it.
const STORE_WITHIN: Duration = Duration::from_secs(10);
/// How long members may take to notice that a setting waits for a restart.
const PENDING_WITHIN: Duration = Duration::from_secs(4);
/// How often it is looked whether something that is to come is there.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What one agent asks of another.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    /// Write a checkpoint: a rewind needs it.
    Checkpoint,
    /// Hand leadership over.
    Switchover { to: Option<MemberName> },
    /// Become the leader.
    Failover { allow_data_loss: bool },
    /// Restart your server.
    Restart,
    /// Copy your data again.
    Reinit,
}

/// The answer between agents.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Told {
    Done,
    Error(ApiError),
}

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
}

impl Agent {
    fn picture(&self) -> Arc<Picture> {
        Arc::clone(&self.picture.borrow())
    }

    fn turned_us_ago(&self) -> u64 {
        dauphin_guard::boottime().0.saturating_sub(self.turned.load(Ordering::Relaxed))
    }

    /// A question of another agent.
    pub(crate) async fn asked(self: Arc<Self>, body: &[u8]) -> Result<Bytes, dauphin_net::Refusal> {
        let ask: Ask = serde_json::from_slice(body).map_err(|e| dauphin_net::Refusal(e.to_string()))?;
        let told = match self.do_here(ask).await {
            Ok(()) => Told::Done,
            Err(error) => Told::Error(error),
        };
        Ok(Bytes::from(serde_json::to_vec(&told).unwrap_or_default()))
    }

    /// Does what this member alone can do.
    async fn do_here(&self, ask: Ask) -> Result<(), ApiError> {
        let command = match ask {
            Ask::Checkpoint => return self.checkpoint().await,
            Ask::Switchover { to } => {
                // written before anybody waits: the stop's own checkpoint is then short
                if self.picture().role == Role::Leader {
                    self.checkpoint().await?;
                }
                Command::Switchover { to, since: keys::now_text() }
            }
            Ask::Failover { allow_data_loss } => Command::Failover { allow_data_loss },
            Ask::Restart => {
                if self.picture().role == Role::Leader {
                    self.checkpoint().await?;
                }
                Command::Restart
            }
            Ask::Reinit => Command::Reinit,
        };
        self.command(command).await
    }

    async fn checkpoint(&self) -> Result<(), ApiError> {
        let Some(server) = &self.server else { return Ok(()) };
        server.postgres.checkpoint().await.map_err(|e| ApiError::failed("checkpoint", e.to_string(), ""))
    }

    async fn command(&self, command: Command) -> Result<(), ApiError> {
        match self.inbox.ask(command).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(refusal)) => Err(refused(&refusal)),
            Err(_) => Err(ApiError::unavailable("ending", "the agent is ending", "ask another member")),
        }
    }

    /// Has a member do something: ourselves, or another one over the link.
    async fn have(&self, member: &MemberName, ask: Ask, within: Duration, progress: &Progress) -> Result<(), ApiError> {
        let work = async {
            if *member == self.me {
                return self.do_here(ask).await;
            }
            let body = Bytes::from(serde_json::to_vec(&ask).unwrap_or_default());
            let answer = self.links.ask(member, body, within).await.map_err(|error| {
                let next = format!("see that the agent of {member} runs, then try again");
                ApiError::unavailable("unreachable", format!("{member}: {error}"), next)
            })?;
            match serde_json::from_slice::<Told>(&answer) {
                Ok(Told::Done) => Ok(()),
                Ok(Told::Error(error)) => Err(error),
                Err(error) => Err(ApiError::failed("answer", error.to_string(), "")),
            }
        };
        let telling = async {
            loop {
                tokio::time::sleep(PROGRESS_EVERY).await;
                progress.say(self.where_it_stands());
            }
        };
        tokio::select! {
            result = work => result,
            () = telling => unreachable!("it never ends"),
            () = tokio::time::sleep(within) => {
                Err(ApiError::failed("too_slow", format!("not done after {} s; it goes on", within.as_secs()), "dauphin status"))
            }
        }
    }

    fn where_it_stands(&self) -> String {
        let picture = self.picture();
        let states = picture.spec.members.iter().map(|m| {
            let beat = picture.beat_of(&m.name);
            let state = beat.map_or_else(|| "silent".to_owned(), |b| b.role.to_string());
            let busy = beat.and_then(|b| b.busy.clone()).map(|b| format!(" ({b})")).unwrap_or_default();
            format!("{} {state}{busy}", m.name)
        });
        let copy = self.server.as_ref().and_then(|s| s.copying.lock().ok().and_then(|c| c.clone()));
        let copy =
            copy.map(|p| format!("; copied {} MiB of {} MiB", p.done() >> 20, p.total() >> 20)).unwrap_or_default();
        states.collect::<Vec<_>>().join(", ") + &copy
    }

    fn leader(&self) -> Result<MemberName, ApiError> {
        let picture = self.picture();
        let record = picture.store.leadership.as_ref();
        record.map(|r| r.leader.name.clone()).ok_or_else(|| {
            ApiError::unavailable("no_leader", "the cluster has no leader yet", "dauphin status --watch")
        })
    }

    fn named(&self, name: &str) -> Result<MemberName, ApiError> {
        let picture = self.picture();
        view::known(&picture, name).ok_or_else(|| {
            let all: Vec<String> = picture.spec.members.iter().map(|m| m.name.to_string()).collect();
            ApiError::usage(
                "no_such_member",
                format!("there is no member {name:?}; there are {}", all.join(", ")),
                "dauphin status",
            )
        })
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
                return Some(entry.reason.to_string());
            }
            if Instant::now() > deadline {
                return Some("what was lost is not known yet: dauphin explain".to_owned());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until every one of these members says that it waits for a restart, or had the time to say so.
    async fn pending_is_known(&self, members: &[MemberName]) {
        let deadline = Instant::now() + PENDING_WITHIN;
        let waits = |picture: &Picture, m: &MemberName| picture.beat_of(m).is_none_or(|b| b.pending_restart > 0);
        while Instant::now() < deadline && !members.iter().all(|m| waits(&self.picture(), m)) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until a restarted member serves again.
    async fn until_back(&self, member: &MemberName, progress: &Progress) -> Result<(), ApiError> {
        let deadline = Instant::now() + COMMAND_WITHIN;
        let mut told = Instant::now();
        loop {
            let picture = self.picture();
            let leads = picture.store.leadership.as_ref().is_some_and(|r| r.leader.name == *member);
            let serves =
                |b: &dauphin_ha::Beat| b.run == Run::Running && (leads || (b.role == Role::Replica && b.streaming));
            if picture.beat_of(member).is_some_and(serves) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let text = format!("{member} was restarted and does not serve yet");
                return Err(ApiError::failed("too_slow", text, "dauphin status"));
            }
            if told.elapsed() >= PROGRESS_EVERY {
                told = Instant::now();
                progress.say(self.where_it_stands());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let snapshot = self.store.watch().borrow().clone();
        self.journal.all(&snapshot)
    }
}

/// The decision and what led to it, in a sentence or three.
fn why(entries: &[&Entry], chosen: &Entry) -> String {
    let mut parts: Vec<String> = Vec::new();
    if let Reason::Opened { .. } = &chosen.reason {
        let last = |wanted: fn(&Reason) -> bool| entries.iter().rev().find(|e| wanted(&e.reason) && e.id < chosen.id);
        let first =
            |wanted: fn(&Reason) -> bool, after: u64| entries.iter().find(|e| wanted(&e.reason) && e.id >= after);
        let decided = last(|r| matches!(r, Reason::Decided { .. }));
        let begun = decided.map_or(chosen.id, |d| d.id).saturating_sub(10_000_000);
        let cause = first(|r| matches!(r, Reason::SwitchoverStarted { .. } | Reason::Fencing { .. }), begun)
            .or_else(|| first(|r| matches!(r, Reason::LeaderGone { .. }), begun));
        parts.extend(cause.map(|e| e.reason.to_string()));
        parts.extend(decided.map(|e| e.reason.to_string()));
    }
    parts.push(chosen.reason.to_string());
    parts.join(". ")
}

/// A refusal of the core, for a person.
fn refused(refusal: &Refusal) -> ApiError {
    let text = refusal.to_string();
    // who shows it says so
    let text = text.strip_prefix("refused: ").unwrap_or(&text).to_owned();
    match refusal {
        Refusal::Unsafe(reason) => ApiError::refused(reason.code(), text, next_for(reason)),
        Refusal::NotNow(reason) => ApiError::unavailable(reason.code(), text, next_for(reason)),
        Refusal::AskLeader(_) => ApiError::unavailable("ask_leader", text, "dauphin status"),
    }
}

fn next_for(reason: &Reason) -> String {
    match reason {
        Reason::WouldLose { .. } | Reason::TooFewAnswers { .. } => {
            "dauphin failover --to M --allow-data-loss".to_owned()
        }
        Reason::NotFit { .. } => "dauphin status".to_owned(),
        _ => "dauphin explain".to_owned(),
    }
}

impl Operations for Agent {
    fn cluster(&self) -> dto::Cluster {
        let version = self.server.as_ref().map(|s| s.postgres.instance.bin.version.to_string());
        view::cluster(&self.picture(), version)
    }

    fn health(&self) -> HealthView {
        view::health(&self.picture(), self.turned_us_ago() < TURNS_WITHIN_US)
    }

    fn metrics_text(&self) -> String {
        metrics::text(&self.picture(), self.turned_us_ago() / 1_000)
    }

    fn events(&self) -> broadcast::Receiver<dto::Event> {
        self.journal.events.subscribe()
    }

    async fn history(&self) -> Answer<dto::History> {
        let past: Vec<HistoryRecord> = keys::get(&self.store.watch().borrow(), &keys::history()).unwrap_or_default();
        let entries = self.entries();
        let lost = |term: u64| {
            entries
                .iter()
                .filter(|e| matches!(e.reason, Reason::Diverged { .. }) && e.term.0 == term)
                .map(|e| e.reason.to_string())
                .next()
        };
        Ok(dto::History { history: past.iter().map(|h| view::history(h, lost(h.past.term.0))).collect() })
    }

    async fn journal(&self, after: Option<u64>, limit: usize) -> Answer<dto::Journal> {
        let all = self.entries();
        let entries: Vec<dto::JournalEntry> = match after {
            Some(after) => all.iter().filter(|e| e.id > after).take(limit).map(Entry::dto).collect(),
            None => all[all.len().saturating_sub(limit)..].iter().map(Entry::dto).collect(),
        };
        Ok(dto::Journal { entries })
    }

    async fn explain(&self, id: Option<u64>) -> Answer<dto::Explanation> {
        let all = self.entries();
        let chosen = match id {
            Some(id) => all.iter().find(|e| e.id == id),
            None => all.iter().rev().find(|e| {
                matches!(e.reason, Reason::Opened { .. } | Reason::TooFewAnswers { .. } | Reason::Quarantined { .. })
            }),
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
        // what led to it: this term's election, and what was seen in the moments before
        let before = chosen.id.saturating_sub(15_000_000);
        let entries: Vec<&Entry> = all.iter().filter(|e| e.id >= before && e.id <= chosen.id).collect();
        Ok(dto::Explanation { summary: why(&entries, chosen), entries: entries.into_iter().map(Entry::dto).collect() })
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

    async fn switchover(&self, request: dto::SwitchoverRequest, progress: Progress) -> Answer<dto::Done> {
        let to = request.to.as_deref().map(|name| self.named(name)).transpose()?;
        let leader = self.leader()?;
        self.have(&leader, Ask::Switchover { to }, COMMAND_WITHIN, &progress).await?;
        let done = self.done(String::new());
        let message = format!("{} leads in term {}", done.leader.clone().unwrap_or_default(), done.term.unwrap_or(0));
        Ok(dto::Done { message, ..done })
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
            Some(name) => vec![self.named(name)?],
            None => change::restart_order(&self.picture()),
        };
        if request.if_pending {
            self.pending_is_known(&members).await;
        }
        let mut restarted = Vec::new();
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
        let message = if restarted.is_empty() {
            "nothing waits for a restart".to_owned()
        } else {
            format!("restarted {}", restarted.join(", "))
        };
        Ok(self.done(message))
    }

    async fn reinit(&self, request: dto::ReinitRequest, progress: Progress) -> Answer<dto::Done> {
        let member = self.named(&request.member)?;
        if self.leader().is_ok_and(|leader| leader == member) {
            let text = format!("{member} leads, and a leader's data is not thrown away");
            return Err(ApiError::refused("leads", text, format!("dauphin switchover, then dauphin reinit {member}")));
        }
        self.have(&member, Ask::Reinit, REINIT_WITHIN, &progress).await?;
        Ok(self.done(format!("{member} holds a fresh copy and follows")))
    }

    async fn pause(&self) -> Answer<dto::Done> {
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
        let member = self.named(&request.member)?;
        self.store.add_member(&member, STORE_WITHIN).await.map_err(store_error)?;
        Ok(self.done(format!("{member} has a vote in the store")))
    }

    async fn store_remove(&self, request: dto::StoreMemberRequest) -> Answer<dto::Done> {
        let member = self.named(&request.member)?;
        self.store.remove_member(&member, STORE_WITHIN).await.map_err(store_error)?;
        Ok(self.done(format!("{member} has no vote in the store any more")))
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
