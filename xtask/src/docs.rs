//! `cargo xtask docs`: writes the reference pages that come from the source: docs/reasons.md and docs/errors.md.
//! People run it after adding a reason or an error; `tidy` only checks that nothing is missing.

use crate::say;
use crate::source;
use crate::tidy;
use anyhow::{Context, Result, ensure};

const REASONS: &str = "\
# Reasons

Every decision carries its reason as a type. Log, `dauphin history`, `dauphin explain`, the journal and the console show
the same one, by its code and with this sentence (what stands in braces is filled in).

One more code stands in the journal that is no decision: `treated`, something that an agent mended on its own replica for its health
([operating.md](operating.md#health)).

Written from `crates/ha/src/reason.rs` by `cargo xtask docs`.

| code | meaning | sentence |
|---|---|---|
";

const ERRORS: &str = "\
# Error codes

What the HTTP interface answers under `error.code`, and the command line shows. A code never changes its meaning. The class
decides HTTP status and exit code: usage 400/2, not found 404/2, unauthenticated 401/1, forbidden 403/1, refused for safety
409/3, unavailable 503/1, failed 500/1. `message` says what happened, `next` what to do.

Written from the sources by `cargo xtask docs`.

| code | class | raised in |
|---|---|---|
";

/// Writes the pages.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    ensure!(arguments.is_empty(), "docs takes no arguments");
    let root = source::root();
    let files = source::files(&root)?;
    let cell = |text: &str| text.replace('|', "\\|");
    let reasons: Vec<String> = tidy::reasons(&files)
        .iter()
        .map(|reason| format!("| `{}` | {} | {} |\n", reason.name.name, cell(&reason.about), cell(&reason.sentence)))
        .collect();
    let errors: Vec<String> = tidy::errors(&files)
        .iter()
        .map(|error| format!("| `{}` | {} | `{}` |\n", error.name.name, error.class, error.name.path))
        .collect();
    for (page, head, rows) in [("docs/reasons.md", REASONS, reasons), ("docs/errors.md", ERRORS, errors)] {
        let text = format!("{head}{}", rows.concat());
        std::fs::write(root.join(page), text).with_context(|| format!("cannot write {page}"))?;
        say(&format!("wrote {page}: {} rows", rows.len()));
    }
    Ok(())
}
