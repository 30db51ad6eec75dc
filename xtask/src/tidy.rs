//! `cargo xtask tidy`: what neither the compiler nor clippy can see. One file for each kind of check.
//! `make check` runs it. It never corrects anything.

mod documented;
mod hosts;
mod layers;
mod purity;
mod shape;

use crate::say;
use crate::source::{self, Finding};
use anyhow::{Result, bail, ensure};

pub(crate) use documented::{errors, reasons};

/// Runs every check.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    ensure!(arguments.is_empty(), "tidy takes no arguments");
    let root = source::root();
    let files = source::files(&root)?;
    let mut findings = layers::check(&layers::packages(&source::metadata(&root)?));
    findings.extend(purity::check(&files));
    findings.extend(shape::check(&files));
    findings.extend(hosts::check(&files));
    findings.extend(documented::check(&files));
    findings.sort();
    report(&findings, files.len())
}

fn report(findings: &[Finding], files: usize) -> Result<()> {
    for Finding { place, message, warning } in findings {
        let kind = if *warning { "warning" } else { "error" };
        say(&format!("{kind}: {place}: {message}"));
    }
    let errors = findings.iter().filter(|finding| !finding.warning).count();
    if errors > 0 {
        bail!("tidy found {errors} faults in {files} files");
    }
    say(&format!("tidy: {files} files, no faults"));
    Ok(())
}
