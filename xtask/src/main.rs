//! The project's own chores: `cargo xtask tidy` and friends. People and `make check` run it.
//! It never changes a file, except `docs`, which says which.

mod docs;
mod explore;
mod sim;
mod source;
mod tidy;

use anyhow::{Result, bail};
use std::io::Write;
use std::process::ExitCode;

/// A chore: its name, what it does, and the function that does it with the arguments behind its name.
struct Chore {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<()>,
}

/// Every chore there is. A new one is a line here and a file beside this one.
const CHORES: &[Chore] = &[
    Chore {
        name: "tidy",
        about: "checks layers, purity, length, words and that everything is documented",
        run: tidy::run,
    },
    Chore {
        name: "sim",
        about: "runs the simulator: --seed N [--shrink] shows one run, --from N --to M many",
        run: sim::run,
    },
    Chore {
        name: "explore",
        about: "walks every way a cluster can go: --start NAME --turns N --window-ms N --states N --without RULE",
        run: explore::run,
    },
    Chore { name: "docs", about: "writes the reference pages that come from the source", run: docs::run },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let name = arguments.first().map_or("help", String::as_str);
    if let Some(chore) = CHORES.iter().find(|chore| chore.name == name) {
        return (chore.run)(arguments.get(1..).unwrap_or(&[]));
    }
    let list: Vec<String> = CHORES.iter().map(|chore| format!("  {:8} {}", chore.name, chore.about)).collect();
    let usage = format!("usage: cargo xtask CHORE\n{}", list.join("\n"));
    if name == "help" || name == "--help" {
        say(&usage);
        return Ok(());
    }
    bail!("there is no chore {name:?}\n{usage}")
}

/// Says something to whoever runs this.
fn say(text: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}
