//! What struck in a run is a list that can be replayed, and made short.

use dauphin_ha::variant::Variant;
use dauphin_sim::{Config, run, shrink};

#[test]
fn what_struck_can_be_replayed_to_the_same_trace() {
    for seed in 1..=40 {
        let config = Config::of_seed(seed);
        let whole = run(&config);
        assert!(!whole.struck.is_empty(), "seed {seed}: nothing struck");
        let again = run(&Config { plan: Some(whole.struck.clone()), ..config });
        assert_eq!(again.hash, whole.hash, "seed {seed}");
        assert_eq!(again.struck, whole.struck, "seed {seed}");
    }
}

#[test]
fn of_a_failing_run_only_the_faults_are_left_that_it_takes() {
    let config = Config { variant: Some(Variant::SkipFreeze), ..failing(Variant::SkipFreeze) };
    let broken = |outcome: &dauphin_sim::Outcome| outcome.violation.as_ref().map(|v| v[..2].to_owned());
    let whole = run(&config);
    let short = shrink(&config).expect("it fails again when it is replayed");
    assert_eq!(broken(&short.outcome), broken(&whole));
    assert!(short.plan.len() <= 6 && short.plan.len() < short.before, "{} of {}", short.plan.len(), short.before);
    assert!(!short.outcome.lines.is_empty(), "it shows what happens");
    // not one of them can be left out
    let mut config = Config { variant: Some(Variant::SkipFreeze), ..config };
    if !short.loses_messages {
        config.faults.loss = 0;
    }
    config.faults.drift = short.drifts;
    for without in 0..short.plan.len() {
        let mut plan = short.plan.clone();
        plan.remove(without);
        let outcome = run(&Config { plan: Some(plan), ..config.clone() });
        assert_ne!(broken(&outcome), broken(&whole), "{} is not needed", short.plan[without]);
    }
}

/// The first seed that fails without this rule.
fn failing(variant: Variant) -> Config {
    let fails = |seed: &u64| run(&Config { variant: Some(variant), ..Config::of_seed(*seed) }).violation.is_some();
    Config::of_seed((1..=100).find(fails).expect("one of the first seeds"))
}
