//! Transfers between eight accounts, and reads of all of them: the total never changes, whoever leads.

use super::{Into, Line, Shared, note};
use crate::schedule::Dice;
use dauphin_histories::Outcome;
use std::time::Duration;

/// Accounts.
pub(crate) const ACCOUNTS: usize = 8;
/// What they hold together.
pub(crate) const TOTAL: i64 = 800;
pub(super) const TABLE: &str = "CREATE TABLE chaos_bank(a int PRIMARY KEY, balance bigint NOT NULL); \
    INSERT INTO chaos_bank SELECT a, 100 FROM generate_series(0, 7) AS a";
/// Reads all balances.
pub(crate) const READ: &str = "SELECT balance FROM chaos_bank ORDER BY a";
const THINK: Duration = Duration::from_millis(25);

/// One of them transfers, the other reads.
pub(super) async fn client(shared: Shared, transfers: bool, into: Into) {
    let mut line = Line::new(&shared);
    let mut dice = Dice::of(11, 1);
    while !shared.stopped() {
        if transfers {
            let from = dice.between(0, ACCOUNTS as u64);
            let to = (from + dice.between(1, ACCOUNTS as u64)) % ACCOUNTS as u64;
            let amount = dice.between(1, 20);
            // takes only what is there, and gives only what was taken
            let sql = format!(
                "WITH taken AS (UPDATE chaos_bank SET balance = balance - {amount} WHERE a = {from} AND balance >= {amount} \
                 RETURNING a) UPDATE chaos_bank SET balance = balance + {amount} WHERE a = {to} AND EXISTS (SELECT FROM taken)"
            );
            let (outcome, _) = line.transaction("BEGIN ISOLATION LEVEL REPEATABLE READ", &[sql]).await;
            if outcome == Outcome::Ok {
                note(&into, |all| all.transfers += 1);
            }
        } else {
            let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
            let (outcome, answers) = line.transaction(begin, &[READ.to_owned()]).await;
            if let (Outcome::Ok, Some(rows)) = (outcome, answers.first()) {
                let balances = rows.iter().filter_map(|row| row.first()?.as_deref()?.parse().ok()).collect();
                note(&into, |all| all.balances.push(balances));
            }
        }
        tokio::time::sleep(THINK).await;
    }
}
