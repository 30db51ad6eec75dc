//! The guard's command line, as the agent writes it. The binary's hidden verb and this crate's tests come in here.
//! It never reads the environment or a configuration file.

use crate::server::{EXEC_OPTION, become_server};
use crate::supervise;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: dauphin guard --dir RUN_DIR [--watchdog DEVICE]";

/// What the guard was started with.
#[derive(Debug)]
pub(crate) struct Options {
    /// The run directory: lock, socket and log.
    pub(crate) dir: PathBuf,
    /// A hardware watchdog to feed.
    pub(crate) watchdog: Option<PathBuf>,
    /// The words that lead from this program's start to the guard.
    pub(crate) verb: Vec<OsString>,
}

/// Runs the guard until no server and no agent need it. `arguments` are those behind the verb `guard`.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    run_as(&["guard"], arguments)
}

/// Like [`run`], for a program that comes here by other words than `guard`. The guard starts this program again with
/// them, for a moment, to tie the server to itself.
pub fn run_as(verb: &[&str], arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter().peekable();
    if arguments.next_if(|argument| argument == EXEC_OPTION).is_some() {
        return fail(127, &become_server(arguments));
    }
    match parse(verb, arguments) {
        Ok(options) => match supervise::run(options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(1, &error),
        },
        Err(error) => fail(2, &format!("{error}\n{USAGE}")),
    }
}

fn parse(verb: &[&str], mut arguments: impl Iterator<Item = OsString>) -> Result<Options, String> {
    let (mut dir, mut watchdog) = (None, None);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().map(PathBuf::from).ok_or("a value is missing");
        match argument.to_str() {
            Some("--dir") => dir = Some(value()?),
            Some("--watchdog") => watchdog = Some(value()?),
            _ => return Err(format!("unknown argument {}", argument.display())),
        }
    }
    let dir = dir.ok_or("--dir is missing")?;
    Ok(Options { dir, watchdog, verb: verb.iter().map(OsString::from).collect() })
}

fn fail(code: u8, message: &str) -> ExitCode {
    // The agent points standard error at the guard's log.
    let _ = writeln!(std::io::stderr(), "guard: {message}");
    ExitCode::from(code)
}
