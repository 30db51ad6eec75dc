//! What agents ask each other about their servers of MySQL or MariaDB, over the link. Answered from what this agent's own
//! server says; nothing is changed by it.

use super::{LOOK_LIMIT, MysqlHands};
use crate::asks::{Ask, Told};
use crate::engine::Error;
use crate::server::Server;
use bytes::Bytes;
use dauphin_engine::mysql::{Logged, Offer, Version};
use dauphin_model::{MemberName, Position, Voter};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A question.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Question {
    /// Whether commits of yours wait for this copy.
    Counts { voter: Voter },
    /// Which version you run.
    Runs,
    /// How far your log reaches.
    Position,
    /// What there is to copy.
    Offer,
    /// What your log holds.
    Logged,
}

/// Its answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Counts { counted: bool, version: Version },
    Runs { version: Version },
    Position(Option<Position>),
    Offer(Box<Offer>),
    Logged(Box<Logged>),
}

impl MysqlHands {
    pub(crate) async fn asked(&self, question: Question) -> Result<Answer, Error> {
        Ok(match question {
            Question::Counts { voter } => {
                Answer::Counts { counted: self.counts(&voter), version: self.server.version().clone() }
            }
            Question::Runs => Answer::Runs { version: self.server.version().clone() },
            Question::Position => Answer::Position(self.server.view(LOOK_LIMIT).await.position),
            Question::Offer => Answer::Offer(Box::new(self.server.offer().await?)),
            Question::Logged => Answer::Logged(Box::new(self.server.look(LOOK_LIMIT).await?.logged())),
        })
    }
}

impl Server {
    /// Asks the agent of another member about its server. `None`: no answer, or none to this.
    pub(super) async fn question(&self, of: &MemberName, question: Question, within: Duration) -> Option<Answer> {
        let body = Bytes::from(serde_json::to_vec(&Ask::Engine(question)).ok()?);
        let answer = self.links.ask(of, body, within).await.inspect_err(|error| tracing::debug!(%error, %of)).ok()?;
        match serde_json::from_slice(&answer) {
            Ok(Told::Engine(answer)) => Some(answer),
            Ok(told) => {
                tracing::debug!(?told, %of, "no answer to that");
                None
            }
            Err(error) => {
                tracing::debug!(%error, %of, "an answer cannot be read");
                None
            }
        }
    }
}
