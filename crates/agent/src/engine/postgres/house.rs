//! What is kept on a running PostgreSQL server: the settings of the specification, the networks that its access rules name,
//! slots for the others. It reports what a person set by hand, and never undoes it.

use super::{PostgresHands, networks, wanted};
use crate::engine::{Access, House, RESTART};
use crate::server::{Server, lock};
use dauphin_api::dto;
use dauphin_api::error::ApiError;
use dauphin_engine::postgres::sync::duplicates;
use dauphin_engine::postgres::{self, Settings};
use dauphin_ha::Role;
use dauphin_model::{PostgresSpec, Remark, Run, ServerView, Spec, Voter};
use std::collections::BTreeMap;
use std::time::Duration;

impl PostgresHands {
    /// A server starts with the settings of the shared specification, whatever the member's own file says.
    pub(super) async fn take_settings(&self, server: &Server) {
        let (current, me) = (self.server.settings().await, server.picture.borrow().me.clone());
        let taken = match wanted(&server.spec(), &me, &current) {
            Ok(wanted) if wanted == current => return,
            Ok(wanted) => match self.server.check_settings(&wanted.user).await {
                Ok(()) => self.server.set_settings(wanted).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        if let Err(error) = taken {
            tracing::warn!(%error, "the server starts with the settings it had");
        }
    }

    pub(crate) async fn keep_settings(&self, server: &Server) {
        let spec = server.spec();
        let named = networks(&spec);
        let before = lock(&self.named).clone();
        if before.is_some_and(|before| before != named) && self.keep_networks(server).await {
            *lock(&self.named) = Some(named);
        }
        let (current, me) = (self.server.settings().await, server.picture.borrow().me.clone());
        let Some(wanted) = wanted(&spec, &me, &current).ok().filter(|wanted| *wanted != current) else { return };
        let Ok(_hand) = server.hand.try_lock() else { return };
        match self.server.change_settings(wanted).await {
            Ok(()) => {
                server.note_change();
                tracing::info!("the server has the new settings");
            }
            Err(error) => tracing::warn!(%error, "the server does not take the new settings"),
        }
    }

    /// Whether the access rules name the networks of the specification now. Closed ones will when they are opened; sessions
    /// that are there stay.
    async fn keep_networks(&self, server: &Server) -> bool {
        let Ok(_hand) = server.hand.try_lock() else { return false };
        if !server.serves() {
            return true;
        }
        match server.set_access(Access::Open).await {
            Ok(()) => {
                tracing::info!("the access rules have the new networks");
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the access rules do not take the new networks yet");
                false
            }
        }
    }

    /// What this member's server says to the new settings: refused where it cannot read one, else which of them wait for a
    /// restart.
    pub(crate) async fn ask_settings(&self, spec: &Spec, differences: &mut [dto::Difference]) -> Result<(), ApiError> {
        let usage = |error: postgres::Error| ApiError::usage("bad_setting", error.to_string(), "dauphin config show");
        let wanted = &spec.postgres.parameters;
        if let Err(error @ postgres::Error::Setting { .. }) = self.server.check_settings(wanted).await {
            return Err(usage(error));
        }
        match self.server.changes_to(wanted).await {
            Ok(changes) => {
                for change in changes {
                    let key = format!("postgres.parameters.{}", change.name);
                    let applies = if change.restart { RESTART } else { "by a reload" };
                    differences.iter_mut().filter(|d| d.key == key).for_each(|d| applies.clone_into(&mut d.applies));
                }
                Ok(())
            }
            Err(error @ postgres::Error::Setting { .. }) => Err(usage(error)),
            // it cannot be asked just now: it will say at the reload
            Err(_) => Ok(()),
        }
    }

    pub(crate) async fn look(&self, limit: Duration) -> ServerView {
        let mut view = self.server.look(limit).await;
        if view.run == Run::Running && view.streaming.is_none() && self.server.settings().await.apply_delay.is_some() {
            // nothing is wrong while it waits for its time: it streams again when it has applied what it has
            let late = self.server.is_late(limit).await.unwrap_or_default();
            view.streaming = view.position.as_ref().map(|position| position.timeline).filter(|_| late);
        }
        view.remarks = duplicates(&view.attached).into_iter().map(|name| Remark::SharedName { name }).collect();
        view
    }

    pub(crate) async fn look_around(&self, house: &mut House, limit: Duration) {
        if let Ok(settings) = self.server.pending_restart(limit).await {
            house.pending_restart = settings;
        }
        if let Ok(settings) = self.server.set_by_hand(limit).await {
            house.by_hand = settings;
        }
    }

    /// Every member keeps a slot for every other: whoever leads next has them already.
    pub(crate) async fn keep_slots(&self, server: &Server, role: Role) {
        if !matches!(role, Role::Leader | Role::Replica) {
            return;
        }
        let Ok(_hand) = server.hand.try_lock() else { return };
        let (voters, positions): (Vec<Voter>, BTreeMap<Voter, _>) = {
            let picture = server.picture.borrow();
            let voters: Vec<Voter> = picture.voters().into_iter().collect();
            let positions = voters.iter().filter_map(|v| {
                let beat = picture.beat_of(&v.name).filter(|b| b.incarnation == v.incarnation)?;
                Some((v.clone(), beat.position.as_ref()?.lsn))
            });
            (voters.clone(), positions.collect())
        };
        if let Err(error) = self.server.ensure_slots(&voters).await {
            tracing::warn!(%error, "slots cannot be kept");
        }
        if role == Role::Replica
            && let Err(error) = self.server.advance_slots(&positions).await
        {
            tracing::debug!(%error, "slots cannot be advanced");
        }
    }
}

/// Refuses what cannot be changed any more, and settings that are Dauphin's own.
pub(crate) fn check_change(new: &PostgresSpec, old: &PostgresSpec) -> Result<(), ApiError> {
    if new.locale != old.locale {
        let text = "locale is decided when the cluster is made and cannot be changed afterwards";
        return Err(ApiError::usage("fixed", text, "CREATE DATABASE ... LOCALE makes a database with another one"));
    }
    // members do not change over in the same moment: those that differ would refuse each other
    if new.sql_tls != old.sql_tls {
        let text = "sql_tls is decided before the cluster's first start and cannot be changed afterwards";
        return Err(ApiError::usage("fixed", text, "with `require` clients must use TLS, with `off` they may"));
    }
    Settings::new(Vec::new(), 1, new)
        .map(drop)
        .map_err(|e| ApiError::usage("bad_setting", e.to_string(), "dauphin config show"))
}
