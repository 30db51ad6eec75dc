//! `dauphin explain`: why something was done automatically, with the evidence it rested on.

use crate::cli::{Explain, Target};
use crate::failure::{DONE, Failure, Outcome};
use crate::look::wrap;
use crate::say::{self, Tone};
use crate::target;
use dauphin_api::dto::{Explanation, JournalEntry};
use dauphin_model::MemberName;
use serde_json::Value;

/// Width of running text, in columns.
const TEXT_COLUMNS: usize = 96;

pub(crate) fn run(target: &Target, options: &Explain) -> Outcome {
    let explanation: Explanation = target::client(target)?.get(&path(options.what.as_deref())?)?;
    if target.json {
        say::json(&explanation)?;
        return Ok(DONE);
    }
    lines(&explanation, say::colours_out()).iter().for_each(|line| say::line(line));
    Ok(DONE)
}

/// Where it is asked: numbers are decisions, all else is a member.
fn path(what: Option<&str>) -> Result<String, Failure> {
    let Some(what) = what else { return Ok("/v1/explain".to_owned()) };
    if what.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(format!("/v1/explain?id={what}"));
    }
    let name = MemberName::new(what).map_err(|error| {
        Failure::usage(format!("{what:?} is neither a decision's number nor a member: {error}"), "dauphin explain m1")
    })?;
    Ok(format!("/v1/explain?member={name}"))
}

/// The explanation in lines.
pub(crate) fn lines(explanation: &Explanation, colours: bool) -> Vec<String> {
    let mut lines: Vec<String> =
        wrap(&explanation.summary, TEXT_COLUMNS).iter().map(|l| Tone::Bold.paint(l, colours)).collect();
    for entry in &explanation.entries {
        lines.extend(one(entry, colours));
    }
    lines
}

fn one(entry: &JournalEntry, colours: bool) -> Vec<String> {
    let head = format!("#{} {} {} (term {}): {}", entry.id, clock(&entry.at), entry.member, entry.term, entry.text);
    let mut lines = wrap(&head, TEXT_COLUMNS);
    for line in lines.iter_mut().skip(1) {
        line.insert_str(0, "    ");
    }
    let evidence: Vec<String> = match &entry.evidence {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key, plain(value)))
            .filter(|(key, value)| *key != "reason" && !entry.text.contains(value.as_str()))
            .map(|(key, value)| format!("{key}: {value}"))
            .collect(),
        Value::Null => Vec::new(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => vec![plain(&entry.evidence)],
    };
    let evidence = evidence.iter().flat_map(|text| wrap(text, TEXT_COLUMNS - 8));
    lines.extend(evidence.map(|text| Tone::Dim.paint(&format!("      {text}"), colours)));
    lines
}

/// The time of day of an RFC 3339 moment.
fn clock(at: &str) -> String {
    at.split_once('T').map_or_else(|| at.to_owned(), |(_, time)| time.trim_end_matches('Z').chars().take(12).collect())
}

/// A value as a person would write it: voters as `m2#1`, positions as `0/5000060 on timeline 3`.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let field = |name: &str| fields.get(name).map(plain);
            if let (Some(name), Some(incarnation)) = (field("name"), field("incarnation")) {
                return format!("{name}#{incarnation}");
            }
            if let (Some(lsn), Some(timeline)) = (field("lsn"), field("timeline")) {
                return format!("{lsn} on timeline {timeline}");
            }
            fields.iter().map(|(key, inner)| format!("{key} {}", plain(inner))).collect::<Vec<_>>().join(", ")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn evidence_reads_as_text() {
        let position = json!({"history": [{"end": "0/1", "timeline": 1}], "lsn": "0/4039418", "timeline": 2});
        assert_eq!(plain(&position), "0/4039418 on timeline 2");
        assert_eq!(plain(&json!([{"name": "m2", "incarnation": 1}, "m3"])), "m2#1, m3");
        assert_eq!(plain(&json!({"kind": "frozen", "silence_ms": 1500})), "kind frozen, silence_ms 1500");
    }

    #[test]
    fn what_the_sentence_says_is_not_said_again() {
        let entry = JournalEntry {
            id: 4,
            at: "2026-11-24T00:51:45.358Z".into(),
            term: 1,
            member: "m2".into(),
            reason: "opened".into(),
            text: "term 2 is open".into(),
            evidence: json!({"reason": "opened", "term": "2", "answers": 1}),
        };
        let lines = one(&entry, false);
        assert_eq!(lines, ["#4 00:51:45.358 m2 (term 1): term 2 is open", "      answers: 1"]);
    }
}
