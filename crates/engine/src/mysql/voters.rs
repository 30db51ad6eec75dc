//! Whose acknowledgements commits wait for. The servers count any replica that acknowledges, so each member acknowledges under an
//! account of its own: whoever does not count has that account locked and its connection ended. Locks are in no log; whoever
//! leads sets them all.

use crate::mysql::client::{Row, literal};
use crate::mysql::semi_sync::SemiSync;
use crate::mysql::threads::{LOOK_LIMIT, POLL};
use crate::mysql::{Error, Flavour, Mysql, Result, accounts};
use dauphin_model::{Enforced, Lsn};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

const DOING: &str = "setting whose acknowledgements count";
/// How long the connection of one that counts no more may take to end.
const END_LIMIT: Duration = Duration::from_millis(3_000);
/// How long somebody may go on logging in before that is ended too.
const LOGIN_PATIENCE: Duration = Duration::from_millis(500);

impl Mysql {
    /// Sets what commits wait for. Done when no other member can acknowledge a commit that is logged from then on. Who counts
    /// now finds its account open.
    ///
    /// # Errors
    /// [`Error::Setting`] for what the server cannot do: nothing is changed then. [`Error::TimedOut`] when the connection of one
    /// that counts no more does not end; [`Error::NotTaken`], [`Error::Sql`].
    pub async fn set_sync(&self, enforced: &Enforced) -> Result<()> {
        let wanted = match enforced.required {
            0 => SemiSync::Off,
            required => SemiSync::Wait { required },
        };
        self.check_semi_sync(wanted)?;
        // more acknowledgements are asked for before more members may give them, never one of many in between
        if enforced.required > self.required().await? {
            self.set_semi_sync(wanted).await?;
        }
        let count: BTreeSet<String> = enforced.voters.iter().map(|voter| accounts::voter(&voter.name)).collect();
        let mut locked = Vec::new();
        for (account, is_locked) in self.voter_accounts().await? {
            let counts = count.contains(&account);
            if is_locked == counts {
                let lock = if counts { "UNLOCK" } else { "LOCK" };
                self.act(DOING, &format!("ALTER USER {}@'%' ACCOUNT {lock}", literal(&account))).await?;
            }
            if !counts {
                locked.push(account);
            }
        }
        self.end_sessions_of(&locked).await?;
        self.set_semi_sync(wanted).await?;
        let seen = self.look(LOOK_LIMIT).await?.semi_sync;
        self.alone.begin(seen.unacknowledged);
        let waits = seen.waits;
        if waits != (enforced.required > 0) {
            let (key, wanted) = ("semi-synchronous replication".to_owned(), format!("{wanted:?}"));
            return Err(Error::NotTaken { key, wanted, found: format!("waits: {waits}") });
        }
        Ok(())
    }

    /// Sets what commits wait for, and says before where everything lies that was or will be acknowledged under an earlier
    /// setting: commits that are logged and wait may still be released by whom they have heard from.
    ///
    /// # Errors
    /// Those of [`Mysql::set_sync`] and [`Mysql::standing`].
    pub async fn confirm_sync(&self, enforced: &Enforced) -> Result<Lsn> {
        self.set_sync(enforced).await?;
        Ok(self.standing(LOOK_LIMIT).await?.place.position.lsn)
    }

    /// How many acknowledgements commits wait for now.
    async fn required(&self) -> Result<u32> {
        let prefix = self.dialect().semi_sync_leader();
        let sql = match self.dialect().flavour() {
            Flavour::Mysql => {
                format!("SELECT IF(@@GLOBAL.{prefix}_enabled, @@GLOBAL.{prefix}_wait_for_replica_count, 0)")
            }
            Flavour::Mariadb => format!("SELECT @@GLOBAL.{prefix}_enabled"),
        };
        let text = self.value(DOING, &sql).await?;
        text.parse().map_err(|_| Error::Answer { doing: DOING, answer: text })
    }

    /// The voters' accounts, and whether each is locked.
    async fn voter_accounts(&self) -> Result<Vec<(String, bool)>> {
        let accounts = self.accounts().await?;
        Ok(accounts.into_iter().filter(|(name, _)| accounts::is_voter(name)).collect())
    }

    /// Accounts for connections from anywhere, and whether each is locked.
    pub(crate) async fn accounts(&self) -> Result<Vec<(String, bool)>> {
        let sql = match self.dialect().flavour() {
            Flavour::Mysql => "SELECT User, account_locked = 'Y' FROM mysql.user WHERE Host = '%'",
            Flavour::Mariadb => {
                "SELECT User, COALESCE(JSON_VALUE(Priv, '$.account_locked'), 0) = 1 FROM mysql.global_priv WHERE Host = '%'"
            }
        };
        let rows = self.act(DOING, sql).await?;
        let account = |row: &Row| Some((row.at(0)?.to_owned(), row.at(1) == Some("1")));
        Ok(rows.iter().filter_map(account).collect())
    }

    /// Ends every session of those accounts and waits until none is left: from then on they acknowledge nothing.
    async fn end_sessions_of(&self, accounts: &[String]) -> Result<()> {
        let begun = Instant::now();
        // somebody in the middle of logging in may have been let in before the lock
        let mut unnamed: Option<BTreeSet<u64>> = None;
        while !accounts.is_empty() {
            let rows = self.looks.query("SHOW PROCESSLIST", LOOK_LIMIT).await.map_err(Error::sql(DOING))?;
            let of = |is: &dyn Fn(&str) -> bool| -> BTreeSet<u64> {
                let theirs = rows.iter().filter(|row| row.get("User").is_some_and(is));
                theirs.filter_map(|row| row.parse("Id")).collect()
            };
            let mut end = of(&|user| accounts.iter().any(|account| account == user));
            let now = of(&|user| user == LOGGING_IN);
            let still: BTreeSet<u64> = unnamed.as_ref().unwrap_or(&now).intersection(&now).copied().collect();
            if end.is_empty() && still.is_empty() {
                return Ok(());
            }
            if begun.elapsed() >= END_LIMIT {
                let hint = "; a connection hangs: its member may still acknowledge commits";
                return Err(Error::TimedOut { doing: DOING, limit: END_LIMIT, hint });
            }
            if begun.elapsed() >= LOGIN_PATIENCE {
                end.extend(&still);
            }
            unnamed = Some(still);
            for id in end {
                self.end(id).await?;
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

/// How both servers call a session that has not logged in yet.
const LOGGING_IN: &str = "unauthenticated user";
