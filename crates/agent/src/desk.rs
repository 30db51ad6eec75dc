//! What comes over the link from other members and from proxies: the store's calls, the core's messages, questions between
//! agents, and who wants to know where clients go. It hands on; it decides nothing.

use crate::links::{ASK_CHANNEL, COPY_CHANNEL, Links, MESSAGE_CHANNEL, STORE_CHANNEL};
use crate::mind::Inbox;
use crate::operations::Agent;
use crate::proxies::Proxies;
use bytes::Bytes;
use dauphin_ha::Event;
use dauphin_model::proxies::PROXY_CHANNEL;
use dauphin_model::route::ROUTE_CHANNEL;
use dauphin_model::{MemberName, Route};
use dauphin_net::{BoxFuture, Handler, Peer, PeerKind, Refusal};
use dauphin_store::Store;
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tokio::sync::{mpsc, watch};

/// How many changes of the route may wait for a slow proxy.
const ROUTES_MAX: usize = 16;

/// What comes over the link from other members and from proxies.
pub(crate) struct Desk {
    pub(crate) store: Arc<OnceLock<Store>>,
    pub(crate) inbox: Inbox,
    pub(crate) route: watch::Sender<Option<Route>>,
    pub(crate) proxies: Arc<Proxies>,
    pub(crate) agent: OnceLock<Arc<Agent>>,
}

impl Handler for Desk {
    fn call(&self, peer: Peer, channel: u8, body: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let (store, agent) = (self.store.get().cloned(), self.agent.get().cloned());
        Box::pin(async move {
            if peer.kind != PeerKind::Member {
                return Err(Refusal("only members may ask this".to_owned()));
            }
            let name = MemberName::new(peer.name.as_str()).map_err(|e| Refusal(e.to_string()))?;
            match (channel, store, agent) {
                (STORE_CHANNEL, Some(store), _) => store.handle(&name, body).await.map_err(|e| Refusal(e.to_string())),
                (ASK_CHANNEL, _, Some(agent)) => agent.asked(&body).await,
                (COPY_CHANNEL, _, Some(agent)) => agent.give(&name, &body).await,
                (STORE_CHANNEL | ASK_CHANNEL | COPY_CHANNEL, _, _) => {
                    Err(Refusal("the agent is starting; ask again".to_owned()))
                }
                _ => Err(Refusal(format!("nothing is asked on channel {channel}"))),
            }
        })
    }

    fn note(&self, peer: Peer, channel: u8, body: Bytes) {
        if channel == PROXY_CHANNEL && peer.kind == PeerKind::Proxy {
            return self.proxies.note(peer.name.as_str(), &body, Instant::now());
        }
        if channel != MESSAGE_CHANNEL || peer.kind != PeerKind::Member {
            return;
        }
        if let (Ok(from), Some(message)) = (MemberName::new(peer.name.as_str()), Links::read(&body)) {
            self.inbox.tell(Event::Message { from, message: Box::new(message) });
        }
    }

    fn subscribe(&self, _peer: Peer, channel: u8, _body: Bytes) -> Result<mpsc::Receiver<Bytes>, Refusal> {
        if channel != ROUTE_CHANNEL {
            return Err(Refusal(format!("channel {channel} has nothing to follow")));
        }
        let mut routes = self.route.subscribe();
        let (sender, receiver) = mpsc::channel(ROUTES_MAX);
        tokio::spawn(async move {
            loop {
                let route = routes.borrow_and_update().clone();
                if let Some(route) = route {
                    let body = serde_json::to_vec(&route).unwrap_or_default();
                    if sender.send(Bytes::from(body)).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    changed = routes.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                }
            }
        });
        Ok(receiver)
    }
}
