//! What has to happen on a certain member: done here by the core, or asked of the agent there, with progress told and the
//! end waited for. Called by `operations` and, for another agent, by the desk. The checks are the core's.

use crate::engine::mysql::{Answer, Question};
use crate::operations::{Agent, COMMAND_WITHIN, LOOK_EVERY};
use crate::picture::Picture;
use crate::vigil::Report;
use bytes::Bytes;
use dauphin_api::Progress;
use dauphin_api::error::ApiError;
use dauphin_ha::{Command, Reason, Refusal, Role};
use dauphin_model::{MemberName, Run};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(1_000);
/// How long members may take to notice that a setting waits for a restart.
const PENDING_WITHIN: Duration = Duration::from_secs(4);

/// What one agent asks of another.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    /// Write a checkpoint: a rewind needs it.
    Checkpoint,
    /// Whether your server is of this major version: your data is to be copied.
    Runs { major: u32 },
    /// Hand leadership over.
    Switchover { to: Option<MemberName> },
    /// Become the leader.
    Failover { allow_data_loss: bool },
    /// Restart your server.
    Restart,
    /// Copy your data again.
    Reinit,
    /// What your server says.
    Engine(Question),
    /// What your machine suffers from, and what time it is there.
    Vitals,
}

/// Code of the answer that names another major version.
pub(crate) const OTHER_VERSION: &str = "other_version";

/// The answer between agents.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Told {
    Done,
    Error(ApiError),
    Engine(Answer),
    Vitals(Box<Report>),
}

impl Agent {
    /// A question of another agent.
    pub(crate) async fn asked(self: Arc<Self>, body: &[u8]) -> Result<Bytes, dauphin_net::Refusal> {
        let ask: Ask = serde_json::from_slice(body).map_err(|e| dauphin_net::Refusal(e.to_string()))?;
        let told = match ask {
            Ask::Engine(question) => self.says(question).await.map(Told::Engine),
            Ask::Vitals => Ok(Told::Vitals(Box::new(self.vigil.report()))),
            ask => self.do_here(ask).await.map(|()| Told::Done),
        };
        let told = told.unwrap_or_else(Told::Error);
        Ok(Bytes::from(serde_json::to_vec(&told).unwrap_or_default()))
    }

    /// Another agent wants the next part of a copy.
    pub(crate) async fn give(&self, taker: &MemberName, body: &[u8]) -> Result<Bytes, dauphin_net::Refusal> {
        let part = serde_json::from_slice(body).map_err(|e| dauphin_net::Refusal(e.to_string()))?;
        let server = self.server.as_ref().ok_or_else(|| dauphin_net::Refusal("a witness has no data".to_owned()))?;
        server.engine.give(taker, part).await.map_err(dauphin_net::Refusal)
    }

    /// Does what this member alone can do.
    async fn do_here(&self, ask: Ask) -> Result<(), ApiError> {
        let command = match ask {
            Ask::Checkpoint => return self.checkpoint().await,
            Ask::Runs { major } => return self.runs(major),
            Ask::Engine(question) => return self.says(question).await.map(drop),
            Ask::Vitals => return Ok(()),
            Ask::Switchover { to } => {
                if let (Some(server), Some(to)) = (&self.server, &to) {
                    server.engine.check_hand_over(server, to).await?;
                }
                // written before anybody waits: the stop's own checkpoint is then short
                if self.picture().role == Role::Leader {
                    self.checkpoint().await?;
                }
                Command::Switchover { to }
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

    /// What this member's own server says.
    async fn says(&self, question: Question) -> Result<Answer, ApiError> {
        match &self.server {
            Some(server) => server.engine.asked(question).await,
            None => Err(ApiError::failed("witness", format!("{} is a witness: it has no server", self.me), "")),
        }
    }

    fn runs(&self, major: u32) -> Result<(), ApiError> {
        let ours = self.server.as_ref().map(|s| s.engine.series());
        match ours {
            Some(ours) if ours != major.to_string() => Err(ApiError::refused(OTHER_VERSION, ours, "")),
            Some(_) | None => Ok(()),
        }
    }

    async fn checkpoint(&self) -> Result<(), ApiError> {
        let Some(server) = &self.server else { return Ok(()) };
        server.engine.checkpoint().await.map_err(|e| {
            ApiError::failed("checkpoint", e.to_string(), "dauphin status, and dauphin explain if the server ended")
        })
    }

    pub(crate) async fn command(&self, command: Command) -> Result<(), ApiError> {
        match self.inbox.ask(command).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(refusal)) => Err(refused(&refusal, &self.me)),
            Err(_) => Err(ApiError::unavailable("ending", "the agent is ending", "ask another member")),
        }
    }

    /// Has a member do something: ourselves, or another one over the link.
    pub(crate) async fn have(
        &self,
        member: &MemberName,
        ask: Ask,
        within: Duration,
        progress: &Progress,
    ) -> Result<(), ApiError> {
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
                Ok(Told::Done | Told::Engine(_) | Told::Vitals(_)) => Ok(()),
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
        states.collect::<Vec<_>>().join(", ")
    }

    /// Waits until every one of these members says that it waits for a restart, or had the time to say so.
    pub(crate) async fn pending_is_known(&self, members: &[MemberName]) {
        let deadline = Instant::now() + PENDING_WITHIN;
        let waits = |picture: &Picture, m: &MemberName| picture.beat_of(m).is_none_or(|b| b.pending_restart > 0);
        while Instant::now() < deadline && !members.iter().all(|m| waits(&self.picture(), m)) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until a restarted member serves again.
    pub(crate) async fn until_back(&self, member: &MemberName, progress: &Progress) -> Result<(), ApiError> {
        let deadline = Instant::now() + COMMAND_WITHIN;
        let mut told = Instant::now();
        loop {
            let picture = self.picture();
            let leads = picture.store.leadership.as_ref().is_some_and(|r| r.leader.name == *member);
            let serves = |b: &dauphin_ha::Beat| {
                b.run == Run::Running && b.serves && (leads || (b.role == Role::Replica && b.streaming))
            };
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
}

/// A refusal of the core, for a person.
fn refused(refusal: &Refusal, me: &MemberName) -> ApiError {
    let text = refusal.to_string();
    // who shows it says so
    let text = text.strip_prefix("refused: ").unwrap_or(&text).to_owned();
    match refusal {
        Refusal::Unsafe(reason) => ApiError::refused(reason.code(), text, next_for(reason, me)),
        Refusal::NotNow(reason) => ApiError::unavailable(reason.code(), text, next_for(reason, me)),
        Refusal::AskLeader(_) => ApiError::unavailable("ask_leader", text, "dauphin status"),
    }
}

fn next_for(reason: &Reason, me: &MemberName) -> String {
    match reason {
        Reason::WouldLose { .. }
        | Reason::TooFewAnswers { .. }
        | Reason::HeldBesideStray { .. }
        | Reason::HeldByNewer { .. } => {
            format!("bring one of them back; dauphin failover --to {me} --allow-data-loss gives up what they hold")
        }
        Reason::NotFit { .. } => "dauphin status".to_owned(),
        Reason::KeepsData { .. } => "dauphin status --watch, until a leader is open; then once more".to_owned(),
        _ => "dauphin explain".to_owned(),
    }
}
