//! `dauphin completions SHELL`: a script that completes this program's words.

use crate::cli::{Cli, Completions};
use crate::failure::{DONE, Outcome};
use crate::say;
use clap::CommandFactory;

pub(crate) fn run(options: &Completions) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "dauphin", &mut script);
    say::line(String::from_utf8_lossy(&script).trim_end());
    Ok(DONE)
}
