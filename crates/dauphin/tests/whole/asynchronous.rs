//! `async`: what a failover may cost is told beforehand as a range at risk, and what it did cost exactly, once the old
//! leader is back.

use crate::EXPECTED;
use crate::hosts::can_have_hosts;
use crate::stage::Stage;

/// A position in the log, as PostgreSQL writes it.
fn lsn(text: &str) -> u64 {
    let (high, low) = text.split_once('/').expect("a position");
    (u64::from_str_radix(high, 16).expect("hexadecimal") << 32) + u64::from_str_radix(low, 16).expect("hexadecimal")
}

#[test]
fn with_async_the_range_that_a_failover_cost_is_told_exactly() {
    if !can_have_hosts("with_async_the_range_that_a_failover_cost_is_told_exactly") {
        return;
    }
    let stage = Stage::up("async", &["--hosts", "--durability", "async", "--profile", "fast"]);
    stage.sql(stage.write_port(), "CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t VALUES (0)");
    let old = stage.leader();
    let position = "SELECT pg_current_wal_insert_lsn()";
    let before = lsn(&stage.sql_as_admin(position));
    stage.run(&["lab", "fault", "--member", &old, "--kind", "replication-cut"]).ended(0);
    // acknowledged, and on no replica; a replica may hold what was under way
    let mut after = Vec::new();
    for row in 1..=20 {
        stage.sql(stage.write_port(), &format!("INSERT INTO t VALUES ({row})"));
        after.push(lsn(&stage.sql_as_admin(position)));
    }
    stage.run(&["lab", "fault", "--member", &old, "--kind", "kill-node"]).ended(0);
    stage.until("a takeover", |c| c["open"] == true && c["leader"] != old.as_str());
    let journal = stage.until_said(&["explain"], "are given up");
    assert!(journal.out.contains(&old), "who may hold it: {}", journal.out);
    let there: Vec<i32> = {
        let rows = stage.sql(stage.write_port(), "SELECT coalesce(string_agg(i::text, ',' ORDER BY i), '') FROM t");
        rows.split(',').filter_map(|row| row.parse().ok()).collect()
    };
    assert!(there.len() < 21, "nothing was lost: {there:?}");

    let entry = stage.healed_with_its_cost();
    let text = entry["lost"].as_str().expect("what it cost");
    let (from, rest) = text.split_once(" to ").expect("a range");
    let (from, to) = (lsn(from), lsn(rest.split_whitespace().next().expect("its end")));
    assert_eq!(lsn(entry["switch_position"].as_str().expect("a position")), from);
    assert!(from >= before && to >= *after.last().expect("rows"), "{text}; the rows end at {after:x?}");
    // what lies in the range is gone, and what lies before it is there: row by row
    for (row, end) in (1..).zip(&after) {
        assert_eq!(there.contains(&row), *end <= from, "row {row} ends at {end:x}; {text}");
    }
    stage.down_after(EXPECTED);
}
