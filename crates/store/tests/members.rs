//! Who may take part: wiped disks, replaced members, removals, laggards, foreign and unannounced folders.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::*;
use dauphin_store::{Standing, Start, StoreError, Txn};
use std::collections::BTreeSet;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_folder_is_refused_without_a_word_on_how_to_start() {
    let cluster = Cluster::empty(1);
    let refused = cluster.start(&name("m1"), None).await;
    assert!(matches!(refused, Err(StoreError::Empty { .. })), "{refused:?}");
    let others = Start::Bootstrap { members: BTreeSet::from([name("m2")]) };
    let refused = cluster.start(&name("m1"), Some(others)).await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_belongs_to_one_member_and_one_process() {
    let cluster = Cluster::of(1).await;
    let again = cluster.start(&name("m1"), None).await;
    assert!(matches!(again, Err(StoreError::InUse { .. })), "{again:?}");
    cluster.kill(&name("m1")).await;
    std::fs::rename(cluster.dir(&name("m1")), cluster.dir(&name("m2"))).unwrap();
    let foreign = cluster.start(&name("m2"), None).await;
    assert!(matches!(foreign, Err(StoreError::Foreign { .. })), "{foreign:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_disk_was_wiped_votes_only_after_it_was_added_again() {
    let cluster = Cluster::of(3).await;
    let bootstrap = Start::Bootstrap { members: cluster.names.clone() };
    // The founder too: it must neither vote nor found a second cluster.
    for member in [name("m1"), name("m3")] {
        let rev = set(&cluster.stores()[1], member.as_str(), None, "kept").await;
        cluster.kill(&member).await;
        std::fs::remove_dir_all(cluster.dir(&member)).unwrap();
        let wiped = cluster.start(&member, Some(bootstrap.clone())).await.unwrap();
        let mut health = wiped.health();
        let waiting = health.wait_for(|h| matches!(&h.standing, Standing::Waiting { why } if why != "starting"));
        tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
        assert!(matches!(wiped.elect_now().await, Err(StoreError::Refused { .. })));
        assert_eq!(wiped.watch().borrow().identity, None);

        cluster.stores()[1].add_member(&member, PATIENCE).await.unwrap();
        let voter = health.wait_for(|h| h.standing == Standing::Voter);
        tokio::time::timeout(PATIENCE, voter).await.unwrap().unwrap();
        assert_eq!(get(&wiped, member.as_str()).await.unwrap().rev, rev);
        assert_eq!(health.borrow().voters.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go_one_at_a_time() {
    let cluster = Cluster::of(3).await;
    let joiner = name("m4");
    cluster.start(&joiner, Some(Start::Join)).await.unwrap();
    cluster.stores()[0].add_member(&joiner, PATIENCE).await.unwrap();
    // again is no change
    cluster.stores()[1].add_member(&joiner, PATIENCE).await.unwrap();
    let leader = cluster.settled().await;
    until("four voters", || cluster.stores().iter().all(|s| s.health().borrow().voters.len() == 4)).await;

    let gone = cluster.others(&leader)[0].clone();
    cluster.store(&joiner).remove_member(&gone, PATIENCE).await.unwrap();
    until("three voters", || cluster.store(&leader).health().borrow().voters.len() == 3).await;
    assert!(!cluster.store(&leader).health().borrow().voters.contains(&gone));
    let twice = cluster.store(&joiner).remove_member(&gone, PATIENCE).await;
    assert!(matches!(twice, Err(StoreError::Refused { .. })), "{twice:?}");
    set(&cluster.store(&joiner), "after", None, 1).await;

    // the leader itself
    cluster.store(&joiner).remove_member(&leader, PATIENCE).await.unwrap();
    cluster.kill(&gone).await;
    cluster.kill(&leader).await;
    cluster.settled().await;
    set(&cluster.store(&joiner), "after", Some(get(&cluster.store(&joiner), "after").await.unwrap().rev), 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_would_cost_the_majority_is_refused() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.settled().await;
    let rest = cluster.others(&leader);
    cluster.kill(&rest[0]).await;
    // long enough that its heartbeats are missed
    tokio::time::sleep(cluster.timings.heartbeat * 6).await;
    let refused = cluster.store(&leader).remove_member(&rest[1], PATIENCE).await;
    let Err(StoreError::Refused { why }) = refused else { panic!("{refused:?}") };
    assert!(why.contains(rest[0].as_str()), "names who is missing: {why}");
    // the absent one may go
    cluster.store(&leader).remove_member(&rest[0], PATIENCE).await.unwrap();
    set(&cluster.store(&leader), "a", None, 1).await;
    let missing = cluster.store(&leader).add_member(&name("m9"), PATIENCE).await;
    assert!(matches!(missing, Err(StoreError::Refused { .. })), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_for_long_gets_a_snapshot() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.settled().await;
    let away = cluster.others(&leader)[0].clone();
    let store = cluster.store(&leader);
    cluster.kill(&away).await;
    for batch in 0..15 {
        let writes = (0..100).map(|n| {
            let store = store.clone();
            let txn = Txn { put: vec![(key(&format!("k/{n}")), vec![batch; 8])], ..Txn::default() };
            tokio::spawn(async move { store.txn(txn, PATIENCE).await })
        });
        for write in writes.collect::<Vec<_>>() {
            write.await.unwrap().unwrap();
        }
    }
    store.snapshot().await.unwrap();
    until("a snapshot", || store.status().snapshot.is_some_and(|s| s > 1_400)).await;

    let back = cluster.start(&away, None).await.unwrap();
    let snapshot = back.read_linearizable(PATIENCE).await.unwrap();
    assert_eq!(snapshot.entries.len(), 100);
    assert!(snapshot.entries.values().all(|(e, _)| e.value == vec![14; 8]));
    // and from the disk again
    cluster.kill(&away).await;
    let back = cluster.start(&away, None).await.unwrap();
    assert_eq!(back.read_linearizable(PATIENCE).await.unwrap().entries.len(), 100);
    let writer = cluster.others(&away)[0].clone();
    cluster.kill(&writer).await;
    let again = cluster.start(&writer, None).await.unwrap();
    assert_eq!(again.read_linearizable(Duration::from_secs(20)).await.unwrap().entries.len(), 100);
}
