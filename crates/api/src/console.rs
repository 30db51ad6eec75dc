//! The console's files, embedded by `build.rs`, and the headers that a browser is to guard them with. The server calls it;
//! nothing here knows how the cluster is, but for the addresses that the page may ask.

use crate::dto::Member;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// One file of the page.
pub(crate) struct File {
    /// Where it is served.
    pub(crate) path: &'static str,
    kind: &'static str,
    tag: &'static str,
    plain: &'static [u8],
    gzip: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/console.rs"));

/// What every answer carries: it is of the type that it says, in no frame, on no other site's page, and tells nobody
/// where it was.
static GUARDS: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];
/// The policy of what is no page.
const BARE: &str = "default-src 'none'; frame-ancestors 'none'";

/// Puts the guards on an answer.
pub(crate) fn guard(headers: &mut HeaderMap) {
    for (name, value) in &GUARDS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(BARE));
    // what is known now is not what was known a moment ago
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// The page's policy: scripts and styles from here alone, none inline, and questions to no one but the members.
pub(crate) fn policy(members: &[Member]) -> String {
    let own = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
               frame-ancestors 'none'; connect-src 'self'";
    // the grammar of policies knows no IPv6 addresses
    let others = members.iter().filter_map(origin).filter(|origin| !origin.contains('['));
    others.fold(own.to_owned(), |policy, origin| policy + " " + &origin)
}

/// Where this member's own console is, as browsers write it: `http://10.0.0.1:8008`.
pub(crate) fn origin(member: &Member) -> Option<String> {
    let (host, port) = member.host.as_deref().zip(member.api_port)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if !host.chars().all(plain) {
        return None;
    }
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_ascii_lowercase() };
    Some(format!("http://{host}:{port}"))
}

/// The answer to a request for this file.
pub(crate) fn answer(path: &str, asked: &HeaderMap, policy: Option<String>) -> Option<Response> {
    let file = FILES.iter().find(|file| file.path == path)?;
    let mut headers = HeaderMap::new();
    headers.insert(header::ETAG, HeaderValue::from_static(file.tag));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if let Some(policy) = policy.and_then(|policy| HeaderValue::try_from(policy).ok()) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    let text = |name| asked.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    if text(header::IF_NONE_MATCH).split(',').any(|tag| tag.trim().trim_start_matches("W/") == file.tag) {
        return Some((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.kind));
    let body = if takes_gzip(text(header::ACCEPT_ENCODING)) {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        file.gzip
    } else {
        file.plain
    };
    Some((headers, Bytes::from_static(body)).into_response())
}

fn takes_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let refused = |part: &str| part.strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()) == Some(0.0);
        parts.next() == Some("gzip") && !parts.any(refused)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(host: &str, port: u16) -> Member {
        Member { host: Some(host.to_owned()), api_port: Some(port), ..Member::default() }
    }

    #[test]
    fn the_page_may_ask_the_members_and_nobody_else() {
        let policy = policy(&[member("10.0.0.1", 8008), member("DB2.example", 8008), member("fd00::1", 8008)]);
        assert!(policy.ends_with("connect-src 'self' http://10.0.0.1:8008 http://db2.example:8008"), "{policy}");
        assert!(!policy.contains("unsafe-"), "{policy}");
        for host in ["x; script-src *", "x y", "x\r\nA: b", "*"] {
            assert_eq!(origin(&member(host, 1)), None, "{host}");
        }
        assert_eq!(origin(&member("fd00::1", 8008)).as_deref(), Some("http://[fd00::1]:8008"));
    }

    #[test]
    fn gzip_is_for_those_who_take_it() {
        for (accepted, taken) in [
            ("gzip", true),
            ("br, gzip;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("", false),
            ("xgzip", false),
        ] {
            assert_eq!(takes_gzip(accepted), taken, "{accepted}");
        }
    }

    #[test]
    fn every_file_that_the_page_names_is_there() {
        let page = FILES.iter().find(|file| file.path == "/").expect("the page");
        let mut named = 0;
        for file in FILES {
            let text = std::str::from_utf8(file.plain).expect("text");
            let (mark, folder) =
                if file.path == page.path { ("\"console/", "/console/") } else { ("from \"./", "/console/") };
            for rest in text.split(mark).skip(1) {
                let name = rest.split('"').next().unwrap_or_default();
                assert!(FILES.iter().any(|f| f.path == format!("{folder}{name}")), "{} names {name}", file.path);
                named += 1;
            }
        }
        assert!(named > 20, "{named}");
        let text = String::from_utf8_lossy(page.plain);
        assert!(!text.contains("style=") && !text.contains("<style"), "no style inline");
        assert!(text.split("<script").skip(1).all(|tag| tag.contains("src=\"console/")), "no script inline");
    }
}
