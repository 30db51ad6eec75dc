//! The agent dies, or stands still, just before and just after every kind of step: nothing acknowledged is lost, and the
//! cluster heals. The kinds are the core's own list; one that no scenario here comes by has its reason below.

// how long things took, and what was skipped, is said
#![allow(clippy::print_stdout)]

use crate::EXPECTED;
use crate::stage::Stage;
use dauphin_ha::Step;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long until somebody comes by.
const TAKEN_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Kinds that are not tried, and why.
const NOT_HERE: [(&str, &str); 5] = [
    ("bootstrap", "comes once, before there is anything to lose"),
    ("freeze-refused", "needs a rival: the simulator has many"),
    ("catch-up", "needs a preferred member that is behind: the simulator has many"),
    ("exit", "is the end itself"),
    ("reply", "only a person waits for it"),
];

/// What makes members come by a step.
fn provoke(stage: &Stage, name: &str) {
    let leader = stage.leader();
    let replica = ["m1", "m2", "m3"].into_iter().find(|m| *m != leader).expect("a replica");
    match name {
        // the answer is not looked at: the verb may be told that its agent died
        "stop" | "close" | "commit-other" => drop(stage.run(&["switchover"])),
        "clone" => drop(stage.run(&["reinit", replica])),
        "elect-store" => drop(stage.run(&["lab", "fault", "--member", &leader, "--kind", "kill-node"])),
        "rewind" | "start-behind" => {
            // what the old leader writes alone is cut off when it is back
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| stage.write_alone(&leader, &over));
                stage.run(&["lab", "fault", "--member", &leader, "--kind", "freeze-agent"]).ended(0);
                stage.until("a takeover", |c| c["open"] == true && c["leader"] != leader.as_str());
                over.store(true, Ordering::Relaxed);
            });
            stage.run(&["lab", "heal"]).ended(0);
        }
        _ => drop(stage.run(&["lab", "fault", "--member", &leader, "--kind", "kill-server"])),
    }
}

fn files(stage: &Stage) -> Vec<PathBuf> {
    ["m1", "m2", "m3"].map(|m| stage.dir.join(m).join("run/failpoint")).to_vec()
}

/// One place: says whether anybody came by.
fn try_one(stage: &Stage, place: &str, name: &str, value: u32) -> bool {
    stage.sql(stage.write_port(), &format!("INSERT INTO t VALUES ({value})"));
    let files = files(stage);
    for file in &files {
        std::fs::write(file, place).expect("written");
        // the members' user takes it away
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o666)).expect("open to all");
    }
    provoke(stage, name);
    let deadline = Instant::now() + TAKEN_WITHIN;
    let taken = loop {
        if files.iter().any(|file| !file.exists()) {
            break true;
        }
        if Instant::now() > deadline {
            break false;
        }
        std::thread::sleep(LOOK_EVERY);
    };
    for file in &files {
        let _ = std::fs::remove_file(file);
    }
    stage.until_healed();
    let there = stage.sql(stage.write_port(), &format!("SELECT count(*) FROM t WHERE i <= {value}"));
    assert_eq!(there, (value + 1).to_string(), "{place}: acknowledged rows are gone");
    taken
}

fn run(stage: Stage, places: &[(String, &'static str)]) {
    stage.sql(stage.write_port(), "CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t VALUES (0)");
    let mut missed = Vec::new();
    for (n, (place, name)) in places.iter().enumerate() {
        let since = Instant::now();
        if !try_one(&stage, place, name, u32::try_from(n).expect("small") + 1) {
            missed.push(place);
        }
        println!("{place}: {:?}", since.elapsed());
    }
    assert!(missed.is_empty(), "nobody came by: {missed:?}");
    let also = ["slots cannot be kept", "the store", "is ended", "a step of the loop took long", "all of it is kept"];
    stage.down_after(&[EXPECTED, &also].concat());
}

#[test]
fn an_agent_that_dies_between_deciding_and_opening_costs_nothing() {
    let places = [
        ("after commit-record crash", "commit-record"),
        ("after promote crash", "promote"),
        ("before open crash", "open"),
    ];
    let places: Vec<_> = places.map(|(place, name)| (place.to_owned(), name)).to_vec();
    run(Stage::up("failpoint", &[]), &places);
}

#[test]
fn long_agents_die_and_stand_still_before_and_after_every_kind_of_step() {
    let names = Step::NAMES.into_iter().filter(|name| NOT_HERE.iter().all(|(not, _)| not != name));
    let sides = |name: &'static str| {
        ["before", "after"]
            .into_iter()
            .flat_map(move |side| ["crash", "pause 4000"].map(|action| (format!("{side} {name} {action}"), name)))
    };
    let places: Vec<_> = names.flat_map(sides).collect();
    run(Stage::up("failpoints", &[]), &places);
}
