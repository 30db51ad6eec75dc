//! Members whose log parts from their leader's: what they alone hold is found, shown and archived, and then they come back.

use crate::copies::copied;
use crate::run::{LIMIT, until};
use crate::stage::{Member, Stage};
use dauphin_engine::mysql::{CutOff, Errant, Error, Flavour, Logged, SemiSync, StopMode, Thread, Writes};
use dauphin_model::{Held, Term};
use mysql_async::prelude::Queryable;

/// What a leader that died with waiting commits becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Becomes {
    /// They are there.
    Committed,
    /// They are gone, from the tables and from the log.
    Cut,
    /// As many of them are gone from the tables as from the log: any number.
    Anything,
}

/// Whether commits wait, what is on the command line of the next start, and what becomes of them there. MySQL has not the
/// option, and is measured without.
#[rustfmt::skip]
const TABLE: [(bool, &[&str], Becomes); 4] = [
    (true, &[], Becomes::Committed),
    (true, &["--rpl-semi-sync-slave-enabled=ON"], Becomes::Committed),
    (true, &["--init-rpl-role=SLAVE"], Becomes::Cut),
    (false, &["--init-rpl-role=SLAVE"], Becomes::Anything),
];

pub async fn what_becomes_of_an_unacknowledged_tail(stage: &Stage) {
    let mut one = stage.leader("m1").await;
    let mut n = 0;
    let table = if stage.flavour() == Flavour::Mysql { &TABLE[..1] } else { &TABLE[..] };
    for (waits, options, expected) in table {
        let rows = one.rows().await;
        if *waits {
            wait_for_nobody(&one, n).await;
        } else {
            one.insert(n).await.unwrap();
            one.insert(n + 1).await.unwrap();
        }
        n += 2;
        let logged = one.sql.instance.logged().await.unwrap();
        one.stop(StopMode::Kill).await;
        assert_eq!(one.sql.instance.logged().await.unwrap(), logged, "its files say the same");
        one.start_with(options).await;
        let (now, view) = (one.rows().await, one.look().await);
        let gone = count(&logged.errant(&view.logged()));
        eprintln!("measured: {}: waits {waits}, {options:?}: {gone} of 2 are gone", stage.bin.version);
        assert_eq!(now - rows, 2 - i64::try_from(gone).unwrap(), "its log says what its tables hold");
        let as_told = match expected {
            Becomes::Committed => gone == 0,
            Becomes::Cut => gone == 2,
            Becomes::Anything => true,
        };
        assert!(as_told, "{options:?}: not as docs/mysql-rejoin.md says");
        one.sql.open_writes().await.unwrap();
    }
}

fn count(errant: &Errant) -> u64 {
    match errant {
        Errant::Mysql(set) => set.count(),
        Errant::Mariadb(tails) => tails.iter().map(|tail| tail.last - tail.after.unwrap_or(0)).sum(),
    }
}

/// Two commits that wait for replicas, of which there is none that takes them.
async fn wait_for_nobody(one: &Member, n: i32) {
    one.sql.set_semi_sync(SemiSync::Wait { required: 1 }).await.unwrap();
    for row in [n, n + 1] {
        let before = one.sql.instance.logged().await.unwrap();
        let mut client = one.app().await;
        tokio::spawn(async move { client.query_drop(format!("INSERT INTO app.t VALUES ({row}, 'alone')")).await });
        // one of them waits for replicas, the other for the first
        until("a logged commit", async || one.sql.instance.logged().await.unwrap() != before).await;
    }
    until("a waiting commit", async || one.look().await.semi_sync.waiting > 0).await;
}

pub async fn a_leader_that_died_with_commits_of_its_own_comes_back(stage: &Stage) {
    let (mut one, two) = (stage.leader("m1").await, stage.member("m2").await);
    two.follow(&one).await;
    one.insert(1).await.unwrap();
    two.executes(&one.look().await.executed).await;
    two.sql.freeze(LIMIT).await.unwrap();
    wait_for_nobody(&one, 2).await;
    one.stop(StopMode::Kill).await;
    two.sql.promote(LIMIT).await.unwrap();
    two.sql.open_writes().await.unwrap();
    two.insert(10).await.unwrap();
    let leader = two.look().await.logged();

    // it is down: its files are read and archived
    let cut = one.sql.instance.archive_cut_off(None, &leader, Term(2)).await.unwrap().expect("two transactions");
    assert!(cut.whole && cut.statements_whole, "{cut:?}");
    assert_eq!(cut.to - cut.from, 2, "{cut:?}");
    shows(&cut, &["'alone'"], &[2, 3], &[1, 10]);
    let again = one.sql.instance.archive_cut_off(None, &leader, Term(2)).await.unwrap().unwrap();
    assert_eq!((&again.folder, &again.errant), (&cut.folder, &cut.errant));
    assert!(two.sql.instance.archive_cut_off(None, &leader, Term(2)).await.unwrap().is_none(), "the leader's own");

    match stage.flavour() {
        Flavour::Mariadb => {
            one.start_as(one.sql.prepare_cutting_start(&cut).await.unwrap()).await;
            assert!(one.look().await.logged().errant(&leader).is_empty(), "its recovery cut them off");
        }
        Flavour::Mysql => {
            assert!(matches!(one.sql.prepare_cutting_start(&cut).await, Err(Error::Setting { .. })));
            one.start().await;
            assert_eq!(one.rows().await, 3, "its recovery commits what nobody acknowledged");
            assert_eq!(one.look().await.logged().errant(&leader), cut.errant);
            one.stop(StopMode::Orderly).await;
            one.sql.instance.wipe().unwrap();
            copied(&two, &one).await;
            one.start().await;
        }
    }
    one.follow(&two).await;
    two.insert(11).await.unwrap();
    one.executes(&two.look().await.executed).await;
    assert_eq!((one.rows().await, two.rows().await), (3, 3));
    let (ours, theirs) = (one.look().await.logged(), two.look().await.logged());
    assert!(ours.errant(&theirs).is_empty(), "{ours:?} {theirs:?}");
    assert!(cut.folder.join("cut-off.json").exists(), "the archive stays");
}

/// What an archive says: exactly these rows, by its document, its statements and its log files.
fn shows(cut: &CutOff, words: &[&str], rows: &[i32], others: &[i32]) {
    let text = std::fs::read_to_string(cut.folder.join("cut-off.json")).unwrap();
    assert_eq!(&serde_json::from_str::<CutOff>(&text).unwrap(), cut);
    let statements = std::fs::read_to_string(cut.folder.join("statements.sql")).unwrap();
    assert!(words.iter().all(|word| statements.contains(word)), "{statements}");
    let has = |row: &i32| statements.lines().any(|line| line.trim_end() == format!("###   @1={row}"));
    assert!(rows.iter().all(has) && !others.iter().any(has), "{statements}");
    assert!(statements.starts_with(&format!("-- {}", cut.transactions)), "{statements}");
    assert!(!cut.files.is_empty());
    for file in &cut.files {
        assert!(std::fs::metadata(cut.folder.join(file)).unwrap().len() > 100, "{file}");
    }
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&cut.folder).unwrap().permissions().mode() & 0o777, 0o700);
}

pub async fn errant_transactions_of_a_replica_are_shown_and_passed_over_by_choice_alone(stage: &Stage) {
    let (one, mut two) = (stage.leader("m1").await, stage.member("m2").await);
    two.follow(&one).await;
    one.insert(1).await.unwrap();
    two.executes(&one.look().await.executed).await;
    assert!(two.look().await.logged().errant(&one.look().await.logged()).is_empty());
    two.sql.open_writes().await.unwrap();
    let mut root = two.root().await;
    root.query_drop("INSERT INTO app.t VALUES (100, 'errant')").await.unwrap();
    root.query_drop("INSERT INTO app.t VALUES (101, 'errant')").await.unwrap();
    two.sql.close_writes(LIMIT).await.unwrap();
    two.sql.freeze(LIMIT).await.unwrap();
    let known = two.look().await.logged();
    let leader = one.look().await.logged();
    let cut = two.sql.instance.archive_cut_off(Some(&known), &leader, Term(3)).await.unwrap().expect("errant");
    assert_eq!(cut.errant, known.errant(&leader));
    assert!(cut.whole, "{cut:?}");
    shows(&cut, &["'errant'"], &[100, 101], &[1]);
    // more than its logs hold any more
    let index = two.sql.instance.data_dir.join("binlog.index");
    let logs = || {
        let text = std::fs::read_to_string(&index).unwrap();
        text.lines().map(|line| line.trim_start_matches("./").to_owned()).collect::<Vec<_>>()
    };
    root.query_drop("FLUSH BINARY LOGS").await.unwrap();
    let last = logs().pop().unwrap();
    until("one log file", async || {
        // MariaDB keeps one until it needs it for no recovery any more
        root.query_drop(format!("PURGE BINARY LOGS TO '{last}'")).await.unwrap();
        logs().len() == 1
    })
    .await;
    let purged = two.sql.instance.archive_cut_off(Some(&known), &leader, Term(4)).await.unwrap().expect("errant");
    assert_eq!(purged.errant, cut.errant);
    assert!(!purged.whole, "it says that the logs begin later");

    let on_itself = two.sql.pass_over(&cut).await;
    assert!(matches!(on_itself, Err(Error::Setting { .. })), "closed, or MariaDB: {on_itself:?}");
    match stage.flavour() {
        Flavour::Mysql => {
            assert_eq!(one.sql.pass_over(&cut).await.unwrap(), 2);
            assert_eq!(one.sql.pass_over(&cut).await.unwrap(), 0, "done is done");
            one.insert(2).await.unwrap();
            assert!(known.errant(&one.look().await.logged()).is_empty());
            two.follow(&one).await;
            two.executes(&one.look().await.executed).await;
            assert_eq!((one.rows().await, two.rows().await), (2, 4), "it hides them, it does not undo them");
        }
        Flavour::Mariadb => {
            assert!(matches!(one.sql.pass_over(&cut).await, Err(Error::Setting { .. })));
            one.insert(2).await.unwrap();
            one.insert(3).await.unwrap();
            two.follow(&one).await;
            until("a refusal", async || {
                let channel = two.look().await.channels[0].clone();
                channel.receiver_fault.is_some() || channel.applier_fault.is_some()
            })
            .await;
            two.stop(StopMode::Kill).await;
            two.sql.instance.wipe().unwrap();
            copied(&one, &two).await;
            two.start().await;
            two.follow(&one).await;
            two.executes(&one.look().await.executed).await;
            assert_eq!((one.rows().await, two.rows().await), (3, 3));
        }
    }
    assert_ne!(two.look().await.writes, Writes::Open);
}

pub async fn what_was_received_and_not_applied_is_archived_too(stage: &Stage) {
    let (mut one, mut two, three) = (stage.leader("m1").await, stage.member("m2").await, stage.member("m3").await);
    two.follow(&one).await;
    three.follow(&one).await;
    one.insert(1).await.unwrap();
    for member in [&two, &three] {
        member.executes(&one.look().await.executed).await;
    }
    three.sql.freeze(LIMIT).await.unwrap();
    two.sql.stop_appliers().await.unwrap();
    one.insert(2).await.unwrap();
    one.insert(3).await.unwrap();
    let end = one.look().await.executed;
    until("the events", async || two.look().await.reached().unwrap().holds(&end)).await;
    one.stop(StopMode::Kill).await;
    // the replica that has them is gone too, and the one without leads
    two.stop(StopMode::Kill).await;
    three.sql.promote(LIMIT).await.unwrap();
    three.sql.open_writes().await.unwrap();
    three.insert(20).await.unwrap();
    let leader = three.look().await.logged();
    let cut = two.sql.instance.archive_cut_off(None, &leader, Term(5)).await.unwrap().expect("received");
    assert!(cut.files.iter().all(|file| file.starts_with("relay.")), "{cut:?}");
    shows(&cut, &["'x'"], &[2, 3], &[1, 20]);
    assert_eq!(count(&cut.errant), 2);
    // where nothing can be told all is kept
    let folder = two.sql.instance.archive_whole_log(Term(6)).unwrap();
    let kept = std::fs::read_dir(folder).unwrap().flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    let kept: Vec<String> = kept.collect();
    assert!(kept.iter().any(|f| f.starts_with("binlog.")) && kept.iter().any(|f| f.starts_with("relay.")), "{kept:?}");
    two.start().await;
    assert_eq!(two.look().await.channels[0].applier, Thread::Stopped, "nothing was applied by any of it");
    let text = serde_json::to_string(&leader).unwrap();
    assert_eq!(serde_json::from_str::<Logged>(&text).unwrap(), leader, "it goes between agents");
}
