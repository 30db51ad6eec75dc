//! Looks at real servers, in the scenarios' words.

use super::{FREEZE_LIMIT, Real};
use crate::run::LIMIT;
use dauphin_conform::{Commit, Look, Seen, Standing, Stream, Who};
use dauphin_engine::mysql::Thread;
use dauphin_model::Position;
use mysql_async::prelude::Queryable;
use std::time::{Duration, Instant};

/// How long what is told may take to show: a client hears a moment after its server has decided.
const SHOWS_WITHIN: Duration = Duration::from_secs(5);
/// How often is looked.
const POLL: Duration = Duration::from_millis(20);

impl Real {
    /// What is seen; what is told is given a while to show.
    pub(super) async fn look(&mut self, look: &Look, told: &Seen) -> Seen {
        let begun = Instant::now();
        loop {
            let seen = self.see(look).await;
            if seen == *told || begun.elapsed() >= SHOWS_WITHIN {
                return seen;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn see(&mut self, look: &Look) -> Seen {
        match look {
            Look::Commit(value) => Seen::Commit(self.commit(*value).await),
            Look::Rows(who) => {
                let rows: Vec<u32> = self.of(*who).root().await.query("SELECT n FROM app.t ORDER BY n").await.unwrap();
                Seen::Values(rows)
            }
            Look::Log(who) => match self.position(*who).await {
                Some(position) => Seen::Values(self.held_by(&position)),
                None => Seen::Nothing("it does not say where its log ends".to_owned()),
            },
            Look::Timeline(who) => match self.position(*who).await {
                Some(position) => Seen::Timeline(position.timeline.0),
                None => Seen::Nothing("it does not say where its log ends".to_owned()),
            },
            Look::Vouches(who) => match self.of(*who).sql.freeze_at(FREEZE_LIMIT).await {
                Ok(frozen) => {
                    self.upstream[who.index()] = None;
                    Seen::Values(self.held_by(&frozen.position))
                }
                Err(error) => Seen::Nothing(error.to_string()),
            },
            Look::Stream(who) => Seen::Stream(self.stream(*who).await),
            Look::Standing(ours, theirs) => match (self.position(*ours).await, self.position(*theirs).await) {
                (Some(a), Some(b)) => {
                    let mut shared = self.held_by(&a);
                    let other = self.held_by(&b);
                    shared.retain(|value| other.contains(value));
                    let parts = |_| Standing::PartsAfter(shared);
                    Seen::Standing(a.leads_into(&b).map_or_else(parts, |()| Standing::Leads))
                }
                _ => Seen::Nothing("one does not say where its log ends".to_owned()),
            },
            Look::Attached(_) | Look::HoldsAll(..) => panic!("{look:?} is no look at servers of GTIDs"),
        }
    }

    async fn stream(&self, who: Who) -> Stream {
        let upstream = self.upstream[who.index()].filter(|from| self.up[from.index()] && self.up[who.index()]);
        let Some(channel) = self.of(who).look().await.channels.first().cloned().filter(|_| upstream.is_some()) else {
            return Stream::None;
        };
        match (channel.receiver, channel.receiver_fault.map(|fault| fault.number)) {
            (Thread::Running, _) => Stream::Streams,
            (_, Some(1236)) => Stream::LogParts,
            _ => Stream::None,
        }
    }

    /// What the client of this value knows.
    async fn commit(&mut self, value: u32) -> Commit {
        let at = self.writers[&value].at;
        let waits = self.up[at.index()] && self.of(at).look().await.semi_sync.waiting > 0;
        let writer = self.writers.get_mut(&value).unwrap();
        if writer.ended.is_none() && !writer.task.is_finished() && waits {
            return Commit::Waits;
        }
        let ended = match writer.ended {
            Some(ended) => ended,
            None => tokio::time::timeout(LIMIT, &mut writer.task).await.expect("the client hears").unwrap(),
        };
        writer.ended = Some(ended);
        ended
    }

    /// Where its log ends, what waits and what is not to be placed included.
    pub(super) async fn position(&self, who: Who) -> Option<Position> {
        if self.up[who.index()] { self.of(who).sql.view(LIMIT).await.position } else { None }
    }

    /// The values whose rows lie in a log that reaches this far.
    fn held_by(&self, position: &Position) -> Vec<u32> {
        self.writers.iter().filter(|(_, w)| position.holds(&w.written)).map(|(value, _)| *value).collect()
    }
}
