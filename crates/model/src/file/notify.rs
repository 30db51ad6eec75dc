//! Reads the places that notices are sent to. The reader calls it; it opens none of the files that are named.

use super::section::Section;
use crate::alerts::{EmailSpec, Level, MAIL_TO_MAX, MailTls, TARGETS_MAX, TargetKind, TargetSpec};
use crate::name::MemberName;
use std::net::IpAddr;
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
    let before = section.faults();
    let email = if kind == Some(TargetKind::Email) { email(section) } else { None };
    if let Some(kind) = kind {
        let useless: &[&str] = match kind {
            TargetKind::Command => &["url", "url_file", "secret_file", "token_file", "ca_file"],
            TargetKind::Email => &["url", "url_file", "secret_file", "token_file", "command"],
            TargetKind::Webhook => &["command"],
            TargetKind::Slack | TargetKind::Alertmanager => &["command", "secret_file"],
        };
        let of_mail: &[&str] = if kind == TargetKind::Email { &[] } else { &MAIL_KEYS };
        for key in useless.iter().chain(of_mail).filter(|key| given(key)) {
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
            TargetKind::Email if email.is_none() && section.faults() == before => {
                let text = "`server`, `from` and `to` are needed for e-mail: to = [\"ops@example.org\"]";
                section.fault(section.at, text);
            }
            TargetKind::Command | TargetKind::Email => {}
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
        email,
        level: level?,
    })
}

/// What only e-mail has.
const MAIL_KEYS: [&str; 6] = ["server", "tls", "from", "to", "user", "password_file"];
/// Longest e-mail address, in bytes, by RFC 5321.
const MAIL_ADDRESS_BYTES_MAX: usize = 254;
/// Longest name of a mail server or of a user of it, in bytes.
const MAIL_NAME_BYTES_MAX: usize = 255;

/// A mail server with addresses. `None`: something is missing or wrong.
fn email(section: &Section<'_, '_>) -> Option<EmailSpec> {
    let server = section.text("server", mail_server);
    let tls = section.word("tls", &MailTls::WORDS);
    let from = section.text("from", mail_address);
    let to = section.list("to", mail_address);
    if to.len() > MAIL_TO_MAX {
        let text = format!("`to` has {} addresses; at most {MAIL_TO_MAX} are allowed", to.len());
        section.fault(section.place("to"), text);
    }
    let user = section.text("user", |text| {
        let fits = (1..=MAIL_NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        fits.then(|| text.to_owned()).ok_or_else(|| format!("a user is 1 to {MAIL_NAME_BYTES_MAX} bytes of text"))
    });
    let password_file = section.text("password_file", absolute);
    if user.is_some() != password_file.is_some() {
        section.fault(section.at, "`user` and `password_file` go together: give both, or neither");
    }
    let off = tls == Some(MailTls::Off) && user.is_some();
    if off && !server.as_ref().is_some_and(|(host, _)| is_here(host)) {
        let text = "with tls = \"off\" the password would be read on its way: use \"starttls\" or \"implicit\"";
        section.fault(section.place("tls"), text);
    }
    let (host, port) = server?;
    (!to.is_empty()).then_some(())?;
    Some(EmailSpec { host, port, tls: tls?, from: from?, to, user, password_file })
}

/// Whether a mail server is on the same machine.
fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A host and a port.
fn mail_server(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("{text:?} is no host with a port, as in \"mail.example.org:587\"");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
    let address = !host.contains(':') || host.parse::<IpAddr>().is_ok();
    if host.is_empty() || host.len() > MAIL_NAME_BYTES_MAX || !plain || !address {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}

/// An address, without a name: what cannot end a line or a list.
fn mail_address(text: &str) -> Result<String, String> {
    let plain = text.len() <= MAIL_ADDRESS_BYTES_MAX
        && text.bytes().all(|b| b.is_ascii_graphic() && !b"<>()[],;:\\\"".contains(&b));
    match text.split_once('@') {
        Some((local, domain)) if plain && !local.is_empty() && !domain.is_empty() && !domain.contains('@') => {
            Ok(text.to_owned())
        }
        _ => Err(format!("{text:?} is no e-mail address, as in \"ops@example.org\"")),
    }
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
