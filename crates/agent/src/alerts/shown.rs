//! Alerts in the words of the HTTP interface and of the metrics. It only translates.

use super::{Alerts, speaker, unix_now};
use dauphin_alerts::{Change, KeptAlert, Memory, Silence};
use dauphin_api::dto;

impl Alerts {
    /// `GET /v1/alerts`.
    pub(crate) fn document(&self) -> dto::Alerts {
        let (memory, now) = (self.memory(), unix_now());
        let lasting: Vec<&Silence> = memory.silences.iter().filter(|s| s.until_unix > now).collect();
        let mut raised: Vec<&KeptAlert> = raised(&memory).collect();
        raised.sort_by_key(|a| (std::cmp::Reverse(a.level), a.id));
        let health = self.store.health().borrow().clone();
        dto::Alerts {
            reporter: self.me.to_string(),
            speaker: speaker::of(&self.picture.borrow(), &health).map(|m| m.to_string()),
            alerts: raised.into_iter().map(|a| alert(a, &lasting)).collect(),
            silences: lasting.into_iter().map(silence).collect(),
        }
    }

    /// Lines for the metrics: member (empty: the cluster), kind, level.
    pub(crate) fn levels(&self) -> Vec<(String, &'static str, u8)> {
        let member = |a: &KeptAlert| a.member.as_ref().map(ToString::to_string).unwrap_or_default();
        let memory = self.memory();
        raised(&memory).filter_map(|a| Some((member(a), a.kind.code(), a.level?.number()))).collect()
    }
}

fn raised(memory: &Memory) -> impl Iterator<Item = &KeptAlert> {
    memory.alerts.iter().filter(|a| a.level.is_some())
}

fn alert(kept: &KeptAlert, silences: &[&Silence]) -> dto::Alert {
    dto::Alert {
        id: kept.id,
        kind: kept.kind.to_string(),
        member: kept.member.as_ref().map(ToString::to_string),
        level: kept.level.map(|l| l.to_string()).unwrap_or_default(),
        text: kept.text.clone(),
        next: kept.next.clone(),
        since: moment(kept.raised_unix),
        told: (kept.told_unix > 0).then(|| moment(kept.told_unix)),
        acknowledged_by: kept.acknowledged.as_ref().map(|a| a.by.clone()),
        silenced: silences.iter().any(|s| s.covers(kept.kind, kept.member.as_ref())),
    }
}

pub(super) fn silence(silence: &Silence) -> dto::Silence {
    dto::Silence {
        id: silence.id,
        member: silence.member.as_ref().map(ToString::to_string),
        kind: silence.kind.map(|k| k.to_string()),
        until: moment(silence.until_unix),
        by: silence.by.clone(),
        because: silence.because.clone(),
    }
}

/// What became of an alert, for people.
pub(super) const fn word(change: Change) -> &'static str {
    match change {
        Change::Raised => "raised",
        Change::Worse => "worse",
        Change::Better => "better",
        Change::Cleared => "over",
        Change::Reminder => "still",
    }
}

/// Seconds since 1970 as RFC 3339.
pub(super) fn moment(unix: u64) -> String {
    let seconds = i64::try_from(unix).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| "-".to_owned(), |t| t.to_string())
}
