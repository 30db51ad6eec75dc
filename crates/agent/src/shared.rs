//! What members put into the store by themselves, so that all know it: the cluster's system identifier, the first version
//! of the shared specification, and what was cut off a log. Started once; none of it decides anything.

use crate::engine::Cut;
use crate::keys::{self, CutRecord, SpecRecord};
use dauphin_model::file::ClusterFile;
use dauphin_model::{Evidence, Leadership, MemberName, Spec};
use dauphin_store::{Store, Txn, TxnOutcome};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How long to wait after an attempt that failed.
const RETRY: Duration = Duration::from_secs(1);
/// How long one attempt may take.
const STORE_WITHIN: Duration = Duration::from_secs(3);
/// Ranges kept; older ones are dropped (their archives stay).
const CUTS_KEPT: usize = 50;
/// Attempts to tell of one range.
const CUT_TRIES: u32 = 60;

/// Keeps the cluster's system identifier in the store. Its leader writes it, and no other than the first unless that one's
/// cluster never came to be; everybody else believes it.
pub(crate) async fn keep_system(store: Store, me: MemberName, system: watch::Sender<Option<u64>>) {
    let mut known = system.subscribe();
    let mut states = store.watch();
    loop {
        let snapshot = states.borrow_and_update().clone();
        let stored: Option<u64> = keys::get(&snapshot, &keys::system());
        let ours = *known.borrow_and_update();
        let record: Option<Leadership> = keys::get(&snapshot, &keys::leadership());
        let mine = record.filter(|r| r.leader.name == me);
        let may_write = mine.as_ref().is_some_and(|r| stored.is_none() || r.evidence == Evidence::Bootstrap);
        match (stored, ours) {
            (_, Some(ours)) if may_write && stored != Some(ours) => {
                let value = serde_json::to_vec(&ours).unwrap_or_default();
                let expect = [keys::system(), keys::leadership()].map(|key| (key.clone(), snapshot.rev(&key)));
                let txn = Txn { expect: expect.to_vec(), put: vec![(keys::system(), value)], delete: Vec::new() };
                if store.txn(txn, STORE_WITHIN).await.is_err() {
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
            (Some(stored), _) if mine.is_none() && ours != Some(stored) => {
                system.send_replace(Some(stored));
            }
            _ => {}
        }
        tokio::select! {
            changed = states.changed() => if changed.is_err() { return },
            changed = known.changed() => if changed.is_err() { return },
        }
    }
}

/// The specification is the store's from the first start on: whoever comes first puts its file's there, and a file that
/// says something else afterwards is told of and counts for nothing.
pub(crate) async fn keep_spec(store: Store, file: Spec) {
    let mut states = store.watch();
    loop {
        let snapshot = states.borrow_and_update().clone();
        if snapshot.identity.is_some() {
            let there: Option<SpecRecord> = keys::get(&snapshot, &keys::spec());
            if let Some(record) = there {
                if record.spec != file {
                    let text = |spec: &Spec| ClusterFile { spec: spec.clone(), local: None, proxy: None }.render();
                    let (ours, theirs) = (text(&file), text(&record.spec));
                    let other = ours.lines().find(|line| !theirs.lines().any(|l| l == *line)).unwrap_or_default();
                    tracing::info!(
                        version = record.version,
                        file = other,
                        "this member's file differs from the shared configuration, which counts: dauphin config show"
                    );
                }
                return;
            }
            let first = SpecRecord { version: 1, at: keys::now_text(), spec: file.clone() };
            let value = serde_json::to_vec(&first).unwrap_or_default();
            let txn = Txn { expect: vec![(keys::spec(), None)], put: vec![(keys::spec(), value)], delete: Vec::new() };
            if store.txn(txn, STORE_WITHIN).await.is_err() {
                tokio::time::sleep(RETRY).await;
                continue;
            }
        }
        if states.changed().await.is_err() {
            return;
        }
    }
}

/// Tells the cluster of each range that was cut off here.
pub(crate) async fn keep_cuts(store: Store, mut cuts: mpsc::Receiver<Cut>) {
    while let Some(cut) = cuts.recv().await {
        let record = CutRecord {
            member: cut.member,
            timeline: cut.timeline,
            from: cut.from,
            to: cut.to,
            folder: cut.folder.display().to_string(),
        };
        for _ in 0..CUT_TRIES {
            let snapshot = store.watch().borrow().clone();
            let mut all: Vec<CutRecord> = keys::get(&snapshot, &keys::cut_off()).unwrap_or_default();
            all.push(record.clone());
            all.drain(..all.len().saturating_sub(CUTS_KEPT));
            let txn = Txn {
                expect: vec![(keys::cut_off(), snapshot.rev(&keys::cut_off()))],
                put: vec![(keys::cut_off(), serde_json::to_vec(&all).unwrap_or_default())],
                delete: Vec::new(),
            };
            if let Ok(TxnOutcome::Committed { .. }) = store.txn(txn, STORE_WITHIN).await {
                break;
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}
