//! Speaking to people: failures and progress on standard error, documents on standard output, colour only on a
//! terminal. Verbs call it; it never decides what is said.

use crate::failure::Failure;
use crate::look::{COLUMNS_MAX, wrap};
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::time::Instant;

/// Before what follows the first line of a message.
const INDENT: &str = "    ";

/// A colour or weight for words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Bold,
    Good,
    Warn,
    Bad,
    Dim,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "1",
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "31",
            Self::Dim => "2",
        }
    }

    /// The text in this tone, if `on` is a terminal that wants colour.
    pub(crate) fn paint(self, text: &str, colours: bool) -> String {
        if colours && self != Self::Plain { format!("\x1b[{}m{text}\x1b[0m", self.code()) } else { text.to_owned() }
    }
}

/// Whether standard output takes colour.
pub(crate) fn colours_out() -> bool {
    std::io::stdout().is_terminal() && wanted()
}

fn colours_err() -> bool {
    std::io::stderr().is_terminal() && wanted()
}

fn wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::env::var_os("TERM").is_none_or(|v| v != "dumb")
}

/// A line on standard output. A reader that went away is no failure.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n"));
}

/// A document on standard output.
pub(crate) fn json<T: Serialize>(document: &T) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document).map_err(|e| Failure::failed(e.to_string(), ""))?;
    line(&text);
    Ok(())
}

/// A failure on standard error.
pub(crate) fn failure(failure: &Failure) {
    let word = if failure.exit == 3 { "refused" } else { "error" };
    let mut err = std::io::stderr().lock();
    let _ = writeln!(err, "{}: {}", Tone::Bad.paint(word, colours_err()), wrapped(&failure.message));
    if !failure.next.is_empty() {
        let _ = writeln!(err, "{}: {}", Tone::Bold.paint("next", colours_err()), wrapped(&failure.next));
    }
}

/// Lines of at most 100 columns, the word before the first one counted in.
fn wrapped(text: &str) -> String {
    let lines = text.lines().flat_map(|line| wrap(line, COLUMNS_MAX - INDENT.len() * 2));
    lines.collect::<Vec<_>>().join(&format!("\n{INDENT}"))
}

/// A remark on standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Progress on standard error: one line that changes on a terminal, a line for each change elsewhere.
pub(crate) struct Progress {
    started: Instant,
    terminal: bool,
    last: String,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), terminal: std::io::stderr().is_terminal(), last: String::new() }
    }

    /// What is being done now.
    pub(crate) fn say(&mut self, text: &str) {
        if text == self.last {
            return;
        }
        text.clone_into(&mut self.last);
        let seconds = self.started.elapsed().as_secs_f64();
        let mut err = std::io::stderr().lock();
        let _ = if self.terminal {
            let short: String = text.chars().take(88).collect();
            write!(err, "\r\x1b[K{seconds:5.1} s  {short}").and_then(|()| err.flush())
        } else {
            writeln!(err, "{seconds:5.1} s  {text}")
        };
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal && !self.last.is_empty() {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}
