//! Whether what the clients saw may be so: our own checkers and, for list-append, a second opinion of another make. Where
//! the two disagree, that is a finding too. Pure.

use crate::clients::{Histories, bank};
use crate::dialect::ACCOUNTS;
use crate::watch::{Watched, violations};
use dauphin_histories::allowed::{Level, Server, permits};
use dauphin_histories::append::{Anomaly, Op, Orders, Txn};
use dauphin_histories::{Outcome, append, bank as balances, fork, sessions, set};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Most findings of one kind that are written down.
const SHOWN_MAX: usize = 5;

/// What was read when all was over.
#[derive(Debug, Clone, Default)]
pub struct Final {
    /// The set, on each member.
    pub sets: Vec<set::Read>,
    /// All accounts, on each member.
    pub balances: Vec<balances::Balances>,
    /// All lists, on each member.
    pub lists: Vec<Txn>,
    /// The watch's values, on the leader.
    pub watch: BTreeSet<u64>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Inserts that were acknowledged.
    pub acked: u64,
    /// Of those, lost.
    pub lost: u64,
    /// Inserts of unknown outcome that are there.
    pub recovered: u64,
    /// Reads on replicas.
    #[serde(default)]
    pub reads: u64,
    /// The watch's acknowledged writes.
    pub watch_acked: u64,
    /// Of those, lost.
    pub watch_lost: u64,
    /// The watch's tries.
    pub samples: u64,
    /// Two members acknowledging.
    pub dual: u64,
    /// List-append transactions that were done, and all.
    pub lists: (u64, u64),
    /// Transfers done, reads of all accounts.
    pub bank: (u64, u64),
    /// Steps of counting sessions.
    pub steps: u64,
    /// Reads that looked for forks.
    pub forks: u64,
    /// What may not be, in words.
    pub violations: Vec<String>,
    /// What the engine itself permits, in words.
    pub permitted: Vec<String>,
}

/// Checks everything. `lossless`: the durability promises every acknowledged write.
#[must_use]
pub fn check(
    server: Server,
    level: Level,
    lossless: bool,
    histories: &Histories,
    last: &Final,
    watched: &Watched,
) -> Verdict {
    let mut found = Verdict { samples: watched.samples, steps: histories.steps.len() as u64, ..Verdict::default() };
    check_set(&mut found, lossless, histories, last);
    check_watch(&mut found, lossless, last, watched);
    check_lists(&mut found, (server, level), lossless, histories, last);

    found.bank = (histories.transfers, (histories.balances.len() + last.balances.len()) as u64);
    let reads: Vec<_> = histories.balances.iter().chain(&last.balances).cloned().collect();
    let wrong = balances::check(ACCOUNTS, bank::TOTAL, &reads);
    tell(&mut found.violations, "bank", wrong.iter().map(|f| format!("{f:?}")));

    if lossless {
        let wrong = sessions::check(&histories.steps);
        tell(&mut found.violations, "sessions", wrong.iter().map(|f| format!("{f:?}")));
        found.forks = histories.seen.len() as u64;
        let wrong = fork::check(&histories.seen);
        tell(&mut found.violations, "long fork on the leader", wrong.iter().map(|f| format!("{f:?}")));
    }
    found
}

fn tell(into: &mut Vec<String>, what: &str, found: impl ExactSizeIterator<Item = String>) {
    let all = found.len();
    into.extend(found.take(SHOWN_MAX).map(|text| format!("{what}: {text}")));
    if all > SHOWN_MAX {
        into.push(format!("{what}: {} more", all - SHOWN_MAX));
    }
}

fn check_set(found: &mut Verdict, lossless: bool, histories: &Histories, last: &Final) {
    let reads: Vec<set::Read> = histories.reads.iter().chain(&last.sets).cloned().collect();
    let result = set::check(&histories.adds, &reads);
    found.reads = histories.reads.len() as u64;
    found.acked = histories.adds.iter().filter(|a| a.outcome == Outcome::Ok).count() as u64;
    found.lost = result.lost.len() as u64;
    found.recovered = result.recovered.len() as u64;
    let list = |values: &[u64]| values.iter().map(|v| format!("value {v}")).collect::<Vec<_>>().into_iter();
    if lossless {
        tell(&mut found.violations, "lost", list(&result.lost));
    } else {
        tell(&mut found.permitted, "lost (async)", list(&result.lost));
    }
    tell(&mut found.violations, "unexpected", list(&result.unexpected));
    tell(&mut found.violations, "stale", list(&result.stale));
    tell(&mut found.violations, "never read", list(&result.unread));
}

fn check_watch(found: &mut Verdict, lossless: bool, last: &Final, watched: &Watched) {
    found.watch_acked = watched.acks.len() as u64;
    if !lossless {
        return;
    }
    let lost: Vec<_> = watched.acks.iter().filter(|a| !last.watch.contains(&a.value)).collect();
    found.watch_lost = lost.len() as u64;
    let text =
        |a: &&crate::watch::Ack| format!("{} acknowledged by m{} on timeline {}", a.value, a.member + 1, a.timeline);
    tell(&mut found.violations, "lost by the watch", lost.iter().map(text).collect::<Vec<_>>().into_iter());
    let dual = violations(&watched.acks, &last.watch);
    found.dual = dual.len() as u64;
    tell(&mut found.violations, "two leaders", dual.into_iter());
}

fn check_lists(
    found: &mut Verdict,
    (server, level): (Server, Level),
    lossless: bool,
    histories: &Histories,
    last: &Final,
) {
    let mut history: Vec<Txn> = histories.lists.iter().chain(&last.lists).cloned().collect();
    history.sort_by_key(|txn| txn.during.from);
    let done = history.iter().filter(|t| t.outcome == Outcome::Ok).count() as u64;
    found.lists = (done, history.len() as u64);
    let ours = append::check(&history, Orders::default());
    for finding in &ours {
        // without a promise the end of a log may go, and with it what others read of it
        let of_loss = matches!(finding.anomaly, Anomaly::Lost | Anomaly::IncompatibleOrder | Anomaly::Unwritten);
        let into = if permits(server, level, finding.anomaly) || (!lossless && of_loss) {
            &mut found.permitted
        } else {
            &mut found.violations
        };
        into.push(format!("list-append: {}: {}", finding.anomaly, finding.text));
    }
    match second_opinion(&history) {
        Ok(theirs) => {
            let mine: BTreeSet<String> = ours.iter().filter_map(|f| common_name(f.anomaly)).collect();
            let known = |name: &String| COMMON.contains(&name.as_str());
            let theirs: BTreeSet<String> = theirs.into_iter().filter(known).collect();
            if mine.is_empty() != theirs.is_empty() {
                found.violations.push(format!("the checkers disagree: ours finds {mine:?}, adya {theirs:?}"));
            }
        }
        Err(why) => found.violations.push(format!("the second checker does not take the history: {why}")),
    }
}

/// Anomalies that both checkers look for, by adya's names.
const COMMON: [&str; 9] =
    ["duplicate-elements", "incompatible-order", "internal", "G1a", "G1b", "G0", "G1c", "G-single-item", "G2-item"];

fn common_name(anomaly: Anomaly) -> Option<String> {
    let name = match anomaly {
        Anomaly::Duplicate => "duplicate-elements",
        Anomaly::IncompatibleOrder => "incompatible-order",
        Anomaly::Internal => "internal",
        Anomaly::G1a => "G1a",
        Anomaly::G1b => "G1b",
        Anomaly::G0 => "G0",
        Anomaly::G1c => "G1c",
        Anomaly::GSingle => "G-single-item",
        Anomaly::G2Item => "G2-item",
        Anomaly::Unwritten | Anomaly::Lost | Anomaly::GNonadjacent => return None,
    };
    Some(name.to_owned())
}

/// What `adya` (a checker of another make) finds.
fn second_opinion(history: &[Txn]) -> Result<Vec<String>, String> {
    let parsed = adya::History::from_json(&events(history)).map_err(|e| e.to_string())?;
    let opts = adya::Opts { models: vec!["serializable".into()], ..adya::Opts::default() };
    Ok(adya::check(&parsed, adya::Workload::ListAppend, &opts).anomaly_types.iter().map(ToString::to_string).collect())
}

/// The history as one line an event, as Elle takes it.
fn events(history: &[Txn]) -> String {
    let mut lines: Vec<(u64, u8, String)> = Vec::new();
    for (process, txn) in history.iter().enumerate() {
        let value = |done: bool| {
            let op = |op: &Op| match op {
                Op::Append { key, value } => format!("[\"append\",{key},{value}]"),
                Op::Read { key, values } if done => format!("[\"r\",{key},{values:?}]"),
                Op::Read { key, .. } => format!("[\"r\",{key},null]"),
            };
            txn.ops.iter().map(op).collect::<Vec<_>>().join(",")
        };
        let kind = match txn.outcome {
            Outcome::Ok => "ok",
            Outcome::Failed => "fail",
            Outcome::Unknown => "info",
        };
        // every transaction is a process of its own: no order among a session's is claimed
        let line =
            |kind: &str, value: String| format!("{{\"type\":\"{kind}\",\"process\":{process},\"value\":[{value}]}}");
        lines.push((txn.during.from, 0, line("invoke", value(false))));
        lines.push((txn.during.to, 1, line(kind, value(txn.outcome == Outcome::Ok))));
    }
    lines.sort();
    lines.iter().fold(String::new(), |mut text, (_, _, line)| {
        let _ = writeln!(text, "{line}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_histories::During;

    fn txn(at: u64, ops: Vec<Op>) -> Txn {
        Txn { session: 1, during: During { from: at, to: at + 5 }, outcome: Outcome::Ok, ops }
    }

    fn append(key: u64, value: u64) -> Op {
        Op::Append { key, value }
    }

    fn read(key: u64, values: &[u64]) -> Op {
        Op::Read { key, values: values.to_vec() }
    }

    #[test]
    fn a_lost_list_and_a_split_one_are_found_by_both_checkers() {
        let well = vec![txn(0, vec![append(1, 1)]), txn(10, vec![append(1, 2)]), txn(20, vec![read(1, &[1, 2])])];
        let verdict = |lists: Vec<Txn>| {
            let histories = Histories { lists, ..Histories::default() };
            check(Server::Innodb, Level::Locking, true, &histories, &Final::default(), &Watched::default())
        };
        assert_eq!(verdict(well.clone()).violations, [""; 0]);
        let mut split = well;
        split.push(txn(30, vec![read(1, &[2, 1])]));
        let found = verdict(split.clone()).violations;
        assert!(found.iter().any(|f| f.contains("incompatible order")), "{found:?}");
        assert!(!found.iter().any(|f| f.contains("disagree")), "{found:?}");
        assert!(second_opinion(&split).is_ok_and(|names| names.contains(&"incompatible-order".to_owned())));
    }

    #[test]
    fn write_skew_is_a_violation_where_the_engine_promises_to_be_serializable() {
        let skew = vec![
            Txn { during: During { from: 0, to: 9 }, ..txn(0, vec![read(1, &[]), append(2, 1)]) },
            Txn { during: During { from: 1, to: 9 }, ..txn(1, vec![read(2, &[]), append(1, 2)]) },
            txn(20, vec![read(1, &[2]), read(2, &[1])]),
        ];
        let of = |server, level| {
            let histories = Histories { lists: skew.clone(), ..Histories::default() };
            let found = check(server, level, true, &histories, &Final::default(), &Watched::default());
            (found.violations.len(), found.permitted.len())
        };
        assert_eq!(of(Server::Postgres { major: 15 }, Level::Serializable), (1, 0));
        assert_eq!(of(Server::Postgres { major: 18 }, Level::Serializable), (0, 1));
        assert_eq!(of(Server::Innodb, Level::Locking), (1, 0), "every read locked its row");
        assert_eq!(of(Server::Innodb, Level::RepeatableRead), (0, 1));
    }
}
