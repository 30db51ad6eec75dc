//! What is watched over on a running server of MySQL or MariaDB, because acknowledged commits rest on it: who may write on a
//! replica, settings of Dauphin's, commits whose wait somebody ended, and which versions the other members run. What was set by
//! hand is set back and told.

use super::MysqlHands;
use crate::engine::mysql::questions::{Answer, Question};
use crate::server::{Server, lock};
use dauphin_engine::mysql::Version;
use dauphin_ha::Role;
use dauphin_model::{Lsn, MemberName, Remark, ServerView};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long it is told that something was set back.
const TOLD_FOR: Duration = Duration::from_secs(60);
/// How long closing a replica to writes may wait for writes under way.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// How long a member may take to say which version it runs.
const VERSION_WITHIN: Duration = Duration::from_secs(2);

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Safeguards {
    /// When something was set back last, and what within that time.
    set_back: Option<(Instant, BTreeSet<String>)>,
    /// Commits that came through alone, and up to where replicas must be for them to be safe again.
    alone: Option<(u64, Lsn)>,
    /// How many of them were told of.
    told: u64,
    /// What the other members run, as they said last.
    pub(super) versions: BTreeMap<MemberName, Version>,
}

impl Safeguards {
    fn note(&mut self, settings: &[String]) {
        let recent = self.set_back.take().filter(|(at, _)| at.elapsed() < TOLD_FOR);
        let mut all = recent.map(|(_, all)| all).unwrap_or_default();
        all.extend(settings.iter().cloned());
        self.set_back = Some((Instant::now(), all));
    }

    /// Commits that came through alone: how many are not held by enough replicas yet. `held`: up to where they are held;
    /// `end`: where the log ends.
    fn alone(&mut self, count: u64, end: Lsn, held: Option<Lsn>) -> Option<u64> {
        if count < self.told {
            // it was told anew what commits wait for
            (self.told, self.alone) = (0, None);
        }
        if count > self.told {
            let more = count - self.told + self.alone.map_or(0, |(before, _)| before);
            (self.told, self.alone) = (count, Some((more, end)));
        }
        if self.alone.is_some_and(|(_, at)| held.is_some_and(|held| held >= at)) {
            self.alone = None;
        }
        self.alone.map(|(commits, _)| commits)
    }
}

impl MysqlHands {
    /// Adds to a look what the safeguards have to say.
    pub(super) fn tell_of_safeguards(&self, view: &mut ServerView) {
        let enforced = lock(&self.enforced).clone().filter(|enforced| enforced.required > 0);
        let mut safeguards = lock(&self.safeguards);
        if let (Some(enforced), Some(end)) = (enforced, view.position.as_ref().map(|position| position.lsn)) {
            let counts = |a: &&dauphin_model::Attached| a.voter.as_ref().is_some_and(|v| enforced.voters.contains(v));
            let mut flushed: Vec<Lsn> = view.attached.iter().filter(counts).filter_map(|a| a.flush).collect();
            flushed.sort_unstable_by(|a, b| b.cmp(a));
            let held = flushed.get(enforced.required as usize - 1).copied();
            let told = safeguards.told;
            if let Some(commits) = safeguards.alone(self.server.alone(), end, held) {
                if safeguards.told > told {
                    tracing::warn!(commits, "commits were reported as done and too few replicas hold them");
                }
                view.remarks.push(Remark::Unacknowledged { commits });
            }
        }
        let here = |remark: &Remark| matches!(remark, Remark::SetBack { .. });
        for remark in view.remarks.extract_if(.., |remark| here(remark)) {
            if let Remark::SetBack { settings } = remark {
                safeguards.note(&settings);
            }
        }
        if let Some((_, settings)) = safeguards.set_back.as_ref().filter(|(at, _)| at.elapsed() < TOLD_FOR) {
            view.remarks.push(Remark::SetBack { settings: settings.iter().cloned().collect() });
        }
    }

    /// Closes a replica that somebody opened to writes.
    pub(super) fn close_again(&self, server: &Arc<Server>) {
        let server = Arc::clone(server);
        server.runtime.clone().spawn(async move {
            let Some(hands) = server.engine.mysql() else { return };
            let Ok(_hand) = server.hand.try_lock() else { return };
            // a step may have come between
            if server.picture.borrow().role != Role::Replica {
                return;
            }
            match hands.server.close_writes(CLOSE_LIMIT).await {
                Ok(()) => tracing::warn!("somebody opened this replica to writes; it is closed again"),
                Err(error) => tracing::warn!(%error, "somebody opened this replica to writes; it cannot be closed yet"),
            }
        });
    }

    /// Sees to what was set by hand, and to what the others run. Nobody waits for it: looks must go on.
    pub(crate) fn keep_safeguards(&self, server: &Arc<Server>) {
        if self.watching.swap(true, Ordering::AcqRel) {
            return;
        }
        let server = Arc::clone(server);
        server.runtime.clone().spawn(async move {
            if let Some(hands) = server.engine.mysql() {
                hands.set_back(&server).await;
                hands.ask_versions(&server).await;
                hands.watching.store(false, Ordering::Release);
            }
        });
    }

    /// Sets back what somebody changed by hand, unless an act is under way.
    async fn set_back(&self, server: &Server) {
        let Ok(_hand) = server.hand.try_lock() else { return };
        let role = server.picture.borrow().role;
        let required = lock(&self.enforced).as_ref().map(|enforced| enforced.required);
        let required = match role {
            Role::Leader => required,
            Role::Replica => None,
            _ => return,
        };
        match self.server.set_back(required).await {
            Ok(settings) if settings.is_empty() => {}
            Ok(settings) => {
                tracing::warn!(settings = settings.join(", "), "somebody changed these by hand; they are set back");
                lock(&self.safeguards).note(&settings);
            }
            Err(error) => tracing::warn!(%error, "what somebody changed by hand cannot be set back yet"),
        }
    }

    /// Asks the other members which versions they run.
    async fn ask_versions(&self, server: &Server) {
        let names: Vec<MemberName> = {
            let picture = server.picture.borrow();
            let others = picture.spec.data_members().map(|m| &m.name).filter(|name| **name != picture.me);
            others.filter(|name| picture.beat_of(name).is_some()).cloned().collect()
        };
        for name in names {
            self.ask_version(server, &name).await;
        }
    }

    /// Asks one of them.
    pub(super) async fn ask_version(&self, server: &Server, name: &MemberName) {
        if let Some(Answer::Runs { version }) = server.question(name, Question::Runs, VERSION_WITHIN).await {
            lock(&self.safeguards).versions.insert(name.clone(), version);
        }
    }

    /// The versions of the members that are heard now, for what would have to follow this one.
    pub(super) fn versions_heard(&self, server: &Server) -> Vec<(MemberName, Version)> {
        let picture = server.picture.borrow();
        let all = lock(&self.safeguards).versions.clone();
        all.into_iter().filter(|(name, _)| picture.beat_of(name).is_some()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_that_came_through_alone_are_told_of_until_replicas_hold_them() {
        let mut safeguards = Safeguards::default();
        assert_eq!(safeguards.alone(0, Lsn(10), Some(Lsn(10))), None);
        assert_eq!(safeguards.alone(2, Lsn(12), Some(Lsn(10))), Some(2));
        assert_eq!(safeguards.alone(3, Lsn(13), Some(Lsn(12))), Some(3), "the later one counts");
        assert_eq!(safeguards.alone(3, Lsn(20), None), Some(3));
        assert_eq!(safeguards.alone(3, Lsn(20), Some(Lsn(13))), None);
        assert_eq!(safeguards.alone(3, Lsn(30), None), None, "told once");
        // counted anew by another setting
        assert_eq!(safeguards.alone(1, Lsn(31), None), Some(1));
    }

    #[test]
    fn what_was_set_back_is_told_together() {
        let mut safeguards = Safeguards::default();
        safeguards.note(&["read_only".to_owned()]);
        safeguards.note(&["sync_binlog".to_owned(), "read_only".to_owned()]);
        let (_, all) = safeguards.set_back.expect("noted");
        assert_eq!(all.into_iter().collect::<Vec<_>>(), ["read_only", "sync_binlog"]);
    }
}
