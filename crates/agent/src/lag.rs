//! How long replicas have been behind, by this leader's clock alone: when its log first went beyond what each has replayed.
//! The looks feed it, and the leader's beat tells what it says. It asks no replica's clock and decides nothing.

use dauphin_model::{Attached, Away, Lag, Lsn, Mono, ServerView, Span, Voter};
use std::collections::{BTreeMap, VecDeque};

/// Most places of the log that are remembered; two become one when there are more.
const PLACES_MAX: usize = 512;
/// What is remembered of replicas that went away; a cluster has fewer members.
const REPLICAS_MAX: usize = 256;
/// Whether a replica comes closer is told by this much of the past, once there is so much of it.
const TREND_OVER: Span = Span::ms(30_000);
const TREND_FROM: Span = Span::ms(5_000);
/// How often it is noted how far behind a replica is.
const NOTED_EVERY: Span = Span::ms(1_000);

/// The log was seen to reach `end` at `seen`, and was seen not to at `before`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    end: Lsn,
    before: Mono,
    seen: Mono,
}

/// A replica as it was seen last.
#[derive(Debug, Clone)]
struct Last {
    replay: Lsn,
    /// When that was so.
    at: Mono,
    /// It had been there before.
    stands: bool,
    attached: bool,
    /// How far behind it was, over the last while.
    behind: VecDeque<(Mono, u64)>,
}

impl Last {
    /// Notes how far behind it is, and tells by how much more with every second.
    fn trend(&mut self, now: Mono, behind: u64) -> Option<i64> {
        let since = |at: &Mono| now.since(*at);
        while self.behind.front().is_some_and(|(at, _)| since(at) > TREND_OVER) {
            self.behind.pop_front();
        }
        if self.behind.back().is_none_or(|(at, _)| since(at) >= NOTED_EVERY) {
            self.behind.push_back((now, behind));
        }
        let (at, before) = self.behind.front().filter(|(at, _)| since(at) >= TREND_FROM)?;
        let more = i64::try_from(behind).ok()?.checked_sub(i64::try_from(*before).ok()?)?;
        more.saturating_mul(1_000).checked_div(i64::try_from(since(at).as_ms()).ok()?)
    }
}

/// What a leader remembers of its log and its replicas.
#[derive(Debug, Default)]
pub(crate) struct LagClock {
    places: VecDeque<Place>,
    looked: Option<Mono>,
    replicas: BTreeMap<Voter, Last>,
}

impl LagClock {
    /// Takes a look in and completes it: how far behind each replica is, those that went away among them. Of a server that
    /// does not lead everything is forgotten.
    pub(crate) fn measure(&mut self, now: Mono, view: &mut ServerView) {
        let (Some(false), Some(end)) = (view.in_recovery, view.replayed) else {
            *self = Self::default();
            return;
        };
        self.reached(now, end);
        for attached in &mut view.attached {
            self.seen(now, end, attached);
        }
        let there: Vec<&Voter> = view.attached.iter().filter_map(|a| a.voter.as_ref()).collect();
        for (voter, last) in &mut self.replicas {
            last.attached = there.contains(&voter);
        }
        // what one that is away says of itself is newer than what was seen of it
        for Away { voter, behind, .. } in std::mem::take(&mut view.away) {
            if let Some(last) = self.replicas.get_mut(&voter).filter(|last| !last.attached) {
                last.replay = last.replay.max(Lsn(end.0.saturating_sub(behind)));
            }
        }
        let places = &self.places;
        let away = self.replicas.iter_mut().filter(|(_, last)| !last.attached);
        view.away = away
            .map(|(voter, last)| {
                let behind = end.0.saturating_sub(last.replay.0);
                let trend = last.trend(now, behind);
                let (least, most) = age(places, now, last.replay);
                let lag = Lag { ms: middle(least, most).as_ms(), stands: true, trend, at: now };
                Away { voter: voter.clone(), behind, lag }
            })
            .collect();
    }

    fn seen(&mut self, now: Mono, end: Lsn, attached: &mut Attached) {
        let given = attached.lag.take();
        // what a replica's own agent says was so when it was heard, and not now
        let at = given.map(|lag| lag.at).filter(|at| *at > Mono::default()).map_or(now, |at| at.min(now));
        let measured = given.filter(|_| at == now).map(|lag| Span::ms(lag.ms));
        let (Some(voter), Some(replay)) = (attached.voter.clone(), attached.replay) else { return };
        if self.replicas.len() >= REPLICAS_MAX && !self.replicas.contains_key(&voter) {
            return;
        }
        self.replicas.retain(|other, _| other.name != voter.name || *other == voter);
        let (behind, none) = (VecDeque::new(), Mono::default());
        let first = Last { replay: Lsn::default(), at: none, stands: false, attached: true, behind };
        let last = self.replicas.entry(voter).or_insert(first);
        let stands = if at == last.at { last.stands } else { replay < end && last.replay == replay };
        let (least, most) = age(&self.places, at, replay);
        // what the server measured is exact, and goes by what was acknowledged last: it does not grow while nothing is
        let measured = measured.filter(|measured| !stands && (least..=most).contains(measured));
        attached.lag = Some(Lag {
            ms: measured.unwrap_or_else(|| middle(least, most)).as_ms(),
            stands,
            trend: last.trend(now, end.0.saturating_sub(replay.0)),
            at,
        });
        (last.replay, last.at, last.stands) = (replay, at, stands);
    }

    fn reached(&mut self, now: Mono, end: Lsn) {
        let before = self.looked.replace(now).unwrap_or(now);
        match self.places.back() {
            Some(last) if last.end >= end => return,
            _ => self.places.push_back(Place { end, before, seen: now }),
        }
        if self.places.len() > PLACES_MAX {
            self.thin(now);
        }
    }

    /// Makes one place of two neighbours, where that blurs the time least, measured by how long ago it is.
    fn thin(&mut self, now: Mono) {
        let blur = |first: &Place, second: &Place| {
            let wide = second.seen.since(first.before).0 as f64;
            wide / now.since(second.seen).0.max(1) as f64
        };
        let pairs = self.places.iter().zip(self.places.iter().skip(1));
        let best = pairs.map(|(first, second)| blur(first, second)).enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b));
        if let Some((at, _)) = best
            && let Some(first) = self.places.remove(at)
            && let Some(both) = self.places.get_mut(at)
        {
            both.before = first.before;
        }
    }
}

/// How long ago the log first went beyond this, at least and at most: it was between two looks. Where it was before all that
/// is remembered, the time since then. Nothing where it never did.
fn age(places: &VecDeque<Place>, now: Mono, replay: Lsn) -> (Span, Span) {
    let beyond = places.partition_point(|place| place.end <= replay);
    let Some(place) = places.get(beyond) else { return (Span::ZERO, Span::ZERO) };
    (now.since(place.seen), now.since(place.before))
}

fn middle(least: Span, most: Span) -> Span {
    Span(u64::midpoint(least.0, most.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_model::{Incarnation, MemberName};

    fn voter(name: &str) -> Voter {
        Voter::new(MemberName::new(name).expect("a name"), Incarnation(1))
    }

    /// A leader whose log ends there, with one replica that has replayed so much and of which the server measured this.
    fn leads(end: u64, replica: Option<(u64, Option<u64>)>) -> ServerView {
        let attached = replica.map(|(replay, ms)| Attached {
            application_name: voter("m2").application_name(),
            voter: Some(voter("m2")),
            client_addr: None,
            state: "streaming".to_owned(),
            sync_state: "async".to_owned(),
            write: Some(Lsn(end)),
            flush: Some(Lsn(end)),
            replay: Some(Lsn(replay)),
            lag: ms.map(|ms| Lag { ms, ..Lag::default() }),
        });
        ServerView {
            in_recovery: Some(false),
            replayed: Some(Lsn(end)),
            attached: attached.into_iter().collect(),
            ..ServerView::default()
        }
    }

    /// A look: where the log ends, where the replica is and what the server measured, what is told of it.
    type Look = (u64, Option<(u64, Option<u64>)>, Option<(u64, bool)>);

    /// A story: each line is a look, 200 ms after the one before, and what is told of the replica: milliseconds, and whether
    /// it stands.
    fn tell(looks: &[Look]) {
        let (mut clock, mut now) = (LagClock::default(), Mono(1_000_000));
        for (at, (end, replica, wanted)) in looks.iter().enumerate() {
            let mut view = leads(*end, *replica);
            clock.measure(now, &mut view);
            let told = view.attached.first().and_then(|a| a.lag).or(view.away.first().map(|a| a.lag));
            assert_eq!(told.map(|lag| (lag.ms, lag.stands)), *wanted, "look {at}");
            now = now + Span::ms(200);
        }
    }

    #[test]
    fn who_has_all_is_not_behind_however_long_nothing_is_written() {
        tell(&[
            (10, Some((10, None)), Some((0, false))),
            (10, Some((10, None)), Some((0, false))),
            // what was measured of the last acknowledgement says nothing of now
            (20, Some((20, Some(35))), Some((0, false))),
        ]);
    }

    #[test]
    fn under_load_the_server_measures_better_than_looks_can() {
        tell(&[
            (10, Some((10, None)), Some((0, false))),
            (20, Some((19, Some(12))), Some((12, false))),
            (30, Some((29, Some(130))), Some((130, false))),
            // of something that was acknowledged long ago
            (40, Some((39, Some(7_000))), Some((100, false))),
            (50, Some((39, Some(12))), Some((300, true))),
        ]);
    }

    #[test]
    fn a_replay_that_stands_ages_though_nothing_more_is_written() {
        tell(&[
            (10, Some((10, None)), Some((0, false))),
            (20, Some((10, Some(3))), Some((100, true))),
            (20, Some((10, Some(3))), Some((300, true))),
            (20, Some((10, None)), Some((500, true))),
            (20, Some((20, None)), Some((0, false))),
        ]);
    }

    #[test]
    fn what_a_replica_says_of_itself_was_so_when_it_was_heard() {
        let (mut clock, begun) = (LagClock::default(), Mono(1_000_000));
        // the log grows by one every 10 ms, and is looked at every 50; a replica that lacks nothing says so every 250
        let look = |clock: &mut LagClock, ms: u64, heard: u64, replay: u64| {
            let mut view = leads(ms / 10, Some((replay, None)));
            view.attached[0].lag = Some(Lag { at: begun + Span::ms(heard), ..Lag::default() });
            clock.measure(begun + Span::ms(ms), &mut view);
            view.attached[0].lag.expect("told").as_of(begun + Span::ms(ms))
        };
        for ms in (250..2_000).step_by(50) {
            let heard = ms / 250 * 250;
            let lag = look(&mut clock, ms, heard, heard / 10);
            assert!(lag.ms <= 50 && !lag.stands, "{ms}: {lag:?}");
        }
        // it stands: from the second word on that is known, and grows
        for ms in (2_000..4_000).step_by(50) {
            let lag = look(&mut clock, ms, ms / 250 * 250, 200);
            let behind = ms - 2_000;
            assert!(ms < 2_250 || (lag.stands && lag.ms.abs_diff(behind) <= 50), "{ms}: {lag:?}");
        }
    }

    #[test]
    fn who_is_away_is_behind_from_when_it_missed_something() {
        tell(&[
            (10, Some((10, None)), Some((0, false))),
            (10, None, Some((0, true))),
            (10, None, Some((0, true))),
            (20, None, Some((100, true))),
            (30, None, Some((300, true))),
            (30, Some((15, None)), Some((500, false))),
        ]);
    }

    #[test]
    fn what_one_that_is_away_says_of_itself_counts() {
        let (mut clock, begun) = (LagClock::default(), Mono(1_000_000));
        let own_word = |behind| Away { voter: voter("m2"), behind, lag: Lag::default() };
        for (ms, end, attached, away, told) in [
            (0, 10, Some((5, None)), None, None),
            // it had replayed more when its receiver stopped than was seen then
            (1_000, 20, None, Some(own_word(5)), Some(5)),
            (2_000, 30, None, Some(own_word(15)), Some(15)),
            (3_000, 40, None, None, Some(25)),
        ] {
            let mut view = leads(end, attached);
            view.away.extend(away);
            clock.measure(begun + Span::ms(ms), &mut view);
            assert_eq!(view.away.first().map(|away| away.behind), told, "{ms}");
        }
        let mut stranger = ServerView { away: vec![own_word(1)], ..leads(50, None) };
        LagClock::default().measure(begun, &mut stranger);
        assert_eq!(stranger.away, [], "of whom it has not seen it remembers nothing");
    }

    #[test]
    fn what_is_longer_ago_is_remembered_less_exactly_and_never_without_end() {
        let (mut clock, begun) = (LagClock::default(), Mono(1_000_000));
        for step in 0..100_000_u32 {
            clock.reached(begun + Span::ms(250 * u64::from(step)), Lsn(u64::from(step)));
            assert!(clock.places.len() <= PLACES_MAX);
        }
        let now = begun + Span::ms(250 * 99_999);
        for behind in [1_u32, 4, 40, 400, 4_000, 40_000] {
            let true_age = f64::from(behind) * 0.25;
            let (least, most) = age(&clock.places, now, Lsn(u64::from(99_999 - behind)));
            let told = middle(least, most).0 as f64 / 1e6 + 0.25;
            assert!((told - true_age).abs() <= (true_age * 0.1).max(0.26), "{behind}: {told} of {true_age}");
        }
    }

    #[test]
    fn a_trend_is_told_once_there_is_enough_of_it() {
        let (mut clock, begun) = (LagClock::default(), Mono(1_000_000));
        for second in 0..20_u32 {
            let mut view = leads(1_000_000, Some((u64::from(second) * 1_000, None)));
            clock.measure(begun + Span::ms(1_000 * u64::from(second)), &mut view);
            let trend = view.attached[0].lag.and_then(|lag| lag.trend);
            assert_eq!(trend, (second >= 5).then_some(-1_000), "{second}");
        }
    }

    #[test]
    fn a_replica_knows_nothing_of_others() {
        let mut clock = LagClock::default();
        clock.measure(Mono(1_000_000), &mut leads(10, Some((5, None))));
        let mut replica = ServerView { in_recovery: Some(true), ..leads(20, None) };
        clock.measure(Mono(1_000_000), &mut replica);
        assert!(replica.away.is_empty() && clock.places.is_empty());
    }
}
