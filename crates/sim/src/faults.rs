//! Faults, drawn from the seed: processes die and stand still, links are cut, people ask for things. Never fair.

use crate::world::{Coming, World};
use dauphin_ha::Command;
use dauphin_model::{Mono, Span};

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
        if self.rng.chance(f.kill_server) {
            self.trace.line(self.now, at, "FAULT server killed");
            self.kill_server(at);
        }
        if self.rng.chance(f.kill_agent) {
            self.trace.line(self.now, at, "FAULT agent killed");
            self.stop_agent(at);
            let back = Span::ms(self.rng.between(200, 6_000));
            self.later(back, Coming::AgentReturns(at));
        }
        if self.rng.chance(f.kill_node) {
            self.trace.line(self.now, at, "FAULT node killed");
            self.stop_agent(at);
            self.kill_server(at);
            let back = Span::ms(self.rng.between(200, 8_000));
            self.later(back, Coming::AgentReturns(at));
        }
        if self.rng.chance(f.pause_agent) {
            let until = self.pause_until();
            self.trace.line(self.now, at, "FAULT agent stands still");
            self.nodes[at].agent_paused_until = until;
        }
        if self.rng.chance(f.pause_node) {
            let until = self.pause_until();
            self.trace.line(self.now, at, "FAULT node stands still");
            self.nodes[at].frozen_until = until;
            self.later(until.since(self.now), Coming::NodeThaws(at));
        }
        if self.rng.chance(f.partition) {
            self.trace.line(self.now, at, "FAULT cut off");
            for other in (0..self.nodes.len()).filter(|o| *o != at) {
                self.cut.insert((at, other));
                self.cut.insert((other, at));
            }
        }
        if self.rng.chance(f.one_way) {
            let inward = self.rng.chance(50);
            self.trace.line(self.now, at, if inward { "FAULT hears nothing" } else { "FAULT is not heard" });
            for other in (0..self.nodes.len()).filter(|o| *o != at) {
                self.cut.insert(if inward { (other, at) } else { (at, other) });
            }
        }
        if self.rng.chance(f.store_cut) {
            self.trace.line(self.now, at, "FAULT does not reach the store");
            self.nodes[at].store_cut = true;
        }
        if self.rng.chance(f.stream_stalls) {
            self.trace.line(self.now, at, "FAULT its stream carries nothing");
            let ms = self.rng.between(100, 6_000);
            self.nodes[at].stalled_until = self.now + Span::ms(ms);
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

    fn pause_until(&mut self) -> Mono {
        let lease = self.config.spec.profile.lease().as_ms();
        let ms = self.rng.between(50, lease * 3);
        self.now + Span::ms(ms)
    }
}
