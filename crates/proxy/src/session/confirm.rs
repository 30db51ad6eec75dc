//! The read level `strict`: what a leader has answered counts once its replicas have acknowledged something that it wrote
//! afterwards, as they do for nobody whose term has ended. Only `session` calls it; what it waits for is shared by all that wait.

use super::Session;
use super::end::{NOBODY_CONFIRMS, UNCONFIRMED, UNKNOWN};
use crate::marks::Seen;
use crate::pool::link::Right;
use dauphin_model::ReadLevel;
use dauphin_wire::postgres::message;
use std::sync::Arc;
use tokio::time::Instant;

/// Why it is not known that the leader led until it had answered.
enum Unconfirmed {
    /// It does not any more, or its replicas were silent for too long.
    Moved,
    /// It waits for no replica.
    Nobody,
}

impl Session {
    /// Tells the client that the server is ready, or that what it has read may be old.
    pub(super) async fn confirm(&mut self) {
        let wrote = self.track.take_wrote();
        // Unless that was what it has just changed.
        if self.read_level() == ReadLevel::Strict {
            match self.confirmed().await {
                Ok(()) => {}
                // It was acknowledged as this cluster acknowledges, and must not look as if it had failed.
                Err(Unconfirmed::Nobody) if wrote => {}
                Err(why) => {
                    let loss = match why {
                        Unconfirmed::Nobody => NOBODY_CONFIRMS,
                        Unconfirmed::Moved if wrote => UNKNOWN,
                        Unconfirmed::Moved => UNCONFIRMED,
                    };
                    self.note_refused(loss.code, loss.message);
                    loss.put(&mut self.to_client);
                }
            }
        }
        message::put(&mut self.to_client, b'Z', b"I");
    }

    async fn confirmed(&self) -> Result<(), Unconfirmed> {
        let Some(Right::Leader(term)) = self.backend.as_ref().map(|link| link.right.clone()) else {
            return Err(Unconfirmed::Moved);
        };
        let (hub, mark) = (Arc::clone(&self.hub), Arc::clone(&self.hub.marks.confirmed));
        let question = mark.asked();
        let mut views = hub.subscribe();
        let moved = async { while hub.term() == term && views.changed().await.is_ok() {} };
        let later = |seen: &Seen| seen.term == term && seen.number > question;
        let seen = tokio::select! {
            seen = mark.wait(Instant::now() + hub.rules().limits.wait, later) => seen.ok_or(Unconfirmed::Moved)?,
            () = moved => return Err(Unconfirmed::Moved),
        };
        if seen.lsn == 0 { Err(Unconfirmed::Nobody) } else { Ok(()) }
    }
}
