//! Reading requests: a body or a query becomes a type, or an error that names the field. Pure; the server calls it.

use crate::error::ApiError;
use crate::operations::Suppose;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// What can be supposed.
const WHAT_IF: &str = "kill=MEMBER, freeze=MEMBER, zone=ZONE or cut_off=MEMBER,MEMBER";

/// Reads a body; an empty one counts as `{}`.
pub(crate) fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let bytes = if bytes.trim_ascii().is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(bytes).map_err(|e| {
        let field = field_before(bytes, e.line(), e.column());
        let text = e.to_string();
        let place =
            field.filter(|f| !text.contains(f.as_str())).map(|f| format!(" in field `{f}`")).unwrap_or_default();
        ApiError::usage("bad_body", format!("the body is not what this takes{place}: {text}"), "see GET /openapi.json")
    })
}

/// The key that stands last before this place, which is the one whose value was refused.
fn field_before(bytes: &[u8], line: usize, column: usize) -> Option<String> {
    let start: usize = bytes.split(|b| *b == b'\n').take(line.saturating_sub(1)).map(|l| l.len() + 1).sum();
    let read = bytes.get(..(start + column).min(bytes.len()))?;
    let colon =
        (0..read.len()).rev().filter(|i| read[*i] == b':').find(|i| read[..*i].trim_ascii_end().ends_with(b"\""))?;
    let key = read[..colon].trim_ascii_end().strip_suffix(b"\"")?;
    let open = key.iter().rposition(|b| *b == b'"')?;
    Some(String::from_utf8_lossy(&key[open + 1..]).into_owned())
}

/// What is supposed: one of `kill=m1`, `freeze=m1`, `zone=a`, `cut_off=m1,m2`.
pub(crate) fn suppose(parameters: &BTreeMap<String, String>) -> Result<Suppose, ApiError> {
    let mut given = parameters.iter();
    let (Some((key, value)), None) = (given.next(), given.next()) else {
        return Err(ApiError::usage("bad_parameter", "one thing is supposed at a time", WHAT_IF));
    };
    let value = value.clone();
    match key.as_str() {
        "kill" => Ok(Suppose::Kill(value)),
        "freeze" => Ok(Suppose::Freeze(value)),
        "zone" => Ok(Suppose::Zone(value)),
        "cut_off" => Ok(Suppose::CutOff(value.split(',').map(str::to_owned).collect())),
        other => {
            let shown: String = other.chars().take(40).collect();
            Err(ApiError::usage("bad_parameter", format!("{shown:?} is nothing that can be supposed"), WHAT_IF))
        }
    }
}

/// A number of bytes as load balancers write it: `lag=1048576`, `lag=10MB`.
pub(crate) fn byte_count(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" | "k" => 1 << 10,
        "mb" | "m" => 1 << 20,
        "gb" | "g" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dto::{FailoverRequest, SwitchoverRequest};

    #[track_caller]
    fn names<T: DeserializeOwned + std::fmt::Debug>(text: &str, field: &str) {
        let error = body::<T>(text.as_bytes()).expect_err("a bad body");
        assert!(error.message.contains(&format!("`{field}`")), "{}", error.message);
    }

    #[test]
    fn a_bad_body_names_its_field() {
        names::<FailoverRequest>("", "to");
        names::<FailoverRequest>(r#"{"to":5}"#, "to");
        names::<FailoverRequest>("{\"to\":\"m1\",\n \"allow_data_loss\" : \"yes\"}", "allow_data_loss");
        names::<SwitchoverRequest>(r#"{"too":"m1"}"#, "too");
        assert!(body::<SwitchoverRequest>(b"[").is_err());
        assert_eq!(body::<SwitchoverRequest>(b" ").expect("nothing is fine"), SwitchoverRequest::default());
    }

    #[test]
    fn one_thing_is_supposed() {
        let read = |text: &str| {
            let pairs = text.split('&').filter_map(|p| p.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned()));
            suppose(&pairs.collect())
        };
        assert_eq!(read("kill=m1"), Ok(Suppose::Kill("m1".into())));
        assert_eq!(read("cut_off=m1,m2"), Ok(Suppose::CutOff(vec!["m1".into(), "m2".into()])));
        for bad in ["", "kill=m1&zone=a", "shoot=m1"] {
            assert!(read(bad).is_err_and(|e| e.next.contains("kill=MEMBER")), "{bad}");
        }
    }

    #[test]
    fn lag_has_units() {
        assert_eq!(byte_count("10"), Some(10));
        assert_eq!(byte_count("10MB"), Some(10 << 20));
        assert_eq!(byte_count("10 parsecs"), None);
        assert_eq!(byte_count("99999999999999999999"), None);
        assert_eq!(byte_count("99999999999999GB"), None);
    }
}
