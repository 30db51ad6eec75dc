//! Runs seeds and prints verdicts: `seeds FROM TO [trace]`.
#![allow(clippy::print_stdout)]

use dauphin_sim::{Config, run};

fn main() {
    let args: Vec<u64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let trace = std::env::args().any(|a| a == "trace");
    let (from, to) = (args.first().copied().unwrap_or(1), args.get(1).copied().unwrap_or(1));
    let (mut bad, mut acks, mut terms) = (0, 0, 0);
    for seed in from..=to {
        let outcome = run(&Config { trace, ..Config::of_seed(seed) });
        acks += outcome.acknowledged;
        terms += outcome.terms;
        for line in &outcome.lines {
            println!("{line}");
        }
        if let Some(violation) = outcome.violation {
            bad += 1;
            println!("seed {seed}: {violation}");
        }
    }
    println!("{bad} bad of {}; {acks} acknowledged, {terms} terms", to + 1 - from);
}
