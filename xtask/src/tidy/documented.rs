//! Everything that people may meet stands in the docs: reasons, error codes, metrics, configuration keys.
//! Each rule says where the names are in the source, and on which page each must stand.

use crate::source::{File, Finding, lines, literal};

/// A kind of name, where it comes from, and where it must be described.
struct Rule {
    what: &'static str,
    page: &'static str,
    names: fn(&[File]) -> Vec<Name>,
}

const RULES: &[Rule] = &[
    Rule {
        what: "reason",
        page: "docs/reasons.md",
        names: |files| reasons(files).into_iter().map(|r| r.name).collect(),
    },
    Rule {
        what: "error code",
        page: "docs/errors.md",
        names: |files| errors(files).into_iter().map(|e| e.name).collect(),
    },
    Rule { what: "metric", page: "docs/metrics.md", names: metrics },
    Rule { what: "crate", page: "docs/decisions/crates.md", names: crates },
    Rule { what: "configuration key", page: "docs/configuration.md", names: keys },
];

/// A name and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) name: String,
    pub(crate) path: String,
    line: usize,
}

/// A reason: its code, what its documentation says, and its sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) name: Name,
    pub(crate) about: String,
    pub(crate) sentence: String,
}

/// An error code and how it is raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ErrorCode {
    pub(crate) name: Name,
    pub(crate) class: String,
}

/// Every name that its page does not have.
pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for rule in RULES {
        let page = files.iter().find(|file| file.path == rule.page).map_or("", |file| file.text.as_str());
        for name in (rule.names)(files) {
            if !page.contains(&format!("`{}`", name.name)) {
                let message = format!("the {} `{}` is not described in {}", rule.what, name.name, rule.page);
                found.push(Finding::new(&name.path, name.line, message));
            }
        }
    }
    found
}

fn sources<'a>(files: &'a [File], path: &'a str) -> impl Iterator<Item = &'a File> {
    files.iter().filter(move |file| file.is_rust() && !file.is_test() && file.path.starts_with(path))
}

/// Reasons: `/// about`, `Name { … } "code" => ("sentence", …);` in the decision core's list.
pub(crate) fn reasons(files: &[File]) -> Vec<Reason> {
    let mut found = Vec::new();
    for file in sources(files, "crates/ha/src/reason") {
        let code = file.code();
        for (at, arrow) in code.match_indices("\" => (") {
            let before = code.get(..at).unwrap_or_default();
            let word = before.rsplit('"').next().unwrap_or_default();
            if word.is_empty() || !word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
                continue;
            }
            let line = before.matches('\n').count() + 1;
            let name = Name { name: word.to_owned(), path: file.path.clone(), line };
            let sentence = literal(code.get(at + arrow.len()..).unwrap_or_default()).unwrap_or_default();
            found.push(Reason { name, about: about(before), sentence });
        }
    }
    found
}

/// The documentation of the list's last entry in `text`: its lines are indented once, those of its fields twice.
fn about(text: &str) -> String {
    let indented = |line: &&str| line.starts_with("    ///");
    let back: Vec<&str> = text.lines().rev().skip_while(|line| !indented(line)).take_while(indented).collect();
    back.iter().rev().map(|line| line.trim_start().trim_start_matches('/').trim()).collect::<Vec<_>>().join(" ")
}

/// Error codes: the first literal of `ApiError::new(Kind::…, "code"` and its shorter forms.
pub(crate) fn errors(files: &[File]) -> Vec<ErrorCode> {
    const FORMS: &[&str] = &["new", "usage", "refused", "unavailable", "failed"];
    let mut found: Vec<ErrorCode> = Vec::new();
    for file in sources(files, "crates/") {
        let code = file.code();
        for (at, start) in code.match_indices("ApiError::") {
            let rest = code.get(at + start.len()..).unwrap_or_default();
            let Some((form, rest)) = rest.split_once('(').filter(|(form, _)| FORMS.contains(form)) else { continue };
            let (class, rest) = match rest.trim_start().strip_prefix("Kind::").and_then(|rest| rest.split_once(',')) {
                Some((kind, rest)) => (words(kind), rest),
                None => (form.to_owned(), rest),
            };
            let Some(word) = literal(rest) else { continue };
            let line = code.get(..at).unwrap_or_default().matches('\n').count() + 1;
            if !found.iter().any(|known| known.name.name == word) {
                let name = Name { name: word, path: file.path.clone(), line };
                found.push(ErrorCode { name, class });
            }
        }
    }
    found.sort_by(|a, b| a.name.name.cmp(&b.name.name));
    found
}

/// `NotFound` as `not found`.
fn words(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

/// Metrics: literals that begin with `dauphin_`, and first arguments of `register(`, in files about metrics.
fn metrics(files: &[File]) -> Vec<Name> {
    let mut found: Vec<Name> = Vec::new();
    let mut add = |file: &File, line: usize, name: &str| {
        if !found.iter().any(|known| known.name == name) {
            found.push(Name { name: name.to_owned(), path: file.path.clone(), line });
        }
    };
    for file in sources(files, "crates/").filter(|file| file.path.contains("metrics")) {
        let code = file.code();
        for (at, start) in code.match_indices("register(") {
            if let Some(name) = literal(code.get(at + start.len()..).unwrap_or_default()) {
                add(file, code.get(..at).unwrap_or_default().matches('\n').count() + 1, &name);
            }
        }
        for (number, line) in lines(code) {
            let words = line.split('"').skip(1).step_by(2);
            let whole = |word: &&str| {
                word.starts_with("dauphin_")
                    && word.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
            };
            words.filter(whole).for_each(|word| add(file, number, word));
        }
    }
    found
}

/// Crates: the workspace's dependencies that are not its own.
fn crates(files: &[File]) -> Vec<Name> {
    let Some(manifest) = files.iter().find(|file| file.path == "Cargo.toml") else { return Vec::new() };
    let begins = |(_, line): &(usize, &str)| *line == "[workspace.dependencies]";
    let list =
        lines(&manifest.text).skip_while(|line| !begins(line)).skip(1).take_while(|(_, line)| !line.starts_with('['));
    list.filter_map(|(line, text)| {
        let name = text.split_once('=')?.0.trim();
        let foreign = !name.starts_with('#') && !text.contains("path = ");
        foreign.then(|| Name { name: name.to_owned(), path: manifest.path.clone(), line })
    })
    .collect()
}

/// Configuration keys: `key("table", "name", …)` in the file format's list.
fn keys(files: &[File]) -> Vec<Name> {
    let mut found = Vec::new();
    for file in sources(files, "crates/model/src/file/keys.rs") {
        let code = file.code();
        for (at, start) in code.match_indices("key(\"") {
            let rest = code.get(at + start.len() - 1..).unwrap_or_default();
            let name = rest.split_once(',').and_then(|(_, rest)| literal(rest));
            let line = code.get(..at).unwrap_or_default().matches('\n').count() + 1;
            found.extend(name.map(|name| Name { name, path: file.path.clone(), line }));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const REASONS: &str = r#"//! x
reasons! {
    /// A role changed.
    RoleChanged {
        /// Before.
        from: Role
    } "role_changed" => ("{from} -> {to}");
    /// The leader is
    /// believed gone.
    LeaderGone { leader: MemberName } "leader_gone" => ("{leader} is gone");
}
"#;

    #[test]
    fn reasons_are_read_with_what_they_mean() {
        let found = reasons(&[File::new("crates/ha/src/reason.rs", REASONS)]);
        let short: Vec<(&str, &str, &str)> =
            found.iter().map(|r| (r.name.name.as_str(), r.about.as_str(), r.sentence.as_str())).collect();
        assert_eq!(
            short,
            [
                ("role_changed", "A role changed.", "{from} -> {to}"),
                ("leader_gone", "The leader is believed gone.", "{leader} is gone"),
            ]
        );
    }

    #[test]
    fn error_codes_are_read_in_each_form() {
        let text = r#"
            ApiError::new(Kind::NotFound, "no_such_path", "x", "y");
            ApiError::refused(
                "unsafe", format!("x"), "");
            ApiError::refused("unsafe", "again", "");
            ApiError::usage(code, "not a literal", "");
        "#;
        let found = errors(&[File::new("crates/api/src/server.rs", text)]);
        let short: Vec<(&str, &str)> = found.iter().map(|e| (e.name.name.as_str(), e.class.as_str())).collect();
        assert_eq!(short, [("no_such_path", "not found"), ("unsafe", "refused")]);
    }

    #[test]
    fn metrics_are_read_from_files_about_metrics() {
        let text =
            "registry.register(\n \"term\", \"help\", x);\nconst A: &str = \"dauphin_up\";\nlet s = \"dauphin_{x}\";";
        let found =
            metrics(&[File::new("crates/agent/src/metrics.rs", text), File::new("crates/agent/src/a.rs", text)]);
        assert_eq!(found.iter().map(|name| name.name.as_str()).collect::<Vec<_>>(), ["term", "dauphin_up"]);
    }

    #[test]
    fn crates_are_read_from_the_manifest() {
        let text = "[workspace]\n[workspace.dependencies]\n# ours\nour = { path = \"x\" }\n\nbytes = \"1\"\ntoml = \"1\"\n[x]\ny = 1\n";
        let found = crates(&[File::new("Cargo.toml", text)]);
        let short: Vec<(&str, usize)> = found.iter().map(|name| (name.name.as_str(), name.line)).collect();
        assert_eq!(short, [("bytes", 6), ("toml", 7)]);
    }

    #[test]
    fn what_is_on_no_page_is_found() {
        let keys = "key(\"cluster\", \"name\", \"x\").default(),\n    key(\"local\", \"run_dir\", \"x\")";
        let files = |page: &str| {
            vec![File::new("crates/model/src/file/keys.rs", keys), File::new("docs/configuration.md", page)]
        };
        assert_eq!(check(&files("| `name` | `run_dir` |")), []);
        let found = check(&files("| `name` | run_dir"));
        assert_eq!(found.len(), 1);
        assert!(found[0].message.contains("`run_dir` is not described in docs/configuration.md"));
        assert_eq!(found[0].place, "crates/model/src/file/keys.rs:2");
    }
}
