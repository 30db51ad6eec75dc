//! Finds out what became of a COMMIT whose answer was lost with the leader: the next leader knows the transaction by its
//! number, and the fence tells whether that number was given out anew. Only `session` calls it; it repeats nothing.

use super::Session;
use super::end::{End, ROLLED_BACK, UNKNOWN};
use super::notice::{Board, Why};
use crate::pool::link::Right;
use crate::track::Doubt;
use dauphin_model::Term;
use dauphin_model::route::fence_after;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// How long the leader may be the same one as before: its server may be gone and nobody have noticed yet.
const SAME_LEADER: Duration = Duration::from_secs(5);

/// How long the next leader may take to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// A COMMIT in doubt, and under which leader it was sent.
pub(super) struct InDoubt {
    pub(super) doubt: Doubt,
    pub(super) term: Term,
}

/// What became of it.
enum Fate {
    Committed,
    Lost,
    Unknown,
}

impl Session {
    /// Tells the client, once it is known or cannot be.
    ///
    /// # Errors
    /// How the session ends instead.
    pub(super) async fn resolve(&mut self, in_doubt: InDoubt) -> Result<(), End> {
        let InDoubt { doubt, term } = in_doubt;
        let fate = match doubt.xid {
            // A COMMIT may do more than write: tell listeners, commit elsewhere, find that it cannot be serialized.
            None => Fate::Unknown,
            Some(xid) => {
                self.waiting(async |session: &mut Self, board: &Board| session.fate_of(xid, term, board).await).await
            }
        };
        if let Fate::Committed = fate {
            self.hub.stats.resolved.add();
            self.track.has_committed();
            self.to_client.extend(doubt.committed);
            return Ok(());
        }
        let loss = if let Fate::Lost = fate {
            self.hub.stats.resolved.add();
            ROLLED_BACK
        } else {
            self.hub.stats.unknown.add();
            UNKNOWN
        };
        let told = self.track.abort(loss).ok_or_else(|| End::loss(loss))?;
        self.note_refused(loss.code, loss.message);
        self.to_client.extend(told);
        Ok(())
    }

    async fn fate_of(&mut self, xid: u64, term: Term, board: &Board) -> Fate {
        let begun = Instant::now();
        let deadline = begun + self.hub.rules().limits.wait;
        board.post(Why::Doubt);
        board.post_end(Some(deadline));
        let mut views = self.hub.subscribe();
        loop {
            let view = Arc::clone(&views.borrow_and_update());
            match fence_after(&view.fences, term) {
                Some(_) if view.admitting_leader().is_some() => {
                    if let Some(fate) = self.ask_next(xid, term).await {
                        return fate;
                    }
                }
                // Somebody leads, and it is not known with which number that began.
                None if view.admitting_leader().is_some() && (view.term > term || begun.elapsed() > SAME_LEADER) => {
                    return Fate::Unknown;
                }
                _ => {}
            }
            let now = Instant::now();
            if now >= deadline || self.hub.is_stopping() {
                return Fate::Unknown;
            }
            let soon = deadline.min(now + Duration::from_millis(100));
            tokio::select! {
                _ = views.changed() => {}
                () = sleep_until(soon) => {}
            }
        }
    }

    /// What a leader of a later term says; none when it has to be asked again.
    async fn ask_next(&mut self, xid: u64, term: Term) -> Option<Fate> {
        if Box::pin(self.attach()).await.is_err() {
            return Some(Fate::Unknown);
        }
        let link = self.backend.as_mut()?;
        let Right::Leader(leads) = link.right else { return Some(Fate::Unknown) };
        // Of the very leader that answers, which may be another one than there was when the wait began.
        let view = self.hub.view();
        let fence =
            if view.fences.iter().any(|fence| fence.term == leads) { fence_after(&view.fences, term) } else { None };
        let asked = match fence {
            Some(fence) if leads > term && xid >= fence => return Some(Fate::Lost),
            Some(_) if leads > term => {
                let question = format!("SELECT pg_catalog.pg_xact_status('{xid}'::pg_catalog.xid8)");
                timeout(ASK_TIMEOUT, link.server.ask(&question)).await.ok().and_then(Result::ok)
            }
            _ => None,
        };
        // What else it may have to say about this, nobody reads.
        let Some(answer) = asked else {
            self.detach();
            return None;
        };
        link.known.unnamed = 0;
        Some(match answer.as_deref() {
            Some("committed") => Fate::Committed,
            Some("aborted") => Fate::Lost,
            _ => Fate::Unknown,
        })
    }
}
