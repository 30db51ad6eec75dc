//! For each broken variant, the first seed that catches it: `variants MAX`.
#![allow(clippy::print_stdout)]

use dauphin_ha::variant::Variant;
use dauphin_sim::{Config, run};

fn main() {
    let max: u64 = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(300);
    for variant in Variant::ALL {
        let caught = (1..=max).find_map(|seed| {
            let outcome = run(&Config { variant: Some(variant), ..Config::of_seed(seed) });
            outcome.violation.map(|v| (seed, v))
        });
        match caught {
            Some((seed, violation)) => println!("{variant:?}: seed {seed}: {violation}"),
            None => println!("{variant:?}: NOT CAUGHT in {max} seeds"),
        }
    }
}
