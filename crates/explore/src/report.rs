//! Runs a walk within its bounds and says what came of it.

use crate::model::{Act, Explorer};
use crate::start::start;
use dauphin_ha::variant::Variant;
use dauphin_model::Span;
use dauphin_sim::Turn;
use stateright::{Checker, Model};
use std::fmt;
use std::time::{Duration, Instant};

/// How far to walk.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Turns that a run may take.
    pub turns: u8,
    /// The first of them; any, otherwise.
    pub first: Option<Turn>,
    /// The first is taken within this time from the start.
    pub window: Span,
    /// The others within this time after the first.
    pub then: Span,
    /// Stop after so many states.
    pub states: Option<usize>,
    /// Threads.
    pub threads: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { turns: 1, first: None, window: Span::ms(1_000), then: Span::ms(4_000), states: None, threads: 2 }
    }
}

/// What came of a walk.
#[derive(Debug, Clone)]
pub struct Report {
    /// Where it began.
    pub start: String,
    /// Different states seen.
    pub states: usize,
    /// The longest run, in moments of choice.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// It was walked to its end.
    pub whole: bool,
    /// What broke, and the turns that led there.
    pub violation: Option<Violation>,
}

/// What broke.
#[derive(Debug, Clone)]
pub struct Violation {
    /// What the invariant says.
    pub says: String,
    /// The turns that led there, each with how many moments of choice lie before it: see [`Explorer::replay`].
    pub run: Vec<(usize, Turn)>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.says)?;
        for (at, turn) in &self.run {
            write!(f, "; {at}: {turn}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.whole { "all of them" } else { "stopped at its bound" };
        write!(
            f,
            "{}: {} states ({end}), longest run {}, {:.1} s: ",
            self.start,
            self.states,
            self.depth,
            self.took.as_secs_f64()
        )?;
        match &self.violation {
            None => f.write_str("every invariant holds, every run heals"),
            Some(violation) => violation.fmt(f),
        }
    }
}

impl Bounds {
    /// From the named start, with a rule left out or none. `None`: there is no such start.
    #[must_use]
    pub fn explorer(&self, name: &str, variant: Option<Variant>) -> Option<Explorer> {
        let start = start(name, variant)?;
        Some(Explorer { start, turns: self.turns, first: self.first, window: self.window, then: self.then })
    }
}

/// Walks from the named start, with a rule left out or none. `None`: there is no such start.
#[must_use]
pub fn explore(name: &str, variant: Option<Variant>, bounds: Bounds) -> Option<Report> {
    let model = bounds.explorer(name, variant)?;
    let begun = Instant::now();
    let mut builder = model.checker().threads(bounds.threads);
    if let Some(states) = bounds.states {
        builder = builder.target_state_count(states);
    }
    let checker = builder.spawn_dfs().join();
    let violation = checker.discoveries().into_values().next().map(|path| {
        let says = path.last_state().world.violation().unwrap_or("a violation").to_owned();
        let acts = path.into_actions().into_iter().enumerate();
        let turn = |(at, act)| match act {
            Act::Take(turn) => Some((at, turn)),
            Act::GoOn => None,
        };
        Violation { says, run: acts.filter_map(turn).collect() }
    });
    Some(Report {
        start: name.to_owned(),
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        took: begun.elapsed(),
        whole: violation.is_none() && bounds.states.is_none_or(|most| checker.state_count() < most),
        violation,
    })
}
