//! The board, story by story: a second is a step, and each line of the expectation is one alert of one notice.

use dauphin_alerts::{
    ALERTS_MAX, Board, Disk, Facts, Kind, LogSize, MemberFacts, Memory, NOTICE_EVERY, NOTICES_BURST, Notice,
    Observation, ProxyCertificates, SilenceWish, Slot, Standing, Vitals, look,
};
use dauphin_model::{AlertSpec, ClusterFile, EngineKind, MemberName, Mono, Remark, Span, Spec};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use std::fmt::Write;

/// The wall clock when a story begins.
const UNIX: u64 = 1_790_000_000;

fn spec() -> Spec {
    let member = |n: u32| {
        format!("[[member]]\nname = \"m{n}\"\nhost = \"10.0.0.{n}\"\nsql_port = 5432\napi_port = 1\nlink_port = 2\n")
    };
    let text = format!("[cluster]\nname = \"shop\"\n{}{}{}", member(1), member(2), member(3));
    let file = ClusterFile::parse("spec", &text).unwrap_or_else(|e| panic!("{e}"));
    let alerts = AlertSpec { remind_every: Span::ms(600_000), ..AlertSpec::default() };
    Spec { alerts, ..file.spec }
}

fn name(text: &str) -> MemberName {
    MemberName::new(text).expect("a name")
}

/// Three members, m1 leads, all is well.
fn well() -> Facts {
    let member = |n: u32| MemberFacts {
        name: name(&format!("m{n}")),
        leads: n == 1,
        standing: Standing::Running,
        lag: Some(Span::ZERO),
        lag_bytes: Some(0),
        remarks: Vec::new(),
        vitals: Some(Vitals::default()),
        clock_off: Some(0),
    };
    Facts { made: true, open: true, majority: true, members: (1..=3).map(member).collect(), ..Facts::default() }
}

fn lag(seconds: u64) -> Facts {
    let mut facts = well();
    facts.members[1].lag = Some(Span::ms(seconds * 1_000));
    facts
}

fn gone(which: &[usize]) -> Facts {
    let mut facts = well();
    for index in which {
        facts.members[*index].standing = Standing::Unreachable;
        (facts.members[*index].lag, facts.members[*index].lag_bytes) = (None, None);
        (facts.members[*index].vitals, facts.members[*index].clock_off) = (None, None);
    }
    facts
}

struct Story {
    board: Board,
    spec: Spec,
    second: u64,
    told: String,
    notices: Vec<Notice>,
}

impl Story {
    fn new() -> Self {
        Self { board: Board::default(), spec: spec(), second: 0, told: String::new(), notices: Vec::new() }
    }

    fn now(&self) -> Mono {
        Mono(1_000_000_000) + Span::ms(self.second * 1_000)
    }

    fn unix(&self) -> u64 {
        UNIX + self.second
    }

    /// So it is for that many seconds.
    fn stays(&mut self, facts: &Facts, seconds: u64) -> &mut Self {
        for _ in 0..seconds {
            let seen = look(&self.spec, facts);
            if let Some(notice) = self.board.step(self.now(), self.unix(), &self.spec, &seen) {
                for item in &notice.items {
                    let _ = writeln!(
                        self.told,
                        "{:<4} #{} {:?} {} {}: {}",
                        self.second, notice.number, item.change, item.level, item.id, item.text
                    );
                }
                self.notices.push(notice);
            }
            self.second += 1;
        }
        self
    }

    /// What people wish, as the agents do it: in the memory.
    fn wish(&mut self, wish: impl FnOnce(&mut Memory, u64)) -> &mut Self {
        let mut memory = self.board.memory(&name("m2"));
        wish(&mut memory, self.unix());
        self.board.take_wishes(&memory, self.now(), self.unix());
        self
    }

    /// Another agent speaks from now on; its own clocks are its own.
    fn another_speaks(&mut self) -> &mut Self {
        let text = serde_json::to_string(&self.board.memory(&name("m2"))).expect("JSON");
        let memory: Memory = serde_json::from_str(&text).expect("the same");
        self.board = Board::load(&memory, self.now(), self.unix());
        self
    }

    #[track_caller]
    fn told(&self, expected: Expect) {
        expected.assert_eq(&self.told);
    }
}

fn silence(member: Option<&str>, kind: Option<Kind>, minutes: u64) -> SilenceWish {
    let lasts = Span::ms(minutes * 60_000);
    SilenceWish { member: member.map(name), kind, lasts, by: "eva".into(), because: "a new disk".into() }
}

#[test]
fn lag_is_raised_gets_worse_and_better_and_is_over() {
    let mut story = Story::new();
    story.stays(&well(), 30).stays(&lag(11), 40).stays(&lag(61), 40).stays(&lag(301), 40);
    story.stays(&lag(61), 60).stays(&well(), 60);
    story.told(expect![[r#"
        45   #1 Raised warning 1: m2 is behind: 11.0 s
        85   #2 Worse critical 1: m2 is behind: 61.0 s
        125  #3 Worse emergency 1: m2 is behind: 301.0 s
        185  #4 Better critical 1: m2 is behind: 61.0 s
        245  #5 Cleared critical 1: m2 is behind: 61.0 s
    "#]]);
}

#[test]
fn what_does_not_hold_is_not_raised_and_what_flickers_is_one() {
    let mut story = Story::new();
    for _ in 0..10 {
        story.stays(&lag(100), 9).stays(&well(), 1);
    }
    story.told(expect![[r#""#]]);
    for _ in 0..10 {
        story.stays(&lag(100), 20).stays(&well(), 20);
    }
    story.stays(&well(), 60);
    story.told(expect![[r#"
        115  #1 Raised critical 1: m2 is behind: 100.0 s
        515  #2 Cleared critical 1: m2 is behind: 100.0 s
    "#]]);
}

#[test]
fn without_a_leader_lag_goes_without_saying_and_what_comes_together_is_told_together() {
    let mut story = Story::new();
    let mut dark = gone(&[0, 2]);
    (dark.open, dark.majority) = (false, false);
    dark.members[1].lag = Some(Span::ms(400_000));
    story.stays(&well(), 5).stays(&dark, 120);
    story.told(expect![[r#"
        20   #1 Raised emergency 1: no leader takes writes
        20   #1 Raised critical 2: no majority of the store answers: nothing can be decided, no takeover either
        20   #1 Raised warning 4: m1 is unreachable
        20   #1 Raised warning 5: m3 is unreachable
    "#]]);
    assert_eq!(story.notices.len(), 1, "one cause, one notice");
    story.told.clear();
    story.stays(&well(), 120);
    story.told(expect![[r#"
        160  #2 Cleared emergency 1: no leader takes writes
        160  #2 Cleared critical 2: no majority of the store answers: nothing can be decided, no takeover either
        160  #2 Cleared warning 4: m1 is unreachable
        160  #2 Cleared warning 5: m3 is unreachable
    "#]]);
}

#[test]
fn what_nobody_can_see_is_not_over() {
    let mut story = Story::new();
    story.stays(&lag(61), 30).stays(&gone(&[1]), 120);
    assert!(!story.told.contains("Cleared"), "{}", story.told);
    story.stays(&well(), 60);
    story.told(expect![[r#"
        15   #1 Raised critical 1: m2 is behind: 61.0 s
        45   #2 Raised warning 2: replicas that run: 1; there should be 2
        45   #2 Raised warning 3: m2 is unreachable
        185  #3 Cleared critical 1: m2 is behind: 61.0 s
        185  #3 Cleared warning 2: replicas that run: 1; there should be 2
        185  #3 Cleared warning 3: m2 is unreachable
    "#]]);
}

#[test]
fn critical_things_are_told_again_until_somebody_has_them_in_hand() {
    let mut story = Story::new();
    story.stays(&lag(61), 1_300);
    let id = story.notices[0].items[0].id;
    story.wish(|memory, unix| memory.acknowledge(id, "eva", unix).expect("it lasts")).stays(&lag(61), 1_300);
    story.stays(&lag(301), 700);
    story.told(expect![[r#"
        15   #1 Raised critical 1: m2 is behind: 61.0 s
        615  #2 Reminder critical 1: m2 is behind: 61.0 s
        1215 #3 Reminder critical 1: m2 is behind: 61.0 s
        2615 #4 Worse emergency 1: m2 is behind: 301.0 s
        3215 #5 Reminder emergency 1: m2 is behind: 301.0 s
    "#]]);
    story.told.clear();
    // a warning is told once
    let mut story = Story::new();
    story.stays(&lag(11), 4_000);
    assert_eq!(story.notices.len(), 1, "{}", story.told);
}

#[test]
fn a_silence_holds_back_what_is_told_when_it_is_over() {
    let mut story = Story::new();
    story.wish(|memory, unix| drop(memory.silence(silence(Some("m2"), Some(Kind::Lag), 5), unix).expect("fits")));
    story.stays(&lag(61), 200);
    assert_eq!(story.told, "", "m2's lag is silenced");
    let mut both = lag(61);
    both.members[2].remarks = vec![Remark::ReplayPaused];
    story.stays(&both, 200);
    story.told(expect![[r#"
        215  #1 Raised warning 3: m3: its replay is paused by hand
        300  #2 Raised critical 2: m2 is behind: 61.0 s
    "#]]);
    // what came and went in silence never was
    let mut story = Story::new();
    story.wish(|memory, unix| drop(memory.silence(silence(None, None, 5), unix).expect("fits")));
    story.stays(&gone(&[2]), 100).stays(&well(), 300);
    assert_eq!(story.told, "");
}

#[test]
fn another_agent_goes_on_where_the_one_before_stopped() {
    let mut story = Story::new();
    story.stays(&lag(61), 100).another_speaks().stays(&lag(61), 400).another_speaks().stays(&lag(61), 200);
    story.wish(|memory, unix| memory.acknowledge(1, "eva", unix).expect("it lasts")).another_speaks();
    story.stays(&lag(61), 900).another_speaks().stays(&well(), 60);
    story.told(expect![[r#"
        15   #1 Raised critical 1: m2 is behind: 61.0 s
        615  #2 Reminder critical 1: m2 is behind: 61.0 s
        1635 #3 Cleared critical 1: m2 is behind: 61.0 s
    "#]]);
    assert_eq!(story.board.memory(&name("m2")).alerts, Vec::new());
}

#[test]
fn what_was_told_while_nothing_could_be_written_is_told_to_be_over_by_the_next() {
    let mut alone = Story::new();
    let mut dark = gone(&[0, 2]);
    (dark.open, dark.majority) = (false, false);
    alone.stays(&dark, 60);
    // meanwhile the store knows of another alert under the same number
    let mut next = Story::new();
    next.second = 60;
    next.stays(&lag(61), 30);
    let (mut memory, told) = (next.board.memory(&name("m3")), alone.board.memory(&name("m2")));
    assert!(!memory.tells_like(&told) && memory.tells_like(&memory.clone()));
    memory.take_in(&told);
    let ids: std::collections::BTreeSet<u64> = memory.alerts.iter().map(|a| a.id).collect();
    assert_eq!(ids.len(), memory.alerts.len(), "numbers differ: {memory:#?}");
    next.board = Board::load(&memory, next.now(), next.unix());
    next.told.clear();
    next.stays(&well(), 60);
    next.told(expect![[r#"
        125  #2 Cleared emergency 6: no leader takes writes
        125  #2 Cleared critical 1: m2 is behind: 61.0 s
        125  #2 Cleared critical 2: no majority of the store answers: nothing can be decided, no takeover either
        125  #2 Cleared warning 4: m1 is unreachable
        125  #2 Cleared warning 5: m3 is unreachable
    "#]]);
}

#[test]
fn wishes_have_bounds() {
    let mut memory = Memory::default();
    for (wish, expected) in [
        (silence(None, None, 0), "a silence lasts 1 s to 30 d"),
        (silence(None, None, 60 * 24 * 31), "a silence lasts 1 s to 30 d"),
    ] {
        assert_eq!(memory.silence(wish, UNIX).expect_err("bounds").to_string(), expected);
    }
    let long = SilenceWish { because: "x\n".repeat(9_999), ..silence(None, None, 1) };
    let granted = memory.silence(long, UNIX).expect("it fits");
    assert_eq!(granted.because.len(), 200, "cut off, and without line breaks");
    for _ in 1..50 {
        memory.silence(silence(None, None, 1), UNIX).expect("room");
    }
    assert!(memory.silence(silence(None, None, 1), UNIX).expect_err("full").to_string().contains("50 silences"));
    memory.silence(silence(None, None, 1), UNIX + 61).expect("those before are over");
    assert_eq!(memory.silences.len(), 1);
    assert!(memory.unsilence(7).expect_err("none").to_string().contains("no silence 7"));
    memory.unsilence(51).expect("there");
    assert!(memory.acknowledge(3, "eva", UNIX).expect_err("none").to_string().contains("no alert 3"));
    assert!("lags".parse::<Kind>().expect_err("none").to_string().contains("there are no_leader, no_majority"));
    for kind in Kind::ALL {
        assert_eq!(kind.code().parse(), Ok(*kind));
        assert_eq!(serde_json::to_value(kind).expect("JSON"), kind.code(), "one word everywhere");
    }
}

/// A machine with all that one can have.
fn suffering() -> Vitals {
    let slot = |name: &str, lost| Slot { name: name.into(), active: false, lost, held: 3 << 30 };
    Vitals {
        disks: vec![Disk {
            folder: "/data".into(),
            total: 100 << 30,
            free: 8 << 30,
            full_in: Some(Span::ms(7_200_000)),
        }],
        log: Some(LogSize { bytes: 17 << 30, per_hour: Some(1 << 30) }),
        slots: vec![slot("feed", false), slot("copy", true)],
        damaged: 1,
        held_up_ms: None,
        authority_days: Some(20),
    }
}

#[test]
fn a_proxys_certificate_that_ends_is_told_and_over_once_it_is_renewed() {
    let mut facts = well();
    let soon = |proxy: &str, days| ProxyCertificates::EndSoon { proxy: proxy.into(), days };
    facts.proxies = soon("p1", 20);
    let mut story = Story::new();
    story.stays(&facts, 60);
    // renewed, and the next one ends as soon
    facts.proxies = soon("p2", 20);
    story.stays(&facts, 60);
    facts.proxies = soon("p2", 7);
    story.stays(&facts, 60);
    // it says nothing any more, perhaps since it has ended
    facts.proxies = ProxyCertificates::Unknown;
    story.stays(&facts, 60);
    facts.proxies = ProxyCertificates::Last;
    story.stays(&facts, 60);
    story.told(expect![[r#"
        15   #1 Raised warning 1: certificates of proxies end soon: the first, of p1, in 20 days
        135  #2 Worse critical 1: certificates of proxies end soon: the first, of p2, in 7 days
        275  #3 Cleared critical 1: certificates of proxies end soon: the first, of p2, in 7 days
    "#]]);
}

#[test]
fn what_a_machine_suffers_from_is_said_in_words() {
    let mut facts = well();
    (facts.members[1].vitals, facts.members[1].clock_off) = (Some(suffering()), Some(-90_000));
    facts.members[2].standing = Standing::Unfed;
    let mut story = Story::new();
    story.stays(&facts, 60);
    story.told(expect![[r#"
        15   #1 Raised critical 4: m2: the disk of /data is 92 % used, 8.0 GiB are free, full in 2 h if it goes on like this
        15   #1 Raised critical 6: m2: what was kept for copy is gone: whoever receives from it begins anew
        15   #1 Raised critical 8: m2: pages whose checksum failed: 1
        15   #1 Raised warning 1: replicas that run: 1; there should be 2
        15   #1 Raised warning 2: m2: the cluster's CA ends in 20 days
        15   #1 Raised warning 3: m3: it receives nothing, though a leader is there
        15   #1 Raised warning 5: m2: its log takes 17.0 GiB, 1.0 GiB more in an hour
        15   #1 Raised warning 7: m2: its clock is 90.0 s behind the others'
        35   #2 Raised warning 9: m2: nobody receives from feed (keeps 3.0 GiB)
    "#]]);
    // an agent that does not tell any more has not mended anything; nor does a leader that is gone
    facts.members[1].vitals = None;
    (facts.members[1].clock_off, facts.open) = (None, false);
    story.told.clear();
    story.stays(&facts, 60);
    story.told(expect![[r#"
        75   #3 Raised emergency 10: no leader takes writes
    "#]]);
    story.told.clear();
    story.stays(&well(), 60);
    story.told(expect![[r#"
        155  #4 Cleared emergency 10: no leader takes writes
        155  #4 Cleared critical 4: m2: the disk of /data is 92 % used, 8.0 GiB are free, full in 2 h if it goes on like this
        155  #4 Cleared critical 6: m2: what was kept for copy is gone: whoever receives from it begins anew
        155  #4 Cleared critical 8: m2: pages whose checksum failed: 1
        155  #4 Cleared warning 1: replicas that run: 1; there should be 2
        155  #4 Cleared warning 2: m2: the cluster's CA ends in 20 days
        155  #4 Cleared warning 3: m3: it receives nothing, though a leader is there
        155  #4 Cleared warning 5: m2: its log takes 17.0 GiB, 1.0 GiB more in an hour
        155  #4 Cleared warning 7: m2: its clock is 90.0 s behind the others'
        155  #4 Cleared warning 9: m2: nobody receives from feed (keeps 3.0 GiB)
    "#]]);
}

#[test]
fn every_finding_says_what_it_is_and_what_to_do() {
    let mut facts = well();
    (facts.commits_wait, facts.degraded, facts.paused) = (true, true, true);
    facts.members[0].remarks = vec![
        Remark::CertificateEnds { days: 5 },
        Remark::SetByHand { settings: vec!["fsync".into()] },
        Remark::SharedName { name: "dauphin_m2_1".into() },
        Remark::NoVote { member: "m1".into() },
        Remark::SetBack { settings: vec!["read_only".into()] },
        Remark::Errant { transactions: "0-2-7".into() },
        Remark::Unacknowledged { commits: 2 },
    ];
    facts.members[1].standing = Standing::Quarantined;
    facts.members[2].standing = Standing::Rejoining;
    facts.members[2].vitals = Some(suffering());
    facts.members[2].clock_off = Some(-90_000);
    let mut unfed = well();
    unfed.members[1].standing = Standing::Unfed;
    let mut dark = gone(&[0]);
    (dark.open, dark.majority) = (false, false);
    dark.members[1].standing = Standing::Down("crashed");
    dark.members[2].lag = Some(Span::ms(11_000));
    dark.members[2].remarks = vec![Remark::ReplayPaused];
    let seen: Vec<Observation> = [facts, unfed, dark].iter().flat_map(|facts| look(&spec(), facts)).collect();
    for kind in Kind::ALL {
        let found = seen.iter().find_map(|o| match &o.seen {
            dauphin_alerts::Seen::Found(finding) if o.kind == *kind => Some((finding, o.member.as_ref())),
            _ => None,
        });
        let (finding, member) = found.unwrap_or_else(|| panic!("nothing shows {kind}"));
        assert!(!finding.text(member).is_empty() && !finding.next(member, EngineKind::Postgres).is_empty(), "{kind}");
    }
}

/// Most notices that this many seconds may bring.
fn allowed(seconds: u64) -> usize {
    usize::try_from(NOTICES_BURST + seconds * 1_000 / NOTICE_EVERY.as_ms()).expect("small") + 1
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever the members do, and whoever speaks: notices are bounded, no news comes twice, nothing is left untold.
    #[test]
    fn no_input_makes_it_flood(
        turns in proptest::collection::vec((0_u8..32, 0_u64..400, 1_u64..90), 1..120),
    ) {
        let mut story = Story::new();
        for (bits, seconds, stays) in turns {
            let mut facts = lag(seconds);
            facts.open = bits & 1 == 0;
            facts.majority = bits & 2 == 0;
            if bits & 4 != 0 {
                facts.members[2].standing = Standing::Unreachable;
            }
            if bits & 8 != 0 {
                facts.members[1].remarks = vec![Remark::ReplayPaused];
            }
            if bits & 16 != 0 {
                story.board.take_wishes(&story.board.memory(&name("m1")), story.now(), story.unix());
            }
            story.stays(&facts, stays);
        }
        let seconds = story.second;
        prop_assert!(story.notices.len() <= allowed(seconds), "{} in {seconds} s\n{}", story.notices.len(), story.told);
        // each alert: raised first, never the same twice in a row, cleared last
        let mut last = std::collections::BTreeMap::new();
        for item in story.notices.iter().flat_map(|n| &n.items) {
            use dauphin_alerts::Change::{Better, Cleared, Raised, Reminder, Worse};
            let before = last.insert(item.id, (item.change, item.level));
            let fits = match (item.change, before) {
                (Raised, None) => true,
                (Worse, Some((change, level))) => change != Cleared && item.level > level,
                (Better, Some((change, level))) => change != Cleared && item.level < level,
                (Cleared | Reminder, Some((change, level))) => change != Cleared && item.level == level,
                _ => false,
            };
            prop_assert!(fits, "{item:?} after {before:?}");
        }
        // once all is well and the room is there again, everybody knows
        story.stays(&well(), 1_500);
        prop_assert_eq!(story.board.memory(&name("m1")).alerts, Vec::new());
    }

    /// Observations of anything: the board stays within its bounds.
    #[test]
    fn the_board_is_bounded(members in 1_usize..400) {
        let mut board = Board::default();
        let seen: Vec<Observation> = (0..members).map(|n| Observation {
            kind: Kind::MemberDown,
            member: Some(name(&format!("m{n}"))),
            seen: dauphin_alerts::Seen::Found(dauphin_alerts::Finding::MemberDown { state: "crashed" }),
        }).collect();
        for second in 0..20 {
            board.step(Mono(second * 1_000_000), UNIX + second, &spec(), &seen);
        }
        let memory = board.memory(&name("m1"));
        prop_assert_eq!(memory.alerts.len(), members.min(ALERTS_MAX));
        let bytes = serde_json::to_vec(&memory).expect("JSON").len();
        prop_assert!(bytes < 200 * 1_024, "{} bytes", bytes);
    }
}
