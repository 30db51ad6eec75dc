//! `dauphin completions SHELL`: a script that completes this program's words.

use crate::cli::{Cli, Completions};
use crate::failure::{DONE, Outcome};
use clap::CommandFactory;

pub(crate) fn run(options: &Completions) -> Outcome {
    clap_complete::generate(options.shell, &mut Cli::command(), "dauphin", &mut std::io::stdout());
    Ok(DONE)
}
