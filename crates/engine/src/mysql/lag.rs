//! How far a replica is behind, without lies: what is received is told apart from what is applied, a link that is cut from one
//! that is silent, a delay on purpose from a lag, and an idle leader from one that is not heard. The server's own figure stands
//! beside it and decides nothing. Pure: from facts, and what was seen before, to an answer; [`Mysql::lag_facts`] asks.
//!
//! Ages compare the leader's wall clock with this machine's: they are for people, and the clocks' difference is named.

use crate::mysql::client::Row;
use crate::mysql::{Channel, Error, Fault, Flavour, Mysql, Reached, Result, Thread};
use dauphin_model::{Held, Term};
use std::time::Duration;

/// How often a leader writes its heartbeat.
pub const PERIOD: Duration = Duration::from_secs(1);
/// A link on which nothing came for so long is silent: several heartbeats are missing.
const SILENT_AFTER: Duration = Duration::from_secs(3);
/// An applier that finishes nothing for so long, with something to do, is stuck: a lock, or a very long transaction.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// How much later than its delay a delayed replica may apply before it counts as behind.
const DELAY_SLACK: Duration = Duration::from_secs(5);

/// MySQL's workers: when what they apply, and what they applied last, was committed on the server that wrote it first.
const STAMPS: &str = "SELECT CHANNEL_NAME AS channel, \
     CAST(MIN(NULLIF(UNIX_TIMESTAMP(APPLYING_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP), 0)) * 1000000 AS unsigned) AS applying, \
     CAST(MAX(UNIX_TIMESTAMP(LAST_APPLIED_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP)) * 1000000 AS unsigned) AS applied, \
     CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS unsigned) AS now_us \
     FROM performance_schema.replication_applier_status_by_worker GROUP BY CHANNEL_NAME";

/// A heartbeat as a replica has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// How many were written.
    pub beats: u64,
    /// Term of the leader that wrote it.
    pub term: Term,
    /// Its name.
    pub writer: String,
    /// When, by the leader's clock, in microseconds since 1970.
    pub at_us: u64,
    /// This machine's clock when it was read.
    pub now_us: u64,
}

/// When transactions were committed on the server that wrote them first; MySQL's replicas know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamps {
    /// The oldest one that is being applied.
    pub applying_us: Option<u64>,
    /// The newest one that was applied.
    pub applied_us: Option<u64>,
    /// This machine's clock.
    pub now_us: u64,
}

/// What was seen of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The channel.
    pub channel: Channel,
    /// What is applied and seen by every session.
    pub applied: Reached,
    /// The heartbeat, as applied.
    pub beat: Option<Beat>,
    /// The workers' commit times.
    pub stamps: Option<Stamps>,
}

/// What reaches a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receiving {
    /// It receives.
    Yes,
    /// The connection stands and nothing comes, not even heartbeats: the leader is frozen, or nobody leads.
    Silent {
        /// For so long.
        since: Duration,
    },
    /// It tries to connect.
    Cut(Option<Fault>),
    /// It has not reached its source since its server started.
    NeverConnected(Option<Fault>),
    /// Its receiver is stopped.
    Stopped(Option<Fault>),
}

/// What becomes of what was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applying {
    /// All of it is applied.
    Done,
    /// It is at work.
    Behind,
    /// It waits on purpose.
    Delayed {
        /// For so long.
        by: Duration,
    },
    /// It finishes nothing: a lock, or a very long transaction.
    Stuck {
        /// For so long.
        since: Duration,
    },
    /// It is stopped.
    Stopped(Option<Fault>),
}

/// Where an age comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    /// The leader's heartbeat: how old the data is.
    Heartbeat,
    /// The time at which what is applied next, or was applied last, was committed.
    CommitTime,
}

/// How far a replica is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// What reaches it.
    pub receiving: Receiving,
    /// What becomes of that.
    pub applying: Applying,
    /// How many transactions were received and are not applied.
    pub waiting: u64,
    /// How old its data is, and how that was measured; `None` when nothing says it. It is never 0 for want of knowledge.
    pub age: Option<(Duration, Measure)>,
    /// Whether the difference of the two clocks was known; if not, it is in the age.
    pub clocks_known: bool,
    /// The server's own figure, in seconds.
    pub server_says: Option<u64>,
}

/// What was seen before: silence and standstill are told by it.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    received: Option<(Reached, Duration)>,
    applied: Option<(Reached, Duration)>,
}

/// For how long it has been what it is.
fn unchanged(seen: &mut Option<(Reached, Duration)>, now: Duration, value: &Reached) -> Duration {
    match seen {
        Some((known, since)) if known == value => now.saturating_sub(*since),
        _ => {
            *seen = Some((value.clone(), now));
            Duration::ZERO
        }
    }
}

/// How far a replica is behind, at `now` of this machine's steady clock. `leader_ahead_us` is by how much the leader's clock is
/// ahead of this one's, if somebody measured it.
#[must_use]
pub fn lag(now: Duration, facts: &Facts, leader_ahead_us: Option<i64>, memory: &mut Memory) -> Lag {
    let channel = &facts.channel;
    let silent = unchanged(&mut memory.received, now, &channel.retrieved);
    let done = facts.applied.holds(&channel.retrieved);
    let still = unchanged(&mut memory.applied, now, &facts.applied);
    if done {
        // it had nothing to do: what comes next is not late yet
        memory.applied = Some((facts.applied.clone(), now));
    }
    let receiving = match channel.receiver {
        Thread::Stopped => Receiving::Stopped(channel.receiver_fault.clone()),
        Thread::Connecting if channel.source_id == 0 => Receiving::NeverConnected(channel.receiver_fault.clone()),
        Thread::Connecting => Receiving::Cut(channel.receiver_fault.clone()),
        Thread::Running if silent >= SILENT_AFTER => Receiving::Silent { since: silent },
        Thread::Running => Receiving::Yes,
    };
    let age = age(facts, done, leader_ahead_us);
    let delay = Duration::from_secs(channel.delay_s);
    let in_time = age.is_none_or(|(age, _)| age <= delay + DELAY_SLACK);
    let applying = match channel.applier {
        Thread::Stopped => Applying::Stopped(channel.applier_fault.clone()),
        Thread::Connecting | Thread::Running if done => Applying::Done,
        Thread::Connecting | Thread::Running if !delay.is_zero() && in_time => Applying::Delayed { by: delay },
        Thread::Connecting | Thread::Running if still >= STUCK_AFTER + delay => Applying::Stuck { since: still },
        Thread::Connecting | Thread::Running => Applying::Behind,
    };
    Lag {
        receiving,
        applying,
        waiting: waiting(&channel.retrieved, &facts.applied),
        age,
        clocks_known: leader_ahead_us.is_some(),
        server_says: channel.seconds_behind,
    }
}

fn age(facts: &Facts, done: bool, leader_ahead_us: Option<i64>) -> Option<(Duration, Measure)> {
    let since = |at_us: u64, now_us: u64| {
        let now = now_us.saturating_add_signed(leader_ahead_us.unwrap_or(0));
        Duration::from_micros(now.saturating_sub(at_us))
    };
    if let Some(beat) = &facts.beat {
        return Some((since(beat.at_us, beat.now_us), Measure::Heartbeat));
    }
    // with nothing left to apply the last commit's time says how idle the leader is, not how late this one
    let stamps = facts.stamps.filter(|_| !done)?;
    let at = stamps.applying_us.or(stamps.applied_us).filter(|at| *at > 0)?;
    Some((since(at, stamps.now_us), Measure::CommitTime))
}

/// How many transactions were received and not applied.
fn waiting(received: &Reached, applied: &Reached) -> u64 {
    match (received, applied) {
        (Reached::Mysql(received), Reached::Mysql(applied)) => received.subtract(applied).count(),
        (Reached::Mariadb(received), Reached::Mariadb(applied)) => received
            .gtids()
            .map(|last| last.sequence.saturating_sub(applied.of(last.domain).map_or(0, |done| done.sequence)))
            .sum(),
        (Reached::Mysql(_), Reached::Mariadb(_)) | (Reached::Mariadb(_), Reached::Mysql(_)) => 0,
    }
}

impl Mysql {
    /// What there is to know of each channel; none on a server that follows nobody.
    ///
    /// # Errors
    /// [`Error::Sql`], [`Error::Answer`].
    pub async fn lag_facts(&self, limit: Duration) -> Result<Vec<Facts>> {
        let stamps = match self.dialect().flavour() {
            Flavour::Mysql => self.looks.query(STAMPS, limit).await.map_err(Error::sql("looking at the workers"))?,
            Flavour::Mariadb => Vec::new(),
        };
        // read before the look: what is received later may be newer, never the other way round
        let beat = self.heartbeat(limit).await?;
        let view = self.look(limit).await?;
        let applied = view.applied;
        let facts = |channel: Channel| {
            let row = stamps.iter().find(|row| row.get("channel") == Some(&channel.name));
            Facts { stamps: row.and_then(stamps_of), applied: applied.clone(), beat: beat.clone(), channel }
        };
        Ok(view.channels.into_iter().map(facts).collect())
    }
}

fn stamps_of(row: &Row) -> Option<Stamps> {
    let (applying_us, applied_us) = (row.parse("applying"), row.parse("applied"));
    Some(Stamps { applying_us, applied_us, now_us: row.parse("now_us")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(sequence: u64) -> Reached {
        Reached::Mariadb(format!("0-1-{sequence}").parse().expect("a position"))
    }

    /// A replica that is up to date, on a leader that wrote its heartbeat just now.
    fn good() -> Facts {
        let channel = Channel {
            name: String::new(),
            user: String::new(),
            host: "leader".to_owned(),
            port: 3306,
            source_id: 1,
            receiver: Thread::Running,
            applier: Thread::Running,
            receiver_fault: None,
            applier_fault: None,
            retrieved: position(100),
            relay_at: None,
            by_gtid: true,
            seconds_behind: Some(0),
            delay_s: 0,
            tls: true,
        };
        let beat =
            Beat { beats: 9, term: Term(1), writer: "m1".to_owned(), at_us: 1_000_000_000, now_us: 1_000_200_000 };
        Facts { channel, applied: position(100), beat: Some(beat), stamps: None }
    }

    fn at(seconds: u64, facts: &Facts, memory: &mut Memory) -> Lag {
        lag(Duration::from_secs(seconds), facts, Some(0), memory)
    }

    fn check(change: impl FnOnce(&mut Facts), receiving: &Receiving, applying: &Applying) -> Lag {
        let mut facts = good();
        change(&mut facts);
        let lag = at(0, &facts, &mut Memory::default());
        assert_eq!((&lag.receiving, &lag.applying), (receiving, applying), "{facts:?}");
        lag
    }

    /// The heartbeat that was applied is so old.
    fn aged(facts: &mut Facts, seconds: u64) {
        if let Some(beat) = &mut facts.beat {
            beat.now_us = beat.at_us + seconds * 1_000_000;
        }
    }

    #[test]
    fn threads_that_are_down_are_told_apart_though_the_server_says_null_to_all() {
        let fault = Fault { number: 2003, text: "cannot connect".to_owned() };
        let lag = check(|_| {}, &Receiving::Yes, &Applying::Done);
        assert_eq!((lag.waiting, lag.age), (0, Some((Duration::from_millis(200), Measure::Heartbeat))));
        let connecting = |source_id: u32, fault: &Fault| {
            let fault = fault.clone();
            move |facts: &mut Facts| {
                facts.channel.receiver = Thread::Connecting;
                (facts.channel.source_id, facts.channel.receiver_fault) = (source_id, Some(fault));
                facts.channel.seconds_behind = None;
            }
        };
        check(connecting(1, &fault), &Receiving::Cut(Some(fault.clone())), &Applying::Done);
        check(connecting(0, &fault), &Receiving::NeverConnected(Some(fault.clone())), &Applying::Done);
        check(|f| f.channel.receiver = Thread::Stopped, &Receiving::Stopped(None), &Applying::Done);
        let fault = Fault { number: 1062, text: "a row is there already".to_owned() };
        let stopped = |facts: &mut Facts| {
            (facts.channel.applier, facts.channel.applier_fault) = (Thread::Stopped, Some(fault.clone()));
            facts.applied = position(90);
            aged(facts, 40);
        };
        let lag = check(stopped, &Receiving::Yes, &Applying::Stopped(Some(fault.clone())));
        assert_eq!((lag.waiting, lag.age.map(|(age, _)| age)), (10, Some(Duration::from_secs(40))));
    }

    #[test]
    fn a_frozen_leader_is_silence_and_an_idle_one_is_not() {
        let mut memory = Memory::default();
        let mut facts = good();
        for second in 0..20 {
            // an idle leader: nothing but heartbeats comes
            facts.channel.retrieved = position(100 + second);
            facts.applied = facts.channel.retrieved.clone();
            assert_eq!(at(second, &facts, &mut memory).receiving, Receiving::Yes);
        }
        // frozen: the connection still stands, and the server says 0
        aged(&mut facts, 3);
        let lag = at(22, &facts, &mut memory);
        assert_eq!((lag.receiving, lag.server_says), (Receiving::Silent { since: Duration::from_secs(3) }, Some(0)));
        assert_eq!((lag.applying, lag.age.map(|(age, _)| age)), (Applying::Done, Some(Duration::from_secs(3))));
        facts.channel.retrieved = position(200);
        assert_eq!(at(23, &facts, &mut memory).receiving, Receiving::Yes);
    }

    #[test]
    fn a_delay_on_purpose_is_no_lag_until_it_is_longer_than_asked_for() {
        let delayed = |age: u64| {
            move |facts: &mut Facts| {
                facts.channel.delay_s = 60;
                facts.applied = position(50);
                aged(facts, age);
            }
        };
        check(delayed(61), &Receiving::Yes, &Applying::Delayed { by: Duration::from_secs(60) });
        check(delayed(70), &Receiving::Yes, &Applying::Behind);
    }

    #[test]
    fn an_applier_that_finishes_nothing_is_stuck_and_one_that_was_idle_is_not() {
        let mut memory = Memory::default();
        let mut facts = good();
        for second in 0..30 {
            // up to date, and nothing to do
            assert_eq!(at(second, &facts, &mut memory).applying, Applying::Done);
        }
        facts.channel.retrieved = position(101);
        assert_eq!(at(30, &facts, &mut memory).applying, Applying::Behind);
        facts.channel.retrieved = position(105);
        assert_eq!(at(38, &facts, &mut memory).applying, Applying::Behind);
        assert_eq!(at(39, &facts, &mut memory).applying, Applying::Stuck { since: Duration::from_secs(10) });
        facts.applied = position(101);
        assert_eq!(at(40, &facts, &mut memory).applying, Applying::Behind);
    }

    #[test]
    fn ages_are_measured_or_absent_and_say_whose_clock() {
        let mut facts = good();
        // the leader's clock is two seconds ahead of ours
        let known = lag(Duration::ZERO, &facts, Some(2_000_000), &mut Memory::default());
        assert_eq!((known.age.map(|(age, _)| age), known.clocks_known), (Some(Duration::from_millis(2_200)), true));
        let unknown = lag(Duration::ZERO, &facts, None, &mut Memory::default());
        assert_eq!((unknown.age.map(|(age, _)| age), unknown.clocks_known), (Some(Duration::from_millis(200)), false));
        let behind = lag(Duration::ZERO, &facts, Some(-9_000_000), &mut Memory::default());
        assert_eq!(behind.age.map(|(age, _)| age), Some(Duration::ZERO), "never less than nothing");
        // no heartbeat was ever written: the commit times of what waits, and nothing where nothing waits
        facts.beat = None;
        facts.stamps = Some(Stamps { applying_us: Some(5_000_000), applied_us: Some(4_000_000), now_us: 9_000_000 });
        assert_eq!(at(0, &facts, &mut Memory::default()).age, None);
        facts.applied = position(99);
        let age = |facts: &Facts| at(0, facts, &mut Memory::default()).age;
        assert_eq!(age(&facts), Some((Duration::from_secs(4), Measure::CommitTime)));
        facts.stamps = Some(Stamps { applying_us: None, applied_us: Some(4_000_000), now_us: 9_000_000 });
        assert_eq!(age(&facts), Some((Duration::from_secs(5), Measure::CommitTime)));
        facts.stamps = None;
        assert_eq!(age(&facts), None, "MariaDB does not say");
    }
}
