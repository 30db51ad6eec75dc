//! The one room in which it matters which database this member runs: a closed type over the engines, with what the keeper of
//! the server, its starts and its looks ask of any of them. It acts as it is told; it never decides that it is time.

mod error;
pub(crate) mod mysql;
mod postgres;

pub(crate) use error::Error;
use mysql::{Answer, MysqlHands, Part, Question};
use postgres::PostgresHands;

use crate::server::Server;
use bytes::Bytes;
use dauphin_alerts::{Blocker, Fix};
use dauphin_api::dto;
use dauphin_api::error::ApiError;
use dauphin_engine::host::DiskProbe;
use dauphin_engine::postgres::signs::Signs;
use dauphin_ha::{EngineOutcome, EngineStep, Role};
use dauphin_model::file::Local;
use dauphin_model::{EngineKind, Lsn, MemberName, MemberSpec, ServerView, Spec, Timeline};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Who is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nobody but the agent and the members.
    Closed,
    /// Clients, too.
    Open,
}

/// What is looked for every few seconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct House {
    /// Settings that wait for a restart.
    pub(crate) pending_restart: Vec<String>,
    /// Settings that a person set by hand.
    pub(crate) by_hand: Vec<String>,
}

/// A range that was cut off this member's log, and where it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) member: String,
    pub(crate) timeline: Timeline,
    pub(crate) from: Lsn,
    pub(crate) to: Lsn,
    pub(crate) folder: PathBuf,
}

/// This member's server, whichever it is.
#[derive(Debug)]
pub(crate) enum Engine {
    Postgres(Box<PostgresHands>),
    Mysql(Box<MysqlHands>),
}

impl Engine {
    /// What the member's file says of its server: programs, folders, address, passwords. Nothing is started.
    pub(crate) async fn of(
        local: &Local,
        spec: &Spec,
        member: &MemberSpec,
        listen: &str,
    ) -> Result<Self, crate::AgentError> {
        match spec.engine {
            EngineKind::Postgres => Ok(Self::Postgres(Box::new(PostgresHands::of(local, spec, member, listen).await?))),
            EngineKind::Mysql | EngineKind::Mariadb => {
                Ok(Self::Mysql(Box::new(MysqlHands::of(local, spec, member, listen).await?)))
            }
        }
    }

    pub(crate) fn data_dir(&self) -> &Path {
        match self {
            Self::Postgres(hands) => &hands.server.instance.data_dir,
            Self::Mysql(hands) => &hands.server.instance.data_dir,
        }
    }

    /// The program whose processes work in the data directory.
    pub(crate) fn program(&self) -> PathBuf {
        match self {
            Self::Postgres(hands) => hands.server.instance.bin.program("postgres"),
            Self::Mysql(hands) => hands.server.instance.bin.server.clone(),
        }
    }

    /// The programs' version.
    pub(crate) fn version(&self) -> String {
        match self {
            Self::Postgres(hands) => hands.server.instance.bin.version.to_string(),
            Self::Mysql(hands) => hands.server.instance.bin.version.text.clone(),
        }
    }

    /// The part of the version that data goes between: a copy of another series is of no use.
    pub(crate) fn series(&self) -> String {
        match self {
            Self::Postgres(hands) => hands.server.instance.bin.version.major.to_string(),
            Self::Mysql(hands) => {
                let (major, minor, _) = hands.server.instance.bin.version.number;
                format!("{major}.{minor}")
            }
        }
    }

    pub(crate) fn has_data(&self) -> bool {
        match self {
            Self::Postgres(hands) => hands.server.instance.has_data(),
            Self::Mysql(hands) => hands.server.instance.has_data(),
        }
    }

    /// The data was being changed in place, and is not to be started as it is.
    pub(crate) fn half_done(&self) -> bool {
        match self {
            Self::Postgres(hands) => hands.server.instance.rewind_marker().exists(),
            // a copy appears by one rename
            Self::Mysql(_) => false,
        }
    }

    /// Whether a process of the server is there.
    pub(crate) fn has_process(&self) -> bool {
        match self {
            Self::Postgres(hands) => hands.server.instance.postmaster().is_some(),
            Self::Mysql(hands) => hands.server.instance.process().is_some(),
        }
    }

    /// Refuses data that is not this member's, before anything is started. Gives the cluster's system identifier where the data
    /// itself says it. `known`: this member had data before.
    pub(crate) fn check_found(&self, expected: Option<u64>, known: bool) -> Result<Option<u64>, Error> {
        match self {
            Self::Postgres(hands) => hands.check_found(expected, known),
            Self::Mysql(hands) => hands.check_found(known).map(|()| None),
        }
    }

    /// Watches the disk that the data lies on.
    pub(crate) fn probe_disk(&self, every: Duration) -> std::io::Result<DiskProbe> {
        let (data_dir, beside) = match self {
            Self::Postgres(hands) => (&hands.server.instance.data_dir, &hands.server.instance.member_dir),
            Self::Mysql(hands) => (&hands.server.instance.data_dir, &hands.server.instance.member_dir),
        };
        DiskProbe::start(data_dir, beside, every)
    }

    /// Where its log lies, and which files there are log.
    pub(crate) fn log_files(&self) -> (PathBuf, fn(&str) -> bool) {
        match self {
            Self::Postgres(hands) => (hands.server.instance.data_dir.join("pg_wal"), |_| true),
            Self::Mysql(hands) => (hands.server.instance.data_dir.clone(), |name| {
                name.starts_with("binlog.") || name.starts_with("relay")
            }),
        }
    }

    /// What the server says of its slots and its pages. `None`: it does not answer, or has no such things.
    pub(crate) async fn signs(&self, limit: Duration) -> Option<Signs> {
        match self {
            Self::Postgres(hands) => hands.server.signs(limit).await.ok(),
            Self::Mysql(_) => None,
        }
    }

    /// What holds up its replay. `None`: nothing, or it cannot be said.
    pub(crate) async fn blocker(&self, limit: Duration) -> Option<Blocker> {
        match self {
            Self::Postgres(hands) => {
                let (pid, began) = hands.server.blocker(limit).await.ok()??;
                Some(Blocker { pid, began })
            }
            Self::Mysql(_) => None,
        }
    }

    /// Whether there is anything that may be mended here. MySQL's and MariaDB's threads are the business of what keeps them in step
    /// with their leader: two that start and stop them would get in each other's way.
    pub(crate) const fn is_mended(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Mends something on a replica.
    pub(crate) async fn mend(&self, fix: &Fix) -> Result<(), Error> {
        match (self, fix) {
            (Self::Postgres(hands), Fix::Receiver { .. }) => Ok(hands.server.restart_receiver().await?),
            (Self::Postgres(hands), Fix::Replay { .. }) => Ok(hands.server.resume_replay().await?),
            (Self::Postgres(hands), Fix::Query { pid, began, .. }) => Ok(hands.server.end_blocker(*pid, began).await?),
            (Self::Mysql(_), _) => Ok(()),
        }
    }

    /// Drops kept connections; after a stop or start they lead nowhere.
    pub(crate) async fn forget_connections(&self) {
        match self {
            Self::Postgres(hands) => hands.server.forget_connections().await,
            Self::Mysql(hands) => hands.server.forget_connections().await,
        }
    }

    /// Kills every process of the server, found by its data directory.
    pub(crate) async fn kill(&self, within: Duration) -> Result<(), Error> {
        match self {
            Self::Postgres(hands) => hands.kill(within).await,
            Self::Mysql(hands) => hands.kill(within).await,
        }
    }

    /// Lets clients in or keeps them out; ends when the server has proved it.
    pub(crate) async fn set_access(&self, access: Access, server: &Server) -> Result<(), Error> {
        match self {
            Self::Postgres(hands) => hands.set_access(access, server).await,
            Self::Mysql(hands) => hands.set_access(access).await,
        }
    }

    /// Sessions of clients that are in a transaction.
    pub(crate) async fn busy_clients(&self) -> Result<u64, Error> {
        match self {
            Self::Postgres(hands) => Ok(hands.server.busy_clients().await?),
            Self::Mysql(hands) => Ok(hands.server.busy_clients().await?),
        }
    }

    /// Carries one of the core's steps out.
    pub(crate) async fn carry_out(&self, server: &Arc<Server>, step: EngineStep) -> Result<EngineOutcome, Error> {
        match self {
            Self::Postgres(hands) => hands.carry_out(server, step).await,
            Self::Mysql(hands) => hands.carry_out(server, step).await,
        }
    }

    /// One look at the server; it never fails.
    pub(crate) async fn look(&self, server: &Server, limit: Duration) -> ServerView {
        match self {
            Self::Postgres(hands) => hands.look(limit).await,
            Self::Mysql(hands) => hands.look(server, limit).await,
        }
    }

    /// What has to follow a look at a server that runs. Never waits.
    pub(crate) fn after_look(&self, server: &Arc<Server>, role: Role, view: &ServerView) {
        match self {
            Self::Postgres(_) => {}
            Self::Mysql(hands) => hands.after_look(server, role, view),
        }
    }

    /// The hands on a server of MySQL or MariaDB, where this member runs one.
    fn mysql(&self) -> Option<&MysqlHands> {
        match self {
            Self::Postgres(_) => None,
            Self::Mysql(hands) => Some(hands),
        }
    }

    /// Whether a proxy holds back its transactions, one by one; else it gives out sessions, and lets those be.
    pub(crate) const fn is_held_by_proxies(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Refuses to hand leadership over to a member that others could not follow, or that clients would have to wait for.
    pub(crate) async fn check_hand_over(&self, server: &Server, to: &MemberName) -> Result<(), ApiError> {
        match self {
            // all members run one major version
            Self::Postgres(_) => Ok(()),
            Self::Mysql(hands) => {
                let checked = hands.check_hand_over(server, to).await;
                checked.map_err(|error| ApiError::refused("version", error.to_string(), "dauphin status"))?;
                mysql::until_close(server, to).await
            }
        }
    }

    /// Whether a new connection gets no answer at all within this time; a refusal is an answer.
    pub(crate) async fn is_silent(&self, limit: Duration) -> bool {
        match self {
            Self::Postgres(hands) => hands.is_silent(limit).await,
            Self::Mysql(hands) => hands.is_silent(limit).await,
        }
    }

    /// Looks for what waits for a restart and what was set by hand; what cannot be seen now stays as it was.
    pub(crate) async fn look_around(&self, server: &Server, house: &mut House, limit: Duration) {
        match self {
            Self::Postgres(hands) => hands.look_around(house, limit).await,
            Self::Mysql(hands) => hands.look_around(server, house),
        }
    }

    /// Keeps what this member's server holds for the others: called every few seconds, and at once after other settings.
    pub(crate) async fn keep_house(&self, server: &Arc<Server>, role: Role) {
        match self {
            Self::Postgres(hands) => hands.keep_slots(server, role).await,
            // its leader keeps its log by time, and each replica knows where it is
            Self::Mysql(hands) => hands.keep_safeguards(server),
        }
    }

    /// Has certificates read again.
    pub(crate) async fn reload(&self) -> Result<(), Error> {
        match self {
            Self::Postgres(hands) => Ok(hands.server.reload().await?),
            Self::Mysql(hands) => Ok(hands.server.reload_tls().await?),
        }
    }

    /// Writes out what a stop or a rewind would have to wait for.
    pub(crate) async fn checkpoint(&self) -> Result<(), Error> {
        match self {
            Self::Postgres(hands) => Ok(hands.server.checkpoint().await?),
            // its stop waits for no checkpoint
            Self::Mysql(_) => Ok(()),
        }
    }

    /// Brings the specification's settings to the server where they differ from what it was given.
    pub(crate) async fn keep_settings(&self, server: &Server) {
        match self {
            Self::Postgres(hands) => hands.keep_settings(server).await,
            Self::Mysql(hands) => hands.keep_settings(server).await,
        }
    }

    /// What this server says to the new settings: refused where it cannot read one, else how each applies.
    pub(crate) async fn ask_settings(&self, spec: &Spec, differences: &mut [dto::Difference]) -> Result<(), ApiError> {
        match self {
            Self::Postgres(hands) => hands.ask_settings(spec, differences).await,
            Self::Mysql(_) => {
                mysql::applies_after_restart(differences);
                Ok(())
            }
        }
    }

    /// Answers another agent's question about this member's server.
    pub(crate) async fn asked(&self, question: Question) -> Result<Answer, ApiError> {
        match self {
            Self::Postgres(_) => Err(ApiError::failed("engine", "this member runs PostgreSQL", "dauphin doctor")),
            Self::Mysql(hands) => {
                hands.asked(question).await.map_err(|error| ApiError::failed("server", error.to_string(), ""))
            }
        }
    }

    /// Hands out the next part of a copy of this member.
    pub(crate) async fn give(&self, taker: &MemberName, part: Part) -> Result<Bytes, String> {
        match self {
            Self::Postgres(_) => Err("this member runs PostgreSQL".to_owned()),
            Self::Mysql(hands) => hands.give(taker, part).await,
        }
    }
}

/// Refuses a change of the engine's part of a specification that no server can be asked about.
pub(crate) fn check_change(new: &Spec, old: &Spec) -> Result<(), ApiError> {
    if new.engine != old.engine {
        let text = "a cluster's engine is decided when it is made and cannot be changed afterwards";
        return Err(ApiError::usage("fixed", text, "make another cluster, and move the data"));
    }
    match new.engine {
        EngineKind::Postgres => postgres::check_change(&new.postgres, &old.postgres),
        EngineKind::Mysql | EngineKind::Mariadb => mysql::check_change(&new.mysql, &old.mysql),
    }
}

/// The section under whose settings each server's own stand.
pub(crate) const PARAMETERS: [&str; 2] = ["postgres.parameters.", "mysql.parameters."];
/// How a change applies that waits for a restart.
pub(crate) const RESTART: &str = "after a restart";
