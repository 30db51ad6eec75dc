//! Nothing of the machine that a file was written on may stand in it: no path of its own, no host of its network.
//! It reads every text file of the checkout.

use crate::source::{File, Finding, lines};

/// Places that exist on one machine only. Written in parts, so that this file does not find itself.
const PLACES: &[&str] =
    &[concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/main"), concat!("/wo", "rk/shared")];

/// Sites that a file may point at. A registry's mirror is never among them.
const SITES: &[&str] = &[
    "crates.io",
    "docs.rs",
    "github.com",
    "rust-lang.org",
    "postgresql.org",
    "mysql.com",
    "mariadb.com",
    "mariadb.org",
    "kernel.org",
    "man7.org",
    "keepachangelog.com",
    "semver.org",
    "apache.org",
    "opensource.org",
    "spdx.org",
    "w3.org",
    "openapis.org",
    "json-schema.org",
    "openmetrics.io",
    "prometheus.io",
    "toml.io",
    "rfc-editor.org",
    "patroni.readthedocs.io",
];

/// The one index that the lock file may name.
const INDEX: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Looks at every file.
pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files {
        for (number, line) in lines(&file.text) {
            if let Some(place) = PLACES.iter().find(|place| line.contains(**place)) {
                found.push(Finding::new(&file.path, number, format!("{place} is a path of one machine")));
            }
            if let Some(host) = hosts(line).find(|host| !allowed(host)) {
                let message =
                    format!("the host {host}: if the file really needs it, add it to SITES in xtask/src/tidy/hosts.rs");
                found.push(Finding::new(&file.path, number, message));
            }
            let index = line.strip_prefix("source = \"").and_then(|rest| rest.strip_suffix('"'));
            if let Some(index) = index.filter(|index| file.path == "Cargo.lock" && *index != INDEX) {
                found.push(Finding::new(&file.path, number, format!("the lock file names another index: {index}")));
            }
        }
    }
    found
}

/// The hosts of the URLs in a line.
fn hosts(line: &str) -> impl Iterator<Item = &str> {
    line.split("://").skip(1).map(|rest| {
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))).unwrap_or(rest.len());
        rest.get(..end).unwrap_or(rest).trim_end_matches('.')
    })
}

fn allowed(host: &str) -> bool {
    let site = |site: &&str| host == *site || host.strip_suffix(*site).is_some_and(|rest| rest.ends_with('.'));
    let address = !host.is_empty() && host.chars().all(|c| c.is_ascii_digit() || c == '.');
    let example = ["example", "example.org", "example.com", "example.net", "invalid", "test"];
    let made_up = example.iter().any(|name| host == *name || host.ends_with(&format!(".{name}")));
    // A host without a dot, or none at all (`{host}`, `[::1]`), is a name in an example or a test.
    !host.contains('.') || address || made_up || SITES.iter().any(site)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_stays_out_of_the_files() {
        let of = |text: &str| check(&[File::new("docs/a.md", text)]).len();
        assert_eq!(of(concat!("see /ro", "ot/.cargo")), 1);
        assert_eq!(of("see /etc/dauphin"), 0);
        assert_eq!(of(concat!("index = \"https:", "//mirror.internal.corp/simple\"")), 1);
        assert_eq!(of("as in https://semver.org."), 0);
        assert_eq!(of("https://docs.rs/openraft and https://www.postgresql.org/docs/"), 0);
        assert_eq!(of(concat!("https:", "//evildocs.rs.co/")), 1);
        assert_eq!(
            of("http://127.0.0.1:8008/ http://{host}:8008 http://m1:8008 https://db.example.org http://[::1]"),
            0
        );
    }

    #[test]
    fn the_lock_file_names_the_public_index_alone() {
        let of = |source: &str| check(&[File::new("Cargo.lock", &format!("source = \"{source}\""))]).len();
        assert_eq!(of(INDEX), 0);
        assert_eq!(of("registry+https://github.com/other/index"), 1);
    }
}
