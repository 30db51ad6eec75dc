//! Unique inserts, one a commit: what was acknowledged must be there in the end.

use super::{Into, Line, Shared, WITHIN, note};
use dauphin_histories::set::Add;
use dauphin_histories::{During, Outcome};
use std::time::Duration;

pub(super) const TABLE: &str = "CREATE TABLE chaos_set(v bigint PRIMARY KEY)";
const THINK: Duration = Duration::from_millis(15);

pub(super) async fn client(shared: Shared, into: Into) {
    let mut line = Line::new(&shared);
    while let Some(session) = line.session().await {
        let value = shared.unique();
        let from = shared.clock.now();
        let done = session.rows(&format!("INSERT INTO chaos_set VALUES ({value})"), WITHIN).await;
        let during = During { from, to: shared.clock.now() };
        let outcome = done.as_ref().map_or_else(|broken| broken.outcome(), |_| Outcome::Ok);
        note(&into, |all| all.adds.push(Add { value, during, outcome }));
        if let Err(broken) = done {
            line.failed(&broken).await;
        }
        tokio::time::sleep(THINK).await;
    }
}
