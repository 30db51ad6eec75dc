//! Alerts in the words of the HTTP interface and of the metrics. It only translates.

use super::{Alerts, speaker, unix_now};
use crate::picture::Picture;
use dauphin_alerts::{Change, KeptAlert, Memory, Silence};
use dauphin_api::dto;
use dauphin_model::TargetSpec;
use dauphin_notify::{Letter, Standing};
use std::collections::BTreeMap;

impl Alerts {
    /// `GET /v1/alerts`.
    pub(crate) fn document(&self) -> dto::Alerts {
        let (memory, now, picture) = (self.memory(), unix_now(), self.picture());
        let lasting: Vec<&Silence> = memory.silences.iter().filter(|s| s.until_unix > now).collect();
        let mut raised: Vec<&KeptAlert> = raised(&memory).collect();
        raised.sort_by_key(|a| (std::cmp::Reverse(a.level), a.id));
        let health = self.store.health().borrow().clone();
        dto::Alerts {
            reporter: self.me.to_string(),
            speaker: speaker::of(&picture, &health).map(|m| m.to_string()),
            alerts: raised.into_iter().map(|a| alert(a, &lasting)).collect(),
            places: self.places(&picture, &memory),
            silences: lasting.into_iter().map(silence).collect(),
        }
    }

    /// Where notices are sent, and how that goes.
    fn places(&self, picture: &Picture, memory: &Memory) -> Vec<dto::NotifyPlace> {
        let standings = self.post.standings();
        let place = |target: &TargetSpec| dto::NotifyPlace {
            name: target.name.clone(),
            kind: target.kind.word().to_owned(),
            level: target.level.to_string(),
            failing: memory.failing.get(&target.name).cloned(),
            waiting: standings.get(&target.name).map_or(0, |s| s.waiting),
        };
        picture.spec.notify.iter().map(place).collect()
    }

    /// For the metrics: how this agent's sending goes, by place.
    pub(crate) fn sending(&self) -> BTreeMap<String, Standing> {
        self.post.standings()
    }

    /// Sends a test message to each place, past the outbox.
    pub(crate) async fn rehearse(&self) -> dto::NotifyTest {
        let spec = self.picture().spec.clone();
        let letter = Letter::rehearsal(spec.cluster.as_str(), self.me.as_str(), unix_now());
        let mut all = tokio::task::JoinSet::new();
        for (index, target) in spec.notify.into_iter().enumerate() {
            let letter = letter.clone();
            all.spawn(async move {
                let answer = dauphin_notify::send(&target, &letter).await;
                let delivered = answer.is_ok();
                let answer = answer.unwrap_or_else(|error| error.to_string());
                (index, dto::NotifyAnswer { name: target.name, delivered, answer })
            });
        }
        let mut places = all.join_all().await;
        places.sort_by_key(|(index, _)| *index);
        dto::NotifyTest { reporter: self.me.to_string(), places: places.into_iter().map(|(_, place)| place).collect() }
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
