//! Hears from every agent where clients go, over the members' link. It only passes on what it hears.

use crate::ProxyError;
use crate::config::{AgentLink, Config};
use dauphin_model::route::{ROUTE_BYTES_MAX, ROUTE_CHANNEL};
use dauphin_model::{MemberName, Route};
use dauphin_net::{Identity, Link, Peer};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long an agent may take to accept a subscription.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause before an agent is asked again.
const RETRY: Duration = Duration::from_millis(100);

/// Most words of agents that wait to be merged.
const HEARD_MAX: usize = 256;

/// What comes from the agents.
#[derive(Debug, Clone)]
pub enum Heard {
    /// An agent says where clients go.
    Route(Box<Route>),
    /// The link with this member's agent is down.
    Lost(MemberName),
}

/// Follows all agents that the configuration names. Ends when the receiver is dropped.
pub(crate) fn agents(config: &Config) -> Result<mpsc::Receiver<Heard>, ProxyError> {
    if config.agents.is_empty() {
        return Err(ProxyError::NoAgents);
    }
    let identity = Arc::new(Identity::load(&config.identity)?);
    let (sender, receiver) = mpsc::channel(HEARD_MAX);
    for AgentLink { member, host, port } in &config.agents {
        let link = Link::new(Peer::member(member), format!("{host}:{port}"), Arc::clone(&identity));
        tokio::spawn(follow(member.clone(), link, sender.clone()));
    }
    Ok(receiver)
}

async fn follow(member: MemberName, link: Link, heard: mpsc::Sender<Heard>) {
    while !heard.is_closed() {
        match link.subscribe(ROUTE_CHANNEL, Vec::new().into(), SUBSCRIBE_TIMEOUT).await {
            Ok(mut events) => {
                while let Some(event) = events.recv().await {
                    if let Some(route) = read(&member, &event)
                        && heard.send(Heard::Route(Box::new(route))).await.is_err()
                    {
                        return;
                    }
                }
            }
            Err(error) => tracing::debug!(%member, %error, "the agent does not say where clients go"),
        }
        if heard.send(Heard::Lost(member.clone())).await.is_err() {
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// An agent speaks for itself only.
fn read(member: &MemberName, event: &[u8]) -> Option<Route> {
    if event.len() > ROUTE_BYTES_MAX {
        tracing::warn!(%member, bytes = event.len(), "the agent's route is too long and not used");
        return None;
    }
    match serde_json::from_slice::<Route>(event) {
        Ok(route) if route.from == *member => Some(route),
        Ok(route) => {
            tracing::warn!(%member, claims = %route.from, "the agent speaks in another member's name and is not believed");
            None
        }
        Err(error) => {
            tracing::warn!(%member, %error, "the agent's route cannot be read: are both of the same version?");
            None
        }
    }
}
