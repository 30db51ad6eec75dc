//! List-append at SERIALIZABLE: one to four operations a transaction, on a few lists at a time. Lists that have grown long
//! are left alone. Appends are plain UPDATEs of rows that exist: with ON CONFLICT PostgreSQL 18.4 has an anomaly of its own.

use super::{Into, Line, Shared, note};
use crate::schedule::Dice;
use dauphin_histories::append::{Op, Txn};
use dauphin_histories::{During, Outcome};
use std::time::Duration;

/// Lists there are.
const LISTS: u64 = 6_000;
/// Lists in use at a time.
const ACTIVE: u64 = 6;
/// Values after which the next list comes into use.
const VALUES_PER_LIST: u64 = 40;
pub(super) const TABLE: &str = "CREATE TABLE chaos_append(k bigint PRIMARY KEY, v bigint[] NOT NULL) WITH (fillfactor = 50); \
    INSERT INTO chaos_append SELECT k, '{}' FROM generate_series(0, 6000 - 1) AS k";
const THINK: Duration = Duration::from_millis(20);

pub(super) async fn client(shared: Shared, number: u32, into: Into) {
    let mut line = Line::new(&shared);
    let mut dice = Dice::of(u64::from(number), 1);
    while !shared.stopped() {
        let mut ops = Vec::new();
        for _ in 0..dice.between(1, 5) {
            let value = shared.unique();
            let key = (value / VALUES_PER_LIST + dice.between(0, ACTIVE)) % LISTS;
            if dice.percent(50) {
                ops.push(Op::Append { key, value });
            } else {
                ops.push(Op::Read { key, values: Vec::new() });
            }
        }
        let statement = |op: &Op| match op {
            Op::Append { key, value } => format!("UPDATE chaos_append SET v = v || {value}::bigint WHERE k = {key}"),
            Op::Read { key, .. } => format!("SELECT v FROM chaos_append WHERE k = {key}"),
        };
        let statements: Vec<String> = ops.iter().map(statement).collect();
        let from = shared.clock.now();
        let (outcome, answers) = line.transaction("BEGIN ISOLATION LEVEL SERIALIZABLE", &statements).await;
        let during = During { from, to: shared.clock.now() };
        if outcome == Outcome::Ok {
            for (op, rows) in ops.iter_mut().zip(&answers) {
                if let Op::Read { values, .. } = op {
                    *values = rows.first().and_then(|row| row.first()?.as_deref()).map(list).unwrap_or_default();
                }
            }
        }
        note(&into, |all| all.lists.push(Txn { session: number, during, outcome, ops }));
        tokio::time::sleep(THINK).await;
    }
}

/// PostgreSQL's text of an array of numbers.
#[must_use]
pub fn list(text: &str) -> Vec<u64> {
    text.trim_matches(['{', '}']).split(',').filter_map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_read() {
        assert_eq!(list("{1,22,3}"), [1, 22, 3]);
        assert_eq!(list("{}"), [0_u64; 0]);
    }
}
