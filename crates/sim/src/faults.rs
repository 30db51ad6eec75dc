//! Faults, drawn from the seed: processes die and stand still, links are cut, people ask for things. Never fair.

use crate::world::{Coming, World};
use dauphin_ha::Command;
use dauphin_model::Span;
use std::fmt;

/// What can hit a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The server's processes die.
    KillServer,
    /// The agent dies.
    KillAgent,
    /// All of the member dies.
    KillNode,
    /// The agent stands still.
    PauseAgent,
    /// All of the member stands still.
    FreezeNode,
    /// Cut off from the others, both ways.
    CutOff,
    /// Cut off, inward only.
    HearsNothing,
    /// Cut off, outward only.
    IsNotHeard,
    /// The store is out of reach.
    LosesStore,
    /// Its streams, to it and from it, carry nothing, though they stand.
    StreamStalls,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KillServer => "server killed",
            Self::KillAgent => "agent killed",
            Self::KillNode => "node killed",
            Self::PauseAgent => "agent stands still",
            Self::FreezeNode => "node stands still",
            Self::CutOff => "cut off",
            Self::HearsNothing => "hears nothing",
            Self::IsNotHeard => "is not heard",
            Self::LosesStore => "does not reach the store",
            Self::StreamStalls => "its streams carry nothing",
        })
    }
}

/// Average time between two faults.
const BETWEEN: Span = Span::ms(900);

impl World {
    /// Faults begin.
    pub fn begin_chaos(&mut self) {
        self.calm = false;
        self.later(Span::ms(100), Coming::Fault);
    }

    /// Faults end, and what they broke is mended: links, pauses, dead agents.
    pub fn heal(&mut self) {
        self.calm = true;
        self.cut.clear();
        for at in 0..self.nodes.len() {
            self.nodes[at].store_cut = false;
            self.nodes[at].agent_paused_until = self.now;
            self.nodes[at].frozen_until = self.now;
            self.nodes[at].stalled_until = self.now;
            self.start_agent(at);
            self.later(Span::ms(2), Coming::StoreSeen(at));
        }
        self.trace.line(self.now, 0, "=== all faults healed ===");
    }

    pub(crate) fn fault(&mut self) {
        if self.calm {
            return;
        }
        let next = Span::ms(self.rng.between(50, BETWEEN.as_ms() * 2));
        self.later(next, Coming::Fault);
        // mend something now and then, so that not everything is broken all the time
        if self.rng.chance(40) {
            self.cut.clear();
            for at in 0..self.nodes.len() {
                if self.nodes[at].store_cut {
                    self.nodes[at].store_cut = false;
                    self.later(Span::ms(3), Coming::StoreSeen(at));
                }
            }
        }
        let at = usize::try_from(self.rng.below(self.nodes.len() as u64)).unwrap_or(0);
        let f = self.config.faults;
        let never = Span::default();
        if self.rng.chance(f.kill_server) {
            self.strike(at, Fault::KillServer, never);
        }
        if self.rng.chance(f.kill_agent) {
            let back = Span::ms(self.rng.between(200, 6_000));
            self.strike(at, Fault::KillAgent, back);
        }
        if self.rng.chance(f.kill_node) {
            let back = Span::ms(self.rng.between(200, 8_000));
            self.strike(at, Fault::KillNode, back);
        }
        if self.rng.chance(f.pause_agent) {
            let pause = self.standstill();
            self.strike(at, Fault::PauseAgent, pause);
        }
        if self.rng.chance(f.pause_node) {
            let pause = self.standstill();
            self.strike(at, Fault::FreezeNode, pause);
        }
        if self.rng.chance(f.partition) {
            self.strike(at, Fault::CutOff, never);
        }
        if self.rng.chance(f.one_way) {
            let fault = if self.rng.chance(50) { Fault::HearsNothing } else { Fault::IsNotHeard };
            self.strike(at, fault, never);
        }
        if self.rng.chance(f.store_cut) {
            self.strike(at, Fault::LosesStore, never);
        }
        if self.rng.chance(f.stream_stalls) {
            let ms = self.rng.between(100, 6_000);
            self.strike(at, Fault::StreamStalls, Span::ms(ms));
        }
        if self.rng.chance(f.operator) && self.nodes[at].core.is_some() {
            let command = match self.rng.below(5) {
                0 | 1 => Command::Switchover { to: None },
                2 => Command::Restart,
                3 => Command::Reinit,
                _ => Command::Failover { allow_data_loss: false },
            };
            self.ask(at, command);
        }
    }

    fn standstill(&mut self) -> Span {
        let lease = self.config.spec.profile.lease().as_ms();
        Span::ms(self.rng.between(50, lease * 3))
    }

    /// A fault hits a member. `lasts`: until it is back; links and the way to the store are mended by somebody else.
    pub fn strike(&mut self, at: usize, fault: Fault, lasts: Span) {
        self.trace.line(self.now, at, &format!("FAULT {fault}"));
        match fault {
            Fault::KillServer => self.kill_server(at),
            Fault::KillAgent => {
                self.stop_agent(at);
                self.later(lasts, Coming::AgentReturns(at));
            }
            Fault::KillNode => {
                self.stop_agent(at);
                self.kill_server(at);
                self.later(lasts, Coming::AgentReturns(at));
            }
            Fault::PauseAgent => self.nodes[at].agent_paused_until = self.now + lasts,
            Fault::FreezeNode => {
                self.nodes[at].frozen_until = self.now + lasts;
                self.later(lasts, Coming::NodeThaws(at));
            }
            Fault::CutOff => {
                self.cut_links(at, true);
                self.cut_links(at, false);
            }
            Fault::HearsNothing => self.cut_links(at, true),
            Fault::IsNotHeard => self.cut_links(at, false),
            Fault::LosesStore => self.nodes[at].store_cut = true,
            Fault::StreamStalls => self.nodes[at].stalled_until = self.now + lasts,
        }
    }

    fn cut_links(&mut self, at: usize, inward: bool) {
        for other in (0..self.nodes.len()).filter(|o| *o != at) {
            self.cut.insert(if inward { (other, at) } else { (at, other) });
        }
    }

    /// A member's links and its way to the store are whole again.
    pub(crate) fn mended(&mut self, at: usize) {
        self.trace.line(self.now, at, "its links are mended");
        self.cut.retain(|(from, to)| *from != at && *to != at);
        if self.nodes[at].store_cut {
            self.nodes[at].store_cut = false;
            self.later(Span::ms(3), Coming::StoreSeen(at));
        }
    }
}
