//! A notice as each kind of place wants to read it. Pure: a letter in, a body out; docs/alerts.md describes each.

use crate::letter::{Letter, line};
use dauphin_alerts::{Change, Item};
use dauphin_model::Level;
use serde_json::{Value, json};

/// Most lines of a text for people; the rest is counted.
const LINES_MAX: usize = 20;
/// How long Alertmanager believes an alert that it hears nothing more of: Dauphin tells it when it is over.
const LASTS_SECONDS: u64 = 30 * 86_400;

/// Dauphin's own document: for `webhook`, and on a program's standard input.
pub(crate) fn own(letter: &Letter) -> Value {
    let alerts: Vec<Value> = letter.notice.items.iter().map(|item| alert(letter, item)).collect();
    json!({
        "version": 1,
        "id": letter.id(),
        "cluster": letter.cluster,
        "reporter": letter.reporter,
        "at": moment(letter.notice.at_unix),
        "test": letter.test,
        "level": letter.notice.level().map_or("ok", Level::word),
        "title": letter.title(),
        "alerts": alerts,
    })
}

fn alert(letter: &Letter, item: &Item) -> Value {
    json!({
        "id": item.id,
        "key": format!("{}/{}", letter.cluster, item.id),
        "change": item.change,
        "kind": item.kind.code(),
        "member": item.member,
        "level": item.level.word(),
        "text": item.text,
        "next": item.next,
        "since": moment(item.raised_unix),
    })
}

/// Slack's: one text.
pub(crate) fn slack(letter: &Letter) -> Value {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    if letter.test {
        return json!({"text": escape(&letter.title())});
    }
    let mut lines = vec![format!("*{}*", escape(&letter.cluster))];
    for item in letter.notice.items.iter().take(LINES_MAX) {
        let next =
            if item.change == Change::Cleared { String::new() } else { format!("\n    → {}", escape(&item.next)) };
        lines.push(format!("{}{next}", escape(&line(item))));
    }
    let more = letter.notice.items.len().saturating_sub(LINES_MAX);
    if more > 0 {
        lines.push(format!("and {more} more: dauphin alerts"));
    }
    json!({"text": lines.join("\n")})
}

/// Alertmanager's: a list of alerts, told apart by their labels. The level is one of them, so that routes can ask for it;
/// an alert of the level before is ended when it changes.
pub(crate) fn alertmanager(letter: &Letter) -> Value {
    let mut list = Vec::new();
    for item in &letter.notice.items {
        if let Some(before) = item.before.filter(|before| *before != item.level) {
            list.push(labelled(letter, item, before, letter.notice.at_unix));
        }
        let over = item.change == Change::Cleared;
        let ends = if over { letter.notice.at_unix } else { letter.notice.at_unix.saturating_add(LASTS_SECONDS) };
        list.push(labelled(letter, item, item.level, ends));
    }
    if letter.test {
        list.push(json!({
            "labels": {"alertname": "dauphin_test", "cluster": letter.cluster, "severity": "warning"},
            "annotations": {"summary": letter.title(), "next": "nothing"},
            "startsAt": moment(letter.notice.at_unix),
            "endsAt": moment(letter.notice.at_unix.saturating_add(60)),
        }));
    }
    Value::Array(list)
}

fn labelled(letter: &Letter, item: &Item, level: Level, ends: u64) -> Value {
    let mut labels = json!({
        "alertname": format!("dauphin_{}", item.kind.code()),
        "cluster": letter.cluster,
        "severity": level.word(),
    });
    if let (Some(member), Some(labels)) = (&item.member, labels.as_object_mut()) {
        labels.insert("member".to_owned(), member.as_str().into());
    }
    json!({
        "labels": labels,
        "annotations": {"summary": item.text, "next": item.next},
        "startsAt": moment(item.raised_unix),
        "endsAt": moment(ends),
    })
}

/// Seconds since 1970 as RFC 3339.
pub(crate) fn moment(unix: u64) -> String {
    let seconds = i64::try_from(unix).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| "-".to_owned(), |t| t.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_alerts::{Kind, Notice};
    use dauphin_model::MemberName;

    fn letter(change: Change, before: Option<Level>) -> Letter {
        let item = Item {
            id: 7,
            change,
            kind: Kind::Lag,
            member: MemberName::new("m2").ok(),
            level: Level::Critical,
            before,
            text: "m2 is behind: <61 s> & more".into(),
            next: "dauphin lag".into(),
            raised_unix: 1_790_000_000,
        };
        let notice = Notice { number: 3, at_unix: 1_790_000_060, items: vec![item] };
        Letter { cluster: "shop".into(), reporter: "m1".into(), notice, test: false }
    }

    #[test]
    fn the_own_document_says_who_what_and_since_when() {
        let body = own(&letter(Change::Raised, None));
        assert_eq!(body["id"], "shop/3");
        assert_eq!(body["level"], "critical");
        assert_eq!(body["at"], "2026-09-21T14:14:20Z");
        assert_eq!(body["title"], "shop: CRITICAL m2 is behind: <61 s> & more");
        let alert = &body["alerts"][0];
        assert_eq!((&alert["key"], &alert["change"]), (&json!("shop/7"), &json!("raised")));
        assert_eq!((&alert["member"], &alert["since"]), (&json!("m2"), &json!("2026-09-21T14:13:20Z")));
        assert_eq!(own(&letter(Change::Cleared, Some(Level::Critical)))["level"], "ok");
    }

    #[test]
    fn slack_gets_text_that_it_does_not_take_for_markup() {
        let text = slack(&letter(Change::Raised, None))["text"].as_str().map(str::to_owned).unwrap_or_default();
        assert_eq!(text, "*shop*\nCRITICAL m2 is behind: &lt;61 s&gt; &amp; more\n    → dauphin lag");
    }

    #[test]
    fn alertmanager_hears_of_the_end_of_each_level() {
        let raised = alertmanager(&letter(Change::Worse, Some(Level::Warning)));
        assert_eq!(raised.as_array().map(Vec::len), Some(2), "{raised}");
        assert_eq!(raised[0]["labels"]["severity"], "warning");
        assert_eq!(raised[0]["endsAt"], "2026-09-21T14:14:20Z", "the level before is over");
        assert_eq!(raised[1]["labels"]["severity"], "critical");
        assert_eq!(raised[1]["endsAt"], "2026-10-21T14:14:20Z");
        let over = alertmanager(&letter(Change::Cleared, Some(Level::Critical)));
        assert_eq!((&over[0]["endsAt"], over.as_array().map(Vec::len)), (&json!("2026-09-21T14:14:20Z"), Some(1)));
        assert_eq!(over[0]["labels"], raised[1]["labels"], "the same alert");
    }

    #[test]
    fn a_place_is_told_what_concerns_it() {
        let worse = letter(Change::Better, Some(Level::Emergency));
        assert!(worse.from_level(Level::Emergency).is_some(), "it was told the emergency");
        assert!(letter(Change::Raised, None).from_level(Level::Emergency).is_none());
        assert!(Letter::rehearsal("shop", "m1", 1).from_level(Level::Emergency).is_some());
    }
}
