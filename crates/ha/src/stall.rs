//! Streams that stand and carry nothing: a voter whose log does not grow though the leader's is beyond it. It does not
//! vouch any more, and a leader whose streams all stand makes room for one whose do not. The beats say nothing of this:
//! the agents hear each other.

use crate::core::Core;
use crate::lead::Lead;
use crate::variant::Variant;
use dauphin_model::{Lsn, Mono, Run, Voter};
use std::collections::BTreeMap;

/// A voter that is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Behind {
    /// How far it was.
    flush: Lsn,
    /// Since when it has not moved.
    since: Mono,
}

/// How long, in times of `suspect`, too few streams may carry anything until the leader makes room: disks under load stand
/// for a while too, and one takeover more would not help.
const MAKES_ROOM_AFTER: u64 = 5;
/// How long, in times of `suspect`, a leadership lasts at least before it makes room: where the next one has no streams
/// either, leaders would follow one another.
const LASTS_AT_LEAST: u64 = 10;

impl Core {
    /// Notes who is behind and does not move.
    pub(crate) fn watch_streams(&mut self) {
        let (now, end) = (self.now, self.server.position.as_ref().map(|p| p.lsn));
        let Some(lead) = &mut self.lead else { return };
        let mut behind = BTreeMap::new();
        for attached in &self.server.attached {
            let (Some(voter), Some(flush)) = (&attached.voter, attached.flush) else { continue };
            if end.is_none_or(|end| flush >= end) {
                continue;
            }
            let before = lead.behind.get(voter).filter(|b| b.flush == flush).copied();
            behind.insert(voter.clone(), before.unwrap_or(Behind { flush, since: now }));
        }
        lead.behind = behind;
    }

    /// Whether this voter's stream has carried nothing for `suspect`.
    pub(crate) fn stalled(&self, voter: &Voter) -> bool {
        let since = self.lead.as_ref().and_then(|lead| lead.behind.get(voter)).map(|b| b.since);
        !self.broken(Variant::TrustStreams)
            && since.is_some_and(|since| self.now.since(since) >= self.spec.profile.suspect())
    }

    /// Makes room when commits wait for voters that are all well, as their agents say, and whose streams from here carry
    /// nothing, or never came back. Says whether it did.
    pub(crate) fn make_room_if_cut(&mut self, lead: &Lead) -> bool {
        let (now, suspect) = (self.now, self.spec.profile.suspect());
        let (carried, cut): (Vec<&Voter>, Vec<&Voter>) =
            lead.enforced.voters.iter().partition(|v| self.streams_to_us(v) && !self.stalled(v));
        let well = |voter: &&&Voter| {
            self.fresh(&voter.name)
                && self.beat_of(&voter.name).is_some_and(|b| {
                    b.run == Run::Running
                        && b.incarnation == voter.incarnation
                        && b.pledge <= lead.term
                        && b.hears_leader
                })
        };
        let (there, required) = (carried.len(), lead.enforced.required as usize);
        let could = there + cut.iter().filter(well).count();
        if there >= required || could < required {
            if let Some(lead) = &mut self.lead {
                lead.cut_since = None;
            }
            return false;
        }
        let Some(lead) = &mut self.lead else { return false };
        let since = *lead.cut_since.get_or_insert(now);
        if now.since(since) < suspect.times(MAKES_ROOM_AFTER) || now.since(lead.since) < suspect.times(LASTS_AT_LEAST) {
            return false;
        }
        self.fence("its replicas are well and heard, and no stream to them carries anything");
        true
    }
}
