//! Which replica is fresh enough for a session's next read, by its level and by what it has written and read. Only `session`
//! calls it. It waits for positions, never on a server that others need, and never longer than the session lets it.

use super::reading::{Next, Reading};
use super::{Session, Source};
use crate::choice::Wish;
use crate::marks::Seen;
use crate::pool::Pools;
use crate::pool::link::{Link, Right};
use crate::table::View;
use dauphin_model::token::Standing;
use dauphin_model::{MemberName, ReadLevel, ReplicaTarget, Term};
use dauphin_wire::postgres::message;
use std::rc::Rc;
use tokio::time::{Instant, timeout_at};

/// What a replica must have before it may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    /// All that the leader says it has written when asked for the first time after this question, in this term or later.
    After(u64, Term),
    /// The log up to here, as the leader of this term had it.
    UpTo(u64, Term),
}

/// Whom a replica is there for.
enum Fit {
    /// For this session, or no other one is usable that would be.
    Meant,
    /// For others: one that is usable and there for this session is not fresh enough yet.
    Other,
}

/// So many reads in a row for which no replica was fresh enough in time, and the next ones do not wait.
const MISSES_MAX: u8 = 4;
/// But for every so many.
const TRIES_EVERY: u8 = 16;

impl Session {
    /// Takes a connection to a replica that is known to be fresh enough, without a wait.
    pub(super) fn take_fresh(&mut self, reading: &Reading, level: ReadLevel) -> bool {
        let Source::Shared(pools, _) = &self.source else { return false };
        let pools = Rc::clone(pools);
        let need = match (level, reading.need) {
            (ReadLevel::Any, _) => Need::Nothing,
            (ReadLevel::Bounded(_), _) => return false,
            (_, need @ (Need::Nothing | Need::UpTo(..))) => need,
            (_, Need::After(..)) => return false,
        };
        let Ok(need) = self.with_token(need) else { return false };
        let (view, zone) = (self.shard.view(), self.shard.zone());
        let wish = self.wish(zone.as_deref());
        let meant = has_meant(&view, wish);
        let Some(candidates) = candidates(&view, level) else { return false };
        let last = reading.last.as_ref().filter(|_| level == ReadLevel::Monotonic);
        let fresh = candidates.filter_map(|replica| {
            let member = &replica.target.member;
            if last.is_some_and(|(last, _)| last != member) || meant && !wish.is_meant(replica) {
                return None;
            }
            let since = self.since(need, member)?;
            Some((pools.replica(&self.hub, member), replica, since))
        });
        let best = fresh.min_by_key(|(pool, replica, _)| wish.rank(replica, pool.load()));
        let Some((pool, _, since)) = best else { return false };
        drop((view, zone));
        let of_replica = |right: &Right| matches!(right, Right::Replica(_));
        let Some(link) = pool.take(of_replica, self.track.memory().state(), true) else { return false };
        let since = [since, last.map(|(_, at)| *at)].into_iter().flatten().min();
        if since.is_some_and(|since| link.opened > since) {
            // It may have been restarted, and be behind what it had, since it was asked.
            pool.give(link, &self.shard);
            return false;
        }
        if let Source::Shared(_, held) = &mut self.source {
            *held = Some(pool);
        }
        self.admitted = true;
        self.note_no_wait();
        self.adopt(link);
        true
    }

    /// The same, with what the session's token asks for.
    ///
    /// # Errors
    /// How the token stands, if no replica can be known to have it: the leader has what there is of it.
    fn with_token(&self, need: Need) -> Result<Need, Standing> {
        let Some(token) = self.asked().token else { return Ok(need) };
        let view = self.hub.view();
        match (token.standing(view.term, &view.fences), need) {
            (Standing::Kept, Need::Nothing) => Ok(Need::UpTo(token.lsn.0, view.term)),
            (Standing::Kept, Need::UpTo(lsn, term)) => Ok(Need::UpTo(lsn.max(token.lsn.0), term)),
            // What the leader is about to say is beyond it.
            (Standing::Kept, Need::After(..)) => Ok(need),
            (standing, _) => Err(standing),
        }
    }

    /// Since when this replica is known to have what is needed: a connection must be older. The outer none: it is not.
    fn since(&self, need: Need, member: &MemberName) -> Option<Option<Instant>> {
        match need {
            Need::Nothing => Some(None),
            Need::After(..) => None,
            Need::UpTo(lsn, _) => {
                let seen = self.hub.marks.replica(&self.hub, member).seen();
                (seen.term == self.hub.term() && seen.lsn >= lsn).then_some(seen.asked)
            }
        }
    }

    /// Chooses a replica for the round to come, and waits for one that is fresh enough; none in time: the leader serves it.
    pub(super) async fn choose(&mut self) {
        let Some(mut reading) = self.reading.take() else { return };
        if reading.next == Next::Find {
            reading.next = match self.choose_in_time(&mut reading).await {
                Some(member) => Next::To(member),
                None => {
                    self.hub.stats.reads_behind.add();
                    Next::Lead
                }
            };
        }
        self.reading = Some(reading);
    }

    /// Tells the client, once, that a log which was handed on has ended before what it was to see.
    fn warn_of_token(&mut self, reading: &mut Reading, standing: Standing) {
        let token = self.asked().token;
        let Standing::Beyond { end } = standing else { return };
        if let Some(token) = token.filter(|_| reading.warned != token) {
            let text = format!(
                "the log ended at {end} when leadership moved, before {}: what was committed last before this token may be lost",
                token.lsn
            );
            message::put_warning(&mut self.to_client, &text, "The leader serves the read: it has what there is.");
            reading.warned = Some(token);
        }
    }

    async fn choose_in_time(&mut self, reading: &mut Reading) -> Option<MemberName> {
        let (level, until) = (self.read_level(), self.read_until());
        let settled = self.settle(reading, level, until).await?;
        reading.settled = match self.with_token(settled) {
            Ok(need) => need,
            Err(standing) => {
                self.warn_of_token(reading, standing);
                return None;
            }
        };
        let Source::Shared(pools, _) = &self.source else { return None };
        let mut news = self.hub.marks.news();
        let mut asked = false;
        loop {
            news.borrow_and_update();
            let view = self.hub.view();
            // One that is there for others is taken only once none that is there for this session will do in time.
            let other = match self.freshest(&view, pools, reading.settled, level)? {
                Some((member, Fit::Meant)) => {
                    reading.misses = 0;
                    return Some(member);
                }
                Some((member, Fit::Other)) => Some(member),
                None => None,
            };
            if asked && reading.misses >= MISSES_MAX && !reading.misses.is_multiple_of(TRIES_EVERY) {
                // Replicas are further behind than it would wait: now and then it looks whether they still are.
                reading.misses = reading.misses.wrapping_add(1).max(MISSES_MAX);
                return other;
            }
            let mut any = false;
            for replica in candidates(&view, level)? {
                self.hub.marks.replica(&self.hub, &replica.target.member).ask();
                any = true;
            }
            asked = true;
            let news = timeout_at(until, news.changed());
            if !any || news.await.is_err() {
                reading.misses = reading.misses.wrapping_add(1).max(1);
                return other;
            }
        }
    }

    /// The best replica that is fresh enough now. The outer none: none may be chosen at all.
    fn freshest(&self, view: &View, pools: &Pools, need: Need, level: ReadLevel) -> Option<Option<(MemberName, Fit)>> {
        let zone = self.shard.zone();
        let wish = self.wish(zone.as_deref());
        let fresh = candidates(view, level)?.filter_map(|replica| {
            self.since(need, &replica.target.member)?;
            Some((pools.replica(&self.hub, &replica.target.member), replica))
        });
        let best = fresh.min_by_key(|(pool, replica)| wish.rank(replica, pool.load()));
        Some(best.map(|(_, replica)| {
            let fits = wish.is_meant(replica) || !has_meant(view, wish);
            (replica.target.member.clone(), if fits { Fit::Meant } else { Fit::Other })
        }))
    }

    /// What it would like of a replica.
    pub(super) fn wish<'a>(&self, zone: Option<&'a str>) -> Wish<'a> {
        Wish { zone, reporting: self.asked().reporting == Some(true) }
    }

    /// Whether the server behind this connection is fresh enough. It may have been restarted since it was asked, and be behind
    /// what it had: what it said before the connection was made is asked again.
    pub(super) async fn is_fresh(&self, link: &Link) -> bool {
        let (Some(reading), Right::Replica(member)) = (&self.reading, &link.right) else { return true };
        let Need::UpTo(lsn, _) = reading.settled else { return true };
        let mark = self.hub.marks.replica(&self.hub, member);
        let fresh = |seen: &Seen| {
            seen.term == self.hub.term() && seen.lsn >= lsn && seen.asked.is_some_and(|asked| asked >= link.opened)
        };
        mark.wait(self.read_until(), fresh).await.is_some()
    }

    /// No replica for this round.
    pub(super) fn choose_none(&mut self) {
        if let Some(reading) = &mut self.reading {
            reading.next = Next::Lead;
            self.hub.stats.reads_behind.add();
        }
    }

    fn read_until(&self) -> Instant {
        Instant::now() + self.asked().wait.unwrap_or(self.shard.reads.get().wait)
    }

    /// What is needed, as a position; none when the leader does not say in time.
    async fn settle(&self, reading: &mut Reading, level: ReadLevel, until: Instant) -> Option<Need> {
        let (leader, term) = (&self.hub.marks.leader, self.hub.term());
        let current = |seen: &Seen| seen.term >= term && seen.term > Term::default();
        match (level, reading.need) {
            (ReadLevel::Any, _) => Some(Need::Nothing),
            (ReadLevel::Bounded(age), _) => {
                let age = age.duration();
                let young = |seen: &Seen| current(seen) && seen.asked.is_some_and(|at| at.elapsed() <= age);
                leader.wait(until, young).await.map(|seen| Need::UpTo(seen.lsn, seen.term))
            }
            (_, Need::After(question, of)) => {
                let seen =
                    leader.wait(until, |seen| current(seen) && seen.term >= of && seen.number > question).await?;
                reading.need = Need::UpTo(seen.lsn, seen.term);
                Some(reading.need)
            }
            (ReadLevel::Monotonic, _) if reading.last.is_some() => {
                // Whatever was read, the leader has.
                let question = leader.asked();
                let seen = leader.wait(until, |seen| current(seen) && seen.number > question).await?;
                reading.need = Need::UpTo(seen.lsn, seen.term);
                Some(reading.need)
            }
            (_, need) => Some(need),
        }
    }
}

/// Replicas that may be chosen.
fn candidates(view: &View, level: ReadLevel) -> Option<impl Iterator<Item = &ReplicaTarget>> {
    // Those of another term's leader may have another log of the same length.
    let known = level == ReadLevel::Any || (view.replicas_of == view.term && view.admitting_leader().is_some());
    known.then(|| view.readable())
}

/// Whether a replica is there for such a reader, fresh enough or not.
fn has_meant(view: &View, wish: Wish<'_>) -> bool {
    view.readable().any(|replica| wish.is_meant(replica))
}
