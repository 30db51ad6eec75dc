//! The bounded model check of `make test`: every single turn from every start, and every pair that begins with a dead leader.

use dauphin_explore::{Bounds, START_NAMES, explore};
use dauphin_model::Span;
use dauphin_sim::{Fault, Lasts, Turn};

/// Fewer states than these mean that the world does not do what it did.
const STATES_MIN: usize = 100_000;

#[test]
fn every_single_turn_keeps_every_invariant_and_heals() {
    let mut states = 0;
    for start in START_NAMES {
        let report = explore(start, None, Bounds::default()).expect("a start");
        assert!(report.violation.is_none() && report.whole, "{report}");
        states += report.states;
    }
    // a second turn anywhere after the leader's node died
    let first = Some(Turn::Hit(0, Fault::KillNode, Lasts::Long));
    let bounds = Bounds { turns: 2, first, window: Span::ms(200), then: Span::ms(1_500), ..Bounds::default() };
    for start in ["quorum", "sync"] {
        let report = explore(start, None, bounds).expect("a start");
        assert!(report.violation.is_none() && report.whole, "{report}");
        states += report.states;
    }
    assert!(states >= STATES_MIN, "{states} states");
}
