//! Looks at real servers, in the scenarios' words.

use super::Real;
use crate::support::LIMIT;
use dauphin_conform::{Look, Seen, Standing, Stream, Who};
use dauphin_model::Position;
use std::time::{Duration, Instant};

/// How long what is told may take to show: a client hears a moment after its server has decided.
const SHOWS_WITHIN: Duration = Duration::from_secs(5);
/// How often is looked.
const POLL: Duration = Duration::from_millis(10);

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
                let [_, app] = &self.sessions[who.index()];
                let rows = super::column(app, "SELECT n FROM t ORDER BY n").await;
                Seen::Values(rows.iter().map(|n| n.parse().unwrap()).collect())
            }
            Look::Log(who) => match self.position(*who).await {
                Ok(position) => Seen::Values(self.held_by(&position)),
                Err(why) => Seen::Nothing(why),
            },
            Look::Timeline(who) => match self.position(*who).await {
                Ok(position) => Seen::Timeline(position.timeline.0),
                Err(why) => Seen::Nothing(why),
            },
            Look::Attached(who) => {
                let attached = self.of(*who).pg.look(LIMIT).await.attached;
                let streams = |w: &Who| {
                    let voter = Some(&self.of(*w).voter);
                    attached.iter().any(|a| a.voter.as_ref() == voter && a.state == "streaming")
                };
                Seen::Members(Who::ALL.into_iter().filter(streams).collect())
            }
            Look::Vouches(_) => panic!("{look:?} is no look at PostgreSQL"),
            Look::Stream(who) => Seen::Stream(self.stream(*who).await.unwrap_or(Stream::None)),
            Look::Standing(ours, theirs) => match (self.position(*ours).await, self.position(*theirs).await) {
                (Ok(a), Ok(b)) => {
                    let mut shared = self.held_by(&a);
                    let other = self.held_by(&b);
                    shared.retain(|value| other.contains(value));
                    let parts = |_| Standing::PartsAfter(shared);
                    Seen::Standing(a.leads_into(&b).map_or_else(parts, |()| Standing::Leads))
                }
                (Err(why), _) | (_, Err(why)) => Seen::Nothing(why),
            },
            Look::HoldsAll(ours, theirs) => match (self.position(*ours).await, self.position(*theirs).await) {
                (Ok(a), Ok(b)) => Seen::Holds(a.holds(&b)),
                (Err(why), _) | (_, Err(why)) => Seen::Nothing(why),
            },
        }
    }

    async fn position(&self, who: Who) -> Result<Position, String> {
        let pg = &self.of(who).pg;
        if self.up[who.index()] {
            return pg
                .look(LIMIT)
                .await
                .position
                .ok_or_else(|| "the server does not say where its log ends".to_owned());
        }
        pg.instance.stopped_position().await.map_err(|e| e.to_string())
    }

    /// The values whose records lie in a log that reaches this far.
    fn held_by(&self, position: &Position) -> Vec<u32> {
        let held = |(_, writer): &(&u32, &super::Writer)| writer.written.as_ref().is_some_and(|w| position.holds(w));
        self.writers.iter().filter(held).map(|(value, _)| *value).collect()
    }
}
