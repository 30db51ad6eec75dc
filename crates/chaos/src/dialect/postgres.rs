//! PostgreSQL: list-append at SERIALIZABLE. Appends are plain UPDATEs of rows that exist: with ON CONFLICT PostgreSQL 18.4 has an
//! anomaly of its own.

use super::{ACCOUNTS, BALANCE, COUNTERS, Dialect, LISTS};
use dauphin_histories::allowed::Level;

pub(super) struct Postgres;

impl Dialect for Postgres {
    fn tables(&self) -> Vec<String> {
        let until = |last: u64| format!("generate_series(0, {})", last - 1);
        let (lists, accounts, counters) = (until(LISTS), until(ACCOUNTS as u64), until(COUNTERS));
        vec![
            "CREATE TABLE chaos_set(v bigint PRIMARY KEY)".to_owned(),
            "CREATE TABLE chaos_append(k bigint PRIMARY KEY, v bigint[] NOT NULL) WITH (fillfactor = 50)".to_owned(),
            format!("INSERT INTO chaos_append SELECT k, '{{}}' FROM {lists} AS k"),
            "CREATE TABLE chaos_bank(a int PRIMARY KEY, balance bigint NOT NULL)".to_owned(),
            format!("INSERT INTO chaos_bank SELECT a, {BALANCE} FROM {accounts} AS a"),
            "CREATE TABLE chaos_counter(k int PRIMARY KEY, n bigint NOT NULL)".to_owned(),
            format!("INSERT INTO chaos_counter SELECT k, 0 FROM {counters} AS k"),
            "CREATE TABLE chaos_fork(k bigint PRIMARY KEY)".to_owned(),
            "CREATE TABLE chaos_watch(v bigint PRIMARY KEY, member text NOT NULL)".to_owned(),
        ]
    }

    fn insert_key(&self, key: u64) -> String {
        format!("INSERT INTO chaos_fork VALUES ({key}) ON CONFLICT DO NOTHING")
    }

    fn begin_lists(&self) -> &'static str {
        "BEGIN ISOLATION LEVEL SERIALIZABLE"
    }

    fn append(&self, list: u64, value: u64) -> String {
        format!("UPDATE chaos_append SET v = v || {value}::bigint WHERE k = {list}")
    }

    fn read_list(&self, list: u64) -> String {
        format!("SELECT v FROM chaos_append WHERE k = {list}")
    }

    fn level(&self) -> Level {
        Level::Serializable
    }

    fn all_lists(&self) -> &'static str {
        "SELECT k, v FROM chaos_append WHERE v <> '{}'"
    }

    fn begin_transfer(&self) -> &'static str {
        "BEGIN ISOLATION LEVEL REPEATABLE READ"
    }

    fn transfer(&self, from: u64, to: u64, amount: u64) -> Vec<String> {
        vec![format!(
            "WITH taken AS (UPDATE chaos_bank SET balance = balance - {amount} WHERE a = {from} AND balance >= {amount} \
             RETURNING a) UPDATE chaos_bank SET balance = balance + {amount} WHERE a = {to} AND EXISTS (SELECT FROM taken)"
        )]
    }

    fn begin_balances(&self) -> &'static str {
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    }

    fn watch(&self, value: u64, member: usize) -> String {
        format!(
            "INSERT INTO chaos_watch VALUES ({value}, 'm{member}') \
             RETURNING ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int"
        )
    }

    fn log_end(&self) -> &'static str {
        "SELECT pg_current_wal_lsn()"
    }

    fn has(&self, end: &str) -> String {
        format!("SELECT coalesce(pg_last_wal_replay_lsn() >= '{end}'::pg_lsn, false)::int")
    }
}
