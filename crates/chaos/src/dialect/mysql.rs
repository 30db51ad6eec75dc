//! MySQL and MariaDB: InnoDB's REPEATABLE READ loses updates by itself (docs/consistency.md), so every read of a list locks its
//! row; rows that exist, by their key. What remains between the two families is where a log ends.

use super::{ACCOUNTS, BALANCE, COUNTERS, Dialect, LISTS};
use dauphin_histories::allowed::Level;
use std::ops::Range;

/// What differs between the two families.
pub(super) struct Family {
    log_end: &'static str,
    /// Asks about a position that stands between these two.
    has: (&'static str, &'static str),
}

pub(super) const MYSQL: Family =
    Family { log_end: "SELECT @@GLOBAL.gtid_executed", has: ("SELECT GTID_SUBSET('", "', @@GLOBAL.gtid_executed)") };
pub(super) const MARIADB: Family =
    Family { log_end: "SELECT @@GLOBAL.gtid_binlog_pos", has: ("SELECT MASTER_GTID_WAIT('", "', 0) = 0") };

/// Rows for each of these numbers.
fn rows(of: Range<u64>, value: &str) -> String {
    of.map(|n| format!("({n}, {value})")).collect::<Vec<_>>().join(", ")
}

impl Dialect for Family {
    fn tables(&self) -> Vec<String> {
        let accounts = ACCOUNTS as u64;
        vec![
            "CREATE TABLE chaos_set(v bigint PRIMARY KEY)".to_owned(),
            "CREATE TABLE chaos_append(k bigint PRIMARY KEY, v longtext NOT NULL)".to_owned(),
            format!("INSERT INTO chaos_append VALUES {}", rows(0..LISTS, "''")),
            "CREATE TABLE chaos_bank(a int PRIMARY KEY, balance bigint NOT NULL)".to_owned(),
            format!("INSERT INTO chaos_bank VALUES {}", rows(0..accounts, &BALANCE.to_string())),
            "CREATE TABLE chaos_counter(k int PRIMARY KEY, n bigint NOT NULL)".to_owned(),
            format!("INSERT INTO chaos_counter VALUES {}", rows(0..COUNTERS, "0")),
            "CREATE TABLE chaos_fork(k bigint PRIMARY KEY)".to_owned(),
            "CREATE TABLE chaos_watch(v bigint PRIMARY KEY, member varchar(16) NOT NULL)".to_owned(),
        ]
    }

    fn insert_key(&self, key: u64) -> String {
        format!("INSERT IGNORE INTO chaos_fork VALUES ({key})")
    }

    fn begin_lists(&self) -> &'static str {
        "START TRANSACTION"
    }

    fn append(&self, list: u64, value: u64) -> String {
        format!("UPDATE chaos_append SET v = CONCAT(v, ',{value}') WHERE k = {list}")
    }

    fn read_list(&self, list: u64) -> String {
        format!("SELECT v FROM chaos_append WHERE k = {list} FOR UPDATE")
    }

    fn level(&self) -> Level {
        Level::Locking
    }

    fn all_lists(&self) -> &'static str {
        "SELECT k, v FROM chaos_append WHERE v <> ''"
    }

    fn begin_transfer(&self) -> &'static str {
        "START TRANSACTION"
    }

    fn transfer(&self, from: u64, to: u64, amount: u64) -> Vec<String> {
        vec![
            format!("UPDATE chaos_bank SET balance = balance - {amount} WHERE a = {from} AND balance >= {amount}"),
            // of the statement before: nothing was taken where nothing was changed
            format!("UPDATE chaos_bank SET balance = balance + {amount} WHERE a = {to} AND ROW_COUNT() = 1"),
        ]
    }

    fn begin_balances(&self) -> &'static str {
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
    }

    // Two statements and one leadership: whoever begins to lead, or ends, has ended every session first.
    fn watch(&self, value: u64, member: usize) -> String {
        format!("SELECT MAX(timeline) FROM dauphin.timelines; INSERT INTO chaos_watch VALUES ({value}, 'm{member}')")
    }

    fn log_end(&self) -> &'static str {
        self.log_end
    }

    fn has(&self, end: &str) -> String {
        let (before, after) = self.has;
        // a set of many servers comes in lines
        format!("{before}{}{after}", end.replace('\n', ""))
    }
}
