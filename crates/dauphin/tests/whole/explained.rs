//! After each kind of fault of a leader, `explain` names the cause, as far as anybody can know it.

use crate::EXPECTED;
use crate::stage::{Stage, on_one_line};

/// What `explain` says first after this fault hit the leader of that term.
const CAUSES: [(&str, &str); 13] = [
    ("kill-server", "fenced itself as leader of term {}: its server ended"),
    ("freeze-server", "fenced itself as leader of term {}: its server does not answer"),
    // the guard kills the server with its agent: nothing answers any more
    ("kill-agent", "of term {} is believed gone: both its ports refuse connections"),
    ("kill-node", "of term {} is believed gone: both its ports refuse connections"),
    ("freeze-agent", "of term {} is believed gone: nothing is heard of it"),
    ("freeze-node", "of term {} is believed gone: nothing is heard of it"),
    ("partition", "of term {} is believed gone: nothing is heard of it"),
    ("partition-in", "of term {} is believed gone: nothing is heard of it"),
    ("partition-out", "of term {} is believed gone: nothing is heard of it"),
    // its own word on it does not reach the store while that is cut off
    ("store-cut", "of term {} is believed gone: its agent reports that it no longer leads"),
    ("disk-full", "fenced itself as leader of term {}: the data disk does not take writes"),
    ("disk-error", "fenced itself as leader of term {}: the data disk does not take writes"),
    ("disk-hang", "fenced itself as leader of term {}: the data disk does not take writes"),
];

/// Waits until `explain` names the cause of the takeover after this fault, which ended that term.
#[track_caller]
pub(crate) fn names_the_cause(stage: &Stage, kind: &str, term: u64) {
    let (_, words) = CAUSES.iter().find(|(its, _)| *its == kind).expect("a kind with a cause");
    let words = words.replace("{}", &term.to_string());
    let ran = stage.until_said(&["explain"], &words);
    // the sentence is the first word on it, the evidence follows
    let first = on_one_line(ran.out.split("\n#").next().unwrap_or_default());
    assert!(first.contains(&words), "{kind}: {words:?} is not the summary of {}", ran.out);
}

#[test]
fn explain_names_the_cause_of_a_takeover_by_the_kind_of_fault() {
    let stage = Stage::up("explained", &["--profile", "fast"]);
    for kind in ["kill-server", "kill-agent", "freeze-node", "kill-node", "freeze-server", "freeze-agent"] {
        let cluster = stage.json(&["status"]);
        let (old, term) = (stage.leader(), cluster["term"].as_u64().expect("a term"));
        stage.run(&["lab", "fault", "--member", &old, "--kind", kind]).ended(0);
        stage.until("a takeover", |c| c["open"] == true && c["leader"] != old.as_str());
        names_the_cause(&stage, kind, term);
        stage.run(&["lab", "heal"]).ended(0);
        stage.until_healthy();
    }
    stage.down_after(EXPECTED);
}
