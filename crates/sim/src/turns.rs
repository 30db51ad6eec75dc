//! The world as the explorer walks it: the moments at which a run can take another turn, and what the turns are. Here no
//! turn is taken by chance; `weather` is the part of the world where they are.

use crate::coming::{Coming, Fails};
use crate::faults::Fault;
use crate::world::World;
use dauphin_ha::{Command, Message};
use dauphin_model::{Mono, Span};
use std::fmt;

/// How long what comes late is late: behind most of what it would have come before.
const LATE: Span = Span::ms(300);
/// How soon a member is back that was gone for a short while.
const SOON: Span = Span::ms(800);

/// How long a fault lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lasts {
    /// Shorter than anybody notices.
    Short,
    /// Longer than the profile's `suspect`, shorter than the lease.
    Suspect,
    /// Longer than the lease.
    Lease,
    /// Longer than the others wait for it before they go on with fewer.
    Long,
}

/// Something that does not go as it usually does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Turn {
    /// The message does not arrive.
    Lost,
    /// It arrives twice, once late.
    Twice,
    /// What comes next comes late, behind others.
    Late,
    /// A step, or a write of the notes, fails before it was done.
    FailsBefore,
    /// It was done, and nobody hears that it was.
    FailsAfter,
    /// A fault hits a member.
    Hit(usize, Fault, Lasts),
    /// A person asks for a switchover.
    Switchover,
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => f.write_str("lost"),
            Self::Twice => f.write_str("twice"),
            Self::Late => f.write_str("late"),
            Self::FailsBefore => f.write_str("fails before it is done"),
            Self::FailsAfter => f.write_str("done, and reported failed"),
            Self::Hit(at, fault, lasts) => write!(f, "m{}: {fault} ({lasts:?})", at + 1),
            Self::Switchover => f.write_str("a person asks for a switchover"),
        }
    }
}

impl World {
    /// Runs until the next thing to come is one that can go wrong, `end`, or a violation. Whether there is a choice.
    pub fn run_to_choice(&mut self, end: Mono) -> bool {
        while self.watch.violation.is_none() && self.next_at().is_some_and(|at| at <= end) {
            if self.coming.first_key_value().is_some_and(|(_, coming)| is_choice(coming)) {
                return true;
            }
            self.go_on();
        }
        false
    }

    /// The turns that can be taken now instead of letting the next thing happen.
    #[must_use]
    pub fn turns(&self) -> Vec<Turn> {
        let mut turns = Vec::new();
        match self.coming.first_key_value().map(|(_, coming)| coming) {
            Some(Coming::Deliver { .. }) => turns.extend([Turn::Lost, Turn::Twice, Turn::Late]),
            Some(Coming::Saved { .. } | Coming::EngineEnds { .. } | Coming::StoreApply { .. }) => {
                turns.extend([Turn::Late, Turn::FailsBefore, Turn::FailsAfter]);
            }
            Some(_) => turns.push(Turn::Late),
            None => {}
        }
        for at in 0..self.nodes.len() {
            self.faults_of(at, &mut turns);
        }
        if self.healthy() {
            turns.push(Turn::Switchover);
        }
        turns
    }

    fn faults_of(&self, at: usize, turns: &mut Vec<Turn>) {
        use Fault::{CutOff, FreezeNode, HearsNothing, IsNotHeard, KillAgent, KillNode, KillServer, LosesStore};
        let node = &self.nodes[at];
        let mut hit = |fault, lasts| turns.push(Turn::Hit(at, fault, lasts));
        if self.server_runs(at) {
            hit(KillServer, Lasts::Short);
        }
        if node.core.is_none() || self.now < node.frozen_until.max(node.agent_paused_until) {
            return;
        }
        hit(KillAgent, Lasts::Short);
        hit(KillNode, Lasts::Short);
        hit(KillNode, Lasts::Long);
        for lasts in [Lasts::Suspect, Lasts::Lease] {
            hit(Fault::PauseAgent, lasts);
            hit(FreezeNode, lasts);
        }
        for fault in [CutOff, HearsNothing, IsNotHeard, LosesStore] {
            hit(fault, Lasts::Lease);
        }
        if !node.witness {
            hit(Fault::StreamStalls, Lasts::Suspect);
        }
    }

    /// Takes a turn; what was to come next comes afterwards, or as the turn says.
    pub fn take(&mut self, turn: Turn) {
        match turn {
            Turn::Hit(at, fault, lasts) => {
                let span = self.span_of(lasts);
                self.strike(at, fault, span);
            }
            Turn::Switchover => {
                if let Some(at) = self.leader() {
                    self.ask(at, Command::Switchover { to: None });
                }
            }
            Turn::Lost | Turn::Twice | Turn::Late | Turn::FailsBefore | Turn::FailsAfter => self.bend(turn),
        }
    }

    /// Changes how the next thing comes.
    fn bend(&mut self, turn: Turn) {
        let Some((key, mut coming)) = self.coming.pop_first() else { return };
        self.trace.line(self.now, 0, &format!("TURN {turn}: {}", in_words(&coming)));
        let how = match turn {
            Turn::FailsAfter => Fails::After,
            _ => Fails::Before,
        };
        match (turn, &mut coming) {
            (Turn::Lost, _) => return,
            (Turn::Late, _) => return self.later(LATE, coming),
            (Turn::Twice, _) => self.later(LATE, coming.clone()),
            (_, Coming::Saved { fails, .. } | Coming::EngineEnds { fails, .. } | Coming::StoreApply { fails, .. }) => {
                *fails = how;
            }
            (_, _) => {}
        }
        self.coming.insert(key, coming);
    }

    fn span_of(&self, lasts: Lasts) -> Span {
        let profile = self.config.spec.profile;
        match lasts {
            Lasts::Short => SOON,
            Lasts::Suspect => profile.suspect().times(13).over(10),
            Lasts::Lease => profile.lease().times(13).over(10),
            Lasts::Long => profile.lease().times(3),
        }
    }

    /// Whether all is as if nothing had happened: everybody is there, follows and streams, and nothing is still broken.
    #[must_use]
    pub fn settled(&self) -> bool {
        let broken =
            |coming: &Coming| matches!(coming, Coming::AgentReturns(_) | Coming::NodeThaws(_) | Coming::Mended(_));
        let stands = |until: Mono| self.now < until;
        self.whole()
            && !self.coming.values().any(broken)
            && !self
                .nodes
                .iter()
                .any(|n| stands(n.agent_paused_until) || stands(n.frozen_until) || stands(n.stalled_until))
    }

    /// Commits acknowledged so far.
    #[must_use]
    pub fn acknowledged_so_far(&self) -> u64 {
        self.watch.acknowledged
    }

    /// Nothing is broken any more and still no leader acknowledges, or a member does not come back.
    pub fn never_healed(&mut self) {
        self.watch.violate(format!("L1: not healed at {}", self.now.since(Mono(0))));
        self.dump();
    }
}

/// Whether it can go another way. Beats are not among them: they come again, and what silences a member does as much.
fn is_choice(coming: &Coming) -> bool {
    match coming {
        Coming::Deliver { message, .. } => !matches!(**message, Message::Beat(_)),
        Coming::Saved { .. }
        | Coming::StoreResult { .. }
        | Coming::StoreApply { .. }
        | Coming::StoreSeen(_)
        | Coming::EngineEnds { .. }
        | Coming::BarrierEnds { .. } => true,
        Coming::Tick(_)
        | Coming::Ship(_)
        | Coming::Arrive { .. }
        | Coming::Received { .. }
        | Coming::Flushed { .. }
        | Coming::EngineTold { .. }
        | Coming::PromotesLate { .. }
        | Coming::StoreCopied
        | Coming::Deadline { .. }
        | Coming::AgentReturns(_)
        | Coming::NodeThaws(_)
        | Coming::Mended(_)
        | Coming::Client(_)
        | Coming::Fault => false,
    }
}

fn in_words(coming: &Coming) -> String {
    match coming {
        Coming::Deliver { to, from, message } => format!("m{} -> m{}: {message:?}", from + 1, to + 1),
        Coming::Saved { to, .. } => format!("m{} writes its notes", to + 1),
        Coming::EngineEnds { at, step, .. } => format!("m{}: {}", at + 1, step.name()),
        Coming::StoreApply { from, .. } => format!("m{} writes to the store", from + 1),
        Coming::StoreResult { to, .. } => format!("the store's answer to m{}", to + 1),
        Coming::StoreSeen(at) => format!("m{} sees the store", at + 1),
        other => format!("{other:?}"),
    }
}
