//! What is kept on a running server of MySQL or MariaDB, and what a look at it says: settings, the heartbeat, which cluster the
//! data is of, and how far the replicas are, which their own agents tell.

use super::distance::{away, tell_how_far, tell_who_catches_up};
use super::{LOOK_LIMIT, MysqlHands, own_voter};
use crate::engine::{Error, House, RESTART};
use crate::server::{Server, lock};
use dauphin_api::dto;
use dauphin_api::error::ApiError;
use dauphin_engine::mysql::client::ClientError;
use dauphin_engine::mysql::config::check_user;
use dauphin_engine::mysql::lag::PERIOD;
use dauphin_engine::mysql::{self, Flavour, ServerId, Settings};
use dauphin_ha::Role;
use dauphin_model::{Attached, Enforced, Lsn, MysqlSpec, Run, ServerView, Spec, Voter};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A replica of MariaDB that is further behind does not change over: it would stop receiving until it had applied all.
const REFOLLOW_LAG_MS: u64 = 1_000;

/// Whether a replica that far behind may change over to another account.
fn may_change_over(flavour: Flavour, lag_ms: Option<u64>) -> bool {
    match flavour {
        // it goes on where it is, and a winner may wait behind its barrier for just this one
        Flavour::Mysql => true,
        Flavour::Mariadb => lag_ms.is_none_or(|ms| ms <= REFOLLOW_LAG_MS),
    }
}

impl MysqlHands {
    /// A look. The server knows who is attached, and not how far each is: that is what their agents say of themselves.
    pub(crate) async fn look(&self, server: &Server, limit: Duration) -> ServerView {
        let mut view = self.server.view(limit).await;
        // nothing that writes comes to an end in it: as one that stands still
        if view.run == Run::Running && tokio::time::timeout(limit, self.waits_in_vain()).await == Ok(true) {
            tracing::warn!("the server found its disk full and waits by itself, though there is room again");
            view.run = Run::Hung;
        }
        // whether it ended by itself, or was to end, is the guard's to say: a leader that stops in order is killed in the end
        if view.run == Run::Crashed {
            view.run = Run::Stopped;
        }
        if let Some(ours) = view.position.clone() {
            let picture = Arc::clone(&server.picture.borrow());
            view.attached.iter_mut().for_each(|attached| tell_how_far(attached, &picture, &ours));
            if view.in_recovery == Some(false) {
                view.away = away(&view, &picture, &ours);
                let enforced = lock(&self.enforced).clone().unwrap_or_default();
                let suspect = server.spec().profile.suspect();
                let before = lock(&self.ends).note(Instant::now(), ours.lsn, suspect);
                if server.serves() {
                    view.attached.iter_mut().for_each(|attached| tell_who_catches_up(attached, &enforced, before));
                }
            }
        }
        self.tell_of_safeguards(&mut view);
        view
    }

    /// What follows a look: a replica acknowledges as its leader counts it, an open leader writes its heartbeat. Both may wait
    /// for others, and nobody waits for them.
    pub(crate) fn after_look(&self, server: &Arc<Server>, role: Role, view: &ServerView) {
        if role == Role::Replica && self.server.is_open_by_hand() {
            self.close_again(server);
        }
        let may = may_change_over(self.server.dialect().flavour(), view.replay_lag_ms);
        match role {
            Role::Replica
                if self.is_mistimed(server) || (may && self.out_of_step(server, view.streaming.is_some())) =>
            {
                self.ask_whether_counted(server);
            }
            Role::Leader if server.serves() => {
                let enforced = lock(&self.enforced).clone().unwrap_or_default();
                let more = self.more_acknowledge(view, &enforced);
                if more || has_enough(view, &enforced) {
                    self.beat(server, held(view, &enforced), more);
                }
            }
            _ => {}
        }
    }

    /// Whether a voter acknowledges that did not at the last look, and commits do not wait for more: what it holds may wait for
    /// nothing but the next one.
    fn more_acknowledge(&self, view: &ServerView, enforced: &Enforced) -> bool {
        let now = acknowledging(&view.attached, enforced);
        let before = std::mem::replace(&mut *lock(&self.acknowledging), now.clone());
        more(&before, &now, enforced.required)
    }

    /// Writes the heartbeat when it is due, or `now`, and sees to it that commits which a voter holds up to `held` do not wait for
    /// ever.
    fn beat(&self, server: &Arc<Server>, held: Option<Lsn>, now: bool) {
        let Some(term) = server.picture.borrow().store.leadership.as_ref().map(|r| r.term) else { return };
        {
            let mut beaten = lock(&self.beaten);
            if !now && beaten.is_some_and(|at| at.elapsed() < PERIOD) {
                return;
            }
            *beaten = Some(Instant::now());
        }
        let (mysql, server) = (Arc::clone(&self.server), Arc::clone(server));
        server.runtime.clone().spawn(async move {
            if let Err(error) = mysql.release_held(held.unwrap_or_default()).await {
                tracing::debug!(%error, "commits that a voter holds were not released");
            }
            let begun = Instant::now();
            match mysql.beat(term, PERIOD).await {
                // a commit like any other, which waits as the others do
                Ok(_) => lock(&server.commit_waits).note(begun.elapsed()),
                Err(error) => tracing::debug!(%error, "the heartbeat was not written"),
            }
        });
    }

    /// Takes the settings of the specification, and who this member is; they are in force after the next start.
    pub(super) async fn take_settings(&self, server: &Server, voter: Option<&Voter>) {
        let voter = voter.cloned().unwrap_or_else(|| own_voter(server));
        let current = self.server.settings().await;
        let wanted = wanted(&server.spec(), &current, voter);
        if wanted != current
            && let Err(error) = self.server.set_settings(wanted).await
        {
            tracing::warn!(%error, "the server starts with the settings it had");
        }
    }

    /// The cluster that the data is of must be this one. A server just made is of none.
    pub(super) async fn know_cluster(&self, server: &Server) -> Result<(), Error> {
        let found = self.server.identity(LOOK_LIMIT).await?;
        let expected = *server.system.borrow();
        let strange = found.is_some() && expected.is_some() && found != expected;
        let foreign = strange && *lock(&server.begun) != found;
        self.foreign.store(foreign, Ordering::Release);
        if foreign {
            server.guard().kill().await.map_err(|error| Error::Guard(error.to_string()))?;
            return Err(Error::Foreign { data_dir: self.server.instance.data_dir.clone() });
        }
        if expected.is_none() && found.is_some() {
            server.system.send_replace(found);
        }
        Ok(())
    }

    pub(crate) async fn keep_settings(&self, server: &Server) {
        let current = self.server.settings().await;
        let wanted = wanted(&server.spec(), &current, own_voter(server));
        if wanted.user == current.user {
            return;
        }
        match self.server.set_settings(wanted).await {
            Ok(()) => {
                server.note_change();
                tracing::info!("the server has the new settings after its next start");
            }
            Err(error) => tracing::warn!(%error, "the server does not take the new settings"),
        }
    }

    pub(crate) fn look_around(&self, server: &Server, house: &mut House) {
        let wanted = server.spec().mysql.parameters;
        let started = lock(&self.started).as_ref().map(|settings| settings.user.clone());
        house.pending_restart = started.map(|started| differing(&started, &wanted)).unwrap_or_default();
    }

    pub(crate) async fn is_silent(&self, limit: Duration) -> bool {
        let answer = self.server.takes_connections(limit).await;
        matches!(answer, Err(mysql::Error::Sql { source: ClientError::TimedOut(_), .. }))
    }
}

/// Whether as many replicas are there as a commit waits for. A heartbeat that waits for one that is still to be copied would
/// hold its copy up.
fn has_enough(view: &ServerView, enforced: &Enforced) -> bool {
    let counts = |a: &&Attached| a.flush.is_some() && a.voter.as_ref().is_some_and(|v| enforced.voters.contains(v));
    view.attached.iter().filter(counts).count() >= enforced.required as usize
}

/// How much of the log a voter has applied that counts and acknowledges, as its own agent says.
fn held(view: &ServerView, enforced: &Enforced) -> Option<Lsn> {
    view.attached.iter().filter(|attached| acknowledges(attached, enforced)).filter_map(|a| a.replay).max()
}

/// Whether this replica's word counts.
fn acknowledges(attached: &Attached, enforced: &Enforced) -> bool {
    attached.sync_state == "quorum" && attached.voter.as_ref().is_some_and(|voter| enforced.voters.contains(voter))
}

/// The replicas whose words count.
fn acknowledging(attached: &[Attached], enforced: &Enforced) -> BTreeSet<Voter> {
    attached.iter().filter(|attached| acknowledges(attached, enforced)).filter_map(|a| a.voter.clone()).collect()
}

/// Whether somebody has come, and enough are there.
fn more(before: &BTreeSet<Voter>, now: &BTreeSet<Voter>, required: u32) -> bool {
    !now.is_subset(before) && now.len() >= required as usize
}

/// Settings of a server are read at its start.
pub(crate) fn applies_after_restart(differences: &mut [dto::Difference]) {
    let ours = differences.iter_mut().filter(|d| d.key.starts_with("mysql.parameters."));
    ours.for_each(|d| RESTART.clone_into(&mut d.applies));
}

/// Refuses what cannot be changed any more, and settings that are Dauphin's own.
pub(crate) fn check_change(new: &MysqlSpec, old: &MysqlSpec) -> Result<(), ApiError> {
    // members do not change over in the same moment: those that differ would refuse each other
    if new.sql_tls != old.sql_tls {
        let text = "sql_tls is decided before the cluster's first start and cannot be changed afterwards";
        return Err(ApiError::usage("fixed", text, "with `require` clients must use TLS, with `off` they may"));
    }
    check_user(&new.parameters).map_err(|e| ApiError::usage("bad_setting", e.to_string(), "dauphin config show"))
}

/// The settings of the specification, on top of what is this member's own.
fn wanted(spec: &Spec, current: &Settings, voter: Voter) -> Settings {
    Settings {
        server_id: ServerId::of(&spec.cluster, &voter),
        voter: Some(voter),
        user: spec.mysql.parameters.clone(),
        ..current.clone()
    }
}

/// The names of settings that are not the same in both.
fn differing(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    names.into_iter().filter(|name| one.get(*name) != other.get(*name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::super::distance::tests::{attached, voter};
    use super::*;

    fn settings(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_replica_that_is_behind_changes_over_where_that_waits_for_nothing() {
        let check = |flavour, lag_ms, may| assert_eq!(may_change_over(flavour, lag_ms), may, "{flavour:?} {lag_ms:?}");
        for lag_ms in [None, Some(0), Some(60_000)] {
            check(Flavour::Mysql, lag_ms, true);
        }
        check(Flavour::Mariadb, None, true);
        check(Flavour::Mariadb, Some(REFOLLOW_LAG_MS), true);
        check(Flavour::Mariadb, Some(REFOLLOW_LAG_MS + 1), false);
    }

    #[test]
    fn words_count_of_who_acknowledges_and_is_enforced() {
        let (m2, m3) = (voter("m2"), voter("m3"));
        let enforced = Enforced { voters: [m2.clone()].into(), required: 1 };
        let check = |counted: &[(&Voter, &str)], expected: &[&Voter]| {
            let says = |(voter, sync_state): &(&Voter, &str)| Attached {
                sync_state: (*sync_state).to_owned(),
                ..attached(voter)
            };
            let attached: Vec<Attached> = counted.iter().map(says).collect();
            let found = acknowledging(&attached, &enforced);
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{counted:?}");
        };
        check(&[(&m2, "async"), (&m3, "async")], &[]);
        check(&[(&m2, "async"), (&m3, "quorum")], &[]);
        check(&[(&m2, "quorum"), (&m3, "quorum")], &[&m2]);

        let of = |all: &[&Voter]| all.iter().map(|voter| (*voter).clone()).collect::<BTreeSet<_>>();
        let check = |before: &[&Voter], now: &[&Voter], required, expected| {
            assert_eq!(more(&of(before), &of(now), required), expected, "{before:?} {now:?} {required}");
        };
        check(&[&m2], &[&m2], 1, false);
        check(&[&m2], &[], 1, false);
        check(&[&m2], &[&m2, &m3], 2, true);
        check(&[&m2], &[&m3], 1, true);
        check(&[], &[&m3], 2, false);
    }

    #[test]
    fn settings_that_were_added_changed_or_taken_out_wait_for_a_restart() {
        let check = |started: &[(&str, &str)], wanted: &[(&str, &str)], expected: &[&str]| {
            assert_eq!(differing(&settings(started), &settings(wanted)), expected);
        };
        check(&[("a", "1")], &[("a", "1")], &[]);
        check(&[("a", "1"), ("b", "1")], &[("b", "2"), ("c", "1")], &["a", "b", "c"]);
    }

    #[test]
    fn what_is_dauphins_own_or_fixed_is_refused() {
        let spec = |parameters: &[(&str, &str)], sql_tls| MysqlSpec { parameters: settings(parameters), sql_tls };
        assert!(check_change(&spec(&[("max_connections", "300")], true), &spec(&[], true)).is_ok());
        let said = |new, old| check_change(&new, &old).expect_err("a refusal").message;
        assert!(said(spec(&[("sync_binlog", "0")], true), spec(&[], true)).contains("sync_binlog"));
        assert!(said(spec(&[], false), spec(&[], true)).contains("sql_tls"));
    }
}
