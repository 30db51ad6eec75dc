//! A replica that should stream and does not: why, and what is done about it. A replica's thinking calls it while its leader
//! is well and it follows nobody else; whom to follow is `follow`'s.

use crate::core::Core;
use crate::reason::Reason;
use crate::step::{EngineStep, Step};
use crate::variant::Variant;
use dauphin_model::{Leadership, Position, Run};

/// A replica that has not streamed for this many times `suspect`, though its leader is well, is copied again.
const STUCK: u64 = 20;
/// One that asks for the wrong timeline is started anew after this many beats: the receiver of before may be seen for a while.
const ELSEWHERE: u64 = 4;

impl Core {
    /// Looks whether the stream stands; `theirs` is how far the leader's log reaches.
    pub(crate) fn watch_stream(&mut self, record: &Leadership, theirs: &Position) {
        let parts = self.replayed_position().is_some_and(|ours| ours.leads_into(theirs).is_err())
            && !self.broken(Variant::FollowDiverged);
        // on the way to the end of the timeline before is no streaming if our log goes on beyond that end
        let streams = |timeline| !parts || timeline >= record.timeline;
        let (now, streaming) = (self.now, self.server.streaming.is_some_and(streams));
        let profile = self.spec.profile;
        let goes_on = self.server.replayed.map(|lsn| theirs.timeline_from(lsn));
        let elsewhere = self.server.asks_for.filter(|asked| goes_on.is_some_and(|timeline| timeline != *asked));
        let Some(following) = &mut self.following else { return };
        if streaming {
            following.idle_since = None;
            following.asks_elsewhere = None;
            return;
        }
        let idle = now.since(*following.idle_since.get_or_insert(now));
        following.asks_elsewhere = following.asks_elsewhere.or(elsewhere);
        if parts && idle >= profile.suspect() {
            // the stream of before went on until the server had its new upstream, or what its log holds was not replayed
            // yet when it was looked at: it has what the new one never had
            return self.go_behind();
        }
        if let Some(timeline) = following.asks_elsewhere
            && idle >= profile.beat().times(ELSEWHERE)
            && self.aimed_anew < Some(record.term)
        {
            // recovery aims at the newest timeline it has heard of, and never lets go of it while it runs
            self.aimed_anew = Some(record.term);
            self.following = None;
            self.journal(Reason::AimsElsewhere { timeline, leader: record.leader.name.clone() });
            return self.engine(EngineStep::Stop);
        }
        let behind = self.server.position.as_ref().is_some_and(|p| p.lsn < theirs.lsn);
        // a winner that needs us behind its barrier waits as well
        if behind && idle >= profile.suspect().times(STUCK) && self.may_cut(record) && self.spec.allow_reclone {
            let because =
                format!("nothing streamed for {idle} though the leader is well: the log it needs may be gone");
            self.journal(Reason::Recloning { from: record.leader.name.clone(), because });
            self.push(Step::Fence);
            self.server.run = Run::Stopped;
            self.give_data_up();
        }
    }
}
