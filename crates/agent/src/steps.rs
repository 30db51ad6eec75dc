//! What the core's engine steps have in common, whichever engine this member runs. Called by `server`, one step at a time; it
//! knows how, never when.

use crate::engine::{Cut, Error};
use crate::server::{Server, lock};
use dauphin_engine::host::Progress;
use dauphin_ha::{Copying, EngineOutcome, EngineStep, Event};
use dauphin_model::{MemberName, Position, Spec, Term};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long running transactions may go on when a switchover closes the server.
const DRAIN_LIMIT: Duration = Duration::from_millis(1_500);
/// How often that is looked at.
const DRAIN_POLL: Duration = Duration::from_millis(5);
/// After so many looks in a row that find nobody at work, nobody is.
const IDLE_LOOKS: u32 = 2;
/// How long proxies are waited for until they hold new transactions; one that does not answer is not waited for longer.
const HOLD_LIMIT: Duration = Duration::from_millis(250);
/// How often that is looked at.
const HOLD_POLL: Duration = Duration::from_millis(1);
/// How often it is told how far a copy has come.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

impl Server {
    pub(crate) async fn carry_out(self: &Arc<Self>, step: EngineStep) -> Result<EngineOutcome, Error> {
        if let EngineStep::Bootstrap { .. }
        | EngineStep::StartDetached
        | EngineStep::StartBehind { .. }
        | EngineStep::Clone { .. }
        | EngineStep::Rewind { .. } = step
        {
            self.end_unknown().await;
        }
        self.engine.carry_out(self, step).await
    }

    /// The specification in force.
    pub(crate) fn spec(&self) -> Spec {
        self.picture.borrow().spec.clone()
    }

    /// Gives the barrier up that is waited behind, if there is one.
    pub(crate) fn forget_barrier(&self) {
        if let Some(old) = lock(&self.barrier).take() {
            old.abort();
        }
    }

    /// Waits behind the barrier, beside everything else; its end is told to the core.
    pub(crate) fn stand_behind(&self, serial: u64, done: impl Future<Output = Result<(), Error>> + Send + 'static) {
        let inbox = self.inbox.clone();
        let waits = self.runtime.spawn(async move {
            let result = done.await;
            if let Err(error) = &result {
                tracing::warn!(%error, "the barrier's wait was cut");
            }
            inbox.tell(Event::BarrierPassed { serial, ok: result.is_ok() });
        });
        *lock(&self.barrier) = Some(waits);
    }

    /// Lets running transactions end; proxies hold new ones back.
    pub(crate) async fn drain(&self) {
        let begun = Instant::now();
        // where proxies know no transactions, what runs is all that can be waited for, and for a moment without
        let looks = if self.engine.is_held_by_proxies() { IDLE_LOOKS } else { 1 };
        let term = self.picture.borrow().store.leadership.as_ref().map(|r| r.term).unwrap_or_default();
        while !self.proxies.hold(term, Instant::now()) && begun.elapsed() < HOLD_LIMIT {
            tokio::time::sleep(HOLD_POLL).await;
        }
        // what a proxy passed on just before may not have come to be counted at the first look
        let mut idle = 0;
        while begun.elapsed() < DRAIN_LIMIT && idle < looks {
            match self.engine.busy_clients().await {
                Ok(busy) => idle = if busy == 0 { idle + 1 } else { 0 },
                Err(error) => {
                    tracing::debug!(%error, "running transactions could not be counted");
                    return;
                }
            }
            if idle < looks {
                tokio::time::sleep(DRAIN_POLL).await;
            }
        }
    }

    /// How far the leader's log reaches, and in which term.
    pub(crate) fn leader_at(&self, from: &MemberName) -> (Option<Position>, Term) {
        let picture = self.picture.borrow();
        let theirs = picture.beat_of(from).and_then(|b| b.position.clone());
        (theirs, picture.store.leadership.as_ref().map(|r| r.term).unwrap_or_default())
    }

    /// Makes a copy, and tells meanwhile how far it has come.
    pub(crate) async fn telling_of<T, E>(
        &self,
        progress: &Progress,
        copying: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let telling = async {
            loop {
                tokio::time::sleep(PROGRESS_EVERY).await;
                let (done, total, rate) = (progress.done(), progress.total(), progress.rate());
                self.inbox.tell(Event::Copying(Copying { done, total, rate }));
            }
        };
        tokio::select! {
            copied = copying => copied,
            () = telling => unreachable!("it never ends"),
        }
    }

    /// What was cut off is told to the cluster: `history` shows what a failover cost.
    pub(crate) fn tell_of_cut(&self, cut: Cut) {
        tracing::info!(from = %cut.from, to = %cut.to, timeline = %cut.timeline, folder = %cut.folder.display(),
            "what the leader does not hold was archived and cut off");
        if self.cuts.try_send(cut).is_err() {
            tracing::warn!("too much is cut off at once to tell of it; the archive has it");
        }
    }
}
