//! How each of the core's engine steps is carried out on this member's server. Called by `server`, one step at a time; it
//! knows how, never when.

use crate::asks::{Ask, OTHER_VERSION, Told};
use crate::server::{Server, lock};
use bytes::Bytes;
use dauphin_engine::postgres::{
    Access, Error, Networks, Refusal, Settings, StopMode, SyncMethod, Upstream, clone::Progress, rewind::CutOff,
};
use dauphin_ha::{Copying, EngineOutcome, EngineStep, Event};
use dauphin_model::{Durability, Enforced, MemberName, Position, Spec, Term, Voter};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a fast stop may take before it becomes an immediate one.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How long stopping to receive and draining may take.
const FREEZE_LIMIT: Duration = Duration::from_secs(5);
/// How long a promotion may take in one attempt.
const PROMOTE_LIMIT: Duration = Duration::from_secs(10);
/// How long running transactions may go on when a switchover closes the server.
const DRAIN_LIMIT: Duration = Duration::from_millis(1_500);
/// How often that is looked at.
const DRAIN_POLL: Duration = Duration::from_millis(5);
/// How often it is told how far a copy has come.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// How long a member may take to say which version it runs.
const VERSION_WITHIN: Duration = Duration::from_secs(2);
/// How long the leader may take to write the checkpoint that a rewind needs.
const CHECKPOINT_WITHIN: Duration = Duration::from_secs(30);

impl Server {
    pub(crate) async fn carry_out(self: &Arc<Self>, step: EngineStep) -> Result<EngineOutcome, Error> {
        let postgres = &self.postgres;
        if let EngineStep::Bootstrap { .. }
        | EngineStep::StartDetached
        | EngineStep::StartBehind { .. }
        | EngineStep::Clone { .. }
        | EngineStep::Rewind { .. } = step
        {
            self.end_unknown().await;
        }
        match step {
            EngineStep::Bootstrap { timeline } => self.bootstrap(timeline).await,
            EngineStep::StartDetached => self.start(None).await,
            EngineStep::StartBehind { upstream, voter } => {
                self.start(Some(self.upstream(&upstream, &voter, true)?)).await
            }
            EngineStep::Stop => self.stop().await,
            EngineStep::Freeze => postgres.freeze(FREEZE_LIMIT).await.map(|f| EngineOutcome::Frozen(f.position)),
            EngineStep::Follow { upstream, voter } => {
                postgres.follow(&self.upstream(&upstream, &voter, true)?).await.map(|()| EngineOutcome::Done)
            }
            EngineStep::Promote { timeline, .. } => {
                // whatever the file says already: only the server's own word, and nobody left inside, count
                self.set_access(Access::Closed).await?;
                postgres.promote(timeline, PROMOTE_LIMIT).await.map(EngineOutcome::Promoted)
            }
            EngineStep::StartBarrier { term, serial, enforced } => self.start_barrier(term, serial, &enforced).await,
            EngineStep::SetSync { enforced } => {
                postgres.confirm_sync(&enforced, self.method()).await?;
                let view = postgres.look(FREEZE_LIMIT).await;
                let lsn = view.position.map(|p| p.lsn).ok_or(Error::PositionUnknown("the server did not say"))?;
                Ok(EngineOutcome::SyncSet(lsn))
            }
            EngineStep::OpenAccess => self.set_access(Access::Open).await.map(|()| EngineOutcome::Done),
            EngineStep::CloseAccess => {
                self.drain().await;
                self.set_access(Access::Closed).await.map(|()| EngineOutcome::Done)
            }
            EngineStep::Clone { from, voter } => self.copy_from(&from, &voter).await,
            EngineStep::Rewind { from } => self.rewind(&from).await,
        }
    }

    fn spec(&self) -> Spec {
        self.picture.borrow().spec.clone()
    }

    /// Where members and clients connect from, by the specification in force.
    pub(crate) fn networks(&self) -> Networks {
        networks(&self.spec())
    }

    fn method(&self) -> SyncMethod {
        match self.picture.borrow().spec.durability {
            Durability::Sync => SyncMethod::First,
            Durability::Async | Durability::Quorum => SyncMethod::Any,
        }
    }

    pub(crate) fn upstream(&self, name: &MemberName, voter: &Voter, slot: bool) -> Result<Upstream, Error> {
        let spec = self.spec();
        let member = spec.member(name).ok_or(Error::PositionUnknown("the specification does not name the upstream"))?;
        let application_name = voter.application_name();
        Ok(Upstream {
            host: member.host.clone(),
            port: member.sql_port,
            slot: slot.then(|| application_name.clone()),
            application_name,
            tls: spec.postgres.sql_tls,
        })
    }

    /// The settings of the shared specification, on top of what is this member's own.
    pub(crate) fn wanted(&self, current: &Settings) -> Result<Settings, Error> {
        let spec = self.spec();
        let count = u32::try_from(spec.data_members().count()).unwrap_or(u32::MAX);
        let wanted = Settings::new(current.listen.clone(), count, &spec.postgres)?;
        // follows from the build and the member's certificate
        Ok(Settings { tls: current.tls.clone(), ..wanted })
    }

    /// A server starts with the settings of the shared specification, whatever the member's own file says.
    pub(crate) async fn take_settings(&self) {
        let current = self.postgres.settings().await;
        let taken = match self.wanted(&current) {
            Ok(wanted) if wanted == current => return,
            Ok(wanted) => match self.postgres.check_settings(&wanted.user).await {
                Ok(()) => self.postgres.set_settings(wanted).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        if let Err(error) = taken {
            tracing::warn!(%error, "the server starts with the settings it had");
        }
    }

    async fn stop(&self) -> Result<EngineOutcome, Error> {
        let mode = self.postgres.instance.stop(StopMode::Fast, STOP_PATIENCE).await?;
        if mode > StopMode::Fast {
            return Ok(EngineOutcome::Stopped(None));
        }
        let position = self.postgres.instance.stopped_position().await.ok();
        Ok(EngineOutcome::Stopped(position))
    }

    async fn bootstrap(&self, timeline: dauphin_model::Timeline) -> Result<EngineOutcome, Error> {
        let instance = &self.postgres.instance;
        if !instance.has_data() || !self.life().0 {
            instance.wipe()?;
            let system = instance.initdb(&self.spec().postgres.locale).await?;
            *lock(&self.begun) = Some(system);
            self.system.send_replace(Some(system));
            self.start(None).await?;
        }
        self.postgres.promote(timeline, PROMOTE_LIMIT).await?;
        // nobody is there to wait for yet, and nobody but us is let in
        self.postgres.set_sync(&Enforced::default(), self.method()).await?;
        self.postgres.ensure_roles(&self.secrets.credentials).await?;
        if let Some(secret) = &self.secrets.admin {
            self.postgres.ensure_admin("admin", secret).await?;
        }
        if let Some(secret) = &self.secrets.app {
            self.postgres.ensure_app("app", "app", secret).await?;
        }
        Ok(EngineOutcome::Done)
    }

    async fn start_barrier(
        self: &Arc<Self>,
        term: dauphin_model::Term,
        serial: u64,
        enforced: &Enforced,
    ) -> Result<EngineOutcome, Error> {
        if let Some(old) = lock(&self.barrier).take() {
            old.abort();
        }
        let mut voters: Vec<Voter> = self.picture.borrow().voters().into_iter().collect();
        voters.extend(enforced.voters.iter().cloned());
        voters.sort();
        voters.dedup();
        self.postgres.ensure_slots(&voters).await?;
        let probe = self.postgres.start_barrier(term, enforced, self.method()).await?;
        let inbox = self.inbox.clone();
        let waits = self.runtime.spawn(async move {
            let result = probe.done().await;
            if let Err(error) = &result {
                tracing::warn!(%error, "the barrier's wait was cut");
            }
            inbox.tell(Event::BarrierPassed { serial, ok: result.is_ok() });
        });
        *lock(&self.barrier) = Some(waits);
        Ok(EngineOutcome::Done)
    }

    /// Lets running transactions end; the proxy holds new ones back.
    async fn drain(&self) {
        let until = Instant::now() + DRAIN_LIMIT;
        while Instant::now() < until {
            match self.postgres.busy_clients().await {
                Ok(0) => return,
                Ok(_) => tokio::time::sleep(DRAIN_POLL).await,
                Err(error) => {
                    tracing::debug!(%error, "running transactions could not be counted");
                    return;
                }
            }
        }
    }

    async fn copy_from(&self, from: &MemberName, voter: &Voter) -> Result<EngineOutcome, Error> {
        let instance = &self.postgres.instance;
        let system = *self.system.borrow();
        let upstream = self.upstream(from, voter, true)?;
        let progress: Arc<Progress> = Arc::default();
        let settings = self.postgres.settings().await;
        if let (true, Some(expected)) = (instance.has_data(), system)
            && let Err(Error::Refused(refusal @ Refusal::System { found, .. })) = instance.check_data(Some(expected))
            && *lock(&self.begun) != Some(found)
        {
            // somebody put another cluster's data here meanwhile: not ours to throw away
            return Err(refusal.into());
        }
        self.same_version(from).await?;
        if instance.has_data() && instance.check_data(system).is_ok() {
            let (theirs, term) = self.leader_at(from);
            if let Some(cut) = instance.archive_before_copy(theirs.as_ref(), term).await? {
                self.tell_of_cut(cut);
            }
        }
        instance.wipe()?;
        let source = Upstream { slot: None, ..upstream };
        let copying = instance.clone_from(&source, &settings, &self.secrets.credentials, system, Arc::clone(&progress));
        let telling = async {
            loop {
                tokio::time::sleep(PROGRESS_EVERY).await;
                let (done, total, rate) = (progress.done(), progress.total(), progress.rate());
                self.inbox.tell(Event::Copying(Copying { done, total, rate }));
            }
        };
        tokio::select! {
            copied = copying => copied?,
            () = telling => unreachable!("it never ends"),
        }
        // its log came along
        Ok(EngineOutcome::Copied { needs: None })
    }

    /// How far the leader's log reaches, and in which term.
    fn leader_at(&self, from: &MemberName) -> (Option<Position>, Term) {
        let picture = self.picture.borrow();
        let theirs = picture.beat_of(from).and_then(|b| b.position.clone());
        (theirs, picture.store.leadership.as_ref().map(|r| r.term).unwrap_or_default())
    }

    /// Asked before anything is copied: data of another major version would be of no use.
    async fn same_version(&self, from: &MemberName) -> Result<(), Error> {
        let programs = self.postgres.instance.bin.version.major;
        let body = Bytes::from(serde_json::to_vec(&Ask::Runs { major: programs }).unwrap_or_default());
        let answer = self.links.ask(from, body, VERSION_WITHIN).await;
        match answer.ok().and_then(|body| serde_json::from_slice::<Told>(&body).ok()) {
            Some(Told::Error(error)) if error.code == OTHER_VERSION => {
                let theirs = error.message.parse().unwrap_or_default();
                Err(Refusal::SourceVersion { member: from.to_string(), theirs, programs }.into())
            }
            // no answer: the copy itself will show whether it can be reached
            Some(_) | None => Ok(()),
        }
    }

    /// What was cut off is told to the cluster: `history` shows what a failover cost.
    fn tell_of_cut(&self, cut: CutOff) {
        tracing::info!(from = %cut.from, to = %cut.to, timeline = %cut.timeline, folder = %cut.folder.display(),
            "what the leader does not hold was archived and cut off");
        if self.cuts.try_send(cut).is_err() {
            tracing::warn!("too much is cut off at once to tell of it; the archive has it");
        }
    }

    async fn rewind(&self, from: &MemberName) -> Result<EngineOutcome, Error> {
        let instance = &self.postgres.instance;
        let (theirs, term) = self.leader_at(from);
        let voter = {
            let picture = self.picture.borrow();
            Voter::new(picture.me.clone(), picture.durable.incarnation)
        };
        let theirs = theirs.ok_or(Error::PositionUnknown("the leader's position is not known"))?;
        // pg_rewind believes a leader's timeline only after its first checkpoint
        let body = Bytes::from(serde_json::to_vec(&Ask::Checkpoint).unwrap_or_default());
        if let Err(error) = self.links.ask(from, body, CHECKPOINT_WITHIN).await {
            tracing::warn!(%error, %from, "the leader did not say that it wrote a checkpoint");
        }
        let upstream = self.upstream(from, &voter, true)?;
        let settings = self.postgres.settings().await;
        let cut = instance.rewind(&upstream, &theirs, &settings, &self.secrets.credentials, term).await?;
        if let Some(cut) = cut {
            self.tell_of_cut(cut);
        }
        Ok(EngineOutcome::Copied { needs: instance.needs().await? })
    }
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
