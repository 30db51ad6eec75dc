//! A PostgreSQL member's data from another one: a fresh copy, or the way back to where its log parted from the leader's. What
//! is cut off is archived first, and told.

use super::{PostgresHands, upstream_of};
use crate::asks::{Ask, OTHER_VERSION, Told};
use crate::engine::{Cut, Error};
use crate::server::{Server, lock};
use bytes::Bytes;
use dauphin_engine::postgres::rewind::CutOff;
use dauphin_engine::postgres::{self, Refusal, Upstream, clone::Progress};
use dauphin_ha::EngineOutcome;
use dauphin_model::{MemberName, Voter};
use std::sync::Arc;
use std::time::Duration;

/// How long a member may take to say which version it runs.
const VERSION_WITHIN: Duration = Duration::from_secs(2);
/// How long the leader may take to write the checkpoint that a rewind needs.
const CHECKPOINT_WITHIN: Duration = Duration::from_secs(30);

impl PostgresHands {
    pub(super) async fn copy_from(
        &self,
        server: &Server,
        from: &MemberName,
        voter: &Voter,
    ) -> Result<EngineOutcome, Error> {
        let instance = &self.server.instance;
        let system = *server.system.borrow();
        let upstream = upstream_of(server, from, voter)?;
        let progress: Arc<Progress> = Arc::default();
        let settings = self.server.settings().await;
        if let (true, Some(expected)) = (instance.has_data(), system)
            && let Err(postgres::Error::Refused(refusal @ Refusal::System { found, .. })) =
                instance.check_data(Some(expected))
            && *lock(&server.begun) != Some(found)
        {
            // somebody put another cluster's data here meanwhile: not ours to throw away
            return Err(postgres::Error::from(refusal).into());
        }
        self.same_version(server, from).await?;
        if instance.has_data() && instance.check_data(system).is_ok() {
            let (theirs, term) = server.leader_at(from);
            if let Some(cut) = instance.archive_before_copy(theirs.as_ref(), term).await? {
                server.tell_of_cut(told(cut));
            }
        }
        instance.wipe()?;
        let source = Upstream { slot: None, ..upstream };
        let copying = instance.clone_from(&source, &settings, &self.credentials, system, Arc::clone(&progress));
        server.telling_of(&progress, Box::pin(copying)).await?;
        // its log came along
        Ok(EngineOutcome::Copied { needs: None })
    }

    /// Asked before anything is copied: data of another major version would be of no use.
    async fn same_version(&self, server: &Server, from: &MemberName) -> Result<(), Error> {
        let programs = self.server.instance.bin.version.major;
        let body = Bytes::from(serde_json::to_vec(&Ask::Runs { major: programs }).unwrap_or_default());
        let answer = server.links.ask(from, body, VERSION_WITHIN).await;
        match answer.ok().and_then(|body| serde_json::from_slice::<Told>(&body).ok()) {
            Some(Told::Error(error)) if error.code == OTHER_VERSION => {
                let theirs = error.message.parse().unwrap_or_default();
                let refusal = Refusal::SourceVersion { member: from.to_string(), theirs, programs };
                Err(postgres::Error::from(refusal).into())
            }
            // no answer: the copy itself will show whether it can be reached
            Some(_) | None => Ok(()),
        }
    }

    pub(super) async fn rewind(&self, server: &Server, from: &MemberName) -> Result<EngineOutcome, Error> {
        let instance = &self.server.instance;
        let (theirs, term) = server.leader_at(from);
        let voter = {
            let picture = server.picture.borrow();
            Voter::new(picture.me.clone(), picture.durable.incarnation)
        };
        let theirs = theirs.ok_or(postgres::Error::PositionUnknown("the leader's position is not known"))?;
        // pg_rewind believes a leader's timeline only after its first checkpoint
        let body = Bytes::from(serde_json::to_vec(&Ask::Checkpoint).unwrap_or_default());
        if let Err(error) = server.links.ask(from, body, CHECKPOINT_WITHIN).await {
            tracing::warn!(%error, %from, "the leader did not say that it wrote a checkpoint");
        }
        let upstream = upstream_of(server, from, &voter)?;
        let settings = self.server.settings().await;
        let cut = instance.rewind(&upstream, &theirs, &settings, &self.credentials, term).await?;
        if let Some(cut) = cut {
            server.tell_of_cut(told(cut));
        }
        Ok(EngineOutcome::Copied { needs: instance.needs().await? })
    }
}

fn told(cut: CutOff) -> Cut {
    let CutOff { member, timeline, from, to, folder, .. } = cut;
    Cut { member, timeline, from, to, folder }
}
