//! `cargo xtask explore`: the model check for people. Says what it walked and what broke. It never changes a file.

use anyhow::{Context, Result, bail};
use dauphin_explore::{Bounds, START_NAMES, explore};
use dauphin_ha::variant::Variant;
use dauphin_model::Span;
use std::io::Write;

const OPTIONS: &str = "--start --firsts --first --turns --window-ms --then-ms --states --threads --without";

/// What was asked for.
#[derive(Default)]
struct Asked {
    bounds: Bounds,
    starts: Vec<String>,
    /// Only list what the first turn can be.
    firsts: bool,
    first: Option<String>,
    variant: Option<Variant>,
}

/// The chore.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut asked = parse(arguments)?;
    if asked.starts.is_empty() {
        asked.starts.extend(START_NAMES.iter().map(|name| (*name).to_owned()));
    }
    let mut broken = 0;
    for start in &asked.starts {
        let explorer = asked.bounds.explorer(start, asked.variant);
        let explorer =
            explorer.with_context(|| format!("there is no start {start:?}; there are {}", START_NAMES.join(", ")))?;
        if asked.firsts {
            explorer.firsts().iter().try_for_each(|turn| writeln!(std::io::stdout(), "{turn}"))?;
            continue;
        }
        let mut bounds = asked.bounds;
        if let Some(name) = &asked.first {
            let found = explorer.firsts().into_iter().find(|turn| turn.to_string() == *name);
            bounds.first = Some(found.with_context(|| format!("{name:?} can be no first turn: --firsts lists them"))?);
        }
        let Some(report) = explore(start, asked.variant, bounds) else { continue };
        broken += u32::from(report.violation.is_some());
        writeln!(std::io::stdout(), "{report}")?;
    }
    if broken > 0 {
        bail!("{broken} of {} walks found a violation", asked.starts.len());
    }
    Ok(())
}

fn parse(arguments: &[String]) -> Result<Asked> {
    let mut asked = Asked::default();
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        if name == "--firsts" {
            asked.firsts = true;
            continue;
        }
        let value = rest.next().with_context(|| format!("{name} needs a value"))?;
        let number = || value.parse::<u64>().with_context(|| format!("{name} needs a number, not {value:?}"));
        match name.as_str() {
            "--start" => asked.starts.push(value.clone()),
            "--first" => asked.first = Some(value.clone()),
            "--turns" => asked.bounds.turns = u8::try_from(number()?)?,
            "--window-ms" => asked.bounds.window = Span::ms(number()?),
            "--then-ms" => asked.bounds.then = Span::ms(number()?),
            "--states" => asked.bounds.states = Some(usize::try_from(number()?)?),
            "--threads" => asked.bounds.threads = usize::try_from(number()?)?,
            "--without" => asked.variant = Some(rule(value)?),
            _ => bail!("unknown option {name}; there are {OPTIONS}"),
        }
    }
    Ok(asked)
}

fn rule(name: &str) -> Result<Variant> {
    let all = || Variant::ALL.map(|v| format!("{v:?}")).join(", ");
    let found = Variant::ALL.into_iter().find(|v| format!("{v:?}") == name);
    found.with_context(|| format!("there is no rule {name:?} to leave out; there are {}", all()))
}
