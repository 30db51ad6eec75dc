//! Unique inserts, one a commit: what was acknowledged must be there in the end. And reads on replicas meanwhile, which may
//! lag, and show nothing that nobody wrote.

use super::{Into, Line, Shared, WITHIN, note, numbers};
use dauphin_histories::set::{Add, Read};
use dauphin_histories::{During, Outcome};
use std::sync::atomic::Ordering;
use std::time::Duration;

const THINK: Duration = Duration::from_millis(15);
/// Between two reads on a replica.
const READ_EVERY: Duration = Duration::from_millis(250);
const READ: &str = "SELECT v FROM chaos_set ORDER BY v DESC LIMIT 500";

pub(super) async fn client(shared: Shared, into: Into) {
    let mut line = Line::new(&shared);
    while let Some(session) = line.session().await {
        let value = shared.unique();
        let from = shared.clock.now();
        let done = session.rows(&format!("INSERT INTO chaos_set VALUES ({value})"), WITHIN).await;
        let during = During { from, to: shared.clock.now() };
        let outcome = done.as_ref().map_or_else(|broken| broken.outcome(), |_| Outcome::Ok);
        note(&into, |all| all.adds.push(Add { value, during, outcome }));
        if outcome == Outcome::Ok {
            shared.acked.fetch_add(1, Ordering::Relaxed);
        }
        if let Err(broken) = done {
            line.failed(&broken).await;
        }
        tokio::time::sleep(THINK).await;
    }
}

/// Reads by the read port.
pub(super) async fn reader(shared: Shared, into: Into) {
    let shared = Shared { writing: shared.reading.clone(), ..shared };
    let mut line = Line::new(&shared);
    while let Some(session) = line.session().await {
        let from = shared.clock.now();
        match session.rows(READ, WITHIN).await {
            Ok(rows) => {
                let values = numbers(&rows).into_iter().collect();
                let during = During { from, to: shared.clock.now() };
                note(&into, |all| all.reads.push(Read { values, during, may_lag: true }));
            }
            Err(broken) => line.failed(&broken).await,
        }
        tokio::time::sleep(READ_EVERY).await;
    }
}
