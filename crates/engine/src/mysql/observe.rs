//! One look at the server: who may write, how far it reaches, its channels, its semi-synchronous replication. The agent looks
//! and decides; nothing is changed here.

use crate::mysql::client::{ClientError, Row};
use crate::mysql::status::first_hand;
use crate::mysql::timelines::{Log, Writer, owned};
use crate::mysql::{Channel, Error, Flavour, Mysql, Reached, Result, Version};
use dauphin_model::gtid::MariaGtid;
use dauphin_model::{BinlogState, GtidSet, Held, MariaPosition};
use std::time::Duration;

const DOING: &str = "looking at the server";

const MYSQL: &str = "SELECT VERSION() AS version, @@GLOBAL.server_id AS id, @@GLOBAL.server_uuid AS uuid, \
     @@GLOBAL.read_only AS read_only, @@GLOBAL.super_read_only AS super_read_only, \
     @@GLOBAL.gtid_owned AS owned, @@GLOBAL.gtid_executed AS executed, @@GLOBAL.gtid_purged AS purged";
/// MySQL's workers; the table is there without the rest of the performance schema too.
const WORKERS: &str = "SELECT CHANNEL_NAME AS channel, LAST_ERROR_NUMBER AS number, LAST_ERROR_MESSAGE AS message \
     FROM performance_schema.replication_applier_status_by_worker";
const MARIADB: &str = "SELECT VERSION() AS version, @@GLOBAL.server_id AS id, @@GLOBAL.read_only AS read_only, \
     @@GLOBAL.gtid_slave_pos AS applied, @@GLOBAL.gtid_binlog_pos AS logged, @@GLOBAL.gtid_binlog_state AS state";

/// Who may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Writes {
    /// Every account with the right.
    Open,
    /// Accounts that may pass `read_only`: MySQL's SUPER or CONNECTION_ADMIN, MariaDB's READ ONLY ADMIN.
    Administrators,
    /// Nobody but the applier; MySQL alone can say so.
    Closed,
}

/// What the leader's side of semi-synchronous replication says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AcknowledgeView {
    /// Commits wait for acknowledgements now. Off although it was switched on: it fell back, and commits go unacknowledged.
    pub waits: bool,
    /// Replicas that would acknowledge.
    pub replicas: u32,
    /// Sessions whose commit waits at this moment.
    pub waiting: u32,
    /// Commits that were acknowledged.
    pub acknowledged: u64,
    /// Commits that went on without.
    pub unacknowledged: u64,
    /// This server acknowledges what it receives.
    pub acknowledges: bool,
}

/// What was seen at one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The server that answers; after an upgrade not the one whose programs are there.
    pub version: Version,
    /// Its number.
    pub server_id: u32,
    /// MySQL's UUID of the server.
    pub uuid: Option<String>,
    /// Who may write.
    pub writes: Writes,
    /// Everything that it has executed: applied, or written itself.
    pub executed: Reached,
    /// What of that its channels brought and every session sees. MariaDB logs a transaction a moment before that; MySQL knows
    /// no difference.
    pub applied: Reached,
    /// What it is about to log, or has logged and not executed: commits that wait for an acknowledgement. MySQL alone says so,
    /// and of its own transactions alone; MariaDB counts them as executed.
    pub committing: GtidSet,
    /// What of what it executed is not in its binary logs any more; MySQL alone says so.
    pub purged: Option<GtidSet>,
    /// What its binary log holds of each server; MariaDB's only.
    pub state: Option<BinlogState>,
    /// Its channels.
    pub channels: Vec<Channel>,
    /// Semi-synchronous replication, both sides.
    pub semi_sync: AcknowledgeView,
}

impl View {
    /// All that it holds, applied or not: what it may vouch for. `None`: what was received and what was executed cannot be
    /// parts of one log.
    #[must_use]
    pub fn reached(&self) -> Option<Reached> {
        self.channels.iter().try_fold(self.executed.clone(), |all, channel| all.join(&channel.retrieved))
    }

    /// Whether it leads: it follows nobody and takes writes. Clients may still be kept out.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.channels.is_empty() && self.writes == Writes::Open
    }

    /// As whom it writes.
    #[must_use]
    pub fn writer(&self) -> Option<Writer> {
        match &self.uuid {
            Some(uuid) => uuid.parse().ok().map(Writer::Mysql),
            None => Some(Writer::Mariadb(self.server_id)),
        }
    }

    /// What it holds and every session sees; of a server that follows nobody, what it has logged. What a replica received and
    /// did not apply is not in it: a leadership that began there cannot be told from the one before, where one server led twice.
    #[must_use]
    pub fn log(&self) -> Log {
        match (&self.executed, &self.applied, &self.state) {
            (Reached::Mysql(set), ..) if self.channels.is_empty() => Log::Mysql(set.union(&self.committing)),
            (Reached::Mysql(set), ..) => Log::Mysql(set.clone()),
            (Reached::Mariadb(executed), Reached::Mariadb(applied), Some(state)) => {
                // logged by the applier, and in the tables a moment later; its own would be errant
                let early = |gtid: MariaGtid| gtid.server != self.server_id && applied.of(gtid.domain) != Some(gtid);
                let applies = !self.channels.is_empty() && executed.gtids().any(early);
                Log::Mariadb { reached: if applies { applied } else { executed }.clone(), state: state.clone() }
            }
            (Reached::Mariadb(executed), ..) => {
                Log::Mariadb { reached: executed.clone(), state: BinlogState::default() }
            }
        }
    }

    /// Whether everything received is applied.
    #[must_use]
    pub fn is_applied(&self) -> bool {
        self.channels.iter().all(|channel| self.applied.holds(&channel.retrieved))
    }
}

impl Mysql {
    /// Looks at the server, for at most `limit`.
    ///
    /// # Errors
    /// [`Error::Sql`] when it does not answer in time; [`Error::Answer`] when it says what cannot be.
    pub async fn look(&self, limit: Duration) -> Result<View> {
        // several questions, and one limit for all of them
        let late = || Error::Sql { doing: DOING, source: ClientError::TimedOut(limit) };
        tokio::time::timeout(limit, self.ask_all(limit)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn ask_all(&self, limit: Duration) -> Result<View> {
        let flavour = self.dialect().flavour();
        let ask = async |sql: &str| self.looks.query(sql, limit).await.map_err(Error::sql(DOING));
        // what was received first: what is executed later is never less
        let rows = ask(self.dialect().replica_status()).await?;
        let mut channels: Vec<Channel> =
            rows.iter().map(|row| Channel::read(flavour, row).map_err(|e| unclear(&e))).collect::<Result<_>>()?;
        if flavour == Flavour::Mysql && channels.iter().any(|channel| channel.applier_fault.is_some()) {
            let workers = ask(WORKERS).await?;
            for channel in &mut channels {
                channel.applier_fault =
                    channel.applier_fault.take().map(|told| first_hand(told, &channel.name, &workers));
            }
        }
        let rows = ask(match flavour {
            Flavour::Mysql => MYSQL,
            Flavour::Mariadb => MARIADB,
        })
        .await?;
        let row = rows.into_iter().next().unwrap_or_default();
        let semi_sync = self.acknowledge_view(&ask("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync%'").await?);
        let text = |name: &str| row.get(name).unwrap_or_default();
        let (executed, applied, committing, purged, state) = match flavour {
            Flavour::Mysql => {
                let set = |name| text(name).parse::<GtidSet>().map_err(|e| unclear(&e));
                let executed = Reached::Mysql(set("executed")?);
                // asked before what was executed: nothing falls between the two
                let owned = owned(text("owned"), text("uuid")).ok_or_else(|| unclear(&text("owned")))?;
                (executed.clone(), executed, owned, Some(set("purged")?), None)
            }
            Flavour::Mariadb => {
                let position = |name| text(name).parse::<MariaPosition>().map_err(|e| unclear(&e));
                let (applied, logged) = (position("applied")?, position("logged")?);
                let both = applied.join(&logged);
                let both = both.ok_or_else(|| unclear(&format!("applied {applied} and logged {logged}")))?;
                let state = text("state").parse().map_err(|e| unclear(&e))?;
                (Reached::Mariadb(both), Reached::Mariadb(applied), GtidSet::default(), None, Some(state))
            }
        };
        let writes = match (row.get("super_read_only"), row.get("read_only")) {
            (Some("1"), _) => Writes::Closed,
            (_, Some("1")) => Writes::Administrators,
            _ => Writes::Open,
        };
        Ok(View {
            version: Version::parse(text("version")).ok_or_else(|| unclear(&text("version")))?,
            server_id: row.parse("id").unwrap_or(0),
            uuid: row.get("uuid").map(str::to_owned),
            writes,
            executed,
            applied,
            committing,
            purged,
            state,
            channels,
            semi_sync,
        })
    }

    fn acknowledge_view(&self, rows: &[Row]) -> AcknowledgeView {
        let value = |side: &str, name: &str| {
            let wanted = format!("{side}_{name}");
            let row = rows.iter().find(|row| row.at(0).is_some_and(|found| found.eq_ignore_ascii_case(&wanted)))?;
            row.at(1)
        };
        let leader = self.dialect().semi_sync_leader();
        let number = |name| value(leader, name).and_then(|v| v.parse::<u64>().ok()).unwrap_or(0);
        let small = |name| u32::try_from(number(name)).unwrap_or(u32::MAX);
        AcknowledgeView {
            waits: value(leader, "status") == Some("ON"),
            replicas: small("clients"),
            waiting: small("wait_sessions"),
            acknowledged: number("yes_tx"),
            unacknowledged: number("no_tx"),
            acknowledges: value(self.dialect().semi_sync_replica(), "status") == Some("ON"),
        }
    }
}

fn unclear(found: &impl ToString) -> Error {
    Error::Answer { doing: DOING, answer: found.to_string() }
}
