//! `cargo xtask explore`: the model check for people. Says what it walked and what broke. It never changes a file.

use anyhow::{Context, Result, bail};
use dauphin_explore::{Bounds, START_NAMES, explore};
use dauphin_ha::variant::Variant;
use dauphin_model::Span;
use std::io::Write;

/// The chore.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut bounds = Bounds::default();
    let mut starts: Vec<String> = Vec::new();
    let mut variant = None;
    let mut each_first = false;
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        if name == "--each-first" {
            each_first = true;
            continue;
        }
        let value = rest.next().with_context(|| format!("{name} needs a value"))?;
        let number = || value.parse::<u64>().with_context(|| format!("{name} needs a number, not {value:?}"));
        match name.as_str() {
            "--start" => starts.push(value.clone()),
            "--turns" => bounds.turns = u8::try_from(number()?)?,
            "--window-ms" => bounds.window = Span::ms(number()?),
            "--then-ms" => bounds.then = Span::ms(number()?),
            "--states" => bounds.states = Some(usize::try_from(number()?)?),
            "--threads" => bounds.threads = usize::try_from(number()?)?,
            "--without" => variant = Some(rule(value)?),
            _ => bail!(
                "unknown option {name}; there are --start --turns --window-ms --then-ms --states --threads --without"
            ),
        }
    }
    if starts.is_empty() {
        starts.extend(START_NAMES.iter().map(|name| (*name).to_owned()));
    }
    let mut broken = 0;
    for start in &starts {
        if each_first {
            broken += by_first(start, variant, bounds)?;
            continue;
        }
        let report = explore(start, variant, bounds);
        let report =
            report.with_context(|| format!("there is no start {start:?}; there are {}", START_NAMES.join(", ")))?;
        broken += u32::from(report.violation.is_some());
        writeln!(std::io::stdout(), "{report}")?;
    }
    if broken > 0 {
        bail!("{broken} of {} walks found a violation", starts.len());
    }
    Ok(())
}

/// One walk for each turn that can be the first, until one finds a violation.
fn by_first(start: &str, variant: Option<Variant>, bounds: Bounds) -> Result<u32> {
    let explorer = bounds.explorer(start, variant).with_context(|| format!("there is no start {start:?}"))?;
    for first in explorer.firsts() {
        let walk = Bounds { first: Some(first), ..bounds };
        let Some(report) = explore(start, variant, walk) else { continue };
        writeln!(std::io::stdout(), "first {first}: {report}")?;
        if report.violation.is_some() {
            return Ok(1);
        }
    }
    Ok(0)
}

fn rule(name: &str) -> Result<Variant> {
    let all = || Variant::ALL.map(|v| format!("{v:?}")).join(", ");
    let found = Variant::ALL.into_iter().find(|v| format!("{v:?}") == name);
    found.with_context(|| format!("there is no rule {name:?} to leave out; there are {}", all()))
}
