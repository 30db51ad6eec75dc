//! Lag on real servers: stopped, cut, frozen, delayed, idle and loaded replicas are told apart, and the age is the data's.

use crate::run::{LIMIT, until};
use crate::stage::{Member, Stage};
use dauphin_engine::mysql::lag::{Applying, Lag, Measure, Memory, PERIOD, Receiving, lag};
use dauphin_engine::mysql::{Acknowledges, Error, SemiSync, Source, StopMode};
use dauphin_model::Term;
use mysql_async::prelude::Queryable;
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// How old data may be that is not behind.
const FRESH: Duration = Duration::from_secs(2);

/// Whoever looks at a replica again and again.
struct Watch {
    begun: Instant,
    memory: Memory,
}

impl Watch {
    fn new() -> Self {
        Self { begun: Instant::now(), memory: Memory::default() }
    }

    async fn look(&mut self, member: &Member) -> Lag {
        let facts = member.sql.lag_facts(LIMIT).await.unwrap();
        // one machine: the clocks are one
        lag(self.begun.elapsed(), &facts[0], Some(0), &mut self.memory)
    }

    /// Waits for an answer; the leader's heart beats meanwhile, if it has one.
    async fn until(&mut self, member: &Member, leader: Option<&Member>, what: &str, is: impl Fn(&Lag) -> bool) -> Lag {
        let (begun, mut beaten) = (Instant::now(), None::<Instant>);
        loop {
            if let Some(leader) = leader.filter(|_| beaten.is_none_or(|at| at.elapsed() >= PERIOD)) {
                leader.sql.beat(Term(7), LIMIT).await.unwrap();
                beaten = Some(Instant::now());
            }
            let lag = self.look(member).await;
            if is(&lag) {
                eprintln!(
                    "measured: {what}: {:?} {:?} age {:?}, the server says {:?}",
                    lag.receiving, lag.applying, lag.age, lag.server_says
                );
                return lag;
            }
            assert!(begun.elapsed() < LIMIT, "{what} did not come: {lag:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn age(lag: &Lag) -> Duration {
    let (age, measure) = lag.age.unwrap();
    assert_eq!(measure, Measure::Heartbeat);
    age
}

pub async fn lag_does_not_lie(stage: &Stage) {
    let (mut one, mut two) = (stage.leader("m1").await, stage.member("m2").await);
    assert!(two.sql.lag_facts(LIMIT).await.unwrap().is_empty(), "it follows nobody");
    assert_eq!(one.sql.heartbeat(LIMIT).await.unwrap(), None);
    two.follow(&one).await;
    two.executes(&one.look().await.executed).await;
    let mut watch = Watch::new();
    assert_eq!(watch.look(&two).await.age, None, "no heartbeat yet: it is not 0 for want of knowledge");
    let idle = watch.until(&two, Some(&one), "idle", |lag| lag.age.is_some() && lag.applying == Applying::Done).await;
    assert!(age(&idle) < FRESH && idle.receiving == Receiving::Yes && idle.waiting == 0, "{idle:?}");
    let beat = two.sql.heartbeat(LIMIT).await.unwrap().unwrap();
    assert_eq!((beat.term, beat.writer.as_str()), (Term(7), "m1"));

    // paused: the server says NULL, and the data grows old
    two.sql.stop_appliers().await.unwrap();
    let grown = |lag: &Lag| age(lag) > FRESH && lag.waiting > 1;
    let paused = watch.until(&two, Some(&one), "applier stopped", grown).await;
    assert_eq!((&paused.applying, paused.server_says), (&Applying::Stopped(None), None));
    assert_eq!(paused.receiving, Receiving::Yes);
    two.sql.start_appliers().await.unwrap();
    watch.until(&two, Some(&one), "caught up", |lag| lag.applying == Applying::Done && age(lag) < FRESH).await;

    // busy: a lock holds the applier up, and what waits is counted
    let mut blocker = two.root().await;
    blocker.query_drop("LOCK TABLES app.t READ").await.unwrap();
    for n in 0..20 {
        one.insert(n).await.unwrap();
    }
    let loaded = watch.until(&two, Some(&one), "held up", |lag| lag.waiting >= 20 && age(lag) > FRESH).await;
    assert_eq!((&loaded.receiving, &loaded.applying), (&Receiving::Yes, &Applying::Behind));
    blocker.query_drop("UNLOCK TABLES").await.unwrap();
    watch.until(&two, Some(&one), "caught up", |lag| lag.waiting == 0 && age(lag) < FRESH).await;

    // frozen: the connection stands, the server says that all is well
    let process = one.sql.instance.process().unwrap();
    process.signal(Signal::STOP).unwrap();
    let frozen =
        watch.until(&two, None, "leader frozen", |lag| matches!(lag.receiving, Receiving::Silent { .. })).await;
    assert!(age(&frozen) > FRESH && frozen.applying == Applying::Done, "{frozen:?}");
    process.signal(Signal::CONT).unwrap();
    watch.until(&two, Some(&one), "thawed", |lag| lag.receiving == Receiving::Yes && age(lag) < FRESH).await;

    // cut, and then never connected
    one.stop(StopMode::Kill).await;
    let cut = watch.until(&two, None, "leader dead", |lag| matches!(lag.receiving, Receiving::Cut(Some(_)))).await;
    assert_eq!(cut.applying, Applying::Done, "all that came is applied");
    let older = age(&cut) + PERIOD;
    watch.until(&two, None, "leader dead for longer", |lag| age(lag) > older).await;
    two.stop(StopMode::Kill).await;
    two.start().await;
    two.follow(&one).await;
    watch.until(&two, None, "never connected", |lag| matches!(lag.receiving, Receiving::NeverConnected(Some(_)))).await;
    two.sql.freeze(LIMIT).await.unwrap();
    watch.until(&two, None, "receiver stopped", |lag| matches!(lag.receiving, Receiving::Stopped(_))).await;
}

pub async fn a_delay_on_purpose_is_told_from_a_lag(stage: &Stage) {
    let (one, mut two) = (stage.leader("m1").await, stage.member("m2").await);
    two.follow(&one).await;
    one.sql.beat(Term(1), LIMIT).await.unwrap();
    two.executes(&one.look().await.executed).await;
    late(&two, &one).await;
    one.insert(1).await.unwrap();
    let delayed = |lag: &Lag| lag.waiting > 0 && lag.applying == Applying::Delayed { by: Duration::from_secs(60) };
    let lag = Watch::new().until(&two, Some(&one), "delayed", delayed).await;
    assert_eq!(lag.receiving, Receiving::Yes);

    // it was not acknowledged by it: an election waits for none of it, and neither does a stop
    let before = two.look().await.executed;
    let frozen = tokio::time::timeout(LIMIT, two.sql.freeze_at(LIMIT)).await.expect("at once");
    assert!(matches!(frozen, Err(Error::Stray { .. })), "no leadership began here, and it says so: {frozen:?}");
    assert_eq!(two.look().await.executed, before);
    // whomever it follows then, from wherever it was: all is received again, and nothing is applied early
    let three = stage.member("m3").await;
    three.follow(&one).await;
    three.executes(&one.look().await.executed).await;
    late(&two, &three).await;
    Watch::new().until(&two, Some(&one), "delayed behind another", delayed).await;
    two.stop(StopMode::Kill).await;
    two.start().await;
    late(&two, &three).await;
    Watch::new().until(&two, Some(&one), "delayed behind a crash", delayed).await;
    two.stop_in_order().await;
    two.start().await;
    late(&two, &one).await;
    Watch::new().until(&two, Some(&one), "delayed behind a stop", delayed).await;
    assert_eq!(two.look().await.executed, before);
    two.follow(&one).await;
    two.executes(&one.look().await.executed).await;
}

/// Has it apply a minute late.
async fn late(two: &Member, one: &Member) {
    let source = Source { delay_s: 60, ..one.source(None) };
    two.sql.follow(&source, Acknowledges::No, LIMIT).await.unwrap();
}

pub async fn a_heartbeat_is_a_leaders_alone(stage: &Stage) {
    let (one, two) = (stage.leader("m1").await, stage.member("m2").await);
    two.follow(&one).await;
    one.sql.beat(Term(1), LIMIT).await.unwrap();
    let first = one.sql.heartbeat(LIMIT).await.unwrap().unwrap();
    one.sql.beat(Term(2), LIMIT).await.unwrap();
    let second = one.sql.heartbeat(LIMIT).await.unwrap().unwrap();
    assert_eq!((second.beats, second.term), (first.beats + 1, Term(2)));
    assert!(second.at_us > first.at_us && second.now_us >= second.at_us);
    two.executes(&one.look().await.executed).await;
    assert_eq!(two.sql.heartbeat(LIMIT).await.unwrap().unwrap().at_us, second.at_us, "it is the leader's");
    // on a replica it would be an errant transaction
    let refused = two.sql.beat(Term(2), LIMIT).await;
    assert!(matches!(refused, Err(Error::Setting { .. })), "{refused:?}");
    // a leader whose commits wait adds no other that waits
    one.sql.set_semi_sync(SemiSync::Wait { required: 1 }).await.unwrap();
    two.sql.freeze(LIMIT).await.unwrap();
    let waits = one.sql.beat(Term(2), Duration::from_millis(500)).await;
    assert!(matches!(waits, Err(Error::Sql { .. })), "{waits:?}");
    until("a waiting commit", async || one.look().await.semi_sync.waiting == 1).await;
    let again = one.sql.beat(Term(2), LIMIT).await;
    assert!(matches!(again, Err(Error::CommitsWait { sessions: 1 })), "{again:?}");
    two.sql.start_receivers(LIMIT).await.unwrap();
    until("the acknowledgement", async || one.look().await.semi_sync.waiting == 0).await;
    one.sql.beat(Term(2), LIMIT).await.unwrap();
    let (ours, theirs) = (two.look().await.logged(), one.look().await.logged());
    assert!(ours.errant(&theirs).is_empty());
}
