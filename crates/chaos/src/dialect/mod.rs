//! What clients say to each engine, where engines differ: tables, transactions, and who wrote when. What all of them understand
//! stands with the clients. Pure.

mod mysql;
mod postgres;

use dauphin_histories::allowed;
use dauphin_lab::Engine;

/// Lists there are.
pub const LISTS: u64 = 6_000;
/// Accounts of the bank.
pub const ACCOUNTS: usize = 8;
/// What each of them holds at first.
pub const BALANCE: i64 = 100;
/// Counters of sessions.
pub const COUNTERS: u64 = 16;

/// How to speak to an engine.
pub trait Dialect: Send + Sync {
    /// Makes the tables and fills them; one statement each.
    fn tables(&self) -> Vec<String>;
    /// Inserts a key into the table of forks, or does nothing if it is there.
    fn insert_key(&self, key: u64) -> String;
    /// Begins a list-append transaction.
    fn begin_lists(&self) -> &'static str;
    /// Appends to a list.
    fn append(&self, list: u64, value: u64) -> String;
    /// Reads a list in such a transaction.
    fn read_list(&self, list: u64) -> String;
    /// What the engine permits to transactions of that kind.
    fn level(&self) -> allowed::Level;
    /// The lists that hold anything, with their number.
    fn all_lists(&self) -> &'static str;
    /// Begins a transfer.
    fn begin_transfer(&self) -> &'static str;
    /// Takes only what is there, and gives only what was taken.
    fn transfer(&self, from: u64, to: u64, amount: u64) -> Vec<String>;
    /// Begins a read of all accounts.
    fn begin_balances(&self) -> &'static str;
    /// Writes a row of the watch on this member; its first row says on which timeline, by a number that grows.
    fn watch(&self, value: u64, member: usize) -> String;
    /// Where a leader's log ends.
    fn log_end(&self) -> &'static str;
    /// Whether a replica has replayed that: 1 or 0.
    fn has(&self, end: &str) -> String;
}

/// The dialect of an engine.
#[must_use]
pub fn of(engine: Engine) -> &'static dyn Dialect {
    match engine {
        Engine::Postgres => &postgres::Postgres,
        Engine::Mysql => &mysql::MYSQL,
        Engine::Mariadb => &mysql::MARIADB,
    }
}

/// A list as both write it: numbers, and what stands between them.
#[must_use]
pub fn list(text: &str) -> Vec<u64> {
    text.trim_matches(['{', '}']).split(',').filter_map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        assert_eq!(list("{1,22,3}"), [1, 22, 3]);
        assert_eq!(list(",1,22,3"), [1, 22, 3]);
        assert_eq!((list("{}"), list("")), (vec![], vec![]));
    }
}
