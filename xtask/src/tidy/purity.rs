//! The pure crates stay sans-I/O: no clock, no sockets, no randomness, no order that differs from run to run.
//! It reads sources and manifests. What only tests use is not looked at.

use crate::source::{File, Finding, lines, without_comment};

/// Crates whose code runs in production, in the simulator and in the model checker alike. The simulator itself is held
/// to the same: one seed, one history.
const PURE: &[&str] = &["model", "ha", "merge", "wire", "planner", "alerts", "histories", "sim"];

/// Crates that no pure crate may have among its dependencies.
const CRATES: &[(&str, &str)] = &[
    ("tokio", "an async runtime"),
    ("mio", "sockets"),
    ("rustix", "system calls"),
    ("libc", "system calls"),
    ("rand", "randomness"),
    ("getrandom", "randomness"),
    ("fastrand", "randomness"),
    ("jiff", "a clock"),
    ("chrono", "a clock"),
];

/// Words that no line of theirs may hold, and what to do instead.
const WORDS: &[(&str, &str)] = &[
    ("Instant", "time is an argument: take `Mono`"),
    ("SystemTime", "time is an argument; wall clocks never decide"),
    ("HashMap", "its order differs from run to run: take BTreeMap"),
    ("HashSet", "its order differs from run to run: take BTreeSet"),
    ("std::fs", "files belong to an edge"),
    ("std::net::Tcp*", "sockets belong to an edge"),
    ("std::net::Udp*", "sockets belong to an edge"),
    ("std::env", "the environment belongs to a face"),
    ("std::process", "processes belong to an edge"),
    ("std::thread", "threads belong to a service"),
    ("async fn", "a decision is a plain function"),
    (".await", "a decision is a plain function"),
    ("tokio::", "an async runtime"),
    ("println!", "a face prints"),
];

/// Looks through the pure crates.
pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.package().is_some_and(|package| PURE.contains(&package))) {
        if file.path.ends_with("/Cargo.toml") {
            found.extend(manifest(file));
        } else if file.is_rust() && file.path.contains("/src/") && !file.is_test() {
            found.extend(code(file));
        }
    }
    found
}

fn manifest(file: &File) -> Vec<Finding> {
    let mut in_dependencies = false;
    let mut found = Vec::new();
    for (number, line) in lines(&file.text) {
        if line.starts_with('[') {
            in_dependencies = line.ends_with("dependencies]") && !line.contains("dev-");
        }
        let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
        if let Some((name, what)) = CRATES.iter().find(|(banned, _)| in_dependencies && *banned == name) {
            found.push(Finding::new(&file.path, number, format!("a pure crate may not use {name}: {what}")));
        }
    }
    found
}

fn code(file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    for (number, line) in lines(file.code()) {
        let line = without_comment(line);
        for (word, instead) in WORDS.iter().filter(|(word, _)| holds(line, word)) {
            found.push(Finding::new(&file.path, number, format!("`{word}` in a pure crate: {instead}")));
        }
    }
    found
}

/// Whether a line holds a word that is not a part of a longer one. A word that ends in `*` may go on.
fn holds(line: &str, word: &str) -> bool {
    let letter = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    let (word, goes_on) = word.strip_suffix('*').map_or((word, false), |word| (word, true));
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|text| text.chars().next());
        let begins = !letter(word.chars().next()) || !letter(before);
        let ends = goes_on || !letter(word.chars().next_back()) || !letter(after);
        begins && ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(path: &str, text: &str) -> Vec<String> {
        check(&[File::new(path, text)]).into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn clocks_and_hash_maps_are_seen_in_pure_code_only() {
        let text = "use std::time::Instant;\nlet m: HashMap<u8, u8>;\n// Instant in a comment\nlet instantly = InstantCoffee;\n";
        assert_eq!(places("crates/ha/src/lease.rs", text), ["crates/ha/src/lease.rs:1", "crates/ha/src/lease.rs:2"]);
        assert_eq!(places("crates/agent/src/lib.rs", text), Vec::<String>::new());
        assert_eq!(places("crates/ha/tests/story.rs", text), Vec::<String>::new());
    }

    #[test]
    fn tests_may_read_files() {
        let text = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        assert_eq!(places("crates/wire/src/frame.rs", text), Vec::<String>::new());
    }

    #[test]
    fn sockets_are_seen_and_addresses_are_not() {
        assert_eq!(places("crates/model/src/a.rs", "use std::net::SocketAddr;\n"), Vec::<String>::new());
        assert_eq!(places("crates/model/src/a.rs", "use std::net::TcpStream;\n").len(), 1);
        assert_eq!(places("crates/sim/src/a.rs", "x.await;\nasync fn f() {}\n").len(), 2);
    }

    #[test]
    fn manifests_are_read_up_to_the_tests() {
        let text = "[package]\nname = \"x\"\n[dependencies]\ntokio.workspace = true\nrand = \"1\"\n[dev-dependencies]\ntokio = \"1\"\n";
        assert_eq!(places("crates/ha/Cargo.toml", text), ["crates/ha/Cargo.toml:4", "crates/ha/Cargo.toml:5"]);
    }
}
