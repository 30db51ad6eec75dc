//! The traps of knowledge/postgres-ha.md that are this crate's, each on real servers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use dauphin_engine::postgres::{Access, Error, Refusal, StopMode, SyncMethod};
use dauphin_model::{Enforced, Position, Run, Timeline};
use std::time::{Duration, Instant};
use support::{LIMIT, Lab, Member, as_dauphin, look, pair, took, until};

fn one_of(member: &Member) -> Enforced {
    Enforced { voters: [member.voter.clone()].into(), required: 1 }
}

#[test]
fn a_freeze_holds_with_replay_paused() {
    as_dauphin("a_freeze_holds_with_replay_paused", async {
        let lab = Lab::new().await;
        let (one, two) = pair(&lab).await;
        two.sql("SELECT pg_wal_replay_pause()").await;
        one.psql("app", "INSERT INTO t SELECT generate_series(1, 10000)").await.unwrap();
        let end = look(&one).await;
        until("the log", async || look(&two).await.holds(&end)).await;
        let begun = Instant::now();
        let frozen = two.pg.freeze(LIMIT).await.unwrap();
        took("freeze while paused", begun);
        assert!(frozen.replay_paused && frozen.position.lsn > frozen.replayed, "{frozen:?}");
        assert!(frozen.position.holds(&end), "{frozen:?} {end:?}");
        one.psql("app", "INSERT INTO t VALUES (0)").await.unwrap();
        assert_eq!(two.pg.freeze(LIMIT).await.unwrap(), frozen, "nothing was received since");
        assert!(one.pg.look(LIMIT).await.attached.is_empty());
        // a paused replica that is promoted goes on and loses nothing
        two.pg.promote(Timeline(3), LIMIT).await.unwrap();
        assert_eq!(two.sql("SELECT current_setting('synchronous_standby_names')").await, "ANY 1 (\"dauphin_nobody\")");
    });
}

/// A receiver that stands still does not end by being told to: nobody else of its server stands, so that nothing else notices.
#[test]
fn a_freeze_ends_a_receiver_that_stands_still() {
    as_dauphin("a_freeze_ends_a_receiver_that_stands_still", async {
        let lab = Lab::new().await;
        let (one, two) = pair(&lab).await;
        let children = two.pg.instance.postmaster().unwrap().children(&two.pg.instance.data_dir);
        let receiver = children.iter().find(|c| c.title.contains(" walreceiver")).expect("a receiver").pid;
        let stop = std::process::Command::new("kill").args(["-STOP", &receiver.to_string()]).status().unwrap();
        assert!(stop.success());
        one.psql("app", "INSERT INTO t VALUES (1)").await.unwrap();
        let begun = Instant::now();
        let frozen = two.pg.freeze(LIMIT).await.unwrap();
        took("freeze of a receiver that stands still", begun);
        assert!(begun.elapsed() < LIMIT / 2, "it ended when told, and was not killed");
        one.psql("app", "INSERT INTO t VALUES (2)").await.unwrap();
        assert_eq!(two.pg.freeze(LIMIT).await.unwrap(), frozen, "nothing was received since");
        assert_eq!(two.pg.look(LIMIT).await.run, Run::Running);
    });
}

#[test]
fn a_position_after_a_restart_is_the_whole_log() {
    as_dauphin("a_position_after_a_restart_is_the_whole_log", async {
        let lab = Lab::new().await;
        let (one, mut two) = pair(&lab).await;
        one.psql("app", "INSERT INTO t SELECT generate_series(1, 1000)").await.unwrap();
        // the end of an acknowledged commit; what follows it may be half a record
        let end = Position { lsn: one.sql("SELECT pg_current_wal_lsn()").await.parse().unwrap(), ..look(&one).await };
        let end = if end.lsn.0.is_multiple_of(8192) {
            Position { lsn: dauphin_model::Lsn(end.lsn.0 - 8192), ..end }
        } else {
            end
        };
        until("the log", async || look(&two).await.holds(&end)).await;
        for mode in [StopMode::Fast, StopMode::Immediate, StopMode::Kill] {
            two.stop(mode).await;
            let run = two.pg.look(LIMIT).await.run;
            assert_eq!(run, if mode == StopMode::Fast { Run::Stopped } else { Run::Crashed });
            lab.start(&mut two, false).await;
            let begun = Instant::now();
            let frozen = two.pg.freeze(LIMIT).await.unwrap();
            took("freeze after a restart", begun);
            assert!(frozen.position.holds(&end), "{frozen:?} {end:?}");
        }
    });
}

#[test]
fn a_leader_waits_before_it_is_told_for_whom_and_a_cancelled_wait_is_no_proof() {
    as_dauphin("a_leader_waits_before_it_is_told_for_whom_and_a_cancelled_wait_is_no_proof", async {
        let lab = Lab::new().await;
        let mut one = lab.leader("m1").await;
        let two = lab.member("m2");
        one.stop(StopMode::Fast).await;
        lab.start(&mut one, false).await;
        one.pg.promote(Timeline(3), LIMIT).await.unwrap();
        // the probe waits though no replica was ever there, and ends with a warning when its wait is cancelled
        let probe = one.pg.start_barrier(support::term(2), &one_of(&two), SyncMethod::Any).await.unwrap();
        let cancel =
            "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE application_name = 'dauphin_barrier'";
        assert_eq!(one.sql(cancel).await, "1");
        let said = probe.done().await.expect_err("not replicated").to_string();
        assert!(said.contains("canceling wait for synchronous replication"), "{said}");
        // required by nobody, it is open at once
        let none = Enforced::default();
        one.pg.start_barrier(support::term(2), &none, SyncMethod::Any).await.unwrap().done().await.unwrap();
    });
}

#[test]
fn a_change_of_voters_is_confirmed_by_every_walsender() {
    as_dauphin("a_change_of_voters_is_confirmed_by_every_walsender", async {
        let lab = Lab::new().await;
        let (one, two) = pair(&lab).await;
        let set = one_of(&two);
        for method in [SyncMethod::Any, SyncMethod::First, SyncMethod::First, SyncMethod::Any, SyncMethod::Any] {
            let begun = Instant::now();
            one.pg.confirm_sync(&set, method).await.unwrap();
            took("confirm", begun);
            one.psql("app", "INSERT INTO t VALUES (1)").await.unwrap();
        }
        // a walsender that cannot take it (frozen) is not believed
        let sender = one.sql("SELECT pid FROM pg_stat_replication WHERE state = 'streaming'").await;
        let signal = |name: &str| std::process::Command::new("kill").args([name, &sender]).status().unwrap();
        signal("-STOP");
        let refused = one.pg.confirm_sync(&set, SyncMethod::Any).await;
        signal("-CONT");
        assert!(matches!(refused, Err(Error::TimedOut { .. })), "{refused:?}");
        one.pg.confirm_sync(&set, SyncMethod::Any).await.unwrap();
        // fewer voters than required: commits wait, and the walsender no longer releases them
        let short = Enforced { voters: Default::default(), required: 1 };
        one.pg.confirm_sync(&short, SyncMethod::Any).await.unwrap();
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'SyncRep'";
        let release = async {
            until("the commit that waits", async || one.sql(waiting).await == "1").await;
            one.pg.confirm_sync(&Enforced::default(), SyncMethod::Any).await.unwrap();
        };
        let (inserted, ()) = tokio::join!(one.psql("app", "INSERT INTO t VALUES (2)"), release);
        inserted.unwrap();
    });
}

#[test]
fn an_override_of_a_setting_that_safety_rests_on_is_seen() {
    as_dauphin("an_override_of_a_setting_that_safety_rests_on_is_seen", async {
        let lab = Lab::new().await;
        let one = lab.leader("m1").await;
        one.sql("ALTER SYSTEM SET synchronous_standby_names = 'mine'").await;
        let refused = one.pg.block_commits().await.expect_err("overridden").to_string();
        assert!(refused.contains("ALTER SYSTEM RESET synchronous_standby_names"), "{refused}");
        one.sql("ALTER SYSTEM RESET synchronous_standby_names").await;
        one.pg.block_commits().await.unwrap();
    });
}

#[test]
fn closing_ends_sessions_and_a_bad_line_of_the_user_is_reported() {
    as_dauphin("closing_ends_sessions_and_a_bad_line_of_the_user_is_reported", async {
        let lab = Lab::new().await;
        let one = lab.leader("m1").await;
        assert!(one.app_can_connect("SELECT 1").await);
        let sleeping = one.psql("app", "SELECT pg_sleep(60)");
        let closing = async {
            let there = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
            until("the session", async || one.sql(there).await == "1").await;
            let begun = Instant::now();
            one.pg.set_access(Access::Closed, &lab.networks).await.unwrap();
            took("close", begun);
            assert_eq!(one.sql(there).await, "0");
        };
        let (ended, ()) = tokio::join!(sleeping, closing);
        assert!(ended.unwrap_err().contains("terminating connection"));
        assert!(!one.app_can_connect("SELECT 1").await);
        assert!(one.psql("admin", "SELECT 1").await.is_err(), "superusers are kept out too");
        let path = one.pg.instance.data_dir.join("pg_hba.conf");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}host nonsense\n")).unwrap();
        let refused = one.pg.set_access(Access::Open, &lab.networks).await;
        assert!(matches!(refused, Err(Error::AccessRules { .. })), "{refused:?}");
        assert!(!one.app_can_connect("SELECT 1").await);
        std::fs::write(&path, text).unwrap();
        one.pg.set_access(Access::Open, &lab.networks).await.unwrap();
        assert!(one.app_can_connect("SELECT 1").await);
        // the proxy's function tells verifiers of ordinary roles only
        let verifier = |name: &str| format!("SELECT left(dauphin.scram_verifier('{name}'), 14)");
        assert_eq!(one.sql(&verifier("app")).await, "SCRAM-SHA-256$");
        for hidden in ["admin", "dauphin", "dauphin_proxy", "dauphin_replication"] {
            assert_eq!(one.sql(&verifier(hidden)).await, "", "{hidden}");
        }
        assert!(one.psql("app", &verifier("app")).await.is_err());
    });
}

#[test]
fn two_members_promote_and_the_loser_is_rewound() {
    as_dauphin("two_members_promote_and_the_loser_is_rewound", async {
        let lab = Lab::new().await;
        let (mut one, two) = pair(&lab).await;
        two.pg.freeze(LIMIT).await.unwrap();
        one.psql("app", "INSERT INTO t VALUES (666)").await.unwrap();
        two.pg.promote(Timeline(5), LIMIT).await.unwrap();
        two.pg.set_sync(&Enforced::default(), SyncMethod::Any).await.unwrap();
        two.pg.ensure_slots(std::slice::from_ref(&one.voter)).await.unwrap();
        one.stop(StopMode::Kill).await;
        assert!(one.pg.instance.stopped_position().await.is_err(), "a crashed server has no known end");
        lab.start(&mut one, false).await;
        let mine = one.pg.freeze(LIMIT).await.unwrap().position;
        one.stop(StopMode::Fast).await;
        assert_eq!(one.pg.instance.stopped_position().await.unwrap(), mine);
        let theirs = two.pg.look(LIMIT).await.position.unwrap();
        let upstream = two.upstream_for(&one, true);
        let settings = one.pg.settings().await;
        let rewind = async |one: &Member| {
            one.pg.instance.rewind(&upstream, &theirs, &settings, &lab.credentials, support::term(9)).await
        };
        two.pg.checkpoint().await.unwrap();
        let before = dauphin_engine::postgres::control::identity_on_disk(&one.pg.instance.data_dir).unwrap();
        assert_eq!(before, dauphin_engine::postgres::control::identity_on_disk(&two.pg.instance.data_dir).unwrap());
        // the same range would be archived before a fresh copy took the data's place
        let kept =
            one.pg.instance.archive_before_copy(Some(&theirs), support::term(8)).await.unwrap().expect("a range");
        let begun = Instant::now();
        let cut = rewind(&one).await.unwrap().expect("something was cut off");
        took("rewind", begun);
        assert_eq!(cut.timeline, Timeline(2));
        assert_eq!((kept.from, kept.to, &kept.segments), (cut.from, cut.to, &cut.segments));
        assert!(kept.folder.join(&kept.segments[0]).is_file());
        assert!(cut.to > cut.from && !cut.segments.is_empty() && cut.folder.join("cut-off.json").is_file());
        assert_eq!(rewind(&one).await.unwrap(), None, "nothing is left to rewind");
        lab.start(&mut one, false).await;
        one.pg.follow(&upstream).await.unwrap();
        one.pg.wait_streaming(Timeline(5), LIMIT).await.unwrap();
        until("the table", async || one.sql("SELECT pg_is_in_recovery()").await == "t").await;
        // a half-done rewind is quarantined
        one.stop(StopMode::Fast).await;
        std::fs::write(one.pg.instance.rewind_marker(), "").unwrap();
        let refused = one.pg.prepare_start(&lab.networks, &lab.credentials, false).await;
        assert!(matches!(refused, Err(Error::Refused(Refusal::HalfRewound { .. }))), "{refused:?}");
        // how far it goes is not known any more: the whole log is kept
        std::fs::write(one.pg.instance.data_dir.join("global/pg_control"), "damaged").unwrap();
        assert_eq!(one.pg.instance.archive_before_copy(Some(&theirs), support::term(10)).await.unwrap(), None);
        let whole = one.pg.instance.cut_off_dir().join("term10-whole-log");
        assert!(std::fs::read_dir(whole).unwrap().count() > 0);
        one.pg.instance.wipe().unwrap();
        lab.clone_of(&two, &mut one).await;
        lab.start(&mut one, false).await;
        one.pg.follow(&upstream).await.unwrap();
        one.pg.wait_streaming(Timeline(5), LIMIT).await.unwrap();
    });
}

/// A winner died before the first checkpoint on its timeline, and what it wrote last is in nobody else's log. pg_rewind of
/// PostgreSQL 15 goes by the last checkpoint and takes such data for that of the timeline before.
#[test]
fn a_winner_that_died_before_its_first_checkpoint_is_rewound() {
    as_dauphin("a_winner_that_died_before_its_first_checkpoint_is_rewound", async {
        for others_follow in [false, true] {
            let lab = Lab::new().await;
            let (mut one, mut two) = pair(&lab).await;
            let mut three = lab.member("m3");
            lab.clone_of(&one, &mut three).await;
            one.pg.ensure_slots(std::slice::from_ref(&three.voter)).await.unwrap();
            lab.start(&mut three, false).await;
            three.pg.follow(&one.upstream_for(&three, true)).await.unwrap();
            three.pg.wait_streaming(Timeline(2), LIMIT).await.unwrap();
            // so many changed pages that the checkpoint after a promotion takes its time
            one.psql("app", "INSERT INTO t SELECT generate_series(1, 300000)").await.unwrap();
            // an orderly stop ships all of its log to both
            one.stop(StopMode::Fast).await;
            for member in [&two, &three] {
                member.pg.freeze(LIMIT).await.unwrap();
            }
            assert_eq!(look(&two).await, look(&three).await);
            two.pg.promote(Timeline(3), LIMIT).await.unwrap();
            two.pg.set_sync(&Enforced::default(), SyncMethod::Any).await.unwrap();
            two.pg.set_access(Access::Open, &lab.networks).await.unwrap();
            if others_follow {
                two.pg.ensure_slots(std::slice::from_ref(&three.voter)).await.unwrap();
                three.pg.follow(&two.upstream_for(&three, true)).await.unwrap();
                three.pg.wait_streaming(Timeline(3), LIMIT).await.unwrap();
            }
            two.psql("app", "UPDATE t SET n = -n WHERE n <= 1000").await.unwrap();
            if others_follow {
                let end = look(&two).await;
                until("the log", async || look(&three).await.holds(&end)).await;
                three.pg.freeze(LIMIT).await.unwrap();
            }
            two.psql("app", "DELETE FROM t WHERE n > 150000; INSERT INTO t VALUES (666)").await.unwrap();
            two.stop(StopMode::Kill).await;
            let control = two.pg.instance.control_data().await.unwrap();
            assert_eq!(control.timeline, Timeline(2), "it had not written a checkpoint yet");
            three.pg.promote(Timeline(4), LIMIT).await.unwrap();
            three.pg.set_sync(&Enforced::default(), SyncMethod::Any).await.unwrap();
            three.pg.set_access(Access::Open, &lab.networks).await.unwrap();
            three.pg.checkpoint().await.unwrap();
            three.pg.ensure_slots(std::slice::from_ref(&two.voter)).await.unwrap();
            three.psql("app", "INSERT INTO t VALUES (777)").await.unwrap();

            lab.start(&mut two, false).await;
            two.pg.freeze(LIMIT).await.unwrap();
            two.stop(StopMode::Fast).await;
            let (theirs, source) = (look(&three).await, three.upstream_for(&two, true));
            let settings = two.pg.settings().await;
            let cut = two.pg.instance.rewind(&source, &theirs, &settings, &lab.credentials, support::term(4)).await;
            let cut = cut.unwrap().expect("something was cut off");
            assert_eq!(cut.timeline, Timeline(3));
            lab.start(&mut two, false).await;
            two.pg.follow(&source).await.unwrap();
            two.pg.wait_streaming(Timeline(4), LIMIT).await.unwrap();
            let content = "SELECT count(*), sum(n), sum(hashint4(n)::bigint) FROM t";
            let wanted = three.psql("app", content).await.unwrap();
            let end = look(&three).await;
            until("the log", async || look(&two).await.holds(&end)).await;
            two.pg.set_access(Access::Open, &lab.networks).await.unwrap();
            until("the rows", async || two.psql("app", content).await.unwrap() == wanted).await;
        }
    });
}

#[test]
fn a_frozen_server_is_seen_and_killed() {
    as_dauphin("a_frozen_server_is_seen_and_killed", async {
        let lab = Lab::new().await;
        let mut one = lab.leader("m1").await;
        let postmaster = one.pg.instance.postmaster().unwrap();
        let signal = |pid: i32, name: &str| {
            // one may have ended meanwhile
            std::process::Command::new("kill")
                .args([name, &pid.to_string()])
                .stderr(std::process::Stdio::null())
                .status()
                .unwrap();
        };
        signal(postmaster.process.pid, "-STOP");
        until("the frozen postmaster", async || one.pg.look(LIMIT).await.run == Run::Hung).await;
        signal(postmaster.process.pid, "-CONT");
        assert_eq!(one.pg.look(LIMIT).await.run, Run::Running);
        // only the backend behind the probe hangs: seen by the time limit
        for child in postmaster.children(&one.pg.instance.data_dir) {
            signal(child.pid, "-STOP");
        }
        assert_eq!(one.pg.look(Duration::from_millis(300)).await.run, Run::Hung);
        let begun = Instant::now();
        let used = one.pg.instance.stop(StopMode::Fast, Duration::from_millis(300)).await.unwrap();
        assert_eq!(used, StopMode::Kill);
        took("stop of a frozen server, by escalation", begun);
        assert!(begun.elapsed() < Duration::from_secs(5));
        one.stop(StopMode::Fast).await;
    });
}

#[test]
fn foreign_missing_and_unexpected_data_is_refused_with_what_to_do() {
    as_dauphin("foreign_missing_and_unexpected_data_is_refused_with_what_to_do", async {
        let lab = Lab::new().await;
        let one = lab.member("m1");
        let instance = &one.pg.instance;
        let refusal = |result: Result<u64, Error>| match result {
            Err(Error::Refused(refusal)) => refusal,
            other => panic!("{other:?}"),
        };
        assert!(matches!(refusal(instance.check_data(None)), Refusal::NoData { .. }));
        let system = instance.initdb("").await.unwrap();
        assert_eq!(instance.control_data().await.unwrap().system_identifier, system);
        assert_eq!(instance.check_data(Some(system)).unwrap(), system);
        assert!(matches!(refusal(instance.check_data(Some(1))), Refusal::System { expected: 1, .. }));
        assert!(matches!(refusal(instance.initdb("").await), Refusal::NotEmpty { .. }));
        std::fs::write(instance.data_dir.join("PG_VERSION"), "11\n").unwrap();
        let said = refusal(instance.check_data(None)).to_string();
        assert!(said.contains("was made by PostgreSQL 11"), "{said}");
    });
}

#[test]
fn settings_change_with_a_check_and_are_taken_back() {
    as_dauphin("settings_change_with_a_check_and_are_taken_back", async {
        let lab = Lab::new().await;
        let mut one = lab.leader("m1").await;
        let mut settings = one.pg.settings().await;
        settings.user.insert("work_mem".to_owned(), "8MB".to_owned());
        settings.user.insert("max_connections".to_owned(), "120".to_owned());
        let changes = one.pg.changes_to(&settings.user).await.unwrap();
        let restart: Vec<_> = changes.iter().map(|c| (c.name.as_str(), c.restart)).collect();
        assert_eq!(restart, [("max_connections", true), ("work_mem", false)]);
        one.pg.change_settings(settings.clone()).await.unwrap();
        assert_eq!(one.sql("SHOW work_mem").await, "8MB");
        assert_eq!(one.pg.pending_restart(LIMIT).await.unwrap(), ["max_connections"]);
        settings.user.insert("max_connections".to_owned(), "50".to_owned());
        let refused = one.pg.changes_to(&settings.user).await.unwrap_err().to_string();
        assert!(refused.contains("not lowered below 100"), "{refused}");
        // a value below what the log was written with does not stop a replica's start
        one.stop(StopMode::Fast).await;
        one.pg.set_settings(settings.clone()).await.unwrap();
        lab.start(&mut one, false).await;
        assert_eq!(one.sql("SHOW max_connections").await, "100");
        settings.user.insert("work_mem".to_owned(), "a lot".to_owned());
        assert!(matches!(one.pg.change_settings(settings.clone()).await, Err(Error::Setting { .. })));
        one.pg.reload().await.unwrap();
        assert_eq!(one.sql("SHOW work_mem").await, "8MB");
        settings.user.insert("wrok_mem".to_owned(), "1MB".to_owned());
        assert!(matches!(one.pg.changes_to(&settings.user).await, Err(Error::Setting { .. })));
    });
}

#[test]
fn slots_are_kept_on_replicas_too_and_only_ours_are_touched() {
    as_dauphin("slots_are_kept_on_replicas_too_and_only_ours_are_touched", async {
        let lab = Lab::new().await;
        let (one, two) = pair(&lab).await;
        let three = lab.member("m3");
        two.sql("SELECT pg_create_physical_replication_slot('mine')").await;
        let all = [one.voter.clone(), three.voter.clone()];
        two.pg.ensure_slots(&all).await.unwrap();
        one.psql("app", "INSERT INTO t SELECT generate_series(1, 1000)").await.unwrap();
        let end = look(&one).await;
        until("the log", async || look(&two).await.holds(&end)).await;
        let target = look(&two).await.lsn;
        two.pg.advance_slots(&all.iter().map(|v| (v.clone(), target)).collect()).await.unwrap();
        let slots = two.pg.slots().await.unwrap();
        assert_eq!(slots.len(), 2);
        assert!(slots.iter().all(|s| s.restart == Some(target) && !s.lost && !s.active), "{slots:?}");
        two.pg.ensure_slots(&all[..1]).await.unwrap();
        assert_eq!(two.pg.slots().await.unwrap().len(), 1);
        assert_eq!(two.sql("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'mine'").await, "1");
    });
}

#[test]
fn tls_is_offered_with_certificates_or_refused_by_a_build_without_it() {
    as_dauphin("tls_is_offered_with_certificates_or_refused_by_a_build_without_it", async {
        let lab = Lab::new().await;
        let mut one = lab.leader("m1").await;
        if let Err(refused) = one.pg.instance.check_tls() {
            assert!(matches!(refused, Error::Refused(Refusal::NoTls { .. })), "{refused}");
            return;
        }
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let file = |name: &str, text: &str| {
            use std::os::unix::fs::PermissionsExt;
            let path = one.pg.instance.member_dir.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            path
        };
        let cert = file("cert.pem", &made.cert.pem());
        let key = file("key.pem", &made.signing_key.serialize_pem());
        let mut settings = one.pg.settings().await;
        settings.tls = Some(dauphin_engine::postgres::Tls { ca: cert.clone(), cert, key });
        one.pg.change_settings(settings).await.unwrap();
        let networks = dauphin_engine::postgres::Networks { require_tls: true, ..lab.networks.clone() };
        one.pg.set_access(Access::Open, &networks).await.unwrap();
        assert_eq!(one.psql("app", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").await.unwrap(), "t");
        // initdb's own lines, below ours, let nobody in without TLS
        assert!(one.psql_with("app", "sslmode=disable", "SELECT 1").await.unwrap_err().contains("no encryption"));
        one.stop(StopMode::Fast).await;
    });
}

/// Found by `make chaos` (seed 101, fault 18): the disk was full when the server became ready, which it could not write
/// down, and the start was waited for as long as nobody killed it.
#[test]
fn a_server_that_could_not_say_that_it_is_ready_is_asked() {
    as_dauphin("a_server_that_could_not_say_that_it_is_ready_is_asked", async {
        let lab = Lab::new().await;
        let mut one = lab.leader("m1").await;
        let file = one.pg.instance.data_dir.join("postmaster.pid");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("ready", "starting")).unwrap();
        one.pg.wait_ready(LIMIT).await.unwrap();
        one.stop(StopMode::Fast).await;
    });
}
