//! MySQL and MariaDB under this agent: how each of the core's steps is carried out on such a server. Called through `Engine`
//! alone.
//!
//! What a commit waits for is counted by the server among those that log in with their voter's account, and which accounts may
//! log in follows what this server enforces. So a replica asks its leader's agent, and logs in accordingly.

mod copies;
mod distance;
mod giving;
mod house;
mod questions;
mod safeguards;
mod setup;
mod upstream;

pub(crate) use distance::until_close;
pub(crate) use giving::Part;
pub(crate) use house::{applies_after_restart, check_change};
pub(crate) use questions::{Answer, Question};

use crate::engine::{Access, Error};
use crate::secrets::Secrets;
use crate::server::{Server, lock};
use dauphin_engine::mysql::{self, Credentials, Mysql, RoomWatch, Settings, StopMode};
use dauphin_ha::{EngineOutcome, EngineStep};
use dauphin_model::{Enforced, MemberName, Term, Timeline, Voter};
use distance::Ends;
use giving::Giving;
use safeguards::Safeguards;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use upstream::Follows;

/// How long an orderly stop may take before the server is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How long stopping to receive and applying what was received may take.
const FREEZE_LIMIT: Duration = Duration::from_secs(5);
/// How long a promotion may take in one attempt.
const PROMOTE_LIMIT: Duration = Duration::from_secs(10);
/// How long a server may take to start: it may have to recover a lot. The core can fence it sooner.
const START_LIMIT: Duration = Duration::from_secs(3_600);
/// How often a server that starts is asked whether it waits for room.
const ROOM_POLL: Duration = Duration::from_secs(1);
/// How long one look of a step may take.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// What acts on a server of MySQL or MariaDB.
#[derive(Debug)]
pub(crate) struct MysqlHands {
    pub(crate) server: Arc<Mysql>,
    credentials: Credentials,
    secrets: Secrets,
    /// What it was told last to wait for, where it leads.
    enforced: Mutex<Option<Enforced>>,
    /// Whom it was told last to follow.
    follows: Mutex<Option<Follows>>,
    /// The leader's agent is being asked whether it counts this replica.
    asking: AtomicBool,
    /// The settings that it was started with.
    started: Mutex<Option<Settings>>,
    /// It was found to be another cluster's: not ours to throw away.
    foreign: AtomicBool,
    /// When the heartbeat was written last.
    beaten: Mutex<Option<Instant>>,
    /// Which voters acknowledged at the last look.
    acknowledging: Mutex<BTreeSet<Voter>>,
    /// Where the log ended of late.
    ends: Mutex<Ends>,
    /// The safeguards are being seen to.
    watching: AtomicBool,
    /// Where it was last archived what this member alone held.
    archived: Mutex<Option<PathBuf>>,
    /// What is watched over.
    safeguards: Mutex<Safeguards>,
    /// Whether the server waits for room on its disk.
    room: Mutex<Option<Arc<Mutex<RoomWatch>>>>,
    /// Copies under way to others.
    giving: Mutex<BTreeMap<MemberName, Arc<Giving>>>,
}

impl MysqlHands {
    /// See [`Engine::carry_out`](crate::engine::Engine::carry_out).
    pub(crate) async fn carry_out(&self, server: &Arc<Server>, step: EngineStep) -> Result<EngineOutcome, Error> {
        let mysql = &self.server;
        match step {
            EngineStep::Bootstrap { timeline } => self.bootstrap(server, timeline).await,
            EngineStep::StartDetached => self.start(server).await,
            EngineStep::StartBehind { upstream, voter } => {
                self.start(server).await?;
                self.follow(server, &upstream, &voter).await
            }
            EngineStep::Stop => self.stop(server).await,
            EngineStep::Freeze => {
                *lock(&self.follows) = None;
                let frozen = mysql.freeze_at(FREEZE_LIMIT).await?;
                if let Some(stray) = &frozen.stray {
                    tracing::info!(%stray, vouches = %frozen.position, "the log holds what no leader wrote");
                }
                Ok(EngineOutcome::Frozen { position: frozen.position, stray: frozen.stray.is_some() })
            }
            EngineStep::Follow { upstream, voter } => self.follow(server, &upstream, &voter).await,
            EngineStep::Promote { timeline, .. } => {
                *lock(&self.follows) = None;
                *lock(&self.enforced) = None;
                server.set_access(Access::Closed).await?;
                Ok(EngineOutcome::Promoted(mysql.begin_timeline(timeline, PROMOTE_LIMIT).await?))
            }
            EngineStep::StartBarrier { term, serial, enforced } => {
                self.start_barrier(server, term, serial, enforced).await
            }
            EngineStep::SetSync { enforced } => {
                let at = mysql.confirm_sync(&enforced).await?;
                *lock(&self.enforced) = Some(enforced);
                Ok(EngineOutcome::SyncSet(at))
            }
            EngineStep::OpenAccess => server.set_access(Access::Open).await.map(|()| EngineOutcome::Done),
            EngineStep::CloseAccess => {
                server.drain().await;
                server.set_access(Access::Closed).await.map(|()| EngineOutcome::Done)
            }
            EngineStep::Clone { from, voter } => self.copy_from(server, &from, &voter).await,
            // neither goes back in place: the core asks for a fresh copy then, where the specification allows it
            EngineStep::Rewind { from } => Err(self.no_way_back(server, &from).await),
        }
    }

    /// Refuses to hand over to a member of a newer version than others that are there could follow.
    pub(crate) async fn check_hand_over(&self, server: &Server, to: &MemberName) -> Result<(), Error> {
        // asked anew: it may have been upgraded a moment ago
        self.ask_version(server, to).await;
        let (its, mut others): (Vec<_>, Vec<_>) =
            self.versions_heard(server).into_iter().partition(|(name, _)| name == to);
        // whom a newer leader has left behind already follows nobody
        let attached = server.picture.borrow().leading().map(|l| l.replicas.clone()).unwrap_or_default();
        others.retain(|(name, _)| attached.iter().any(|replica| replica.name == *name));
        others.push((own_voter(server).name, self.server.version().clone()));
        for (_, version) in its {
            mysql::check_promotion(&version, &others).map_err(mysql::Error::from)?;
        }
        Ok(())
    }

    pub(crate) async fn set_access(&self, access: Access) -> Result<(), Error> {
        let access = match access {
            Access::Closed => mysql::Access::Closed,
            Access::Open => mysql::Access::Open,
        };
        Ok(self.server.set_access(access).await?)
    }

    pub(crate) async fn kill(&self, within: Duration) -> Result<(), Error> {
        self.server.stop(StopMode::Kill, within).await?;
        Ok(())
    }

    /// As a replica of nobody, closed. What it holds must be this cluster's.
    async fn start(&self, server: &Server) -> Result<EngineOutcome, Error> {
        *lock(&self.follows) = None;
        *lock(&self.enforced) = None;
        self.take_settings(server, None).await;
        let command = self.server.prepare_start().await?;
        *lock(&self.started) = Some(self.server.settings().await);
        *lock(&self.room) = Some(Arc::new(Mutex::new(RoomWatch::new(&self.server.instance))));
        let started = server.bring_up(command, self.ready()).await?;
        self.know_cluster(server).await?;
        Ok(started)
    }

    /// Waits until the server that starts is ready. One that waits for room though there is some is ended.
    async fn ready(&self) -> Result<(), Error> {
        let ready = self.server.wait_ready(START_LIMIT);
        tokio::pin!(ready);
        loop {
            tokio::select! {
                ready = &mut ready => return Ok(ready?),
                () = tokio::time::sleep(ROOM_POLL) => {}
            }
            if self.waits_in_vain().await {
                self.server.stop(StopMode::Kill, Duration::ZERO).await?;
                return Err(mysql::Error::WaitsForRoom.into());
            }
        }
    }

    /// Whether the server waits for room on its disk, and there is some. A disk that hangs says no.
    async fn waits_in_vain(&self) -> bool {
        let Some(watch) = lock(&self.room).clone() else { return false };
        // one that hangs has it
        let asked = move || watch.try_lock().is_ok_and(|mut watch| watch.waits_in_vain());
        tokio::task::spawn_blocking(asked).await.unwrap_or(false)
    }

    async fn stop(&self, server: &Server) -> Result<EngineOutcome, Error> {
        // a server that stops in order lets go of its replicas, whatever they lack
        if server.picture.borrow().role.leads() {
            self.wait_for_replicas(server).await;
        }
        Ok(EngineOutcome::Stopped(self.server.stop_in_order(STOP_PATIENCE).await?))
    }

    async fn bootstrap(&self, server: &Server, timeline: Timeline) -> Result<EngineOutcome, Error> {
        let mysql = &self.server;
        if !mysql.instance.has_data() || !server.life().0 {
            mysql.instance.wipe()?;
            self.take_settings(server, None).await;
            mysql.initialize(&self.credentials).await?;
            self.start(server).await?;
        }
        mysql.begin_timeline(timeline, PROMOTE_LIMIT).await?;
        let members: Vec<MemberName> = server.spec().data_members().map(|m| m.name.clone()).collect();
        mysql.ensure_accounts(&self.credentials, &members).await?;
        // nobody is there to wait for yet, and nobody but us is let in
        mysql.set_sync(&Enforced::default()).await?;
        if let Some(secret) = self.secrets.of("admin") {
            mysql.ensure_admin("admin", secret).await?;
        }
        if let Some(secret) = self.secrets.of("app") {
            mysql.ensure_app("app", "app", secret).await?;
        }
        let system = mysql.identity(LOOK_LIMIT).await?;
        *lock(&server.begun) = system;
        server.system.send_replace(system);
        Ok(EngineOutcome::Done)
    }

    async fn start_barrier(
        &self,
        server: &Arc<Server>,
        term: Term,
        serial: u64,
        enforced: Enforced,
    ) -> Result<EngineOutcome, Error> {
        server.forget_barrier();
        let barrier = self.server.start_barrier(term, &enforced).await?;
        *lock(&self.enforced) = Some(enforced);
        server.stand_behind(serial, async move { Ok(barrier.done().await?) });
        Ok(EngineOutcome::Done)
    }
}

/// This copy of the member's data.
fn own_voter(server: &Server) -> Voter {
    let picture = server.picture.borrow();
    Voter::new(picture.me.clone(), picture.durable.incarnation)
}
