//! The checkout as the chores see it: its files, their text, what of it is code and what tests.
//! Every check uses it. It reads files and asks git and cargo; it never writes.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One text file of the checkout.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// From the checkout's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    #[cfg(test)]
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the whole file is a test, a benchmark or an example.
    pub(crate) fn is_test(&self) -> bool {
        self.path.split('/').any(|part| matches!(part, "tests" | "benches" | "examples"))
            || self.path.ends_with("/tests.rs")
    }

    /// The package that a source file belongs to: `crates/NAME`.
    pub(crate) fn package(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split('/').next()
    }

    /// The text without its trailing test module. Lines keep their numbers.
    pub(crate) fn code(&self) -> &str {
        let end = self.text.find("\n#[cfg(test)]\nmod ").map_or(self.text.len(), |at| at + 1);
        self.text.get(..end).unwrap_or(&self.text)
    }
}

/// Something that a check found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) place: String,
    pub(crate) message: String,
    /// It is said, and does not fail the check.
    pub(crate) warning: bool,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        let place = if line == 0 { path.to_owned() } else { format!("{path}:{line}") };
        Self { place, message: message.into(), warning: false }
    }

    pub(crate) fn warning(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { warning: true, ..Self::new(path, line, message) }
    }
}

/// The checkout's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Every text file that git knows or would take. What is no text is left out.
pub(crate) fn files(root: &Path) -> Result<Vec<File>> {
    let listed = run(root, "git", &["ls-files", "--cached", "--others", "--exclude-standard"])?;
    let mut paths: Vec<&str> = listed.lines().collect();
    paths.sort_unstable();
    paths.dedup();
    let read = |path: &&str| {
        let text = std::fs::read_to_string(root.join(path)).ok()?;
        Some(File { path: (*path).to_owned(), text })
    };
    Ok(paths.iter().filter_map(read).collect())
}

/// What `cargo metadata` says of the workspace's own packages.
pub(crate) fn metadata(root: &Path) -> Result<serde_json::Value> {
    let text = run(root, env!("CARGO"), &["metadata", "--no-deps", "--format-version", "1", "--offline"])?;
    serde_json::from_str(&text).context("cargo metadata gave something else than JSON")
}

fn run(root: &Path, program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {} failed: {errors}", arguments.join(" "));
    String::from_utf8(output.stdout).with_context(|| format!("{program} gave something else than text"))
}

/// The lines of a text, numbered from 1.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// A line without its comment. Good enough for what is looked for: `//` in a string ends it too early, never too late.
pub(crate) fn without_comment(line: &str) -> &str {
    line.split("//").next().unwrap_or(line)
}

/// The string literal at the start of `text`, white space skipped, escapes undone.
pub(crate) fn literal(text: &str) -> Option<String> {
    let mut chars = text.trim_start().strip_prefix('"')?.chars().peekable();
    let mut read = String::new();
    loop {
        match chars.next()? {
            '"' => return Some(read),
            '\\' => match chars.next()? {
                // A line that goes on: the next one's indentation is not part of it.
                '\n' => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                'n' => read.push('\n'),
                other => read.push(other),
            },
            other => read.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_told_from_code() {
        let file =
            File::new("crates/ha/src/lease.rs", "//! x\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n");
        assert_eq!(file.code(), "//! x\nfn a() {}\n\n");
        assert_eq!(file.package(), Some("ha"));
        assert!(!file.is_test());
        assert!(File::new("crates/guard/tests/guard.rs", "").is_test());
        assert!(File::new("crates/ha/src/tests/seed.rs", "").is_test());
    }

    #[test]
    fn a_literal_is_taken_from_the_start() {
        assert_eq!(literal("  \"lost\", 3").as_deref(), Some("lost"));
        assert_eq!(literal("\n\"a \\\"b\\\" \\\n   c\"").as_deref(), Some("a \"b\" c"));
        assert_eq!(literal("lost"), None);
        assert_eq!(literal("\"open"), None);
        assert_eq!(without_comment("let a = 1; // why"), "let a = 1; ");
    }
}
