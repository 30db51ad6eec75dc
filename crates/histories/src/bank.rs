//! Transfers between accounts: every consistent read sees the same total, and no account is overdrawn.

/// A read of all accounts in one transaction, or one statement.
pub type Balances = Vec<i64>;

/// What a read shows that it must not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Another total: the read saw part of a transfer.
    Total {
        /// Which read.
        read: usize,
        /// What it adds up to.
        total: i64,
    },
    /// An account below zero: a transfer acted on a balance that was not there.
    Overdrawn {
        /// Which read.
        read: usize,
        /// Which account.
        account: usize,
        /// Its balance.
        balance: i64,
    },
    /// An account is missing, or there is one too many.
    Accounts {
        /// Which read.
        read: usize,
        /// How many it saw.
        seen: usize,
    },
}

/// Checks the reads of a bank of `accounts` that holds `total`.
#[must_use]
pub fn check(accounts: usize, total: i64, reads: &[Balances]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (read, balances) in reads.iter().enumerate() {
        if balances.len() != accounts {
            found.push(Finding::Accounts { read, seen: balances.len() });
            continue;
        }
        let sum = balances.iter().fold(0_i64, |sum, balance| sum.saturating_add(*balance));
        if sum != total {
            found.push(Finding::Total { read, total: sum });
        }
        let overdrawn = balances.iter().enumerate().filter(|(_, balance)| **balance < 0);
        found.extend(overdrawn.map(|(account, balance)| Finding::Overdrawn { read, account, balance: *balance }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_read_an_overdraft_and_a_lost_account_are_seen() {
        assert_eq!(check(2, 100, &[vec![50, 50], vec![0, 100]]), []);
        assert_eq!(check(2, 100, &[vec![40, 50]]), [Finding::Total { read: 0, total: 90 }]);
        assert_eq!(check(2, 100, &[vec![-10, 110]]), [Finding::Overdrawn { read: 0, account: 0, balance: -10 }]);
        assert_eq!(check(2, 100, &[vec![100]]), [Finding::Accounts { read: 0, seen: 1 }]);
    }
}
