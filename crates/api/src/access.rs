//! Who may do what over HTTP: reading is open (the lab) or needs the token; acting always needs it.
//! The server asks it on every request; it never logs or shows a token.

use crate::error::{ApiError, Kind};
use std::fmt;

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
    /// Names that the `Host` header may hold, without port; empty: any. Stops pages that rebind a name to this host.
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

    /// Whether a request with this `Host` header may pass.
    ///
    /// # Errors
    /// 403 when the name is not in the list.
    pub fn host(&self, host: Option<&str>) -> Result<(), ApiError> {
        let name = host.map(without_port).unwrap_or_default();
        if self.hosts.is_empty() || self.hosts.iter().any(|h| h.eq_ignore_ascii_case(name)) {
            return Ok(());
        }
        let text = format!("{:?} is not a name of this host", name.chars().take(80).collect::<String>());
        Err(ApiError::new(Kind::Forbidden, "wrong_host", text, "use the host that the configuration names"))
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
        let access = Access { hosts: vec!["127.0.0.1".into(), "[::1]".into()], ..Access::default() };
        assert!(access.host(Some("127.0.0.1:15101")).is_ok());
        assert!(access.host(Some("[::1]:15101")).is_ok());
        assert!(access.host(Some("evil.example:15101")).is_err());
        assert!(access.host(None).is_err());
    }
}
