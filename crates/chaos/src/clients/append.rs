//! List-append as strongly as the engine can: one to four operations a transaction, on a few lists at a time. Lists that have
//! grown long are left alone.

use super::{Into, Line, Shared, note};
use crate::dialect::{LISTS, list};
use crate::schedule::Dice;
use dauphin_histories::append::{Op, Txn};
use dauphin_histories::{During, Outcome};
use std::time::Duration;

/// Lists in use at a time.
const ACTIVE: u64 = 6;
/// Values after which the next list comes into use.
const VALUES_PER_LIST: u64 = 40;
const THINK: Duration = Duration::from_millis(20);

pub(super) async fn client(shared: Shared, number: u32, into: Into) {
    let (mut line, dialect) = (Line::new(&shared), shared.dialect());
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
            Op::Append { key, value } => dialect.append(*key, *value),
            Op::Read { key, .. } => dialect.read_list(*key),
        };
        let statements: Vec<String> = ops.iter().map(statement).collect();
        let from = shared.clock.now();
        let (outcome, answers) = line.transaction(dialect.begin_lists(), &statements).await;
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
