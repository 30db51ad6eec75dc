//! How a member comes back whose log parts from its leader's, once what it alone holds is archived. MariaDB may cut off the
//! tail that no replica acknowledged when it starts; on MySQL somebody may choose to let a leader pass over errant
//! transactions. Everything else is copied anew. Nothing here is done without an archive in hand.

use crate::host::ServerCommand;
use crate::mysql::cut_off::CutOff;
use crate::mysql::errant::Errant;
use crate::mysql::server::ACT_LIMIT;
use crate::mysql::threads::LOOK_LIMIT;
use crate::mysql::{Error, Flavour, Mysql, Reached, Result, Standing, Writes};
use dauphin_model::gtid::Gtid;

const DOING: &str = "passing over errant transactions";
/// Most transactions that are passed over at once; a member with more is copied anew.
const PASSED_OVER_MAX: u64 = 1_000;

impl Mysql {
    /// The command that starts a MariaDB server which died as a leader, so that its recovery rolls back what no replica
    /// acknowledged and cuts it off the binary log. Only for a member that will follow: one that led again might have cut off
    /// what its replicas have. Look again afterwards: what was committed in the engine stays, and then only a copy helps.
    ///
    /// # Errors
    /// [`Error::Setting`] on MySQL, which commits such transactions when it starts; those of [`Mysql::prepare_start`].
    pub async fn prepare_cutting_start(&self, archived: &CutOff) -> Result<ServerCommand> {
        if self.dialect().flavour() == Flavour::Mysql {
            let why = "MySQL cuts nothing off its log; copy the member anew".to_owned();
            return Err(Error::Setting { key: "init_rpl_role".to_owned(), why });
        }
        tracing::info!(transactions = %archived.transactions, folder = %archived.folder.display(), "may be cut off at the start");
        let mut command = self.prepare_start().await?;
        command.args.push("--init-rpl-role=SLAVE".into());
        Ok(command)
    }

    /// Makes this leader of MySQL hold the archived errant transactions, empty: the member that has them can then follow, and
    /// its rows stay different. Gives how many were passed over. Each is one statement of its own; repeated, it goes on.
    ///
    /// # Errors
    /// [`Error::Setting`] on MariaDB, in a cluster with leaderships, on a server that is closed, and for more than a thousand transactions; [`Error::Sql`].
    pub async fn pass_over(&self, archived: &CutOff) -> Result<u64> {
        let refuse = |why: &str| Err(Error::Setting { key: "pass over".to_owned(), why: why.to_owned() });
        let Errant::Mysql(errant) = &archived.errant else {
            return refuse("MariaDB's positions have no holes to fill; copy the member anew");
        };
        let Standing { view, began, .. } = self.standing(LOOK_LIMIT).await?;
        if !began.is_empty() {
            return refuse("the log of a cluster's leader would hold what no leadership wrote; copy the member anew");
        }
        let Reached::Mysql(executed) = &view.executed else { return refuse("this server is not MySQL") };
        if view.writes != Writes::Open {
            return refuse("this server is closed; ask the leader");
        }
        let missing = errant.subtract(executed);
        if missing.count() > PASSED_OVER_MAX {
            return refuse("there are more than a thousand; copy the member anew");
        }
        let mut passed = 0;
        for (source, runs) in missing.sources() {
            for number in runs.runs().iter().flat_map(|run| run.first()..=run.last()) {
                let Some(gtid) = Gtid::new(source.clone(), number) else { continue };
                let done = self.pass_over_one(&gtid).await;
                // the session's next transaction must be its own again, whatever happened
                self.writes.forget().await;
                done?;
                passed += 1;
            }
        }
        // a connection that was made again half-way passes over nothing
        let Reached::Mysql(executed) = self.look(LOOK_LIMIT).await?.executed else { return Ok(passed) };
        let left = errant.subtract(&executed);
        if left.is_empty() { Ok(passed) } else { Err(Error::Answer { doing: DOING, answer: left.on_one_line() }) }
    }

    async fn pass_over_one(&self, gtid: &Gtid) -> Result<()> {
        for sql in [format!("SET SESSION gtid_next = '{gtid}'"), "BEGIN".to_owned(), "COMMIT".to_owned()] {
            self.writes.query(&sql, ACT_LIMIT).await.map_err(Error::sql(DOING))?;
        }
        Ok(())
    }
}
