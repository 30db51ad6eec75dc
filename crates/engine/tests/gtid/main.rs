//! Our GTID algebra against the real servers' own: what they read, print, refuse, compute and write must be what ours does.
#![allow(unreachable_pub, clippy::print_stderr, reason = "what runs here, and what is not to be had, is said")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod bare;
mod mariadb;
mod mysql;
#[path = "../support/run.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod run;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

/// Values of a strategy, the same in every run.
pub(crate) fn some<T>(count: usize, of: impl Strategy<Value = T>) -> Vec<T> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| of.new_tree(&mut runner).unwrap().current()).collect()
}
