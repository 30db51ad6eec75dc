//! What lies under which key in the store, as JSON that a person can read; and the core's compare-and-sets as transactions
//! on them. Nothing here waits or decides.

use dauphin_ha::{Intent, PAST_MAX, Rev, StoreTxn, StoreView};
use dauphin_model::route::FENCES_MAX;
use dauphin_model::{Fence, Leadership, Lease, Lsn, Mono, PastTerm, Spec, Timeline};
use dauphin_store::{Entry, Key, Snapshot, Txn};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// A term of the history, with the wall clock for people.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HistoryRecord {
    #[serde(flatten)]
    pub(crate) past: PastTerm,
    /// RFC 3339.
    pub(crate) at: String,
}

/// What the leader works on, with the wall clock for people.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct IntentRecord {
    #[serde(flatten)]
    intent: Intent,
    /// RFC 3339.
    since: String,
}

/// What was cut off a member's log because its leader's did not hold it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CutRecord {
    pub(crate) member: String,
    pub(crate) timeline: Timeline,
    pub(crate) from: Lsn,
    pub(crate) to: Lsn,
    /// Where that member keeps it.
    pub(crate) folder: String,
}

/// The shared specification as the store holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SpecRecord {
    pub(crate) version: u64,
    pub(crate) at: String,
    pub(crate) spec: Spec,
}

macro_rules! keys {
    ($($name:ident = $text:literal;)*) => {
        $(pub(crate) fn $name() -> Key {
            Key::new($text).unwrap_or_else(|_| unreachable!("a plain word is a key"))
        })*
    };
}

keys! {
    leadership = "leadership";
    lease = "lease";
    intent = "intent";
    paused = "paused";
    history = "history";
    spec = "spec";
    spec_before = "spec-before";
    system = "system";
    cut_off = "cut-off";
    alerts = "alerts";
}

/// Where a member keeps its latest decisions for the others to read.
pub(crate) fn journal(member: &dauphin_model::MemberName) -> Key {
    Key::new(format!("journal/{member}")).unwrap_or_else(|_| unreachable!("a name makes a key"))
}

/// Reads a value; what cannot be read is as if it were not there, and is said aloud.
pub(crate) fn get<T: DeserializeOwned>(snapshot: &Snapshot, key: &Key) -> Option<T> {
    read(key, snapshot.get(key)?)
}

fn read<T: DeserializeOwned>(key: &Key, entry: &Entry) -> Option<T> {
    serde_json::from_slice(&entry.value)
        .inspect_err(|error| tracing::error!(%key, %error, "the store holds something that cannot be read"))
        .ok()
}

/// What the core sees of a snapshot. `now` and `instant` are the same moment on the two clocks. `None`: the record is there and
/// cannot be read, and must not be taken for a cluster that has none.
pub(crate) fn view(snapshot: &Snapshot, now: Mono, instant: Instant) -> Option<StoreView> {
    let record: Option<Leadership> = get(snapshot, &leadership());
    if record.is_none() && snapshot.rev(&leadership()).is_some() {
        return None;
    }
    let rev = |key: &Key| snapshot.rev(key).map_or(Rev(0), |r| Rev(r.0));
    let lease_key = lease();
    let seen = snapshot.entries.get(&lease_key).map_or(now, |(_, at)| {
        let age = instant.saturating_duration_since(*at).as_micros();
        now - dauphin_model::Span(u64::try_from(age).unwrap_or(u64::MAX))
    });
    let past: Vec<HistoryRecord> = get(snapshot, &history()).unwrap_or_default();
    let under_way: Option<IntentRecord> = get(snapshot, &intent());
    Some(StoreView {
        cluster_id: snapshot.identity.as_ref().map(ToString::to_string).unwrap_or_default(),
        leadership: record,
        leadership_rev: rev(&leadership()),
        lease: get::<Lease>(snapshot, &lease_key),
        lease_rev: rev(&lease_key),
        lease_seen: seen,
        intent: under_way.as_ref().map(|r| r.intent.clone()),
        intent_since: under_way.map(|r| r.since),
        paused: get(snapshot, &paused()).unwrap_or(false),
        spec: get::<SpecRecord>(snapshot, &spec()).map(|s| s.spec),
        past: past.into_iter().map(|h| h.past.wrote()).collect(),
    })
}

/// Where the last leaderships began, for proxies.
pub(crate) fn fences(snapshot: &Snapshot) -> Vec<Fence> {
    let past: Vec<HistoryRecord> = get(snapshot, &history()).unwrap_or_default();
    let last = past.iter().skip(past.len().saturating_sub(FENCES_MAX));
    last.map(|HistoryRecord { past, .. }| Fence {
        term: past.term,
        next_xid: past.switch.next_xid,
        timeline: past.timeline,
        from: past.switch.from,
        begins: past.switch.lsn,
    })
    .collect()
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// The core's compare-and-set as a transaction.
pub(crate) fn transaction(txn: &StoreTxn, snapshot: &Snapshot) -> Txn {
    let expected = |rev: Rev| (rev.0 > 0).then_some(dauphin_store::Rev(rev.0));
    let mut out = Txn::default();
    if let Some(rev) = txn.expect_leadership {
        out.expect.push((leadership(), expected(rev)));
    }
    if let Some(rev) = txn.expect_lease {
        out.expect.push((lease(), expected(rev)));
    }
    if let Some(value) = &txn.leadership {
        out.put.push((leadership(), json(value)));
    }
    if let Some(value) = &txn.lease {
        out.put.push((lease(), json(value)));
    }
    if let Some(past) = &txn.past {
        // the record is expected to be as we saw it, and only its writer touches the history
        let mut all: Vec<HistoryRecord> = get(snapshot, &history()).unwrap_or_default();
        all.push(HistoryRecord { past: past.clone(), at: now_text() });
        let from = all.len().saturating_sub(PAST_MAX);
        out.put.push((history(), json(&&all[from..])));
    }
    if let Some(value) = &txn.intent {
        match value {
            Some(value) => {
                out.put.push((intent(), json(&IntentRecord { intent: value.clone(), since: now_text() })));
            }
            None => out.delete.push(intent()),
        }
    }
    if let Some(value) = &txn.paused {
        out.put.push((paused(), json(value)));
    }
    out
}

/// The wall clock, for people: `2026-11-26T09:03:51.440Z`.
pub(crate) fn now_text() -> String {
    const MILLISECONDS: jiff::fmt::temporal::DateTimePrinter =
        jiff::fmt::temporal::DateTimePrinter::new().precision(Some(3));
    MILLISECONDS.timestamp_to_string(&jiff::Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_model::{Evidence, Incarnation, Lsn, MemberName, SwitchPoint, Term, Timeline, Voter};

    #[test]
    fn a_full_history_of_a_large_cluster_fits_its_key() {
        let voter = |n: usize| {
            let name = MemberName::new(&format!("m{n:0>31}")).unwrap_or_else(|e| panic!("{e}"));
            Voter::new(name, Incarnation(u32::MAX))
        };
        let past = PastTerm {
            term: Term(u64::MAX),
            leader: voter(0),
            timeline: Timeline(u32::MAX),
            switch: SwitchPoint { from: Timeline(u32::MAX), lsn: Lsn(u64::MAX), next_xid: u64::MAX },
            evidence: Evidence::Frozen { voters: (0..7).map(voter).collect() },
        };
        let record = HistoryRecord { past, at: now_text() };
        let all = vec![record; PAST_MAX];
        // a record that does not fit would keep a winner from opening
        assert!(json(&all).len() < dauphin_store::VALUE_BYTES_MAX, "{} bytes", json(&all).len());
    }
}
