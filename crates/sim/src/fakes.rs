//! The fake servers by themselves: no agents, no store, no chance. `dauphin-conform` drives them through the same scenarios
//! as real servers, and what can be observed must be equal. It adds nothing to what the world's servers do.

use crate::coming::Coming;
use crate::config::{Config, Faults, Pace, spec};
use crate::world::World;
use dauphin_ha::{EngineOutcome, EngineStep};
use dauphin_model::{Durability, EngineKind, Incarnation, Lsn, MemberName, Mono, Position, Span, Voter};
use std::collections::BTreeSet;

/// After this long whatever can arrive has: many times what a stream needs to carry a scenario's log.
const SETTLED: Span = Span::ms(200);

/// How a replica's stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FakeStream {
    /// It follows nobody, or one that is not there.
    None,
    /// It streams.
    Streams,
    /// What it needs next is not kept any more.
    LogGone,
    /// Its log holds what its upstream's does not.
    LogParts,
    /// Its recovery aims at a timeline that its upstream's log does not hold.
    AsksElsewhere,
}

/// Fake servers, one for each member.
#[derive(Debug, Clone)]
pub struct Fakes {
    world: World,
}

impl Fakes {
    /// Members without data, on servers of this engine.
    #[must_use]
    pub fn new(engine: EngineKind, members: u64) -> Self {
        let pace = Pace { steady: true, clients: 0, ..Pace::default() };
        let mut spec = spec(members, Durability::Quorum);
        spec.engine = engine;
        let mut world = World::new(Config { spec, pace, faults: Faults::default(), ..Config::of_seed(0) });
        world.coming.retain(|_, coming| matches!(coming, Coming::Ship(_)));
        world.bare = true;
        Self { world }
    }

    /// The member's name.
    #[must_use]
    pub fn name(&self, at: usize) -> MemberName {
        self.world.nodes[at].name.clone()
    }

    /// The member as a voter.
    #[must_use]
    pub fn voter(&self, at: usize) -> Voter {
        Voter::new(self.name(at), Incarnation(1))
    }

    /// Carries a step out at once, from its beginning to its end.
    ///
    /// # Errors
    /// What the server says when it cannot.
    pub fn step(&mut self, at: usize, step: &EngineStep) -> Result<EngineOutcome, String> {
        self.begin(at, step);
        let db_life = self.world.nodes[at].db.life;
        self.world.engine_does(at, db_life, step).map_err(|failure| failure.because)
    }

    /// Begins a step; it does not end before [`Self::step`].
    pub fn begin(&mut self, at: usize, step: &EngineStep) {
        self.world.engine_begins(at, step.clone());
        self.world.coming.retain(|_, coming| !matches!(coming, Coming::EngineEnds { .. }));
    }

    /// A client that was let in writes; whether it could.
    pub fn write(&mut self, at: usize, value: u64) -> bool {
        let db = &mut self.world.nodes[at].db;
        let wrote = db.running.as_ref().is_some_and(|r| r.access) && db.write(value);
        self.world.release(at);
        wrote
    }

    /// Cancels the wait of a commit; whether it waited.
    pub fn cancel(&mut self, at: usize, value: u64) -> bool {
        self.world.nodes[at].db.cancel(value)
    }

    /// Somebody writes on a replica.
    pub fn write_by_hand(&mut self, at: usize, value: u64) {
        self.world.writes_errant(at, value);
    }

    /// The leader's agent writes its heartbeat.
    pub fn beat(&mut self, at: usize) {
        self.world.gtid_beats(at);
    }

    /// What it receives is not applied from now on, or is again.
    pub fn hold_applier(&mut self, at: usize, held: bool) {
        self.world.nodes[at].applier_stands_until = if held { Mono(u64::MAX) } else { Mono(0) };
    }

    /// What it vouches for once it is frozen.
    #[must_use]
    pub fn vouches(&self, at: usize) -> Option<Position> {
        self.world.nodes[at].db.held_at()
    }

    /// Whether that value lies before there in the log in which it was written.
    #[must_use]
    pub fn lies_before(&self, value: u64, end: &Position) -> bool {
        let mut all = self.world.nodes.iter().flat_map(|n| n.db.on_disk());
        let written = all.find(|record| record.value == value);
        written.is_some_and(|r| end.timeline_from(Lsn(r.number)) == r.timeline && r.number < end.lsn.0)
    }

    /// The server's processes die.
    pub fn kill(&mut self, at: usize) {
        self.world.kill_server(at);
    }

    /// Gives away log that nobody of `kept_for` needs.
    pub fn recycle(&mut self, at: usize, kept_for: &[usize]) {
        let needed = kept_for.iter().map(|other| self.world.nodes[*other].db.log.len()).min();
        self.world.nodes[at].db.recycle(needed);
    }

    /// Lets everything arrive that can.
    pub fn settle(&mut self) {
        let end = self.world.now() + SETTLED;
        while self.world.next_at().is_some_and(|at| at <= end) {
            self.world.go_on();
        }
    }

    /// The client was told that its commit is done.
    #[must_use]
    pub fn acknowledged(&self, value: u64) -> bool {
        self.world.watch.kept.contains_key(&value)
    }

    /// The commit waits on that server.
    #[must_use]
    pub fn waits(&self, at: usize, value: u64) -> bool {
        self.world.nodes[at].db.running.as_ref().is_some_and(|r| r.waiting.iter().any(|w| w.value == value))
    }

    /// What the log on that member's disk holds.
    #[must_use]
    pub fn logged(&self, at: usize) -> BTreeSet<u64> {
        self.world.nodes[at].db.log.iter().map(|r| r.value).filter(|value| *value != 0).collect()
    }

    /// What another session sees on a server that runs: a commit that waits is not to be seen yet.
    #[must_use]
    pub fn visible(&self, at: usize) -> BTreeSet<u64> {
        let mut seen = self.logged(at);
        seen.retain(|value| !self.waits(at, *value));
        seen
    }

    /// End of the log on that member's disk.
    #[must_use]
    pub fn position(&self, at: usize) -> Position {
        self.world.nodes[at].db.position()
    }

    /// The first hears that the second leads, and receives nothing of it.
    pub fn hear_of(&mut self, at: usize, of: usize) {
        let theirs = self.world.nodes[of].db.position();
        self.world.nodes[at].db.hear_of(&theirs);
    }

    /// Who streams from it.
    #[must_use]
    pub fn attached(&self, at: usize) -> BTreeSet<MemberName> {
        self.world.view_of(at).attached.into_iter().filter_map(|a| Some(a.voter?.name)).collect()
    }

    /// How that member's stream stands.
    #[must_use]
    pub fn stream(&self, at: usize) -> FakeStream {
        let db = &self.world.nodes[at].db;
        let Some(running) = &db.running else { return FakeStream::None };
        let upstream = running.upstream.as_ref().map(|(source, _)| &self.world.nodes[*source].db);
        match upstream.filter(|source| source.running.is_some()) {
            None => FakeStream::None,
            Some(_) if running.streaming => FakeStream::Streams,
            Some(source) if db.kind.has_gtids() => {
                if running.gtid.begins_astray || db.lacks(source).is_none() {
                    FakeStream::LogParts
                } else {
                    FakeStream::None
                }
            }
            Some(source) if db.position().leads_into(&source.position()).is_err() => FakeStream::LogParts,
            Some(source) if db.asks_for() != Some(source.position().timeline_from(db.position().lsn)) => {
                FakeStream::AsksElsewhere
            }
            Some(_) => FakeStream::LogGone,
        }
    }
}
