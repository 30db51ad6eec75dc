//! `dauphin`: the one program. It reads its arguments, wires the parts up and runs one verb; each verb is one file in
//! `verb/`. Nothing is decided here.

// the one crate that speaks to people on standard output
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod cli;
mod failure;
mod look;
mod say;
mod target;
mod verb;

use clap::Parser;
use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // the guard reads its own arguments: it must start at once and depend on nothing else
    if arguments.get(1).is_some_and(|verb| verb == "guard") {
        return dauphin_guard::run(arguments.into_iter().skip(2));
    }
    let is_check = arguments.iter().skip(1).any(|word| word == "check");
    let cli = match cli::Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, is_check),
    };
    match verb::run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            say::failure(&failure);
            ExitCode::from(failure.exit)
        }
    }
}

/// Help is no failure; anything else is wrong usage, which `check` reports as cron plugins do.
fn usage(error: &clap::Error, is_check: bool) -> ExitCode {
    let _ = error.print();
    match (error.use_stderr(), is_check) {
        (false, _) => ExitCode::SUCCESS,
        (true, true) => ExitCode::from(3),
        (true, false) => ExitCode::from(2),
    }
}
