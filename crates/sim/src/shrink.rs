//! Makes a failing run short: leaves out what struck, piece by piece, as long as the same invariant breaks (delta
//! debugging, Zeller and Hildebrandt 2002), until not one fault can be left out. `cargo xtask sim --seed N --shrink` calls
//! it; it never changes what is checked.

use crate::config::Config;
use crate::run::{Outcome, run};
use crate::struck::Struck;
use dauphin_model::Span;

/// Runs at most: a run takes a tenth of a second.
const RUNS_MAX: usize = 3_000;

/// What was left.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// What strikes in the short run.
    pub plan: Vec<Struck>,
    /// Whether messages have to be lost as well.
    pub loses_messages: bool,
    /// Whether clocks have to differ as well.
    pub drifts: bool,
    /// What struck in the whole run.
    pub before: usize,
    /// Runs that it took.
    pub runs: usize,
    /// The short run, with one line per event.
    pub outcome: Outcome,
}

/// The name of the invariant: what comes before the colon.
fn broken(outcome: &Outcome) -> Option<&str> {
    outcome.violation.as_deref().map(|text| text.split(':').next().unwrap_or(text))
}

struct Shrinking {
    config: Config,
    wanted: String,
    runs: usize,
}

impl Shrinking {
    /// Whether these faults alone break the same.
    fn breaks(&mut self, plan: &[Struck]) -> bool {
        if self.runs >= RUNS_MAX {
            return false;
        }
        self.runs += 1;
        let outcome = run(&Config { plan: Some(plan.to_vec()), ..self.config.clone() });
        broken(&outcome) == Some(&self.wanted)
    }

    /// Whether it breaks with the configuration changed like this, which then stays.
    fn breaks_with(&mut self, plan: &[Struck], change: impl FnOnce(&mut Config)) -> bool {
        let before = self.config.clone();
        change(&mut self.config);
        let breaks = self.breaks(plan);
        if !breaks {
            self.config = before;
        }
        breaks
    }

    /// Leaves out larger pieces first, then smaller ones, at last single faults until none can be left out.
    fn drop_pieces(&mut self, mut plan: Vec<Struck>) -> Vec<Struck> {
        let mut size = plan.len().div_ceil(2).max(1);
        loop {
            let mut at = 0;
            let mut dropped = false;
            while at < plan.len() {
                let end = (at + size).min(plan.len());
                let rest: Vec<Struck> = plan[..at].iter().chain(&plan[end..]).copied().collect();
                if self.breaks(&rest) {
                    plan = rest;
                    dropped = true;
                } else {
                    at = end;
                }
            }
            if size == 1 && !dropped {
                return plan;
            }
            if size > 1 {
                size = size.div_ceil(2);
            }
        }
    }

    /// What lasts long is halved as long as it still breaks.
    fn shorten(&mut self, mut plan: Vec<Struck>) -> Vec<Struck> {
        for at in 0..plan.len() {
            while plan[at].lasts > Span::ms(200) {
                let mut shorter = plan.clone();
                shorter[at].lasts = Span::ms(plan[at].lasts.over(2).as_ms());
                if !self.breaks(&shorter) {
                    break;
                }
                plan = shorter;
            }
        }
        plan
    }
}

/// A short run that breaks the same invariant; `None` if the whole one breaks none, or does not when it is replayed.
#[must_use]
pub fn shrink(config: &Config) -> Option<Shrunk> {
    let whole = run(config);
    let wanted = broken(&whole)?.to_owned();
    let before = whole.struck.len();
    let mut shrinking = Shrinking { config: Config { trace: false, ..config.clone() }, wanted, runs: 0 };
    if !shrinking.breaks(&whole.struck) {
        return None;
    }
    let lost = config.faults.loss > 0 && !shrinking.breaks_with(&whole.struck, |c| c.faults.loss = 0);
    let drifts = config.faults.drift && !shrinking.breaks_with(&whole.struck, |c| c.faults.drift = false);
    let plan = shrinking.drop_pieces(whole.struck);
    let plan = shrinking.shorten(plan);
    // less may have to go wrong now that less does
    let loses_messages = lost && !shrinking.breaks_with(&plan, |c| c.faults.loss = 0);
    let drifts = drifts && !shrinking.breaks_with(&plan, |c| c.faults.drift = false);
    let plan = shrinking.drop_pieces(plan);
    let outcome = run(&Config { plan: Some(plan.clone()), trace: true, ..shrinking.config });
    Some(Shrunk { plan, loses_messages, drifts, before, runs: shrinking.runs, outcome })
}
