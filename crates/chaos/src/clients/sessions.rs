//! Sessions that count: each writes its own counter and reads it back. Nobody may read less than it wrote or read before.

use super::{Into, Line, Shared, WITHIN, note, numbers};
use dauphin_histories::Outcome;
use dauphin_histories::sessions::Step;
use std::time::Duration;

const THINK: Duration = Duration::from_millis(25);

/// From where they read, one after the other, where the proxy serves reads by the query.
const LEVELS: [&str; 3] = ["session", "monotonic", "leader"];

pub(super) async fn client(mut shared: Shared, number: u32, into: Into) {
    shared.writing.read_level = Some(LEVELS[number as usize % LEVELS.len()]);
    let mut line = Line::new(&shared);
    let mut count = 0;
    while let Some(session) = line.session().await {
        count += 1;
        let sql = format!("UPDATE chaos_counter SET n = {count} WHERE k = {number} AND n < {count}");
        let wrote = session.rows(&sql, WITHIN).await;
        let outcome = wrote.as_ref().map_or_else(|broken| broken.outcome(), |_| Outcome::Ok);
        let step = |value, wrote, outcome| Step { session: number, key: number.into(), value, wrote, outcome };
        note(&into, |all| all.steps.push(step(count, true, outcome)));
        if let Err(broken) = wrote {
            line.failed(&broken).await;
            continue;
        }
        for _ in 0..2 {
            let Some(session) = line.session().await else { break };
            match session.rows(&format!("SELECT n FROM chaos_counter WHERE k = {number}"), WITHIN).await {
                Ok(rows) => {
                    let value = numbers(&rows).first().copied().unwrap_or_default();
                    note(&into, |all| all.steps.push(step(value, false, Outcome::Ok)));
                }
                Err(broken) => {
                    line.failed(&broken).await;
                    break;
                }
            }
        }
        tokio::time::sleep(THINK).await;
    }
}
