//! Provision, replicate, freeze, promote, barrier, follow: a takeover by hand on real servers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use dauphin_engine::postgres::{Access, Error, StopMode, SyncMethod};
use dauphin_model::{Enforced, Run, Timeline};
use std::time::{Duration, Instant};
use support::{LIMIT, Lab, as_dauphin, took, until};

#[test]
fn a_takeover_step_by_step() {
    as_dauphin("a_takeover_step_by_step", async {
        let lab = Lab::new().await;
        let begun = Instant::now();
        let mut one = lab.leader("m1").await;
        took("new cluster to open leader", begun);
        one.psql("app", "CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await.unwrap();
        let mut two = lab.member("m2");
        let mut three = lab.member("m3");
        for member in [&mut two, &mut three] {
            lab.clone_of(&one, member).await;
            one.pg.ensure_slots(std::slice::from_ref(&member.voter)).await.unwrap();
            lab.start(member, false).await;
            member.pg.follow(&one.upstream_for(member, true)).await.unwrap();
            member.pg.wait_streaming(Timeline(2), LIMIT).await.unwrap();
        }
        let set = Enforced { voters: [two.voter.clone(), three.voter.clone()].into(), required: 2 };
        one.pg.confirm_sync(&set, SyncMethod::Any).await.unwrap();
        one.psql("app", "INSERT INTO t VALUES (2)").await.unwrap();
        let view = one.pg.look(LIMIT).await;
        assert_eq!((view.run, view.in_recovery), (Run::Running, Some(false)));
        assert_eq!(view.attached.iter().filter(|a| a.voter.is_some() && a.sync_state == "quorum").count(), 2);

        // the leader dies
        one.stop(StopMode::Kill).await;
        assert_eq!(one.pg.look(LIMIT).await.run, Run::Crashed);
        let mut found = Vec::new();
        for member in [&two, &three] {
            let begun = Instant::now();
            found.push(member.pg.freeze(LIMIT).await.unwrap());
            took("freeze", begun);
            assert_eq!(member.pg.freeze(LIMIT).await.unwrap(), *found.last().unwrap());
        }
        // skip numbers, as an election does whose predecessors came to nothing
        let begun = Instant::now();
        let switch = two.pg.promote(Timeline(6), LIMIT).await.unwrap();
        took("promote", begun);
        assert_eq!(switch.from, Timeline(2));
        assert_eq!(two.pg.promote(Timeline(6), LIMIT).await.unwrap().lsn, switch.lsn);
        assert!(!two.app_can_connect("SELECT 1").await, "closed before the barrier");
        two.pg.ensure_slots(&[one.voter.clone(), three.voter.clone()]).await.unwrap();

        let set = Enforced { voters: [one.voter.clone(), three.voter.clone()].into(), required: 1 };
        let begun = Instant::now();
        let probe = two.pg.start_barrier(support::term(3), &set, SyncMethod::Any).await.unwrap();
        took("barrier seen waiting", begun);
        let begun = Instant::now();
        three.pg.follow(&two.upstream_for(&three, true)).await.unwrap();
        three.pg.wait_streaming(Timeline(6), LIMIT).await.unwrap();
        took("follow to the new timeline", begun);
        probe.done().await.unwrap();
        took("follow to barrier done", begun);
        let begun = Instant::now();
        two.pg.set_access(Access::Open, &lab.networks).await.unwrap();
        took("open", begun);
        assert_eq!(two.psql("app", "SELECT count(*) FROM t").await.unwrap(), "2");
        two.psql("app", "INSERT INTO t VALUES (3)").await.unwrap();

        // the replica's position is on the new branch, with its history
        let ours = two.pg.look(LIMIT).await.position.unwrap();
        assert_eq!(ours.history.len(), 2);
        until("the replica's position", async || {
            three.pg.look(LIMIT).await.position.unwrap().compare(&ours) == dauphin_model::Relation::Equal
        })
        .await;
        // a restart keeps everything
        three.stop(StopMode::Fast).await;
        lab.start(&mut three, true).await;
        three.pg.wait_streaming(Timeline(6), LIMIT).await.unwrap();

        // the former leader comes back below a replica, and goes along when that one is promoted
        lab.start(&mut one, false).await;
        one.pg.freeze(LIMIT).await.unwrap();
        one.stop(StopMode::Fast).await;
        two.pg.checkpoint().await.unwrap();
        let settings = one.pg.settings().await;
        let source = two.upstream_for(&one, false);
        one.pg.instance.rewind(&source, &ours, &settings, &lab.credentials, support::term(3)).await.unwrap();
        lab.start(&mut one, false).await;
        three.pg.ensure_slots(&[one.voter.clone(), two.voter.clone()]).await.unwrap();
        one.pg.follow(&three.upstream_for(&one, true)).await.unwrap();
        one.pg.wait_streaming(Timeline(6), LIMIT).await.unwrap();
        two.stop(StopMode::Kill).await;
        three.pg.freeze(LIMIT).await.unwrap();
        three.pg.promote(Timeline(9), LIMIT).await.unwrap();
        let begun = Instant::now();
        one.pg.wait_streaming(Timeline(9), LIMIT).await.unwrap();
        took("a cascaded replica on the next timeline", begun);
        let ours = three.pg.look(LIMIT).await.position.unwrap();
        until("its position", async || one.pg.look(LIMIT).await.position.is_some_and(|p| p.holds(&ours))).await;
    });
}

#[test]
fn a_promotion_never_reuses_a_number() {
    as_dauphin("a_promotion_never_reuses_a_number", async {
        let lab = Lab::new().await;
        let mut one = lab.leader("m1").await;
        let refused = one.pg.promote(Timeline(5), LIMIT).await;
        assert!(matches!(refused, Err(Error::Promotion { .. })), "{refused:?}");
        one.stop(StopMode::Fast).await;
        lab.start(&mut one, false).await;
        for taken in [1, 2] {
            assert!(one.pg.promote(Timeline(taken), LIMIT).await.is_err());
        }
        // stubs of a promotion that never came do not stand in the way of a start
        let stub = "# dauphin: no leadership used this timeline\n";
        for number in [3_u32, 4] {
            std::fs::write(one.pg.instance.data_dir.join(format!("pg_wal/{number:08X}.history")), stub).unwrap();
        }
        one.stop(StopMode::Kill).await;
        lab.start(&mut one, false).await;
        assert_eq!(one.pg.look(LIMIT).await.position.unwrap().timeline, Timeline(2));
        one.pg.promote(Timeline(9), Duration::from_secs(10)).await.unwrap();
        one.stop(StopMode::Fast).await;
        lab.start(&mut one, false).await;
        assert_eq!(one.pg.look(LIMIT).await.position.unwrap().timeline, Timeline(9));
    });
}

#[test]
fn under_load_voters_are_frozen_on_one_branch() {
    as_dauphin("under_load_voters_are_frozen_on_one_branch", async {
        let lab = Lab::new().await;
        let mut one = lab.leader("m1").await;
        one.psql("app", "CREATE TABLE t (n serial, filler text)").await.unwrap();
        let mut two = lab.member("m2");
        let mut three = lab.member("m3");
        for member in [&mut two, &mut three] {
            lab.clone_of(&one, member).await;
            one.pg.ensure_slots(std::slice::from_ref(&member.voter)).await.unwrap();
            lab.start(member, false).await;
            member.pg.follow(&one.upstream_for(member, true)).await.unwrap();
            member.pg.wait_streaming(Timeline(2), LIMIT).await.unwrap();
        }
        let set = Enforced { voters: [two.voter.clone(), three.voter.clone()].into(), required: 1 };
        one.pg.confirm_sync(&set, SyncMethod::Any).await.unwrap();
        let writes = "DO $$ BEGIN FOR i IN 1..1000000 LOOP INSERT INTO t (filler) VALUES (repeat('x', 700)); COMMIT; \
                      END LOOP; END $$";
        let load = async { tokio::join!(one.psql("app", writes), one.psql("app", writes), one.psql("app", writes)) };
        let kill = async {
            until("some load", async || one.psql("admin", "SELECT count(*) > 1500 FROM t").await.unwrap() == "t").await;
            one.pg.instance.stop(StopMode::Kill, LIMIT).await.unwrap();
        };
        let (ended, ()) = tokio::join!(load, kill);
        assert!(ended.0.is_err() && ended.1.is_err() && ended.2.is_err(), "the server was killed under them");
        one.stop(StopMode::Kill).await;

        let begun = Instant::now();
        let (a, b) = tokio::join!(two.pg.freeze(LIMIT), three.pg.freeze(LIMIT));
        took("freeze of two under load", begun);
        let (a, b) = (a.unwrap().position, b.unwrap().position);
        assert!(a.holds(&b) || b.holds(&a), "{a:?} {b:?}");
        let (leader, follower, at) = if a.holds(&b) { (&two, &three, a) } else { (&three, &two, b) };
        let switch = leader.pg.promote(Timeline(3), LIMIT).await.unwrap();
        took("... to promoted", begun);
        assert_eq!(switch.lsn, at.lsn, "the position was the end of the last whole record");
        leader.pg.ensure_slots(std::slice::from_ref(&follower.voter)).await.unwrap();
        let set = Enforced { voters: [follower.voter.clone()].into(), required: 1 };
        let probe = leader.pg.start_barrier(support::term(3), &set, SyncMethod::Any).await.unwrap();
        took("... to the barrier", begun);
        follower.pg.follow(&leader.upstream_for(follower, true)).await.unwrap();
        probe.done().await.unwrap();
        took("... to the barrier's end", begun);
        leader.pg.set_access(Access::Open, &lab.networks).await.unwrap();
        took("... to open", begun);
    });
}
