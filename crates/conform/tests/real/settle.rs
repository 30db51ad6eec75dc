//! Waits until everything has arrived that can: every stream that was begun stands or was refused, every attached replica has
//! all there is and has said so, every replica has replayed it.

use super::Real;
use crate::support::{LIMIT, until};
use dauphin_conform::{Stream, Who};
use dauphin_model::Timeline;

/// What a replica's log says when its upstream has not the log that it needs next.
const GONE: [&str; 4] = [
    "has already been removed",
    "cannot read from replication slot",
    "can no longer access replication slot",
    "can no longer get changes from replication slot",
];
/// What it says when its own log is no part of its upstream's.
const PARTS: [&str; 3] =
    ["forked off current database system timeline", "is behind recovery timeline", "is not in this server's history"];
/// What it says when its recovery aims at a timeline that its upstream's log does not hold.
const ELSEWHERE: [&str; 1] = ["is not a child of database system timeline"];
/// Records that each leader writes: the answer to the second is given after the first has been dealt with.
const ROUNDS: usize = 2;

/// How often a member's log tells of refused streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Refused {
    gone: usize,
    parts: usize,
    elsewhere: usize,
}

impl Real {
    fn refused(&self, who: Who) -> Refused {
        let log = self.of(who).log();
        let count = |words: &[&str]| words.iter().map(|word| log.matches(word).count()).sum();
        Refused { gone: count(&GONE), parts: count(&PARTS), elsewhere: count(&ELSEWHERE) }
    }

    /// What its log says from now on is of this stream.
    pub(super) fn begin_stream(&mut self, who: Who, from: Option<Who>) {
        self.upstream[who.index()] = from;
        self.refused[who.index()] = self.refused(who);
    }

    pub(super) fn streams_begin_behind(&mut self, upstream: Who) {
        for who in Who::ALL.into_iter().filter(|w| self.upstream[w.index()] == Some(upstream)).collect::<Vec<_>>() {
            self.begin_stream(who, Some(upstream));
        }
    }

    /// How that member's stream stands; nothing while it is tried and neither stands nor was refused.
    pub(super) async fn stream(&self, who: Who) -> Option<Stream> {
        let Some(upstream) = self.upstream[who.index()].filter(|u| self.up[u.index()] && self.up[who.index()]) else {
            return Some(Stream::None);
        };
        let streaming = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'";
        if self.senders(upstream, "true").await.contains(&self.of(who).voter.application_name())
            && self.sql(who, streaming).await == ["1"]
        {
            return Some(Stream::Streams);
        }
        let (before, now) = (self.refused[who.index()], self.refused(who));
        if now.elsewhere > before.elsewhere {
            // the agent sees it from what the server has heard of
            let (ours, theirs) = (self.of(who).pg.look(LIMIT).await, self.of(upstream).pg.look(LIMIT).await);
            let theirs = theirs.position.map(|p| p.history).unwrap_or_default();
            let in_vain = |t: &Timeline| !theirs.iter().any(|b| b.timeline == *t);
            let aims = ours.streaming.is_none() && ours.heard_of.iter().any(in_vain);
            return aims.then_some(Stream::AsksElsewhere);
        }
        if now.parts > before.parts {
            return Some(Stream::LogParts);
        }
        (now.gone > before.gone).then_some(Stream::LogGone)
    }

    /// Names of the replicas that stream from it and of which this is true.
    async fn senders(&self, at: Who, which: &str) -> Vec<String> {
        let sql = format!(
            "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming' AND {which} \
             AND application_name <> 'dauphin_probe'"
        );
        self.sql(at, &sql).await
    }

    /// Waits until nobody sends to it any more.
    pub(super) async fn detached(&self, who: Who) {
        let name = self.of(who).voter.application_name();
        for other in who.others().filter(|o| self.up[o.index()]) {
            let sql = format!("SELECT count(*) FROM pg_stat_replication WHERE application_name = '{name}'");
            until("the end of a sender", async || self.sql(other, &sql).await == ["0"]).await;
        }
    }

    pub(super) async fn settle(&mut self, at: &str) {
        if !std::mem::take(&mut self.moved) {
            return;
        }
        let running: Vec<Who> = Who::ALL.into_iter().filter(|w| self.up[w.index()]).collect();
        for who in &running {
            let what = format!("{at}: {who:?}'s stream, or why there is none,");
            until(&what, async || self.stream(*who).await.is_some()).await;
        }
        for leader in running.iter().filter(|w| self.leads[w.index()]) {
            for _ in 0..ROUNDS {
                self.sql(*leader, "SELECT pg_logical_emit_message(true, 'conform', 'heard?')").await;
                let end = self.sql(*leader, "SELECT pg_current_wal_flush_lsn()").await;
                self.all_have(at, *leader, &end[0]).await;
            }
        }
        for replica in running.iter().filter(|w| !self.leads[w.index()]) {
            let rests = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'startup' AND wait_event IN \
                         ('RecoveryRetrieveRetryInterval', 'RecoveryWalStream', 'RecoveryPause')";
            until(&format!("{at}: {replica:?} at rest"), async || self.sql(*replica, rests).await == ["1"]).await;
            let end = "SELECT greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())";
            let end = self.sql(*replica, end).await;
            self.all_have(at, *replica, &end[0]).await;
        }
    }

    /// Waits until whoever streams from it has its log up to there.
    async fn all_have(&self, at: &str, upstream: Who, end: &str) {
        let paused: Vec<String> =
            self.paused.iter().map(|who| format!("'{}'", self.of(*who).voter.application_name())).collect();
        let paused = if paused.is_empty() { "''".to_owned() } else { paused.join(", ") };
        let lacks = format!("(flush_lsn < '{end}' OR (replay_lsn < '{end}' AND application_name NOT IN ({paused})))");
        until(&format!("{at}: all that streams from {upstream:?}"), async || {
            self.senders(upstream, &lacks).await.is_empty()
        })
        .await;
    }
}
