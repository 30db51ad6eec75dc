//! Reads the places that notices are sent to. The reader calls it; it opens none of the files that are named.

use super::section::Section;
use crate::alerts::{Level, TARGETS_MAX, TargetKind, TargetSpec};
use crate::name::MemberName;
use std::path::PathBuf;

/// Longest address, in bytes.
const URL_BYTES_MAX: usize = 2_000;

/// All of them; `None`: some could not be read.
pub(super) fn targets(sections: &[Section<'_, '_>]) -> Option<Vec<TargetSpec>> {
    let read: Vec<Option<TargetSpec>> = sections.iter().map(target).collect();
    for (index, section) in sections.iter().enumerate() {
        let name = |at: usize| read.get(at).and_then(|t| t.as_ref()).map(|t| t.name.as_str());
        if let Some(given) = name(index).filter(|given| (0..index).any(|other| name(other) == Some(given))) {
            section.fault(section.place("name"), format!("there are two places \"{given}\"; names must differ"));
        }
        if index == TARGETS_MAX {
            section.fault(section.at, format!("{} places; at most {TARGETS_MAX} are allowed", sections.len()));
        }
    }
    read.into_iter().collect()
}

fn target(section: &Section<'_, '_>) -> Option<TargetSpec> {
    let name = section.text("name", |text| MemberName::new(text).map(|n| n.to_string()).map_err(|e| e.to_string()));
    let kind = section.word("kind", &TargetKind::WORDS);
    let url = section.text("url", url);
    let [url_file, secret_file, token_file, ca_file, command] =
        ["url_file", "secret_file", "token_file", "ca_file", "command"].map(|key| section.text(key, absolute));
    let level = section.word("level", &Level::ALL.map(|level| (level.word(), level)));
    let given = |key: &str| section.places.contains_key(key);
    if let Some(kind) = kind {
        let useless: &[&str] = match kind {
            TargetKind::Command => &["url", "url_file", "secret_file", "token_file", "ca_file"],
            TargetKind::Webhook => &["command"],
            TargetKind::Slack | TargetKind::Alertmanager => &["command", "secret_file"],
        };
        for key in useless.iter().filter(|key| given(key)) {
            let text = format!("`{key}` means nothing for kind \"{}\": take it out", kind.word());
            section.fault(section.place(key), text);
        }
        match kind {
            TargetKind::Command if !given("command") => {
                section.fault(
                    section.at,
                    "`command` is missing: an absolute path, as in command = \"/usr/local/bin/page-me\"",
                );
            }
            TargetKind::Command => {}
            _ if given("url") == given("url_file") => {
                section.fault(section.at, "one of `url` and `url_file` is needed, and not both");
            }
            _ => {}
        }
    }
    Some(TargetSpec {
        name: name?,
        kind: kind?,
        url,
        url_file,
        secret_file,
        token_file,
        ca_file,
        command,
        level: level?,
    })
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let fits = text.starts_with('/') && !text.chars().any(char::is_control);
    fits.then(|| PathBuf::from(text))
        .ok_or_else(|| format!("{text:?} is no absolute path; it is the same on all machines"))
}

/// An address of http or https, with a host and without what would change a request.
///
/// # Errors
/// What is wrong and what is allowed.
fn url(text: &str) -> Result<String, String> {
    let allowed = "an address is http:// or https://, a host and a path, as in \"https://hooks.example.org/dauphin\"";
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
    let plain = text.len() <= URL_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    match host {
        Some(host) if host.contains('@') => Err(format!("an address holds no password: {allowed}; see `token_file`")),
        Some(host) if !host.is_empty() && plain => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is no such address: {allowed}")),
    }
}
