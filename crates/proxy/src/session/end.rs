//! How a session ends: what the client is told, in the form that drivers understand best, an error that ends the
//! connection. Only `session` uses it.

use super::Session;
use super::notice::Why;
use crate::track::{Loss, Pins};
use dauphin_wire::postgres::message;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// How long a client may take to read its last message.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// SQLSTATE of a proxy that is told to stop.
const ADMIN_SHUTDOWN: &str = "57P01";

/// The statement may have committed or not.
pub(super) const UNKNOWN: Loss = Loss {
    code: message::OUTCOME_UNKNOWN,
    message: "the leader was lost while a statement ran: whether it committed is unknown",
    detail: None,
    hint: "Look whether its effects are there before repeating it.",
};

/// The server stopped waiting for its replicas.
pub(super) const CANCELLED_WAIT: Loss = Loss {
    code: message::OUTCOME_UNKNOWN,
    message: "the wait for replicas was cancelled: whether the transaction survives is unknown",
    detail: Some("It has committed on the leader, but a failover may still lose it."),
    hint: "Look whether its effects are there before repeating it.",
};

/// A transaction was open and nothing in flight could commit.
pub(super) const ROLLED_BACK: Loss = Loss {
    code: message::NOT_COMMITTED,
    message: "the leader was lost: the transaction was not committed",
    detail: None,
    hint: "Repeat the transaction.",
};

/// The same on a replica, where nothing is ever committed.
pub(super) const REPLICA_LOST: Loss = Loss {
    code: message::NOT_COMMITTED,
    message: "the replica was lost while a statement ran",
    detail: None,
    hint: "Repeat it.",
};

/// It was read from a leader that may not have been one any more.
pub(super) const UNCONFIRMED: Loss = Loss {
    code: message::NOT_COMMITTED,
    message: "replicas did not confirm that the leader still led: what was read may be old",
    detail: None,
    hint: "Repeat it.",
};

/// With nobody to ask there is no such level.
pub(super) const NOBODY_CONFIRMS: Loss = Loss {
    code: "55000",
    message: "the read level strict needs replicas that commits wait for, and the leader waits for none now",
    detail: None,
    hint: "SET dauphin.read_level = leader, or set the cluster's durability to quorum or sync.",
};

/// How a session ends.
#[derive(Debug)]
pub(crate) enum End {
    /// The client is gone or has said goodbye.
    Quiet,
    /// With the server's own error.
    Server(Vec<u8>),
    /// With an error of the proxy.
    Proxy {
        /// SQLSTATE.
        code: &'static str,
        /// For people.
        message: String,
        /// More for people.
        detail: Option<&'static str>,
        /// What to do next.
        hint: Option<&'static str>,
    },
}

impl End {
    pub(crate) fn fatal(code: &'static str, message: String) -> Self {
        Self::Proxy { code, message, detail: None, hint: None }
    }

    /// With what was lost, as it cannot go on.
    pub(super) fn loss(loss: Loss) -> Self {
        let Loss { code, message, detail, hint } = loss;
        Self::Proxy { code, message: message.into(), detail, hint: Some(hint) }
    }

    /// The session had state that no other server has.
    pub(super) fn pinned(pins: Pins) -> Self {
        Self::Proxy {
            code: message::CONNECTION_FAILURE,
            message: format!("the leader changed, and this session had {}", pins.text()),
            detail: Some("Nothing was in flight; no transaction was lost."),
            hint: Some("Connect again and set the session up as before."),
        }
    }

    /// A transaction that only reads has made something on a replica that the session would miss at once.
    pub(super) fn left_behind(pins: Pins) -> Self {
        Self::Proxy {
            code: message::CONNECTION_FAILURE,
            message: format!("a read-only transaction ran on a replica, and left {} there", pins.text()),
            detail: Some("The transaction has ended well."),
            hint: Some("SET dauphin.read_level = leader before such a transaction."),
        }
    }

    /// No server took the statement in time.
    pub(super) fn waited(limit: Duration, why: &Why) -> Self {
        Self::Proxy {
            code: message::CANNOT_CONNECT_NOW,
            message: format!("no server took the session within {} s: {why}", limit.as_secs_f32()),
            detail: Some("Nothing of the statement was sent to a server."),
            hint: Some("Try again, and ask `dauphin status` why no leader is open."),
        }
    }

    /// What the session had could not be set up again.
    pub(super) fn not_restored(why: &str) -> Self {
        Self::Proxy {
            code: message::CONNECTION_FAILURE,
            message: format!("the leader changed, and the session could not be set up again: {why}"),
            detail: Some("Nothing was in flight; no transaction was lost."),
            hint: Some("Connect again and set the session up as before."),
        }
    }

    /// The proxy is told to stop.
    pub(crate) fn stopping() -> Self {
        Self::fatal(ADMIN_SHUTDOWN, "the proxy is stopping".into())
    }

    /// Another process answers in its place.
    pub(crate) fn taken_over() -> Self {
        Self::fatal(ADMIN_SHUTDOWN, "another process has taken over from this proxy: connect again".into())
    }

    /// The message for the client.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Quiet => {}
            Self::Server(body) => message::put(&mut out, b'E', body),
            Self::Proxy { code, message, detail, hint } => message::put_fatal(&mut out, code, message, *detail, *hint),
        }
        out
    }
}

impl Session {
    /// Tells the client and closes both sides.
    pub(super) async fn finish(mut self: Box<Self>, end: End) {
        let between = self.track.is_between_server_messages();
        self.detach();
        if !self.greeted {
            self.hub.stats.refused.add();
        } else if let End::Proxy { code, message, .. } = &end
            && *code != ADMIN_SHUTDOWN
        {
            self.note_refused(code, message);
        }
        let mut last = std::mem::take(&mut self.to_client);
        // Within a message, another one would be read as its content.
        if between {
            last.extend(end.encode());
        }
        let goodbye = async {
            let written = self.client.write_all(&last).await;
            let _ = self.client.shutdown().await;
            written
        };
        if let Ok(Err(error)) = tokio::time::timeout(GOODBYE_TIMEOUT, goodbye).await {
            tracing::debug!(%error, "the client did not take its last message");
        }
    }
}
