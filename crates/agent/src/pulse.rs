//! Notices that the agent's run time stands still: a task beats, the loop's own thread counts how long it heard nothing.
//! A hung agent looks dead and is not; the loop ends it, so that it is dead and can be started again. Links, store and looks
//! all live on that run time, so nothing is lost with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often the task beats.
const BEAT_EVERY: Duration = Duration::from_millis(500);
/// Silence after which the run time counts as hung.
const HUNG_AFTER: Duration = Duration::from_secs(15);
/// What one turn of the loop may count for: a process that was stopped for long has not listened meanwhile.
const TURN_MAX: Duration = Duration::from_millis(200);

/// Beats on the run time until the agent ends.
pub(crate) fn start() -> Pulse {
    let beats = Arc::new(AtomicU64::new(0));
    let beating = Arc::clone(&beats);
    tokio::spawn(async move {
        loop {
            beating.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(BEAT_EVERY).await;
        }
    });
    Pulse { beats, last: 0, turned: Instant::now(), silence: Duration::ZERO }
}

/// The listener, on the loop's thread.
pub(crate) struct Pulse {
    beats: Arc<AtomicU64>,
    last: u64,
    turned: Instant,
    silence: Duration,
}

impl Pulse {
    /// Listens once: called at every turn of the loop. Whether the run time hangs.
    pub(crate) fn hangs(&mut self, now: Instant) -> bool {
        let turn = now.saturating_duration_since(self.turned).min(TURN_MAX);
        self.turned = now;
        let beats = self.beats.load(Ordering::Relaxed);
        self.silence = if beats == self.last { self.silence + turn } else { Duration::ZERO };
        self.last = beats;
        self.silence >= HUNG_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet(from: Instant) -> Pulse {
        Pulse { beats: Arc::default(), last: 0, turned: from, silence: Duration::ZERO }
    }

    #[test]
    fn only_silence_that_was_listened_to_counts() {
        let begun = Instant::now();
        let turns = |pulse: &mut Pulse, count: u32, step: Duration| {
            (1..=count).filter(|n| pulse.hangs(begun + step * *n)).count()
        };
        let tenth = Duration::from_millis(100);
        assert_eq!(turns(&mut quiet(begun), 149, tenth), 0);
        assert_eq!(turns(&mut quiet(begun), 150, tenth), 1);
        // stopped for an hour between two turns
        assert_eq!(turns(&mut quiet(begun), 2, Duration::from_secs(3_600)), 0);
        let mut pulse = quiet(begun);
        assert_eq!(turns(&mut pulse, 149, tenth), 0);
        pulse.beats.fetch_add(1, Ordering::Relaxed);
        assert!(!pulse.hangs(begun + tenth * 150));
    }
}
