//! How far the replicas of MySQL and MariaDB are, as their own agents say, and who of them has caught up: what the leader's look
//! adds to what its server knows. And the wait for one that leadership is to be handed to. Nothing is asked of a server here.

use crate::operations::LOOK_EVERY;
use crate::picture::Picture;
use crate::server::Server;
use dauphin_api::error::ApiError;
use dauphin_model::{Attached, Away, Enforced, Lag, Lsn, MemberName, Position, ServerView, Span, Voter};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A replica that has received what was logged so long ago has caught up; longer where beats are rare.
const CAUGHT_UP_WITHIN: Span = Span::ms(1_500);

/// How far behind in time a member may be that leadership is handed over to: it applies that while nobody can write. What is told
/// of one that has all is up to 0.6 s.
const HAND_OVER_LAG_MAX_MS: u64 = 2_000;
/// How long it may take to come so close.
const CLOSER_WITHIN: Duration = Duration::from_secs(5);

/// Waits a little until that member is so close that clients need not wait for it, and refuses otherwise.
pub(crate) async fn until_close(server: &Server, to: &MemberName) -> Result<(), ApiError> {
    let deadline = Instant::now() + CLOSER_WITHIN;
    loop {
        let lag = server.picture.borrow().lag(to, dauphin_guard::boottime());
        let Some(lag) = lag.filter(|lag| lag.ms > HAND_OVER_LAG_MAX_MS) else { return Ok(()) };
        if Instant::now() >= deadline {
            let seconds = lag.ms as f64 / 1_000.0;
            let text = format!("{to} is {seconds:.1} s behind: clients would wait until it has applied that");
            let next = "dauphin status --watch, until it is closer; then once more";
            return Err(ApiError::unavailable("behind", text, next));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How far replicas are that are not attached, by their own beats.
pub(super) fn away(view: &ServerView, picture: &Picture, ours: &Position) -> Vec<Away> {
    let there = |name: &MemberName| view.attached.iter().any(|a| a.voter.as_ref().is_some_and(|v| v.name == *name));
    let others = picture.spec.data_members().map(|m| &m.name).filter(|name| **name != picture.me && !there(name));
    let away = |name: &MemberName| {
        let beat = picture.beat_of(name)?;
        let position = beat.position.as_ref().filter(|position| position.leads_into(ours).is_ok())?;
        let replayed = position.lsn.0.saturating_sub(beat.replay_behind);
        let voter = Voter::new(name.clone(), beat.incarnation);
        Some(Away { voter, behind: ours.lsn.0.saturating_sub(replayed), lag: Lag::default() })
    };
    others.filter_map(away).collect()
}

/// How far an attached replica is, by its own beat: only of this very copy, and only while its log is part of ours.
pub(super) fn tell_how_far(attached: &mut Attached, picture: &Picture, ours: &Position) {
    let Some(voter) = &attached.voter else { return };
    let beat = picture.beat_of(&voter.name).filter(|beat| beat.incarnation == voter.incarnation);
    let Some((beat, position)) = beat.and_then(|beat| Some((beat, beat.position.as_ref()?))) else { return };
    if position.leads_into(ours).is_err() {
        return;
    }
    // on our timeline, what was received has no beginning of another leadership in it: an election can count it unapplied
    let received = beat.received.filter(|_| position.timeline == ours.timeline);
    let held = received.map_or(position.lsn, |received| received.max(position.lsn));
    // what was received is on its disk once it acknowledges
    let acknowledges = attached.sync_state == "quorum";
    (attached.write, attached.flush) = (Some(held), Some(if acknowledges { held } else { position.lsn }));
    attached.replay = Some(Lsn(position.lsn.0.saturating_sub(beat.replay_behind)));
    // that was so when it was heard
    attached.lag = picture.heard_at(&voter.name).map(|at| Lag { at, ..Lag::default() });
}

/// Where the log ended at the looks of the last moment.
#[derive(Debug, Default)]
pub(super) struct Ends(VecDeque<(Instant, Lsn)>);

impl Ends {
    /// Notes where it ends now, and says where it ended a moment ago: at the first look, where there is no earlier one.
    pub(super) fn note(&mut self, now: Instant, end: Lsn, suspect: Span) -> Lsn {
        // what a member says of itself is as old as its beat
        let moment = suspect.times(2).max(CAUGHT_UP_WITHIN).duration();
        // another leadership, or another copy
        if self.0.back().is_some_and(|(_, last)| *last > end) {
            self.0.clear();
        }
        self.0.push_back((now, end));
        while self.0.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= moment) {
            self.0.pop_front();
        }
        self.0.front().map_or(end, |(_, end)| *end)
    }
}

/// A replica that is not counted yet and has not received what was logged a moment ago catches up, in PostgreSQL's word: with
/// `sync` each commit would wait until it had all of it. One that is counted stays so, as there.
pub(super) fn tell_who_catches_up(attached: &mut Attached, enforced: &Enforced, before: Lsn) {
    let counted = attached.voter.as_ref().is_some_and(|voter| enforced.voters.contains(voter));
    if !counted && attached.write.is_some_and(|write| write < before) {
        attached.state = "catchup".to_owned();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use dauphin_model::Incarnation;

    #[test]
    fn who_has_what_was_logged_a_moment_ago_streams_and_who_is_counted_does() {
        let (mut ends, begun) = (Ends::default(), Instant::now());
        let mut note = |ms: u64, end: u64| ends.note(begun + Duration::from_millis(ms), Lsn(end), Span::ms(500)).0;
        assert_eq!(note(0, 10), 10, "there is no earlier look");
        assert_eq!((note(500, 20), note(1_000, 30)), (10, 10));
        assert_eq!((note(2_000, 40), note(2_600, 50)), (20, 30));
        assert_eq!(note(2_700, 5), 5, "another log");

        let (m2, m3) = (voter("m2"), voter("m3"));
        let enforced = Enforced { voters: [m3.clone()].into(), ..Enforced::default() };
        let check = |voter: &Voter, flush: Option<u64>, expected: &str| {
            let mut attached = attached(voter);
            attached.write = flush.map(Lsn);
            tell_who_catches_up(&mut attached, &enforced, Lsn(30));
            assert_eq!(attached.state, expected, "{voter} {flush:?}");
        };
        check(&m2, Some(29), "catchup");
        check(&m2, Some(30), "streaming");
        check(&m2, None, "streaming");
        check(&m3, Some(1), "streaming");
    }

    pub(crate) fn voter(name: &str) -> Voter {
        Voter::new(MemberName::new(name).expect("a name"), Incarnation(1))
    }

    pub(crate) fn attached(voter: &Voter) -> Attached {
        Attached {
            application_name: voter.application_name(),
            voter: Some(voter.clone()),
            client_addr: None,
            state: "streaming".to_owned(),
            sync_state: "async".to_owned(),
            write: None,
            flush: None,
            replay: None,
            lag: None,
        }
    }
}
