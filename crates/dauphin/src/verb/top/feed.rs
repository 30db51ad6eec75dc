//! Asks the agents in threads of its own, so that the screen never waits, and gives them commands. Started by `top`.

use super::state::{Command, Question, Update};
use crate::look::wrap;
use crate::verb::{explain, what_if};
use dauphin_api::dto::{self, Done, NoArguments};
use dauphin_api::{Client, ClientError};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// How often the cluster is asked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Of these looks, the first and every fourth also ask for journal and alerts.
const MORE_EVERY: u32 = 4;
/// Decisions shown.
const DECISIONS: usize = 50;
/// Width of texts read on the screen.
const TEXT_COLUMNS: usize = 92;

/// Who asks.
pub(super) struct Feed {
    client: Client,
    updates: Sender<Update>,
}

/// Begins to ask; what comes back.
pub(super) fn start(client: Client) -> (Receiver<Update>, Feed) {
    let (updates, received) = channel();
    let (asks, told) = (client.clone(), updates.clone());
    std::thread::spawn(move || {
        let mut looks: u32 = 0;
        // until nobody reads any more
        while told.send(Update::Cluster(asks.cluster().map(Box::new).map_err(text))).is_ok() {
            if looks.is_multiple_of(MORE_EVERY) {
                if let Ok(journal) = asks.get::<dto::Journal>(&format!("/v1/journal?limit={DECISIONS}")) {
                    let _ = told.send(Update::Journal(journal.entries));
                }
                if let Ok(alerts) = asks.get::<dto::Alerts>("/v1/alerts") {
                    let _ = told.send(Update::Alerts(alerts.alerts));
                }
            }
            looks = looks.wrapping_add(1);
            std::thread::sleep(LOOK_EVERY);
        }
    });
    (received, Feed { client, updates })
}

fn text(error: ClientError) -> String {
    error.to_string()
}

impl Feed {
    /// Gives a command; how it goes comes as updates.
    pub(super) fn give(&self, command: Command) {
        let (client, updates) = (self.client.clone(), self.updates.clone());
        std::thread::spawn(move || {
            let mut progress = |text: &str| {
                let _ = updates.send(Update::Progress(text.to_owned()));
            };
            let done: Result<Done, ClientError> = match command {
                Command::Switchover(to) => {
                    client.post("/v1/switchover", &dto::SwitchoverRequest { to: Some(to) }, &mut progress)
                }
                Command::Restart(member) => {
                    let request = dto::RestartRequest { member: Some(member), if_pending: false };
                    client.post("/v1/restart", &request, &mut progress)
                }
                Command::Reinit(member) => client.post("/v1/reinit", &dto::ReinitRequest { member }, &mut progress),
                Command::Pause => client.post("/v1/pause", &NoArguments {}, &mut progress),
                Command::Resume => client.post("/v1/resume", &NoArguments {}, &mut progress),
            };
            let _ = updates.send(Update::Done(done.map(|done| done.message).map_err(text)));
        });
    }

    /// Asks for something to read.
    pub(super) fn ask(&self, question: Question) {
        let (client, updates) = (self.client.clone(), self.updates.clone());
        std::thread::spawn(move || {
            let (title, lines) = match question {
                Question::Explain(member) => {
                    let answer = client.get::<dto::Explanation>(&format!("/v1/explain?member={member}"));
                    (format!("why is it so with {member}"), answer.map(|a| explain::lines(&a, false)))
                }
                Question::WhatIf(member) => {
                    let answer = client.get::<dto::WhatIf>(&format!("/v1/what-if?kill={member}"));
                    (format!("what if {member} were killed"), answer.map(|a| what_if::lines(&a, false)))
                }
            };
            let lines = lines.unwrap_or_else(|error| wrap(&text(error), TEXT_COLUMNS));
            let _ = updates.send(Update::Text { title, lines });
        });
    }
}
