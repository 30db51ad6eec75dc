//! Rules of the protocol left out on purpose: the model check finds what comes of it within two turns. docs/model-check.md
//! has the table; those that need more are the simulator's.

use dauphin_explore::{Bounds, explore};
use dauphin_ha::variant::Variant;
use dauphin_sim::{Fault, Lasts, Turn};

/// States after which a walk that has found nothing is given up.
const STATES_MAX: usize = 400_000;

#[track_caller]
fn caught(variant: Variant, start: &str, turns: u8, first: Option<Turn>, says: &str) {
    let bounds = Bounds { turns, first, states: Some(STATES_MAX), ..Bounds::default() };
    let report = explore(start, Some(variant), bounds).expect("a start");
    let found = report.violation.unwrap_or_else(|| panic!("{variant:?} is not caught in {} states", report.states));
    assert!(found.says.starts_with(says), "{variant:?}: {found}");
    let replayed = bounds.explorer(start, Some(variant)).expect("a start").replay(&found.run);
    assert_eq!(replayed.as_deref(), Some(found.says.as_str()), "the run shows it again");
    let without = bounds.explorer(start, None).expect("a start").replay(&found.run);
    assert_eq!(without, None, "{variant:?}: the same turns are harmless with the rule in place");
}

#[test]
fn one_turn_shows_that_the_rule_is_needed() {
    caught(Variant::SkipBarrier, "quorum", 0, None, "I5");
    caught(Variant::SkipFreeze, "quorum", 1, None, "I4");
    caught(Variant::ForgetPledge, "quorum", 1, None, "I4");
    caught(Variant::PublishBeforeConfigure, "quorum", 1, None, "I3");
    caught(Variant::ConfigureBeforePublish, "sync", 1, None, "I3");
    caught(Variant::WinInPlace, "quorum", 1, None, "L1");
    caught(Variant::IgnoreLease, "async", 1, None, "I4");
    caught(Variant::DegradeBeforePublish, "degrade", 1, None, "I3");
}

#[test]
fn two_turns_show_that_the_rule_is_needed() {
    caught(Variant::UnconfirmedReload, "quorum", 2, Some(Turn::Switchover), "I3");
    caught(Variant::FewerAnswers, "quorum", 2, Some(Turn::Switchover), "I4");
    let paused = Turn::Hit(0, Fault::PauseAgent, Lasts::Lease);
    caught(Variant::IgnoreBranch, "quorum", 2, Some(paused), "I1");
    let deaf = Turn::Hit(2, Fault::HearsNothing, Lasts::Lease);
    caught(Variant::PromoteBeforeDecide, "quorum", 2, Some(deaf), "I4");
}
