//! SHOW STATS and its kind: what was counted of each database, as totals and as averages of the last whole minute, under PgBouncer's
//! names. It changes nothing.

use super::table::Kind::{Number, Text};
use super::table::{Table, Value};
use crate::hub::Hub;
use crate::metrics::{COUNTERS, GAUGES};
use crate::survey::Known;
use crate::tally::Totals;

/// The numbers of a database: their name without what says whether they are totals or averages.
fn numbers(totals: &Totals) -> [(&'static str, u64); 8] {
    [
        ("server_assignment_count", totals.waits.count()),
        ("xact_count", totals.transactions.count()),
        ("query_count", totals.queries.count()),
        ("received", totals.received),
        ("sent", totals.sent),
        ("xact_time", totals.transactions.sum_us),
        ("query_time", totals.queries.sum_us),
        ("wait_time", totals.waits.sum_us),
    ]
}

/// The same for each second, and times for each of what they are of.
fn averages(known: &Known) -> [(&'static str, u64); 8] {
    let recent = &known.recent;
    let seconds = recent.length.as_secs_f64();
    let (transactions, queries) = (recent.totals.transactions.count(), recent.totals.queries.count());
    numbers(&recent.totals).map(|(name, number)| {
        let per = match name {
            "xact_time" => transactions as f64,
            "query_time" => queries as f64,
            "wait_time" => recent.totals.waits.count() as f64,
            _ => seconds,
        };
        (name, if per > 0.0 { (number as f64 / per) as u64 } else { 0 })
    })
}

/// Names of columns: with totals and averages, with totals alone, with averages alone.
const COLUMNS: [(&str, &str, &str); 8] = [
    ("total_server_assignment_count", "server_assignment_count", "avg_server_assignment_count"),
    ("total_xact_count", "xact_count", "avg_xact_count"),
    ("total_query_count", "query_count", "avg_query_count"),
    ("total_received", "bytes_received", "avg_recv"),
    ("total_sent", "bytes_sent", "avg_sent"),
    ("total_xact_time", "xact_time", "avg_xact_time"),
    ("total_query_time", "query_time", "avg_query_time"),
    ("total_wait_time", "wait_time", "avg_wait_time"),
];

/// Totals and averages for each database, or one of both.
pub(super) fn table(known: Vec<Known>, parts: &[&str]) -> Table {
    let (totals, averages_too) = (parts.contains(&"total_"), parts.contains(&"avg_"));
    let mut columns = vec![("database", Text)];
    if totals {
        columns.extend(COLUMNS.map(|(both, alone, _)| (if averages_too { both } else { alone }, Number)));
    }
    if averages_too {
        // Alone they have the names that totals alone have.
        columns.extend(COLUMNS.map(|(_, alone, both)| (if totals { both } else { alone }, Number)));
    }
    let mut table = Table::new(&columns);
    for database in known {
        let mut row: Vec<Value> = vec![database.name.clone().into()];
        if totals {
            row.extend(numbers(&database.totals).map(|(_, number)| number.into()));
        }
        if averages_too {
            row.extend(averages(&database).map(|(_, number)| number.into()));
        }
        table.row(row);
    }
    table
}

/// All databases together, and what happened to clients.
pub(super) fn totals(hub: &Hub, known: &[Known]) -> Table {
    let mut sum = Totals::default();
    known.iter().for_each(|known| sum += known.totals);
    let mut table = Table::new(&[("name", Text), ("value", Number)]);
    for (name, value) in numbers(&sum) {
        table.row(vec![format!("total_{name}").into(), value.into()]);
    }
    let stats = hub.stats.snapshot();
    for (name, _, value) in GAUGES.iter().chain(&COUNTERS) {
        let name = name.trim_start_matches("dauphin_proxy_").trim_end_matches("_total");
        table.row(vec![name.into(), value(&stats).into()]);
    }
    table
}
