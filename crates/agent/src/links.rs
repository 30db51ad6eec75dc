//! The links to the other members: the core's messages, the store's, and what agents ask of each other. Notices at once
//! when a member's port refuses, and asks the second port before it says so.

use crate::mind::Inbox;
use crate::store_leader;
use bytes::Bytes;
use dauphin_ha::{Event, Message};
use dauphin_model::{MemberKind, MemberName, MemberSpec, Spec};
use dauphin_net::{CallError, Down, Identity, Link, LinkState, Peer, STORE_TOS};
use dauphin_store::{BoxFuture, RaftTransport, Store, TransportError};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Channel of the store's calls.
pub(crate) const STORE_CHANNEL: u8 = 1;
/// Channel of the core's messages.
pub(crate) const MESSAGE_CHANNEL: u8 = 2;
/// Channel of what agents ask of each other (JSON).
pub(crate) const ASK_CHANNEL: u8 = 4;
/// Channel of copies: one part after the other, as bytes.
pub(crate) const COPY_CHANNEL: u8 = 5;
/// First byte of a core message: what it means may change, and a member of another version is ignored.
const MESSAGE_VERSION: u8 = 4;
/// How long the server's port may take to refuse or accept.
const KNOCK_WITHIN: Duration = Duration::from_millis(300);
/// Pause before a member whose link port refuses is knocked at again.
const KNOCK_AGAIN: Duration = Duration::from_millis(100);

/// All links of this agent.
#[derive(Debug)]
pub(crate) struct Links {
    links: BTreeMap<MemberName, Link>,
    /// The store's own: what others have to say never delays it, and networks may prefer it.
    store: BTreeMap<MemberName, Link>,
}

impl Links {
    pub(crate) fn new(me: &MemberName, spec: &Spec, identity: &Arc<Identity>) -> Arc<Self> {
        let all = |service: Option<u8>| {
            let others = spec.members.iter().filter(|m| m.name != *me);
            let link = |m: &MemberSpec| {
                let addr = format!("{}:{}", m.host, m.link_port);
                let link = Link::marked(Peer::member(&m.name), addr, Arc::clone(identity), service);
                link.keep();
                (m.name.clone(), link)
            };
            others.map(link).collect()
        };
        Arc::new(Self { links: all(None), store: all(Some(STORE_TOS)) })
    }

    /// Sends one of the core's messages; it may be lost.
    pub(crate) fn send(&self, to: &MemberName, message: &Message) {
        let Some(link) = self.links.get(to) else { return };
        match postcard::to_extend(message, vec![MESSAGE_VERSION]) {
            Ok(body) => {
                link.note(MESSAGE_CHANNEL, Bytes::from(body));
            }
            Err(error) => tracing::error!(%error, "a message could not be written"),
        }
    }

    /// Reads one.
    pub(crate) fn read(body: &[u8]) -> Option<Message> {
        let (version, body) = body.split_first()?;
        if *version != MESSAGE_VERSION {
            return None;
        }
        postcard::from_bytes(body).ok()
    }

    /// Asks another agent.
    pub(crate) async fn ask(&self, to: &MemberName, body: Bytes, within: Duration) -> Result<Bytes, CallError> {
        self.call(ASK_CHANNEL, to, body, within).await
    }

    /// Asks another agent for a part of a copy.
    pub(crate) async fn ask_part(&self, of: &MemberName, body: Bytes, within: Duration) -> Result<Bytes, CallError> {
        self.call(COPY_CHANNEL, of, body, within).await
    }

    async fn call(&self, channel: u8, to: &MemberName, body: Bytes, within: Duration) -> Result<Bytes, CallError> {
        match self.links.get(to) {
            Some(link) => link.call(channel, body, within).await,
            None => Err(CallError::Refusal(format!("there is no member {to}"))),
        }
    }

    /// Watches every link; tells the core when both ports of a member refuse, and the store when its leader's does.
    pub(crate) fn watch(self: &Arc<Self>, spec: &Spec, inbox: &Inbox, store: &Arc<OnceLock<Store>>) {
        for (name, link) in &self.links {
            let Some(member) = spec.member(name) else { continue };
            let sql = (member.kind == MemberKind::Data).then(|| format!("{}:{}", member.host, member.sql_port));
            tokio::spawn(watch_one(name.clone(), link.clone(), sql, inbox.clone(), Arc::clone(store)));
        }
    }
}

async fn watch_one(name: MemberName, link: Link, sql: Option<String>, inbox: Inbox, store: Arc<OnceLock<Store>>) {
    let mut state = link.state();
    loop {
        let refused = matches!(*state.borrow_and_update(), LinkState::Down { why: Down::Refused, .. });
        if refused {
            if let Some(store) = store.get() {
                store_leader::elect_instead_of(&name, store.clone());
            }
            // a firewall may refuse one port; a dead member refuses both
            if refuses(sql.as_deref()).await {
                inbox.tell(Event::Refused { member: name.clone() });
            }
            if tokio::time::timeout(KNOCK_AGAIN, state.changed()).await.is_ok_and(|changed| changed.is_err()) {
                return;
            }
        } else if state.changed().await.is_err() {
            return;
        }
    }
}

async fn refuses(addr: Option<&str>) -> bool {
    let Some(addr) = addr else { return true };
    match tokio::time::timeout(KNOCK_WITHIN, tokio::net::TcpStream::connect(addr)).await {
        Ok(Err(error)) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        Ok(Ok(_)) | Err(_) => false,
    }
}

/// Carries the store's messages over the links.
pub(crate) struct StoreLinks(pub(crate) Arc<Links>);

impl RaftTransport for StoreLinks {
    fn call(
        &self,
        to: &MemberName,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let (to, link) = (to.clone(), self.0.store.get(to).cloned());
        Box::pin(async move {
            let Some(link) = link else {
                return Err(TransportError::Unreachable { to, why: "the specification does not name it".to_owned() });
            };
            link.call(STORE_CHANNEL, body, timeout).await.map_err(|error| match error {
                CallError::TimedOut => TransportError::TimedOut { to },
                CallError::Closed | CallError::Refusal(_) => TransportError::Broken { to, why: error.to_string() },
                CallError::Refused | CallError::Down(_) | CallError::TooMuch(_) => {
                    TransportError::Unreachable { to, why: error.to_string() }
                }
            })
        })
    }
}
