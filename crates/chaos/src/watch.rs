//! Who acknowledges writes? A write on every member every 50 ms, straight to its server and not through the proxy. Each
//! member has two lanes: one gives a write up after half a second, the other leaves it hanging, for a leader that is frozen
//! in the middle of a commit and may answer when it wakes. A lane never cancels, it cuts its own socket: a cancelled wait
//! would make the server say "committed" without its replicas. Each acknowledged write tells its timeline, which no two
//! leaderships share.

use crate::db::{Clock, Place, Session};
use crate::dialect;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// Each lane writes this often.
const EVERY: Duration = Duration::from_millis(50);
/// How long each of a member's lanes waits for a write.
const LANES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(25)];
/// The pause before connecting again.
const AGAIN: Duration = Duration::from_millis(20);
/// Values of one lane.
const VALUES_PER_LANE: u64 = 10_000_000;

/// An acknowledged write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Its value.
    pub value: u64,
    /// Index of the member.
    pub member: usize,
    /// When it was sent, in microseconds.
    pub sent: u64,
    /// When the answer came.
    pub acked: u64,
    /// On which timeline.
    pub timeline: u64,
}

/// What all lanes saw.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// By the time of the answer.
    pub acks: Vec<Ack>,
    /// Tries.
    pub samples: u64,
}

/// Runs until `stop`.
pub async fn run(members: Vec<Place>, clock: Clock, stop: Arc<AtomicBool>) -> Watched {
    let mut lanes = JoinSet::new();
    for (member, place) in members.into_iter().enumerate() {
        for (n, within) in LANES.into_iter().enumerate() {
            let first = (member * LANES.len() + n) as u64 * VALUES_PER_LANE;
            lanes.spawn(lane(member, first, within, place.clone(), clock, Arc::clone(&stop)));
        }
    }
    let mut all = Watched::default();
    while let Some(done) = lanes.join_next().await {
        let Ok(seen) = done else { continue };
        all.acks.extend(seen.acks);
        all.samples += seen.samples;
    }
    all.acks.sort_by_key(|ack| ack.acked);
    all
}

async fn lane(
    member: usize,
    first: u64,
    within: Duration,
    place: Place,
    clock: Clock,
    stop: Arc<AtomicBool>,
) -> Watched {
    let mut seen = Watched::default();
    let mut value = first;
    while !stop.load(Ordering::Relaxed) {
        seen.samples += 1;
        let Ok(session) = Session::open(&place).await else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            value += 1;
            seen.samples += 1;
            let sql = dialect::of(place.engine).watch(value, member + 1);
            let sent = clock.now();
            let answered = tokio::select! {
                answered = session.rows(&sql, within) => answered,
                () = stopped(&stop) => break,
            };
            match answered {
                Ok(rows) => {
                    let timeline =
                        rows.first().and_then(|row| row.first()?.as_deref()?.parse().ok()).unwrap_or_default();
                    seen.acks.push(Ack { value, member, sent, acked: clock.now(), timeline });
                }
                // a replica says so, and its connection is good for the next try
                Err(broken) if broken.is_read_only() => {}
                Err(_) => break,
            }
            tokio::time::sleep(EVERY).await;
        }
        tokio::time::sleep(AGAIN).await;
    }
    seen
}

async fn stopped(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(EVERY).await;
    }
}

/// What must not be: a member that acknowledges though a later leadership has acknowledged already, a write sent after that
/// or one that the final leader does not hold; and two members that share a timeline.
#[must_use]
pub fn violations(acks: &[Ack], have: &BTreeSet<u64>) -> Vec<String> {
    let mut first_of: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
    for ack in acks {
        let first = first_of.entry(ack.timeline).or_insert((ack.acked, ack.member));
        if ack.acked < first.0 {
            *first = (ack.acked, ack.member);
        }
    }
    let later = |timeline: u64| first_of.range(timeline + 1..).map(|(_, first)| *first).min();
    let mut owners = BTreeMap::new();
    let mut found = Vec::new();
    for ack in acks {
        let owner = *owners.entry(ack.timeline).or_insert(ack.member);
        if owner != ack.member {
            let (a, b) = (owner + 1, ack.member + 1);
            found.push(format!("m{a} and m{b} both acknowledged on timeline {} (at {} µs)", ack.timeline, ack.acked));
        }
        let Some((at, by)) = later(ack.timeline) else { continue };
        let held = have.contains(&ack.value);
        if ack.acked > at && (ack.sent > at || !held) {
            found.push(format!(
                "m{} acknowledged {} on timeline {} (sent {} µs, acknowledged {} µs, {}) after m{} had on a later one at {at} µs",
                ack.member + 1,
                ack.value,
                ack.timeline,
                ack.sent,
                ack.acked,
                if held { "held" } else { "not held" },
                by + 1
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(value: u64, member: usize, sent: u64, acked: u64, timeline: u64) -> Ack {
        Ack { value, member, sent, acked, timeline }
    }

    #[test]
    fn an_older_leadership_is_silent_once_a_later_one_has_spoken() {
        let all: BTreeSet<u64> = (1..10).collect();
        let of = |acks: &[Ack]| violations(acks, &all).len();
        assert_eq!(of(&[ack(1, 0, 10, 20, 1), ack(2, 1, 30, 40, 2)]), 0);
        assert_eq!(of(&[ack(2, 1, 30, 40, 2), ack(1, 0, 41, 50, 1)]), 1, "sent later");
        // sent before the freeze, acknowledged when it thawed, and the later leader holds it: allowed (I2)
        assert_eq!(of(&[ack(2, 1, 30, 40, 2), ack(1, 0, 10, 50, 1)]), 0);
        let without = violations(&[ack(2, 1, 30, 40, 2), ack(1, 0, 10, 50, 1)], &BTreeSet::from([2]));
        assert_eq!(without.len(), 1, "not held");
        assert_eq!(of(&[ack(1, 0, 10, 20, 1), ack(2, 1, 21, 22, 1)]), 1, "one timeline, two members");
    }
}
