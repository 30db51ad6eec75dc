//! How members are judged, since when, and what is mended when: each case is a line.

use dauphin_alerts::{Blocker, Facts, Fix, Health, MemberFacts, Monitor, Own, Standing, Treatment, Vitals, judge};
use dauphin_model::{ClusterFile, FixKind, HealthSpec, MemberName, Mono, Remark, Span, Spec};
use std::collections::BTreeSet;

fn spec() -> Spec {
    let member = |n: u32, kind: &str| {
        let sql = if kind == "data" { "sql_port = 5432\n" } else { "" };
        format!(
            "[[member]]\nname = \"m{n}\"\nkind = \"{kind}\"\nhost = \"10.0.0.{n}\"\n{sql}api_port = 1\nlink_port = 2\n"
        )
    };
    let text = format!(
        "[cluster]\nname = \"shop\"\n{}{}{}{}",
        member(1, "data"),
        member(2, "data"),
        member(3, "data"),
        member(4, "witness")
    );
    ClusterFile::parse("spec", &text).unwrap_or_else(|e| panic!("{e}")).spec
}

fn name(n: usize) -> MemberName {
    MemberName::new(&format!("m{n}")).expect("a name")
}

/// Three members and a witness, m1 leads, all is well.
fn well() -> Facts {
    let member = |n: usize| MemberFacts {
        name: name(n),
        leads: n == 1,
        standing: Standing::Running,
        lag: Some(Span::ZERO),
        lag_bytes: Some(0),
        remarks: Vec::new(),
        vitals: Some(Vitals::default()),
        clock_off: Some(0),
    };
    Facts { made: true, open: true, majority: true, members: (1..=4).map(member).collect(), ..Facts::default() }
}

/// What is said of the cluster after this change, and of one member.
#[track_caller]
fn check(change: impl FnOnce(&mut Facts), cluster: &str, of: usize, member: &str) {
    let mut facts = well();
    change(&mut facts);
    let judged = judge(&spec(), &facts);
    let said = |(health, why): &(Health, dauphin_alerts::Why)| format!("{}: {why}", health.word());
    assert_eq!(said(&judged.cluster), cluster);
    assert_eq!(said(&judged.members[&name(of)]), member);
}

#[test]
fn every_state_has_a_reason_that_a_tired_person_understands() {
    check(|_| {}, "healthy: a leader lets clients in, and every member is well", 2, "healthy: it follows and keeps up");
    check(
        |_| {},
        "healthy: a leader lets clients in, and every member is well",
        1,
        "healthy: it leads and lets clients in",
    );
    check(|_| {}, "healthy: a leader lets clients in, and every member is well", 4, "healthy: it is there and votes");
    check(
        |f| f.members[1].lag = Some(Span::ms(11_000)),
        "investigate: m2: it is behind: 11.0 s",
        2,
        "investigate: it is behind: 11.0 s",
    );
    check(
        |f| f.members[2].remarks = vec![Remark::ReplayPaused],
        "investigate: m3: its replay is paused by hand",
        3,
        "investigate: its replay is paused by hand",
    );
    check(
        |f| f.members[2].vitals = Some(Vitals { held_up_ms: Some(4_200), ..Vitals::default() }),
        "investigate: m3: something that runs on it has held its replay up for 4.2 s",
        3,
        "investigate: something that runs on it has held its replay up for 4.2 s",
    );
    check(
        |f| f.members[1].standing = Standing::Unfed,
        "investigate: m2: it receives nothing, though a leader is there",
        2,
        "investigate: it receives nothing, though a leader is there",
    );
    check(
        |f| f.commits_wait = true,
        "investigate: commits wait: too few replicas are there to hold them",
        2,
        "healthy: it follows and keeps up",
    );
    check(
        |f| f.members[1].standing = Standing::Unreachable,
        "repair: m2: nothing is heard of its agent",
        2,
        "repair: nothing is heard of its agent",
    );
    check(
        |f| f.members[3].standing = Standing::Unreachable,
        "repair: m4: nothing is heard of its agent",
        4,
        "repair: nothing is heard of its agent",
    );
    check(
        |f| f.members[1].standing = Standing::Down("crashed"),
        "repair: m2: its server is crashed",
        2,
        "repair: its server is crashed",
    );
    // what comes back is told before what has yet to be brought back
    check(
        |f| {
            f.members[1].standing = Standing::Down("fenced");
            f.members[2].standing = Standing::Copying;
        },
        "rejoin: m3: it copies the leader's data",
        2,
        "repair: its server is fenced",
    );
    // the old leader died: it leads by the record, and nobody is let in
    check(
        |f| {
            f.open = false;
            f.members[0].standing = Standing::Unreachable;
            f.members[1].standing = Standing::Unfed;
        },
        "failover: no leader lets clients in",
        2,
        "investigate: it waits for a leader to receive from",
    );
    // the next one is decided and promotes
    check(
        |f| {
            f.open = false;
            f.members[0].standing = Standing::Coming;
        },
        "failover: no leader lets clients in",
        1,
        "failover: it is to lead, and lets nobody in yet",
    );
    // a disk that fills is told by its alert: replication is well
    check(
        |f| {
            let disk = dauphin_alerts::Disk { folder: "/data".into(), total: 100, free: 1, full_in: None };
            f.members[1].vitals = Some(Vitals { disks: vec![disk], ..Vitals::default() });
        },
        "healthy: a leader lets clients in, and every member is well",
        2,
        "healthy: it follows and keeps up",
    );
}

#[test]
fn an_age_is_that_of_the_state_whatever_becomes_of_its_reason() {
    let (spec, mut monitor, mut facts) = (spec(), Monitor::default(), well());
    let at = |second: u64| Mono(1_000_000_000) + Span::ms(second * 1_000);
    monitor.note(at(0), &judge(&spec, &facts));
    monitor.note(at(10), &judge(&spec, &facts));
    let dated = monitor.member(&name(2)).expect("it");
    assert_eq!((dated.health, dated.since), (Health::Healthy, at(0)));
    facts.members[1].remarks = vec![Remark::ReplayPaused];
    monitor.note(at(20), &judge(&spec, &facts));
    facts.members[1].remarks.clear();
    facts.members[1].lag = Some(Span::ms(60_000));
    monitor.note(at(30), &judge(&spec, &facts));
    let dated = monitor.member(&name(2)).expect("it");
    assert_eq!((dated.health, dated.since), (Health::Investigate, at(20)));
    assert_eq!(dated.why.to_string(), "it is behind: 60.0 s");
    assert_eq!(monitor.cluster().map(|d| (d.health, d.since)), Some((Health::Investigate, at(20))));
    monitor.note(at(40), &judge(&spec, &well()));
    assert_eq!(monitor.cluster().map(|d| (d.health, d.since)), Some((Health::Healthy, at(40))));
    // a member that the specification names no more is forgotten
    facts.members.truncate(1);
    monitor.note(at(50), &judge(&spec, &facts));
    assert!(monitor.member(&name(2)).is_none());
}

/// A member that is looked at every second; what is done, and when.
struct Patient {
    spec: Spec,
    treatment: Treatment,
    second: u64,
}

impl Patient {
    fn allowed(fix: &[FixKind]) -> Self {
        let health = HealthSpec {
            fix: fix.iter().copied().collect::<BTreeSet<_>>(),
            replay_after: Span::ms(60_000),
            query_after: Span::ms(30_000),
        };
        Self { spec: Spec { health, ..spec() }, treatment: Treatment::default(), second: 0 }
    }

    fn stays(&mut self, own: &Own, seconds: u64) -> Vec<(u64, FixKind)> {
        let mut done = Vec::new();
        for _ in 0..seconds {
            let now = Mono(1_000_000_000) + Span::ms(self.second * 1_000);
            if let Some(fix) = self.treatment.step(now, &self.spec, own) {
                done.push((self.second, fix.kind()));
            }
            self.second += 1;
        }
        done
    }
}

fn calm() -> Own {
    Own { calm_replica: true, open: true, ..Own::default() }
}

#[test]
fn a_receiver_is_restarted_a_few_times_and_then_left_to_people() {
    use FixKind::Receiver;
    let deaf = Own { unfed: true, ..calm() };
    let mut patient = Patient::allowed(&[Receiver]);
    // `suspect` is 1.5 s
    assert_eq!(patient.stays(&deaf, 120), [(5, Receiver), (13, Receiver), (21, Receiver)]);
    assert_eq!(patient.stays(&calm(), 5), []);
    assert_eq!(patient.stays(&deaf, 10), [(130, Receiver)], "that was another time");
    let nobody = Own { open: false, ..deaf.clone() };
    assert_eq!(Patient::allowed(&[Receiver]).stays(&nobody, 60), [], "there is nobody to receive from");
    let busy = Own { calm_replica: false, ..deaf.clone() };
    assert_eq!(Patient::allowed(&[Receiver]).stays(&busy, 60), [], "the core is at work on it, or it leads");
    assert_eq!(Patient::allowed(&[]).stays(&deaf, 60), []);
    assert_eq!(Patient::allowed(&[FixKind::Query, FixKind::Replay]).stays(&deaf, 60), []);
    assert_eq!(
        HealthSpec::default().fix,
        BTreeSet::from([Receiver]),
        "by default nothing that undoes what a person did"
    );
}

#[test]
fn a_pause_that_nobody_meant_is_ended_and_one_that_is_meant_stays() {
    use FixKind::Replay;
    let paused = Own { paused: true, ..calm() };
    assert_eq!(Patient::allowed(&[Replay]).stays(&paused, 65), [(60, Replay)]);
    let meant = Own { pause_is_meant: true, ..paused.clone() };
    assert_eq!(Patient::allowed(&[Replay]).stays(&meant, 600), []);
    // a server that paused by itself would stop if it were resumed
    let small = Own { pending_restart: true, ..paused.clone() };
    assert_eq!(Patient::allowed(&[Replay]).stays(&small, 600), []);
    // when a silence ends, the time begins
    let mut patient = Patient::allowed(&[Replay]);
    patient.stays(&meant, 100);
    assert_eq!(patient.stays(&paused, 65), [(160, Replay)]);
    assert_eq!(Patient::allowed(&[FixKind::Receiver]).stays(&paused, 600), []);
}

#[test]
fn what_holds_a_replay_up_is_ended_however_many_it_are() {
    use FixKind::Query;
    let held_by = |pid: i32| Own { blocker: Some(Blocker { pid, began: format!("at {pid}") }), ..calm() };
    let mut patient = Patient::allowed(&[Query]);
    assert_eq!(patient.stays(&held_by(7), 20), []);
    // between two waits of the server there is a moment in which nothing is seen
    assert_eq!(patient.stays(&calm(), 1), []);
    assert_eq!(patient.stays(&held_by(7), 12), [(30, Query), (32, Query)]);
    // another one holds it up now: the replay has waited for long enough
    assert_eq!(patient.stays(&held_by(8), 10), [(33, Query), (35, Query), (37, Query)]);
    assert_eq!(patient.stays(&calm(), 5), []);
    assert!(patient.treatment.held_up_since().is_none());
    assert_eq!(patient.stays(&held_by(9), 29), []);
    assert_eq!(Patient::allowed(&[FixKind::Replay]).stays(&held_by(7), 600), []);
    let leads = Own { calm_replica: false, ..held_by(7) };
    assert_eq!(Patient::allowed(&[Query]).stays(&leads, 600), []);
}

#[test]
fn what_was_done_is_told_in_words() {
    let after = Span::ms(4_500);
    let text = |fix: Fix| fix.to_string();
    assert!(
        text(Fix::Receiver { after }).starts_with("restarted the server's receiver: nothing was received for 4.5 s")
    );
    assert!(text(Fix::Replay { after }).contains("paused for 4.5 s"));
    assert!(text(Fix::Query { pid: 42, began: String::new(), after }).contains("process 42"));
}
