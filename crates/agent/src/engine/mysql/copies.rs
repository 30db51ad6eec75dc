//! A fresh copy of a MySQL or MariaDB member's data from its leader. What this member alone holds is archived before anything
//! is thrown away.

use super::giving::taken_from;
use super::questions::{Answer, Question};
use super::{MysqlHands, own_voter};
use crate::engine::{Cut, Error};
use crate::server::{Server, lock};
use dauphin_engine::host::Progress;
use dauphin_engine::mysql::{CloneSource, Flavour, Mysql, NOWHERE, Offer};
use dauphin_ha::EngineOutcome;
use dauphin_model::{Lsn, MemberName, Voter};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a member may take to say what it offers, or what its log holds.
const OFFER_WITHIN: Duration = Duration::from_secs(20);
/// How long nothing more of a copy may come.
pub(super) const QUIET: Duration = Duration::from_secs(60);

impl MysqlHands {
    pub(super) async fn copy_from(
        &self,
        server: &Server,
        from: &MemberName,
        voter: &Voter,
    ) -> Result<EngineOutcome, Error> {
        let instance = &self.server.instance;
        if instance.has_data() && self.foreign.load(Ordering::Acquire) {
            // somebody put another cluster's data here meanwhile: not ours to throw away
            return Err(Error::Foreign { data_dir: instance.data_dir.clone() });
        }
        let Some(Answer::Offer(offer)) = server.question(from, Question::Offer, OFFER_WITHIN).await else {
            return Err(Error::NoAnswer { member: from.clone(), about: "what there is to copy" });
        };
        dauphin_engine::mysql::check_copy(&instance.bin.version, &offer).map_err(dauphin_engine::mysql::Error::from)?;
        if instance.has_data() {
            self.archive(server, from).await?;
        } else {
            // a copy appears there whole or not at all: what is there is somebody else's
            instance.require_empty()?;
        }
        instance.wipe()?;
        self.take_settings(server, Some(voter)).await;
        let progress = Progress::default();
        let copying = Box::pin(self.fetch(server, from, &offer, &progress));
        server.telling_of(&progress, copying).await?;
        // its log came along
        Ok(EngineOutcome::Copied { needs: None })
    }

    async fn fetch(&self, server: &Server, from: &MemberName, offer: &Offer, progress: &Progress) -> Result<(), Error> {
        match self.server.dialect().flavour() {
            Flavour::Mysql => {
                let spec = server.spec();
                let member = spec.member(from).ok_or_else(|| Error::Unnamed { member: from.clone() })?;
                let tls = self.server.settings().await.tls.filter(|_| spec.mysql.sql_tls);
                let source = CloneSource {
                    host: member.host.clone(),
                    port: member.sql_port,
                    password: self.credentials.copy.clone(),
                    ca: tls.map(|tls| tls.ca),
                };
                Mysql::clone_from(&self.server, &source, offer, &self.credentials, progress, QUIET).await?;
            }
            Flavour::Mariadb => {
                let stream = taken_from(&server.links, from);
                self.server.take_copy(offer, stream, progress, QUIET).await?;
            }
        }
        Ok(())
    }

    /// Why this stopped member is copied anew: what it alone holds is archived, and said, before anybody asks for the copy.
    pub(super) async fn no_way_back(&self, server: &Server, from: &MemberName) -> Error {
        let engine = server.spec().engine.name();
        match self.archive(server, from).await {
            Ok(kept) => Error::NoWayBack { engine, kept },
            Err(error) => error,
        }
    }

    /// Keeps what this stopped member holds and the leader does not. Where that cannot be told, all of its logs. Says what, for
    /// people, beginning with "; ".
    async fn archive(&self, server: &Server, from: &MemberName) -> Result<String, Error> {
        let (_, term) = server.leader_at(from);
        let Some(Answer::Logged(logged)) = server.question(from, Question::Logged, OFFER_WITHIN).await else {
            return Err(Error::NoAnswer { member: from.clone(), about: "what its log holds" });
        };
        let instance = &self.server.instance;
        match instance.archive_cut_off(None, &logged, term).await {
            Ok(None) => Ok(String::new()),
            Ok(Some(cut)) => {
                tracing::info!(transactions = %cut.transactions, "held by nobody else");
                let (did, folder) = (cut.did.join(", "), cut.folder.display());
                let kept = format!("; what it alone holds is kept in {folder}: {} ({did})", cut.transactions);
                // asked for again before its copy it is the same
                if lock(&self.archived).replace(cut.folder.clone()) != Some(cut.folder.clone()) {
                    // the server is down, and its log alone does not say as whose follower it wrote
                    let (member, timeline) = (own_voter(server).name.to_string(), NOWHERE);
                    server.tell_of_cut(Cut {
                        member,
                        timeline,
                        from: Lsn(cut.from),
                        to: Lsn(cut.to),
                        folder: cut.folder,
                    });
                }
                Ok(kept)
            }
            Err(error) => {
                let folder = instance.archive_whole_log(term)?;
                tracing::warn!(%error, folder = %folder.display(), "what it alone holds is not known: all of its log is kept");
                Ok(format!("; what it alone holds is not known, and all of its log is kept in {}", folder.display()))
            }
        }
    }
}
