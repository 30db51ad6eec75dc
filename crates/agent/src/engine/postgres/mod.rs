//! PostgreSQL under this agent: what its file says of the server, and how each of the core's steps is carried out on it. Called
//! through `Engine` alone.

mod copies;
mod house;
mod setup;

pub(crate) use house::check_change;

use crate::engine::{Access, Error};
use crate::secrets::Secrets;
use crate::server::{Server, lock};
use dauphin_engine::postgres::{
    self, Credentials, Networks, Postgres, Settings, StopMode, SyncMethod, Upstream, client::ClientError,
};
use dauphin_ha::{EngineOutcome, EngineStep};
use dauphin_model::{Durability, Enforced, MemberName, Spec, Term, Timeline, Voter};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a fast stop may take before it becomes an immediate one.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How long stopping to receive and draining may take.
const FREEZE_LIMIT: Duration = Duration::from_secs(5);
/// How long a promotion may take in one attempt.
const PROMOTE_LIMIT: Duration = Duration::from_secs(10);
/// How long a server may take to start: it may have to recover a lot of log. The core can fence it sooner.
const START_LIMIT: Duration = Duration::from_secs(3_600);

/// What acts on a PostgreSQL server.
#[derive(Debug)]
pub(crate) struct PostgresHands {
    pub(crate) server: Postgres,
    credentials: Credentials,
    secrets: Secrets,
    /// What the access rules named last.
    named: Mutex<Option<Networks>>,
}

impl PostgresHands {
    /// See [`Engine::carry_out`](crate::engine::Engine::carry_out).
    pub(crate) async fn carry_out(&self, server: &Arc<Server>, step: EngineStep) -> Result<EngineOutcome, Error> {
        let postgres = &self.server;
        match step {
            EngineStep::Bootstrap { timeline } => self.bootstrap(server, timeline).await,
            EngineStep::StartDetached => self.start(server, None).await,
            EngineStep::StartBehind { upstream, voter } => {
                self.start(server, Some(upstream_of(server, &upstream, &voter)?)).await
            }
            EngineStep::Stop => self.stop().await,
            EngineStep::Freeze => {
                let position = postgres.freeze(FREEZE_LIMIT).await?.position;
                Ok(EngineOutcome::Frozen { position, stray: false })
            }
            EngineStep::Follow { upstream, voter } => {
                postgres.follow(&upstream_of(server, &upstream, &voter)?).await?;
                Ok(EngineOutcome::Done)
            }
            EngineStep::Promote { timeline, .. } => {
                // whatever the file says already: only the server's own word, and nobody left inside, count
                server.set_access(Access::Closed).await?;
                Ok(EngineOutcome::Promoted(postgres.promote(timeline, PROMOTE_LIMIT).await?))
            }
            EngineStep::StartBarrier { term, serial, enforced } => {
                self.start_barrier(server, term, serial, &enforced).await
            }
            EngineStep::SetSync { enforced } => {
                postgres.confirm_sync(&enforced, method(server)).await?;
                let view = postgres.look(FREEZE_LIMIT).await;
                let unknown = postgres::Error::PositionUnknown("the server did not say");
                Ok(EngineOutcome::SyncSet(view.position.map(|p| p.lsn).ok_or(unknown)?))
            }
            EngineStep::OpenAccess => server.set_access(Access::Open).await.map(|()| EngineOutcome::Done),
            EngineStep::CloseAccess => {
                server.drain().await;
                server.set_access(Access::Closed).await.map(|()| EngineOutcome::Done)
            }
            EngineStep::Clone { from, voter } => self.copy_from(server, &from, &voter).await,
            EngineStep::Rewind { from } => self.rewind(server, &from).await,
        }
    }

    pub(crate) async fn set_access(&self, access: Access, server: &Server) -> Result<(), Error> {
        let access = match access {
            Access::Closed => postgres::Access::Closed,
            Access::Open => postgres::Access::Open,
        };
        let networks = networks(&server.spec());
        self.server.set_access(access, &networks).await?;
        *lock(&self.named) = Some(networks);
        Ok(())
    }

    pub(crate) async fn kill(&self, within: Duration) -> Result<(), Error> {
        self.server.instance.stop(StopMode::Kill, within).await?;
        Ok(())
    }

    pub(crate) async fn is_silent(&self, limit: Duration) -> bool {
        let answer = self.server.takes_connections(limit).await;
        matches!(answer, Err(postgres::Error::Sql { source: ClientError::TimedOut(_), .. }))
    }

    /// As a replica of nobody, or of `behind`: then it ends when the server has received what makes its data whole.
    async fn start(&self, server: &Server, behind: Option<Upstream>) -> Result<EngineOutcome, Error> {
        if let Some(upstream) = &behind {
            match self.server.follow(upstream).await {
                // the file is written; the server reads it when it starts
                Ok(()) | Err(postgres::Error::NotRunning { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.take_settings(server).await;
        let networks = networks(&server.spec());
        let command = self.server.prepare_start(&networks, &self.credentials, behind.is_some()).await?;
        server.bring_up(command, async { Ok(self.server.wait_ready(START_LIMIT).await?) }).await
    }

    async fn stop(&self) -> Result<EngineOutcome, Error> {
        let mode = self.server.instance.stop(StopMode::Fast, STOP_PATIENCE).await?;
        if mode > StopMode::Fast {
            return Ok(EngineOutcome::Stopped(None));
        }
        let position = self.server.instance.stopped_position().await.ok();
        Ok(EngineOutcome::Stopped(position))
    }

    async fn bootstrap(&self, server: &Server, timeline: Timeline) -> Result<EngineOutcome, Error> {
        let (postgres, instance) = (&self.server, &self.server.instance);
        if !instance.has_data() || !server.life().0 {
            instance.wipe()?;
            let system = instance.initdb(&server.spec().postgres.locale).await?;
            *lock(&server.begun) = Some(system);
            server.system.send_replace(Some(system));
            self.start(server, None).await?;
        }
        postgres.promote(timeline, PROMOTE_LIMIT).await?;
        // nobody is there to wait for yet, and nobody but us is let in
        postgres.set_sync(&Enforced::default(), method(server)).await?;
        postgres.ensure_roles(&self.credentials).await?;
        if let Some(secret) = self.secrets.of("admin") {
            postgres.ensure_admin("admin", secret).await?;
        }
        if let Some(secret) = self.secrets.of("app") {
            postgres.ensure_app("app", "app", secret).await?;
        }
        Ok(EngineOutcome::Done)
    }

    async fn start_barrier(
        &self,
        server: &Arc<Server>,
        term: Term,
        serial: u64,
        enforced: &Enforced,
    ) -> Result<EngineOutcome, Error> {
        server.forget_barrier();
        let mut voters: Vec<Voter> = server.picture.borrow().voters().into_iter().collect();
        voters.extend(enforced.voters.iter().cloned());
        voters.sort();
        voters.dedup();
        self.server.ensure_slots(&voters).await?;
        let probe = self.server.start_barrier(term, enforced, method(server)).await?;
        server.stand_behind(serial, async { Ok(probe.done().await?) });
        Ok(EngineOutcome::Done)
    }
}

fn method(server: &Server) -> SyncMethod {
    match server.picture.borrow().spec.durability {
        Durability::Sync => SyncMethod::First,
        Durability::Async | Durability::Quorum => SyncMethod::Any,
    }
}

fn upstream_of(server: &Server, name: &MemberName, voter: &Voter) -> Result<Upstream, Error> {
    let spec = server.spec();
    let unnamed = postgres::Error::PositionUnknown("the specification does not name the upstream");
    let member = spec.member(name).ok_or(unnamed)?;
    let application_name = voter.application_name();
    Ok(Upstream {
        host: member.host.clone(),
        port: member.sql_port,
        slot: Some(application_name.clone()),
        application_name,
        tls: spec.postgres.sql_tls,
    })
}

/// The settings of the specification, on top of what is this member's own.
fn wanted(spec: &Spec, me: &MemberName, current: &Settings) -> Result<Settings, postgres::Error> {
    let count = u32::try_from(spec.data_members().count()).unwrap_or(u32::MAX);
    let wanted = Settings::new(current.listen.clone(), count, &spec.postgres)?;
    // follows from the build and the member's certificate
    let apply_delay = spec.member(me).and_then(|member| member.delay);
    Ok(Settings { tls: current.tls.clone(), apply_delay, ..wanted })
}

/// Where members and clients connect from.
fn networks(spec: &Spec) -> Networks {
    let mut replication = spec.postgres.replication_networks.clone();
    if replication.is_empty() {
        // the members' own addresses, and nobody else's
        replication = spec.members.iter().map(|m| single(&m.host)).collect();
        replication.sort();
        replication.dedup();
    }
    Networks { replication, clients: spec.postgres.client_networks.clone(), require_tls: spec.postgres.sql_tls }
}

fn single(host: &str) -> String {
    match host.parse() {
        Ok(std::net::IpAddr::V4(ip)) => format!("{ip}/32"),
        Ok(std::net::IpAddr::V6(ip)) => format!("{ip}/128"),
        Err(_) => host.to_owned(),
    }
}
