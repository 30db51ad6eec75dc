//! What would happen if a blow fell on a cluster as it stands: the same cluster is made in a simulated world and the blow falls
//! there, on the same decision core. The agent asks for `dauphin what-if`; it never looks at the live cluster itself.

use crate::config::{Config, Faults, Pace};
use crate::faults::Fault;
use crate::world::World;
use dauphin_ha::{Command, Reason};
use dauphin_model::{MemberName, Mono, Span, Spec};
use std::collections::BTreeSet;
use std::fmt;

/// How long the simulated cluster may take to be as the live one is, at each step of the way.
const LIKE_IT_WITHIN: Span = Span::ms(60_000);
/// How long it is left alone before the blow, so that sets of voters have changed as they would have.
const SETTLES: Span = Span::ms(15_000);
/// How long what follows is watched.
const WATCHED: Span = Span::ms(20_000);
/// How long it is watched while nobody acknowledges anything.
const WAITED: Span = Span::ms(60_000);
/// How finely pauses are measured.
const GRAIN: Span = Span::ms(5);
/// Longer than any of it.
const FOR_GOOD: Span = Span::ms(3_600_000);
/// Between two streams that stop, so that one of their replicas is further behind than the other.
const APART: Span = Span::ms(300);

/// The cluster as it stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// What it is meant to be.
    pub spec: Spec,
    /// Who leads and is open.
    pub leader: MemberName,
    /// Every other member.
    pub others: Vec<(MemberName, Condition)>,
    /// Automatic failover is off.
    pub paused: bool,
}

/// How a member other than the leader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It is there and has about all of the log.
    Follows,
    /// It is there, and so many bytes of log have not reached it.
    Behind(u64),
    /// It takes no part.
    Away,
}

/// What falls on the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blow {
    /// These members' agents, guards and servers die at once.
    Kill(Vec<MemberName>),
    /// This member stands still.
    Freeze(MemberName),
    /// These members are cut off from all the others, and from the store unless they are most of it.
    CutOff(Vec<MemberName>),
}

/// How one draw ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Who leads and lets clients in afterwards.
    pub leader: Option<MemberName>,
    /// The longest time in which no commit was acknowledged. `None`: to the end.
    pub gap: Option<Span>,
    /// Acknowledged commits of that last time before the blow are not in the new leader's log.
    pub lost: Span,
    /// What the members said of it if nobody leads.
    pub because: Option<Reason>,
}

/// Why the simulated cluster did not come to stand as the live one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlike {
    /// It did not come to be open.
    NotOpen,
    /// Leadership did not go to the live cluster's leader.
    OtherLeader,
}

impl fmt::Display for Unlike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOpen => "a simulated cluster like this one does not come to be open",
            Self::OtherLeader => "in a simulated cluster like this one another member leads",
        })
    }
}

impl std::error::Error for Unlike {}

/// What happens after the blow in the world of this seed: times and order of small things differ from seed to seed.
///
/// # Errors
/// [`Unlike`].
pub fn foretell(standing: &Standing, blow: &Blow, seed: u64) -> Result<End, Unlike> {
    let mut world = World::like(standing, seed)?;
    let mut writes = Vec::new();
    let blow_at = world.now() + Span::ms(2_000);
    while world.now() < blow_at {
        writes.push((world.now(), world.next_value));
        world.run_for(GRAIN);
    }
    let mut acknowledged = vec![(world.now(), world.watch.acknowledged)];
    world.suffers(blow);
    let begun = world.now();
    let silent = |seen: &[(Mono, u64)]| seen.len() < 2;
    while world.now().since(begun) < WATCHED || (silent(&acknowledged) && world.now().since(begun) < WAITED) {
        world.run_for(GRAIN);
        if acknowledged.last().is_none_or(|(_, before)| world.watch.acknowledged > *before) {
            acknowledged.push((world.now(), world.watch.acknowledged));
        }
    }
    let goes_on = acknowledged.last().is_some_and(|(at, _)| world.now().since(*at) < Span::ms(2_000));
    let pauses = acknowledged.windows(2).map(|two| two[1].0.since(two[0].0));
    let leader = world.leader().filter(|_| goes_on && world.healthy());
    let lost = leader.and_then(|at| world.lost_first(at)).and_then(|value| {
        let written = writes.iter().rev().find(|(_, next)| *next <= value);
        written.map(|(at, _)| begun.since(*at))
    });
    Ok(End {
        leader: leader.map(|at| world.nodes[at].name.clone()),
        gap: pauses.max().filter(|_| goes_on),
        lost: lost.unwrap_or(Span::ZERO),
        because: if leader.is_none() { world.why_nobody() } else { None },
    })
}

impl World {
    /// A world in which the cluster stands like that.
    fn like(standing: &Standing, seed: u64) -> Result<Self, Unlike> {
        let faults = Faults { rewind_waits: true, ..Faults::default() };
        let mut world = Self::new(Config {
            seed,
            spec: standing.spec.clone(),
            variant: None,
            chaos: Span::ZERO,
            faults,
            plan: Some(Vec::new()),
            trace: true,
            pace: Pace::default(),
        });
        world.wait_for(LIKE_IT_WITHIN, Self::whole).ok_or(Unlike::NotOpen)?;
        let wanted = world.index(&standing.leader).ok_or(Unlike::OtherLeader)?;
        if let Some(leader) = world.leader().filter(|at| *at != wanted) {
            world.ask(leader, Command::Switchover { to: Some(standing.leader.clone()) });
            let led = |w: &Self| w.leader() == Some(wanted) && w.whole();
            world.wait_for(LIKE_IT_WITHIN, led).ok_or(Unlike::OtherLeader)?;
        }
        let mut behind: Vec<(u64, usize)> = Vec::new();
        for (name, condition) in &standing.others {
            let Some(at) = world.index(name) else { continue };
            match condition {
                Condition::Follows => {}
                Condition::Behind(bytes) => behind.push((*bytes, at)),
                Condition::Away => world.kill(at),
            }
        }
        behind.sort_unstable_by(|a, b| b.cmp(a));
        for (_, at) in behind {
            world.strike(at, Fault::StreamStalls, FOR_GOOD);
            world.run_for(APART);
        }
        world.run_for(SETTLES);
        if standing.paused {
            world.ask(wanted, Command::Pause);
            world.run_for(SETTLES);
        }
        if world.leader() == Some(wanted) && world.healthy() { Ok(world) } else { Err(Unlike::OtherLeader) }
    }

    fn suffers(&mut self, blow: &Blow) {
        let hit = |names: &[MemberName]| -> Vec<usize> { names.iter().filter_map(|n| self.index(n)).collect() };
        match blow {
            Blow::Kill(names) => hit(names).into_iter().for_each(|at| self.kill(at)),
            Blow::Freeze(name) => {
                if let Some(at) = self.index(name) {
                    self.strike(at, Fault::FreezeNode, FOR_GOOD);
                }
            }
            Blow::CutOff(names) => {
                let inside = hit(names);
                let outside: Vec<usize> = (0..self.nodes.len()).filter(|at| !inside.contains(at)).collect();
                for (a, b) in inside.iter().flat_map(|a| outside.iter().map(move |b| (*a, *b))) {
                    self.cut.insert((a, b));
                    self.cut.insert((b, a));
                }
                for side in [&inside, &outside] {
                    if self.living(side) * 2 <= self.nodes.len() {
                        side.iter().for_each(|at| self.nodes[*at].store_cut = true);
                    }
                }
            }
        }
        // who is behind catches up as soon as there is somebody to catch up with
        let now = self.now;
        self.nodes.iter_mut().for_each(|node| node.stalled_until = now);
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        if self.living(&all) * 2 <= self.nodes.len() {
            self.stores.stands_until = self.now + FOR_GOOD;
        }
    }

    /// How many of them run and do not stand still: each is a vote in the store.
    fn living(&self, members: &[usize]) -> usize {
        members.iter().filter(|at| self.nodes[**at].core.is_some() && self.now >= self.nodes[**at].frozen_until).count()
    }

    /// The first acknowledged commit that this member's log does not hold.
    fn lost_first(&self, at: usize) -> Option<u64> {
        let held: BTreeSet<u64> = self.nodes[at].db.log.iter().map(|record| record.value).collect();
        self.watch.kept.keys().copied().find(|value| !held.contains(value))
    }

    /// The last word on why nobody leads.
    fn why_nobody(&self) -> Option<Reason> {
        let says = |reason: &&Reason| {
            matches!(
                reason,
                Reason::TooFewAnswers { .. }
                    | Reason::HeldBesideStray { .. }
                    | Reason::HeldByNewer { .. }
                    | Reason::ElectionDropped { .. }
                    | Reason::ShortOfReplicas { .. }
                    | Reason::LeadsNotYet { .. }
                    | Reason::Paused { paused: true }
                    | Reason::Fencing { .. }
            )
        };
        self.trace.reasons().iter().rev().find(says).cloned()
    }
}
