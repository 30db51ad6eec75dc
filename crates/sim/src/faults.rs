//! What a fault does to the world when it strikes: processes die and stand still, links are cut, disks are full. When and
//! whom is `weather`'s draw, a story's, or the explorer's turn.

use crate::coming::Coming;
use crate::database::LOG_KEPT;
use crate::world::World;
use dauphin_model::Span;
use std::fmt;

/// The newer of the two series that programs are of.
const UPGRADED: u32 = 2;

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
    /// Its disk takes no writes.
    FullDisk,
    /// The older part of its log is gone, and with it what a replica that is behind would need.
    LosesLog,
    /// It applies nothing of what it receives. On servers of GTIDs.
    ApplierStands,
    /// Somebody writes on a replica. On servers of GTIDs; those of PostgreSQL take no write.
    Errant,
    /// Its programs are of a newer series when it comes back. On servers of GTIDs.
    Upgraded,
    /// The store has no majority: it takes no change, and nobody sees one. The member counts for nothing.
    StoreStands,
    /// People restore the store from a copy that is so old, and start all agents again. Once in a run.
    StoreRestored,
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
            Self::FullDisk => "its disk is full",
            Self::LosesLog => "its older log is gone",
            Self::ApplierStands => "its applier stands still",
            Self::Errant => "somebody writes on it though it follows",
            Self::Upgraded => "is upgraded",
            Self::StoreStands => "the store has no majority",
            Self::StoreRestored => "the store is restored from an old copy",
        })
    }
}

impl World {
    /// A fault hits a member. `lasts`: until it is back; links and the way to the store that are cut for no time at all stay
    /// cut until somebody mends them.
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
                self.nodes[at].db.lose_power();
                self.later(lasts, Coming::AgentReturns(at));
            }
            Fault::Upgraded => {
                self.stop_agent(at);
                self.kill_server(at);
                self.nodes[at].series = UPGRADED;
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
            Fault::FullDisk => {
                if !self.nodes[at].disk_is_full(self.now) {
                    self.nodes[at].disk_full_since = self.now;
                }
                self.nodes[at].disk_full_until = self.now + lasts;
            }
            Fault::LosesLog => {
                let db = &mut self.nodes[at].db;
                db.kept_from = db.kept_from.max(db.log.len().saturating_sub(LOG_KEPT));
            }
            Fault::ApplierStands => self.nodes[at].applier_stands_until = self.now + lasts,
            // some rows, so that their numbers may lie beyond what comes next
            Fault::Errant => (0..=self.next_value % 3).for_each(|_| self.writes_errant(at, 0)),
            Fault::StoreStands => self.stores.stands_until = self.stores.stands_until.max(self.now + lasts),
            Fault::StoreRestored => self.restore_store(lasts),
        }
        let mends = matches!(fault, Fault::CutOff | Fault::HearsNothing | Fault::IsNotHeard | Fault::LosesStore);
        if mends && lasts > Span::ZERO {
            self.later(lasts, Coming::Mended(at));
        }
    }

    /// Where an upgrade has begun, people finish it.
    pub(crate) fn upgrade_the_rest(&mut self) {
        if self.nodes.iter().all(|node| node.series != UPGRADED) {
            return;
        }
        for at in 0..self.nodes.len() {
            if self.nodes[at].series != UPGRADED {
                self.stop_agent(at);
                self.nodes[at].series = UPGRADED;
            }
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
