//! `cargo xtask sim`: runs the simulator for people. One seed shows one line per event, or, made short, what it takes for
//! it to fail; many seeds show those that fail, and how fast it runs. It never changes a file.

use anyhow::{Result, bail};
use dauphin_ha::variant::Variant;
use dauphin_model::EngineKind;
use dauphin_sim::{Config, Outcome, run as simulate, shrink};
use std::io::Write;
use std::time::Instant;

/// Lines of the short run's trace that are shown.
const LINES_SHOWN: usize = 60;
const USAGE: &str = "usage: cargo xtask sim --seed N [--shrink] [--without RULE] [--engine ENGINE] | --from N --to M";
/// Whose servers are simulated.
const ENGINES: [EngineKind; 3] = [EngineKind::Postgres, EngineKind::Mysql, EngineKind::Mariadb];

/// The chore.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let word = |name: &str| -> Result<Option<&String>> {
        let Some(at) = arguments.iter().position(|a| a == name) else { return Ok(None) };
        match arguments.get(at + 1) {
            Some(value) => Ok(Some(value)),
            None => bail!("{name} needs a value\n{USAGE}"),
        }
    };
    let number = |name: &str| -> Result<Option<u64>> {
        match word(name)?.map(|v| v.parse()) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(_)) => bail!("{name} needs a number, as in {name} 61"),
        }
    };
    let variant = match word("--without")? {
        None => None,
        Some(name) => match Variant::ALL.into_iter().find(|v| format!("{v:?}") == *name) {
            Some(variant) => Some(variant),
            None => bail!("there is no rule {name:?}; docs/simulator.md lists them"),
        },
    };
    let engine = match word("--engine")? {
        None => EngineKind::default(),
        Some(name) => match ENGINES.into_iter().find(|engine| engine.word() == *name) {
            Some(engine) => engine,
            None => bail!("{name:?} is no engine: postgres, mysql or mariadb"),
        },
    };
    let config = |seed| Config { variant, ..Config::of_seed_on(engine, seed) };
    let short = arguments.iter().any(|a| a == "--shrink");
    match (number("--seed")?, number("--from")?, number("--to")?) {
        (Some(seed), None, None) => {
            if short {
                made_short(&config(seed))
            } else {
                one(&config(seed))
            }
        }
        (None, from, Some(to)) if !short => many(from.unwrap_or(1), to, config),
        _ => bail!("{USAGE}"),
    }
}

fn headline(config: &Config) -> String {
    let spec = &config.spec;
    format!(
        "seed {}: {}, {} members, {}, {}, shortage {:?}, {:?}",
        config.seed,
        spec.engine.name(),
        spec.members.len(),
        spec.durability,
        spec.profile,
        spec.on_shortage,
        config.faults
    )
}

fn one(config: &Config) -> Result<()> {
    let outcome = simulate(&Config { trace: true, ..config.clone() });
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", headline(config))?;
    for line in &outcome.lines {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "{}", verdict(&outcome))?;
    match outcome.violation {
        Some(violation) => bail!("seed {}: {violation}", config.seed),
        None => Ok(()),
    }
}

fn made_short(config: &Config) -> Result<()> {
    let seed = config.seed;
    let Some(short) = shrink(config) else {
        bail!("seed {seed} does not fail, or not when what struck is replayed");
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", headline(config))?;
    let lines = &short.outcome.lines;
    for line in lines.iter().skip(lines.len().saturating_sub(LINES_SHOWN)) {
        writeln!(out, "{line}")?;
    }
    let also = [(short.loses_messages, ", and messages are lost"), (short.drifts, ", and clocks differ")];
    let also: String = also.iter().filter(|(is, _)| *is).map(|(_, text)| *text).collect();
    let (left, before, runs) = (short.plan.len(), short.before, short.runs);
    writeln!(out, "\nof {before} faults {left} are needed{also} ({runs} runs):")?;
    for struck in &short.plan {
        writeln!(out, "{struck}")?;
    }
    writeln!(out, "{}", verdict(&short.outcome))?;
    Ok(())
}

fn many(from: u64, to: u64, config: impl Fn(u64) -> Config) -> Result<()> {
    let (mut bad, mut waiting, mut simulated) = (0_u64, 0_u64, 0_u64);
    let begun = Instant::now();
    for seed in from..=to {
        let outcome = simulate(&config(seed));
        simulated += outcome.simulated.as_ms();
        waiting += u64::from(outcome.needs_a_person);
        if outcome.violation.is_some() {
            bad += 1;
            crate::say(&format!("seed {seed}: {}", verdict(&outcome)));
        }
    }
    let took = begun.elapsed().as_secs_f64();
    crate::say(&format!("{} seeds, {bad} failed; {waiting} were left to a person", to + 1 - from));
    let seconds = simulated / 1_000;
    crate::say(&format!("{seconds} s simulated in {took:.1} s, {:.0} a second", seconds as f64 / took.max(1e-9)));
    if bad > 0 { bail!("cargo xtask sim --seed N shows one of them, with --shrink what it takes") } else { Ok(()) }
}

fn verdict(outcome: &Outcome) -> String {
    let end = outcome.violation.as_deref().unwrap_or("every invariant held");
    format!("{} acknowledged, {} terms, trace {:016x}: {end}", outcome.acknowledged, outcome.terms, outcome.hash)
}
