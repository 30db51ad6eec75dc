//! The shape of files: a header that says what it is, a length that a person can hold in mind, no loose ends.

use crate::source::{File, Finding, lines};

/// Lines of code beyond which a file should be split.
const LINES_WARN: usize = 400;
/// Lines of code beyond which it must be.
const LINES_MAX: usize = 600;
/// Words that name no idea; a file called so grows for ever.
const EMPTY_NAMES: &[&str] = &["utils.rs", "util.rs", "helpers.rs", "helper.rs", "misc.rs", "common.rs", "manager.rs"];

/// Looks at every Rust source.
pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        found.extend(header(file));
        found.extend(length(file));
        found.extend(loose_ends(file));
        if let Some(name) = EMPTY_NAMES.iter().find(|name| file.path.rsplit('/').next() == Some(**name)) {
            found.push(Finding::new(&file.path, 0, format!("{name} names no idea: call the file after what it holds")));
        }
    }
    found
}

fn header(file: &File) -> Option<Finding> {
    let message = "begin the file with `//!`: what it is, who calls it, what it never does";
    (!file.text.starts_with("//!")).then(|| Finding::new(&file.path, 1, message))
}

fn length(file: &File) -> Option<Finding> {
    if file.is_test() {
        return None;
    }
    let lines = file.code().lines().count();
    if lines > LINES_MAX {
        return Some(Finding::new(&file.path, 0, format!("{lines} lines of code; at most {LINES_MAX}")));
    }
    let message = format!("{lines} lines of code; one idea a file, split near {LINES_WARN}");
    (lines > LINES_WARN).then(|| Finding::warning(&file.path, 0, message))
}

fn loose_ends(file: &File) -> Vec<Finding> {
    // Written in two parts, so that this file does not find itself.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let with_issue = |line: &str| line.contains("issue ") || line.contains("(#");
    let open =
        |line: &&str| words.iter().any(|word| line.split(|c: char| !c.is_alphanumeric()).any(|part| part == *word));
    lines(&file.text)
        .filter(|(_, line)| open(line) && !with_issue(line))
        .map(|(number, _)| Finding::new(&file.path, number, "a loose end without an issue: do it, or name the issue"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        check(&[File::new(path, text)])
            .into_iter()
            .map(|f| format!("{}{}: {}", if f.warning { "~" } else { "" }, f.place, f.message))
            .collect()
    }

    #[test]
    fn a_header_is_wanted() {
        assert_eq!(messages("crates/a/src/b.rs", "//! What it is.\n"), Vec::<String>::new());
        assert!(messages("crates/a/src/b.rs", "use x;\n")[0].contains("begin the file with"));
        assert_eq!(messages("README.md", "# x\n"), Vec::<String>::new());
    }

    #[test]
    fn length_counts_code_and_not_tests() {
        let code = |n: usize| format!("//! x\n{}", "fn a() {}\n".repeat(n));
        assert_eq!(messages("crates/a/src/b.rs", &code(399)), Vec::<String>::new());
        assert!(messages("crates/a/src/b.rs", &code(400))[0].starts_with("~crates/a/src/b.rs: 401 lines"));
        assert!(messages("crates/a/src/b.rs", &code(600))[0].contains("at most 600"));
        let tested = format!("{}\n#[cfg(test)]\nmod tests {{\n{}}}\n", code(10), "// x\n".repeat(700));
        assert_eq!(messages("crates/a/src/b.rs", &tested), Vec::<String>::new());
        assert_eq!(messages("crates/a/tests/b.rs", &code(900)), Vec::<String>::new());
    }

    #[test]
    fn loose_ends_need_an_issue() {
        let todo = concat!("TO", "DO");
        assert!(messages("a.rs", &format!("//! x\n// {todo} later\n"))[0].contains("a.rs:2: a loose end"));
        assert_eq!(messages("a.rs", &format!("//! x\n// {todo}(#12) later\n")), Vec::<String>::new());
        assert_eq!(messages("a.rs", &format!("//! {todo}S_MAX\n")), Vec::<String>::new());
    }

    #[test]
    fn a_file_is_called_after_an_idea() {
        assert!(messages("crates/a/src/utils.rs", "//! x\n")[0].contains("names no idea"));
    }
}
