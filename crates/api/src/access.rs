//! Who may do what over HTTP: reading is open (the lab) or needs the token; acting always needs it.
//! The server asks it on every request; it never logs or shows a token.

use crate::error::{ApiError, Kind};
use std::fmt;
use std::net::IpAddr;

/// The secret of the HTTP interface.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token: its text without surrounding white space; `None` when nothing is left.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// The secret itself, for the `Authorization` header.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `given` is this token; takes as long for a near miss as for a far one.
    #[must_use]
    pub fn matches(&self, given: &str) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), given.as_bytes());
        let mut difference = ours.len() ^ theirs.len();
        for (i, byte) in theirs.iter().enumerate() {
            let own = ours.get(i % ours.len()).copied().unwrap_or_default();
            difference |= usize::from(std::hint::black_box(own ^ byte));
        }
        std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// What the server lets in.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// What a POST must carry; without one no POST is let in.
    pub token: Option<Token>,
    /// Whether GETs need the token too (not the health checks: load balancers carry none).
    pub closed_reads: bool,
    /// Names that the `Host` header may hold besides loopback's, addresses and the members' own, without port.
    pub hosts: Vec<String>,
}

impl Access {
    /// Whether a request with this `Authorization` header may act.
    ///
    /// # Errors
    /// 401 without credentials, 403 with wrong ones.
    pub fn act(&self, authorization: Option<&str>) -> Result<(), ApiError> {
        let next = "give the token: --token-file FILE (in the lab: api.token of `dauphin lab show --json`)";
        let Some(given) = authorization.and_then(bearer) else {
            let text = "this needs `Authorization: Bearer` with the cluster's token";
            return Err(ApiError::new(Kind::Unauthenticated, "no_token", text, next));
        };
        match &self.token {
            Some(token) if token.matches(given) => Ok(()),
            Some(_) => Err(ApiError::new(Kind::Forbidden, "wrong_token", "this is not the cluster's token", next)),
            None => {
                let next = "name a token file in the configuration and restart the agent";
                Err(ApiError::new(
                    Kind::Forbidden,
                    "no_token_set",
                    "this agent has no token: it takes no commands",
                    next,
                ))
            }
        }
    }

    /// Whether a request with this `Authorization` header may read.
    ///
    /// # Errors
    /// As [`Self::act`], when reads are closed.
    pub fn read(&self, authorization: Option<&str>) -> Result<(), ApiError> {
        if self.closed_reads { self.act(authorization) } else { Ok(()) }
    }

    /// Whether a request with this `Host` header may pass; `member`: whether a name is a member's host. A page of somebody
    /// else's that makes its own name point here (DNS rebinding) would be let in by its browser as if it were ours: its
    /// name is none that it can have chosen. A request without the header comes from no browser.
    ///
    /// # Errors
    /// 403 when the name is none of these.
    pub fn host(&self, host: Option<&str>, member: impl Fn(&str) -> bool) -> Result<(), ApiError> {
        let Some(host) = host else { return Ok(()) };
        let name = without_port(host).trim_end_matches('.');
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        let loopback = name.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case("localhost"));
        if address || loopback || self.hosts.iter().any(|h| h.eq_ignore_ascii_case(name)) || member(name) {
            return Ok(());
        }
        let text = format!("{:?} is not a name of this host", name.chars().take(80).collect::<String>());
        let next =
            "use the member's host or its address, or add the name to `api_hosts` under [local] and restart the agent";
        Err(ApiError::new(Kind::Forbidden, "wrong_host", text, next))
    }
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_token_matches() {
        let token = Token::new(" abcdef\n").expect("a token");
        assert!(token.matches("abcdef"));
        for wrong in ["", "abcde", "abcdeg", "abcdefa", "abcdefabcdef", "ABCDEF"] {
            assert!(!token.matches(wrong), "{wrong}");
        }
        assert_eq!(Token::new(" \n"), None);
        assert!(!format!("{token:?}").contains("abc"));
    }

    #[test]
    fn without_a_token_nobody_acts() {
        let access = Access::default();
        assert_eq!(access.act(None).map_err(|e| e.kind), Err(Kind::Unauthenticated));
        assert_eq!(access.act(Some("Bearer x")).map_err(|e| e.kind), Err(Kind::Forbidden));
        assert!(access.read(None).is_ok());
    }

    #[test]
    fn a_foreign_host_name_is_turned_away() {
        let access = Access { hosts: vec!["db.example".into()], ..Access::default() };
        let member = |name: &str| name == "m1.internal";
        for own in
            ["127.0.0.1:15101", "10.1.2.3", "[::1]:15101", "[fd00::7]", "localhost:9", "LOCALHOST.", "a.localhost:1"]
        {
            assert!(access.host(Some(own), member).is_ok(), "{own}");
        }
        for named in ["db.example", "DB.example:8008", "m1.internal:8008", "m1.internal.:8008"] {
            assert!(access.host(Some(named), member).is_ok(), "{named}");
        }
        assert!(access.host(None, member).is_ok());
        for foreign in [
            "evil.example:15101",
            "",
            "x",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "notlocalhost",
            "db.example.evil",
        ] {
            let refused = access.host(Some(foreign), member).expect_err(foreign);
            assert!(refused.next.contains("api_hosts"), "{}", refused.next);
        }
    }
}
