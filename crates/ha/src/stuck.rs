//! A replica that should stream and does not: why, and what is done about it. A replica's thinking calls it while its leader
//! is well and it follows nobody else; whom to follow is `follow`'s.

use crate::core::Core;
use crate::reason::Reason;
use crate::step::{EngineStep, Step};
use crate::variant::Variant;
use dauphin_model::{Leadership, Position, Run, Timeline};

/// A replica that has not streamed for this many times `suspect`, though its leader is well, is copied again.
pub(crate) const STUCK: u64 = 20;
/// From a member that does not lead it receives anew when nothing has streamed for `suspect`: that may not have had as much yet as
/// this one. The next time it receives from the leader itself, for so many times `suspect`: long enough to be copied again there, where
/// that is needed.
const DIRECT: u64 = 2 * STUCK;
/// One that has heard of a timeline that came to nothing is started anew when it has not streamed for this many beats.
const AIMS_AFTER: u64 = 4;

impl Core {
    /// Looks whether the stream stands; `theirs` is how far the leader's log reaches.
    pub(crate) fn watch_stream(&mut self, record: &Leadership, theirs: &Position) {
        let parts = self.replayed_position().is_some_and(|ours| ours.leads_into(theirs).is_err())
            && !self.broken(Variant::FollowDiverged);
        // on the way to the end of the timeline before is no streaming if our log goes on beyond that end
        let streams = |timeline| !parts || timeline >= record.timeline;
        let (now, streaming) = (self.now, self.server.streaming.is_some_and(streams));
        let profile = self.spec.profile;
        let in_vain = |t: &Timeline| *t < theirs.timeline && !theirs.history.iter().any(|b| b.timeline == *t);
        // a start aims at the newest that it has heard of: that must be the leader's by then
        let knows = self.server.heard_of.contains(&theirs.timeline);
        let aims_at = self.server.heard_of.iter().copied().find(in_vain).filter(|_| knows);
        let Some(following) = &mut self.following else { return };
        if streaming {
            following.idle_since = None;
            self.cascade_stood = 0;
            return;
        }
        let idle = now.since(*following.idle_since.get_or_insert(now));
        if following.upstream != record.leader.name && idle >= profile.suspect() {
            self.cascade_stood += 1;
            if self.cascade_stood > 1 {
                self.direct_until = now + profile.suspect().times(DIRECT);
                self.cascade_stood = 0;
            }
            return self.go_behind();
        }
        if parts && idle >= profile.suspect() {
            // the stream of before went on until the server had its new upstream, or what its log holds was not replayed
            // yet when it was looked at: it has what the new one never had
            return self.go_behind();
        }
        if let Some(timeline) = aims_at
            && idle >= profile.beat().times(AIMS_AFTER)
            && self.aimed_anew < Some(record.term)
        {
            // recovery may aim at it, and never lets go of it while it runs
            self.aimed_anew = Some(record.term);
            self.following = None;
            self.journal(Reason::AimsElsewhere { timeline, leader: record.leader.name.clone() });
            return self.engine(EngineStep::Stop);
        }
        let behind = self.server.position.as_ref().is_some_and(|p| p.lsn < theirs.lsn);
        // a winner that needs us behind its barrier waits as well
        let stuck = idle >= profile.suspect().times(STUCK);
        if behind && stuck && self.may_cut(record) && self.spec.allow_reclone && self.copies_from(&record.leader.name) {
            self.push(Step::Fence);
            self.server.run = Run::Stopped;
            self.needs_a_copy(&format!(
                "nothing streamed for {idle} though the leader is well: the log it needs may be gone"
            ));
        }
    }
}
