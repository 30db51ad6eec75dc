//! The board: what is wrong, what people were told of it, and what they are told next. One agent steps it, about once a
//! second. Its promise: news comes once, what belongs together comes together, and no input makes it flood.

use crate::alert::{Alert, Key};
use crate::condition::Kind;
use crate::facts::{Observation, Seen};
use crate::memory::{ALERTS_MAX, Memory, Silence};
use crate::notice::{Change, Item, Notice};
use crate::people;
use dauphin_model::{Level, MemberName, Mono, Span, Spec};
use std::collections::BTreeMap;

/// Notices that may come close together.
pub const NOTICES_BURST: u64 = 10;
/// Beyond those, the time between two: what changes meanwhile comes in one, as it stands then.
pub const NOTICE_EVERY: Span = Span::ms(120_000);
/// Time between two steps from which on nothing is known of what lies between.
const STEP_GAP_MAX: Span = Span::ms(15_000);
/// From which level on people are reminded.
const REMIND_FROM: Level = Level::Critical;
/// Longest sentence kept, in characters.
const TEXT_CHARS_MAX: usize = people::TEXT_CHARS_MAX;

/// The state.
#[derive(Debug, Clone, Default)]
pub struct Board {
    alerts: BTreeMap<Key, Alert>,
    /// Each with the moment of its end.
    silences: Vec<(Mono, Silence)>,
    last_id: u64,
    last_notice: u64,
    stepped: Option<Mono>,
    /// When the notices so far will be worn off.
    worn_off: Mono,
}

impl Board {
    /// Goes on from what is kept. `unix`: the wall clock, in seconds, which places what people gave in wall-clock time.
    #[must_use]
    pub fn load(memory: &Memory, now: Mono, unix: u64) -> Self {
        let kept = memory.alerts.iter().take(ALERTS_MAX);
        let mut board = Self {
            alerts: kept.map(|k| ((k.kind, k.member.clone()), Alert::kept(k, now, unix))).collect(),
            last_id: memory.last_id,
            last_notice: memory.last_notice,
            ..Self::default()
        };
        board.take_silences(memory, now, unix);
        board
    }

    /// Takes over what people wished meanwhile, and leaves what is raised and told.
    pub fn take_wishes(&mut self, memory: &Memory, now: Mono, unix: u64) {
        self.last_id = self.last_id.max(memory.last_id);
        for kept in &memory.alerts {
            if let Some(alert) = self.alerts.get_mut(&(kept.kind, kept.member.clone())).filter(|a| a.id == kept.id) {
                alert.take_over(kept);
            }
        }
        self.take_silences(memory, now, unix);
    }

    fn take_silences(&mut self, memory: &Memory, now: Mono, unix: u64) {
        let lasting = memory.silences.iter().filter(|s| s.until_unix > unix).take(crate::SILENCES_MAX);
        let ends = |s: &Silence| now + Span::ms((s.until_unix - unix).saturating_mul(1_000)).min(people::SILENCE_MAX);
        self.silences = lasting.map(|s| (ends(s), s.clone())).collect();
    }

    /// What must be kept; it changes only when there is news.
    #[must_use]
    pub fn memory(&self, speaker: &MemberName) -> Memory {
        let raised = self.alerts.iter().filter(|(_, a)| a.level.is_some() || a.told.is_some());
        Memory {
            speaker: Some(speaker.clone()),
            last_id: self.last_id,
            last_notice: self.last_notice,
            alerts: raised.map(|(key, alert)| alert.keep(key)).collect(),
            silences: self.silences.iter().map(|(_, s)| s.clone()).collect(),
            failing: BTreeMap::new(),
        }
    }

    /// Takes in what is seen now, and says what people are to be told, if anything.
    pub fn step(&mut self, now: Mono, unix: u64, spec: &Spec, seen: &[Observation]) -> Option<Notice> {
        if self.stepped.replace(now).is_none_or(|last| now.since(last) > STEP_GAP_MAX) {
            self.alerts.values_mut().for_each(Alert::begin_anew);
        }
        self.silences.retain(|(end, _)| *end > now);
        self.see(now, seen);
        self.settle(now, unix, spec, seen);
        let notice = self.tell(now, unix, spec);
        self.alerts.retain(|_, alert| !alert.is_nothing());
        notice
    }

    fn see(&mut self, now: Mono, seen: &[Observation]) {
        let mut by_key: BTreeMap<Key, &Seen> = BTreeMap::new();
        for observation in seen {
            let key = (observation.kind, observation.member.clone());
            // of two that say something of the same, one that knows counts, and the worse
            let worth = |seen: &Seen| if let Seen::Found(finding) = seen { Some(finding.level()) } else { None };
            let better = by_key.get(&key).is_none_or(|there| worth(&observation.seen) > worth(there));
            if better {
                by_key.insert(key, &observation.seen);
            }
        }
        for (key, seen) in &by_key {
            if matches!(seen, Seen::Found(_)) && self.alerts.len() < ALERTS_MAX && !self.alerts.contains_key(key) {
                self.alerts.insert(key.clone(), Alert::default());
            }
        }
        for (key, alert) in &mut self.alerts {
            alert.see(now, by_key.get(key).copied());
        }
    }

    fn settle(&mut self, now: Mono, unix: u64, spec: &Spec, seen: &[Observation]) {
        let (last_id, wanted) = (&mut self.last_id, &spec.alerts);
        for ((kind, member), alert) in &mut self.alerts {
            let raise_after = wanted.raise_after.max(kind.holds_at_least(spec.profile));
            let level = alert.settled(now, raise_after, wanted.clear_after);
            if level == alert.level {
                continue;
            }
            if alert.id == 0 {
                *last_id += 1;
                (alert.id, alert.raised_unix) = (*last_id, unix);
            }
            if alert.acknowledged.as_ref().is_some_and(|ack| level > Some(ack.level)) || level.is_none() {
                alert.acknowledged = None;
            }
            alert.level = level;
            if level.is_none() && alert.told.is_none() {
                // nobody heard of it: should it come again, it is another one
                alert.id = 0;
            }
            let of = |o: &&Observation| o.kind == *kind && o.member == *member;
            if let Some(Seen::Found(finding)) = seen.iter().find(of).map(|o| &o.seen) {
                let short = |text: String| text.chars().take(TEXT_CHARS_MAX).collect();
                alert.text = short(finding.text(member.as_ref()));
                alert.next = short(finding.next(member.as_ref(), spec.engine));
            }
        }
    }

    /// Whether people are not to hear of it now.
    fn is_silenced(&self, (kind, member): &Key) -> bool {
        self.silences.iter().any(|(_, s)| s.covers(*kind, member.as_ref()))
    }

    fn tell(&mut self, now: Mono, unix: u64, spec: &Spec) -> Option<Notice> {
        let headless = self.alerts.get(&(Kind::NoLeader, None)).is_some_and(|a| a.holds || a.level.is_some());
        let (group_within, remind_every) = (spec.alerts.group_within, spec.alerts.remind_every);
        let (mut due, mut news) = (false, Vec::new());
        let silenced: Vec<bool> = self.alerts.keys().map(|key| self.is_silenced(key)).collect();
        for ((key, alert), silenced) in self.alerts.iter_mut().zip(silenced) {
            if alert.level == alert.told {
                alert.differs = None;
            } else {
                alert.differs.get_or_insert(now);
            }
            let follows = headless && key.0.follows_from_no_leader() && alert.level > alert.told;
            if silenced || follows {
                continue;
            }
            if let Some(since) = alert.differs {
                due |= now.since(since) >= group_within;
                news.push(key.clone());
            } else if remind_every > Span::ZERO
                && alert.told >= Some(REMIND_FROM)
                && alert.acknowledged.is_none()
                && now.since(alert.told_at) >= remind_every
            {
                due = true;
                news.push(key.clone());
            }
        }
        if !due || !self.may_tell(now) {
            return None;
        }
        let mut items: Vec<Item> = news.iter().filter_map(|key| self.item(key, now, unix)).collect();
        items.sort_by_key(|item| (item.change == Change::Cleared, std::cmp::Reverse(item.level), item.id));
        self.last_notice += 1;
        Some(Notice { number: self.last_notice, at_unix: unix, items })
    }

    /// Whether there is room for one more notice; takes it.
    fn may_tell(&mut self, now: Mono) -> bool {
        if self.worn_off.since(now) > NOTICE_EVERY.times(NOTICES_BURST - 1) {
            return false;
        }
        self.worn_off = self.worn_off.max(now) + NOTICE_EVERY;
        true
    }

    fn item(&mut self, key: &Key, now: Mono, unix: u64) -> Option<Item> {
        let alert = self.alerts.get_mut(key)?;
        let change = match (alert.told, alert.level) {
            (None, _) => Change::Raised,
            (_, None) => Change::Cleared,
            (Some(told), Some(level)) if level > told => Change::Worse,
            (Some(told), Some(level)) if level < told => Change::Better,
            (Some(_), Some(_)) => Change::Reminder,
        };
        let (level, before) = (alert.level.or(alert.told)?, alert.told);
        (alert.told, alert.told_at, alert.told_unix, alert.differs) = (alert.level, now, unix, None);
        let id = alert.id;
        if change == Change::Cleared {
            alert.id = 0;
        }
        Some(Item {
            id,
            change,
            kind: key.0,
            member: key.1.clone(),
            level,
            before,
            text: alert.text.clone(),
            next: alert.next.clone(),
            raised_unix: alert.raised_unix,
        })
    }
}
