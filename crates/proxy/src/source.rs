//! Hears from every agent where clients go, over the members' link, and tells it how this proxy is. It only passes on what it hears.

use crate::ProxyError;
use crate::config::{AgentLink, Config};
use bytes::Bytes;
use dauphin_model::proxies::{PROXY_BYTES_MAX, PROXY_CHANNEL, ProxyNews};
use dauphin_model::route::{ROUTE_BYTES_MAX, ROUTE_CHANNEL};
use dauphin_model::{MemberName, Route};
use dauphin_net::ca::CERT_FILE;
use dauphin_net::{Identity, Link, Peer};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

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

/// Tells the agents of this proxy.
#[derive(Clone)]
pub(crate) struct News {
    sender: watch::Sender<Bytes>,
    identity: watch::Receiver<Option<Arc<Identity>>>,
}

impl News {
    /// All of them, as soon as they are reached; what is too long for them is not told.
    pub(crate) fn tell(&self, mut news: ProxyNews) {
        news.certificate_days =
            self.identity.borrow().as_ref().map(|identity| identity.days_left()).unwrap_or_default();
        match serde_json::to_vec(&news) {
            Ok(bytes) if bytes.len() <= PROXY_BYTES_MAX => drop(self.sender.send_replace(bytes.into())),
            _ => tracing::debug!("what this proxy does is too long to be told"),
        }
    }
}

/// The agents that are followed.
pub(crate) struct Agents {
    sender: mpsc::Sender<Heard>,
    followed: Vec<(AgentLink, AbortHandle)>,
    /// What they are told of this proxy.
    news: watch::Sender<Bytes>,
    /// Who it is to them.
    identity: watch::Sender<Option<Arc<Identity>>>,
    /// The certificate that we show them.
    certificate: Vec<u8>,
}

impl Agents {
    /// Follows all agents that the configuration names, until the receiver is dropped.
    ///
    /// # Errors
    /// [`ProxyError`] when there are none, or our certificate for them cannot be used.
    pub(crate) fn start(config: &Config) -> Result<(Self, mpsc::Receiver<Heard>), ProxyError> {
        let (sender, receiver) = mpsc::channel(HEARD_MAX);
        let mut agents = Self {
            sender,
            followed: Vec::new(),
            news: watch::Sender::default(),
            identity: watch::Sender::default(),
            certificate: Vec::new(),
        };
        agents.follow_those_of(config)?;
        Ok((agents, receiver))
    }

    /// Where what they are to be told goes, and who tells it.
    pub(crate) fn news(&self) -> News {
        News { sender: self.news.clone(), identity: self.identity.subscribe() }
    }

    /// Follows those that the configuration names now; all of them anew if our certificate is another one.
    ///
    /// # Errors
    /// As [`Self::start`]; nothing has changed then.
    pub(crate) async fn change(&mut self, config: &Config) -> Result<(), ProxyError> {
        for member in self.follow_those_of(config)? {
            // What it said last counts less than what the others say.
            let _ = self.sender.send(Heard::Lost(member)).await;
        }
        Ok(())
    }

    /// Gives those that are not followed any more.
    fn follow_those_of(&mut self, config: &Config) -> Result<Vec<MemberName>, ProxyError> {
        if config.agents.is_empty() {
            return Err(ProxyError::NoAgents);
        }
        let identity = Arc::new(Identity::load(&config.identity)?);
        let path = config.identity.join(CERT_FILE);
        let certificate = std::fs::read(&path).map_err(|source| ProxyError::File { path, source })?;
        let stays = |link: &AgentLink| certificate == self.certificate && config.agents.contains(link);
        let (kept, left): (Vec<_>, Vec<_>) = self.followed.drain(..).partition(|(link, _)| stays(link));
        self.followed = kept;
        self.certificate = certificate;
        self.identity.send_replace(Some(Arc::clone(&identity)));
        let left = left.into_iter().map(|(link, task)| {
            task.abort();
            link.member
        });
        let left = left.collect();
        for agent in &config.agents {
            if !self.followed.iter().any(|(link, _)| link == agent) {
                let AgentLink { member, host, port } = agent;
                let link = Link::new(Peer::member(member), format!("{host}:{port}"), Arc::clone(&identity));
                let task = tokio::spawn(follow(member.clone(), link, self.sender.clone(), self.news.subscribe()));
                self.followed.push((agent.clone(), task.abort_handle()));
            }
        }
        Ok(left)
    }
}

async fn follow(member: MemberName, link: Link, heard: mpsc::Sender<Heard>, mut news: watch::Receiver<Bytes>) {
    while !heard.is_closed() {
        match link.subscribe(ROUTE_CHANNEL, Vec::new().into(), SUBSCRIBE_TIMEOUT).await {
            Ok(mut events) => {
                loop {
                    let event = tokio::select! {
                        event = events.recv() => match event {
                            Some(event) => event,
                            None => break,
                        },
                        Ok(()) = news.changed() => {
                            // it is told anew in a moment
                            link.note(PROXY_CHANNEL, news.borrow_and_update().clone());
                            continue;
                        }
                    };
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
