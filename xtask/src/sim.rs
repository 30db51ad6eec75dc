//! `cargo xtask sim`: runs the simulator for people. One seed shows one line per event; many seeds show those that fail.
//! It never changes a file.

use anyhow::{Result, bail};
use dauphin_sim::{Config, Outcome, run as simulate};
use std::io::Write;

/// The chore.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let number = |name: &str| -> Result<Option<u64>> {
        let Some(at) = arguments.iter().position(|a| a == name) else { return Ok(None) };
        match arguments.get(at + 1).map(|v| v.parse()) {
            Some(Ok(value)) => Ok(Some(value)),
            _ => bail!("{name} needs a number, as in {name} 61"),
        }
    };
    match (number("--seed")?, number("--from")?, number("--to")?) {
        (Some(seed), None, None) => one(seed),
        (None, from, Some(to)) => many(from.unwrap_or(1), to),
        _ => bail!("usage: cargo xtask sim --seed N | --from N --to M"),
    }
}

fn one(seed: u64) -> Result<()> {
    let config = Config { trace: true, ..Config::of_seed(seed) };
    let outcome = simulate(&config);
    let mut out = std::io::stdout().lock();
    let spec = &config.spec;
    writeln!(
        out,
        "seed {seed}: {} members, {}, {}, shortage {:?}, {:?}",
        spec.members.len(),
        spec.durability,
        spec.profile,
        spec.on_shortage,
        config.faults
    )?;
    for line in &outcome.lines {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "{}", verdict(&outcome))?;
    match outcome.violation {
        Some(violation) => bail!("seed {seed}: {violation}"),
        None => Ok(()),
    }
}

fn many(from: u64, to: u64) -> Result<()> {
    let mut bad = 0_u64;
    for seed in from..=to {
        let outcome = simulate(&Config::of_seed(seed));
        if outcome.violation.is_some() {
            bad += 1;
            crate::say(&format!("seed {seed}: {}", verdict(&outcome)));
        }
    }
    crate::say(&format!("{} seeds, {bad} failed", to + 1 - from));
    if bad > 0 { bail!("cargo xtask sim --seed N shows one of them") } else { Ok(()) }
}

fn verdict(outcome: &Outcome) -> String {
    let end = outcome.violation.as_deref().unwrap_or("every invariant held");
    format!("{} acknowledged, {} terms, trace {:016x}: {end}", outcome.acknowledged, outcome.terms, outcome.hash)
}
