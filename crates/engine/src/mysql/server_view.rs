//! Looks at the server for the decision core: is it there, does it answer, where is its log. The agent calls it at every beat. It
//! changes nothing, and a hanging server costs it the time limit, never more.

use crate::host::process::all_in;
use crate::mysql::client::{ClientError, Session};
use crate::mysql::standing::Standing;
use crate::mysql::{Error, Mysql, Refusal, Result, Thread};
use dauphin_model::{Lsn, Remark, Run, ServerView};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Mysql {
    /// One look, bounded by `limit`. It never fails: what cannot be learned is missing from the view. `serves` and `disk_ok` are
    /// the caller's to fill in, and how far each attached replica is.
    pub async fn view(&self, limit: Duration) -> ServerView {
        let series = self.instance.bin.version.series();
        let mut seen = ServerView { disk_ok: true, series, ..ServerView::default() };
        if self.instance.process().is_some_and(|process| process.is_stopped()) {
            seen.run = Run::Hung;
            return seen;
        }
        let begins = || self.beginning.load(Ordering::Acquire);
        let began = begins();
        match self.standing(limit).await {
            Ok(standing) => {
                seen.run = Run::Running;
                self.tell(&standing, limit, &mut seen).await;
                if began || begins() {
                    (seen.position, seen.replayed, seen.received) = (None, None, None);
                }
            }
            Err(error) => seen.run = self.run_from(&error),
        }
        seen
    }

    async fn tell(&self, standing: &Standing, limit: Duration, seen: &mut ServerView) {
        let Standing { view, place, .. } = standing;
        if let Some(stray) = &place.stray {
            seen.remarks.push(Remark::Errant { transactions: stray.clone() });
        }
        seen.remarks.extend(self.opened_by_hand(view));
        self.alone.see(view.semi_sync.unacknowledged);
        seen.in_recovery = Some(!view.leads());
        seen.replayed = Some(place.position.lsn);
        // an applier stands for as long as its statement takes: what a replica acknowledged is beyond that
        let log = view.reached().and_then(|reached| view.log().reaching(reached));
        seen.received = log.map(|log| Lsn(log.ordinal()));
        if let Some(channel) = view.channels.first() {
            let streams = channel.receiver == Thread::Running;
            seen.streaming = streams.then_some(place.position.timeline);
            seen.replay_paused = streams && channel.applier == Thread::Stopped;
            seen.replay_lag_ms = if view.is_applied() { Some(0) } else { self.beat_age_ms(limit).await };
        }
        seen.attached = self.attached(view, limit).await.unwrap_or_default();
        let mut names = BTreeSet::new();
        for replica in &seen.attached {
            if !names.insert(&replica.application_name) {
                seen.remarks.push(Remark::SharedName { name: replica.application_name.clone() });
            }
        }
        seen.position = Some(place.position.clone());
    }

    /// How old the data here is, by the leader's heartbeat.
    async fn beat_age_ms(&self, limit: Duration) -> Option<u64> {
        let beat = self.heartbeat(limit).await.ok()??;
        Some(beat.now_us.saturating_sub(beat.at_us) / 1_000)
    }

    /// Whether the server still takes new connections: kept ones go on answering when it does not.
    ///
    /// # Errors
    /// [`Error::Sql`] with the reason why not.
    pub async fn takes_connections(&self, limit: Duration) -> Result<()> {
        let knock = Session::new(self.instance.socket(), self.agent_account());
        let answer = knock.query("SELECT 1", limit).await;
        knock.close(limit).await;
        answer.map(|_| ()).map_err(Error::sql("connecting to the server"))
    }

    fn run_from(&self, error: &Error) -> Run {
        // the file with its number comes late, after recovery
        if self.instance.process().is_none() && all_in(&self.instance.data_dir).is_empty() {
            return self.instance.run_without_process();
        }
        match error {
            Error::Sql { source: ClientError::TimedOut(_), .. } => Run::Hung,
            Error::Sql { source: ClientError::Lost(_), .. } => Run::Starting,
            // it answers, if only to say no
            _ => Run::Running,
        }
    }
}

impl Error {
    /// Whether it is the data's fault, or that of what it was to be copied from: trying again changes nothing.
    #[must_use]
    pub fn blames_data(&self) -> bool {
        match self {
            // that passes by itself
            Self::Refused(Refusal::CopyWaits { .. }) => false,
            // and that, once both are upgraded
            Self::Refused(Refusal::Copy { own, source_version, .. }) => {
                own.flavour != source_version.flavour || own.series() == source_version.series()
            }
            Self::NotRunning { .. } | Self::Refused(_) | Self::Stray { .. } => true,
            _ => false,
        }
    }
}

impl crate::mysql::Instance {
    /// Ended in order, or not: a server takes the file with its number away at its end.
    fn run_without_process(&self) -> Run {
        if self.pid_path().exists() { Run::Crashed } else { Run::Stopped }
    }
}
