//! `dauphin alerts`: what people are told of, once or (`--watch`) again and again; silences and acknowledgements.

use crate::cli::{Alerts, AlertsVerb, Silence, Target};
use crate::failure::{DONE, Failure, Outcome};
use crate::look::{Table, dash};
use crate::say::{self, Tone};
use crate::target;
use crate::verb::command::give;
use dauphin_api::Client;
use dauphin_api::dto;
use dauphin_model::file::unit;
use std::time::Duration;

/// How often `--watch` looks.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// The exit code where a place failed.
const FAILED: u8 = 1;
/// How it is said that a silence is about everybody.
const ALL: &str = "all";

pub(crate) fn run(target: &Target, options: Alerts) -> Outcome {
    match options.verb {
        None if options.watch => watch(target),
        None => show(target),
        Some(AlertsVerb::Silence(silence)) => give(target, "/v1/alerts/silence", &request(silence)?),
        Some(AlertsVerb::Unsilence(one)) => give(target, "/v1/alerts/unsilence", &dto::UnsilenceRequest { id: one.id }),
        Some(AlertsVerb::Test) => rehearse(target),
        Some(AlertsVerb::Ack(one)) => {
            give(target, "/v1/alerts/ack", &dto::AcknowledgeRequest { id: one.id, by: person() })
        }
    }
}

/// Exit 1 where a place did not take it.
fn rehearse(target: &Target) -> Outcome {
    let client = target::client(target)?;
    let test: dto::NotifyTest = client.post("/v1/alerts/test", &dto::NoArguments {}, &mut |_| {})?;
    let code = if test.places.iter().all(|place| place.delivered) { DONE } else { FAILED };
    if target.json {
        say::json(&test)?;
        return Ok(code);
    }
    if test.places.is_empty() {
        say::line("notices are sent nowhere: no [[notify]] is in the configuration");
    }
    for place in &test.places {
        let word = if place.delivered { "delivered" } else { "not delivered" };
        say::line(&format!("{}: {word}: {}", place.name, place.answer));
    }
    Ok(code)
}

fn request(silence: Silence) -> Result<dto::SilenceRequest, Failure> {
    let lasts = unit::duration(&silence.lasts)
        .map_err(|error| Failure::usage(format!("--for: {error}"), "dauphin alerts silence --help"))?;
    Ok(dto::SilenceRequest {
        member: (silence.member != ALL).then_some(silence.member),
        kind: silence.kind,
        seconds: lasts.as_ms() / 1_000,
        by: person(),
        because: silence.because,
    })
}

/// Who sits here, as the session says.
fn person() -> String {
    ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default()
}

fn show(target: &Target) -> Outcome {
    let alerts = ask(&target::client(target)?)?;
    if target.json {
        say::json(&alerts)?;
    } else {
        lines(&alerts, say::colours_out()).iter().for_each(|line| say::line(line));
    }
    Ok(DONE)
}

fn ask(client: &Client) -> Result<dto::Alerts, Failure> {
    client.get("/v1/alerts").map_err(Failure::from)
}

/// Prints each change below the last, until the reader goes away or the person interrupts.
fn watch(target: &Target) -> Outcome {
    let client = target::client(target)?;
    let mut last = String::new();
    loop {
        let text = match ask(&client) {
            Ok(alerts) if target.json => serde_json::to_string(&alerts).unwrap_or_default(),
            Ok(alerts) => lines(&alerts, say::colours_out()).join("\n"),
            Err(failure) => failure.message,
        };
        if text != last {
            let clock = jiff::Timestamp::now().strftime("%H:%M:%S UTC").to_string();
            let heading = if target.json { String::new() } else { format!("{clock}\n") };
            say::line(&format!("{heading}{text}"));
        }
        last = text;
        std::thread::sleep(WATCH_EVERY);
    }
}

fn lines(alerts: &dto::Alerts, colours: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if alerts.alerts.is_empty() {
        lines.push("no alerts".to_owned());
    } else {
        let mut table = Table::new(&["ID", "LEVEL", "KIND", "MEMBER", "SINCE", "WHAT", "STATE"]);
        alerts.alerts.iter().for_each(|alert| table.row(row(alert)));
        lines.extend(table.lines(colours));
        for alert in &alerts.alerts {
            lines.push(format!("{:>4} -> {}", alert.id, alert.next));
        }
    }
    for place in alerts.places.iter().filter(|place| place.failing.is_some()) {
        let text = format!("notices do not reach {}: {}", place.name, place.failing.as_deref().unwrap_or_default());
        lines.push(Tone::Bad.paint(&text, colours));
    }
    for silence in &alerts.silences {
        let whom = silence.member.as_deref().unwrap_or(ALL);
        let what = silence.kind.as_ref().map(|kind| format!(" ({kind})")).unwrap_or_default();
        let text = format!(
            "silence {}: {whom}{what} until {}, by {}: {}",
            silence.id, silence.until, silence.by, silence.because
        );
        lines.push(Tone::Dim.paint(&text, colours));
    }
    lines
}

fn row(alert: &dto::Alert) -> Vec<(String, Tone)> {
    let tone = if alert.level == "warning" { Tone::Warn } else { Tone::Bad };
    let state = match (&alert.acknowledged_by, alert.silenced, &alert.told) {
        (Some(by), _, _) => format!("in hand: {by}"),
        (None, true, _) => "silenced".to_owned(),
        (None, false, Some(_)) => "told".to_owned(),
        (None, false, None) => "-".to_owned(),
    };
    let since = alert.since.chars().take(19).collect();
    vec![
        (alert.id.to_string(), Tone::Plain),
        (alert.level.clone(), tone),
        (alert.kind.clone(), Tone::Plain),
        (dash(alert.member.as_ref()), Tone::Plain),
        (since, Tone::Dim),
        (alert.text.clone(), Tone::Plain),
        (state, Tone::Dim),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_shown_with_what_to_do_and_a_silence_with_its_reason() {
        let alert = dto::Alert {
            id: 7,
            kind: "lag".into(),
            member: Some("m2".into()),
            level: "critical".into(),
            text: "m2 is behind: 61.0 s".into(),
            next: "dauphin lag".into(),
            since: "2026-11-24T00:00:00Z".into(),
            ..dto::Alert::default()
        };
        let silence = dto::Silence { id: 8, by: "eva".into(), because: "a new disk".into(), ..dto::Silence::default() };
        let alerts = dto::Alerts { alerts: vec![alert], silences: vec![silence], ..dto::Alerts::default() };
        let text = lines(&alerts, false).join("\n");
        for words in ["critical", "m2 is behind: 61.0 s", "7 -> dauphin lag", "silence 8: all until", "a new disk"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert_eq!(lines(&dto::Alerts::default(), false), ["no alerts"]);
    }
}
