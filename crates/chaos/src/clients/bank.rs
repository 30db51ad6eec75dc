//! Transfers between eight accounts, and reads of all of them: the total never changes, whoever leads.

use super::{Into, Line, Shared, note};
use crate::dialect::{ACCOUNTS, BALANCE};
use crate::schedule::Dice;
use dauphin_histories::Outcome;
use std::time::Duration;

/// What the accounts hold together.
pub(crate) const TOTAL: i64 = ACCOUNTS as i64 * BALANCE;
/// Reads all balances.
pub(crate) const READ: &str = "SELECT balance FROM chaos_bank ORDER BY a";
const THINK: Duration = Duration::from_millis(25);

/// One of them transfers, the other reads.
pub(super) async fn client(shared: Shared, transfers: bool, into: Into) {
    let (mut line, dialect) = (Line::new(&shared), shared.dialect());
    let mut dice = Dice::of(11, 1);
    while !shared.stopped() {
        if transfers {
            let from = dice.between(0, ACCOUNTS as u64);
            let to = (from + dice.between(1, ACCOUNTS as u64)) % ACCOUNTS as u64;
            let amount = dice.between(1, 20);
            let statements = dialect.transfer(from, to, amount);
            let (outcome, _) = line.transaction(dialect.begin_transfer(), &statements).await;
            if outcome == Outcome::Ok {
                note(&into, |all| all.transfers += 1);
            }
        } else {
            let (outcome, answers) = line.transaction(dialect.begin_balances(), &[READ.to_owned()]).await;
            if let (Outcome::Ok, Some(rows)) = (outcome, answers.first()) {
                let balances = rows.iter().filter_map(|row| row.first()?.as_deref()?.parse().ok()).collect();
                note(&into, |all| all.balances.push(balances));
            }
        }
        tokio::time::sleep(THINK).await;
    }
}
