//! What the scanner says of texts that applications and drivers really send. Run with the crate's unit tests.

use super::*;
use proptest::prelude::*;

fn pin(sql: &str) -> Option<Pin> {
    effects(sql.as_bytes(), false).pin
}

fn sole(sql: &str) -> Option<Lasting> {
    effects(sql.as_bytes(), false).changes.pop()
}

#[test]
fn ordinary_statements_leave_nothing() {
    for sql in [
        "",
        ";;",
        "-- ping",
        "SELECT 1",
        "(select 1) union all (select 2)",
        "select * from t where kind = 'temp' and note = 'LISTEN x'",
        "select temp, hold, listen from readings",
        "INSERT INTO temp_readings VALUES ($1)",
        "insert into \"temp\" values (1)",
        "with x as (select 1) select * from x",
        "BEGIN",
        "begin; set local statement_timeout = 5; select 1; commit",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "set constraints all deferred",
        "select set_config('app.user', '42', true)",
        "select pg_catalog.set_config('search_path', '', TRUE), (select 1)",
        "select pg_advisory_xact_lock(1)",
        "declare c cursor without hold for select 1",
        "DECLARE c CURSOR FOR SELECT 1",
        "create table t (a int); create index on t (a)",
        "create function f() returns int language sql as $$ set x = 1; listen y; select 1 $$",
        "PREPARE TRANSACTION 'x'",
        "copy t from stdin",
        "rollback to savepoint a",
        "notify x, 'y'",
        "discard plans",
        "unlisten *",
    ] {
        assert_eq!(pin(sql), None, "{sql}");
        assert_eq!(sole(sql), None, "{sql}");
    }
}

#[test]
fn what_cannot_move_pins() {
    for (sql, expected) in [
        ("CREATE TEMP TABLE t (a int)", Pin::Temporary),
        ("create local temporary table t (a int)", Pin::Temporary),
        ("create or replace temp view v as select 1", Pin::Temporary),
        ("create table pg_temp.t (a int)", Pin::Temporary),
        ("select 1 as a into temp t", Pin::Temporary),
        ("select 1 as a into /* x */ temporary t", Pin::Temporary),
        ("explain analyze create temp table t as select 1", Pin::Temporary),
        ("select pg_advisory_lock(1)", Pin::AdvisoryLock),
        ("select pg_catalog . \"pg_try_advisory_lock_shared\"(1)", Pin::AdvisoryLock),
        ("listen x", Pin::Listen),
        ("select 1; LISTEN x", Pin::Listen),
        ("/* c */ prepare p as select 1", Pin::Prepare),
        ("declare c cursor with hold for select 1", Pin::HoldCursor),
        ("set role admin", Pin::Role),
        ("set session authorization x", Pin::Role),
        ("set session role = x", Pin::Role),
        ("set \"role\" = x", Pin::Role),
        ("reset role", Pin::Role),
        ("select set_config('app.user', '42', false)", Pin::Setting),
        ("select set_config('a', 'b', lower('true')::bool)", Pin::Setting),
        ("select set_config('a', 'b', false or true = false)", Pin::Setting),
        ("select set_config('a', 'b', not true)", Pin::Setting),
        ("select set_config('a', set_config('b', 'c', true), true)", Pin::Setting),
        ("select set_config('a', f(1, true), false)", Pin::Setting),
        ("set x = 1; select 1", Pin::Setting),
        ("load 'auto_explain'", Pin::Load),
        ("do $$ begin null; end $$", Pin::Code),
        ("call p()", Pin::Code),
        ("select dblink_connect('x')", Pin::Connection),
        ("frobnicate", Pin::Unknown),
        ("select u&\"pg_adv\\0069sory_lock\"(1)", Pin::Doubt),
        ("do $$x$$; create temp table t (a int)", Pin::Temporary),
        ("call p(); select pg_advisory_lock(1)", Pin::AdvisoryLock),
    ] {
        assert_eq!(pin(sql), Some(expected), "{sql}");
    }
}

#[test]
fn what_several_statements_take_back_is_told_in_order() {
    let found = effects(b"select f(); reset a.b; unlisten *; RESET ALL; deallocate c;", false);
    let expected = [Lasting::Reset(b"a.b".to_vec()), Lasting::ResetAll, Lasting::Deallocate(b"c".to_vec())];
    assert_eq!((found.changes.as_slice(), found.pin), (&expected[..], None));
    let many = "reset all;".repeat(50);
    assert_eq!(pin(&many), Some(Pin::Setting));
}

#[test]
fn settings_alone_in_their_text_are_remembered() {
    for (sql, expected) in [
        ("SET statement_timeout = 5", Lasting::Set(b"statement_timeout".to_vec())),
        ("set session \"TimeZone\" to 'UTC';", Lasting::Set(b"timezone".to_vec())),
        ("set app.user = 'x'", Lasting::Set(b"app.user".to_vec())),
        ("SET TIME ZONE 'UTC'", Lasting::Set(b"time".to_vec())),
        ("set search_path to a, b", Lasting::Set(b"search_path".to_vec())),
        ("reset app.user", Lasting::Reset(b"app.user".to_vec())),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", Lasting::Set(CHARACTERISTICS.to_vec())),
        ("RESET ALL", Lasting::ResetAll),
        ("DISCARD ALL;", Lasting::DiscardAll),
        ("deallocate prepare \"S_1\"", Lasting::Deallocate(b"S_1".to_vec())),
        ("DEALLOCATE ALL", Lasting::DeallocateAll),
    ] {
        assert_eq!((pin(sql), sole(sql)), (None, Some(expected)), "{sql}");
    }
}

#[test]
fn commits_and_savepoints_are_seen() {
    for sql in ["COMMIT", "end", "select 1; commit", "prepare transaction 'x'", "commit prepared 'x'", "call p()"] {
        assert!(effects(sql.as_bytes(), false).control.may_commit, "{sql}");
    }
    for sql in ["select 'commit'", "rollback", "insert into t values (1)"] {
        assert!(!effects(sql.as_bytes(), false).control.may_commit, "{sql}");
    }
    for sql in ["savepoint a", "rollback to a", "release a"] {
        assert!(effects(sql.as_bytes(), false).savepoint, "{sql}");
    }
}

#[test]
fn texts_that_may_hide_warnings_are_seen() {
    for sql in [
        "set client_min_messages = error",
        "set local \"client_min_messages\" to x",
        "do $$ $$",
        "select set_config($1, $2, true)",
    ] {
        assert!(effects(sql.as_bytes(), false).messages, "{sql}");
    }
    for sql in ["alter role app set client_min_messages = error", "show client_min_messages", "set x = 1"] {
        assert!(!effects(sql.as_bytes(), false).messages, "{sql}");
    }
}

#[test]
fn a_backslash_means_what_the_session_says() {
    let sql = b"select 'a\\' || pg_advisory_lock(1) || '";
    assert_eq!(effects(sql, false).pin, Some(Pin::AdvisoryLock));
    assert_eq!(effects(sql, true).pin, None);
}

proptest! {
    #[test]
    fn no_bytes_panic(sql in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..200) {
        let (left, right) = sql.split_at(cut.min(sql.len()));
        let mut scan = Scan::new(false);
        scan.feed(left);
        scan.feed(right);
        prop_assert_eq!(scan.finish(), effects(&sql, false));
    }
}
