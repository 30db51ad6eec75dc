//! Opens and closes the server to clients, with proof. Closing also ends the sessions that are there, those in the
//! middle of logging in included. It never touches the user's own lines of pg_hba.conf.

use crate::postgres::control::POLL;
use crate::postgres::hba::{Access, Networks, access_in, render, render_ident};
use crate::postgres::process::Process;
use crate::postgres::{Error, Instance, Postgres, Result, files};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// How long ended sessions may take to be gone.
const EVICT_LIMIT: Duration = Duration::from_millis(5_000);
/// How long one look at the sessions may take.
const LOOK_LIMIT: Duration = Duration::from_millis(2_000);

/// Sessions of clients: not the agent's, not the members'.
const CLIENTS: &str = "SELECT pid, backend_type = 'client backend' AND usename NOT IN ('dauphin', 'dauphin_rewind', \
     'dauphin_monitor', 'dauphin_proxy', 'dauphin_replication') FROM pg_stat_activity";

impl Instance {
    /// Writes our blocks of pg_hba.conf and pg_ident.conf. The server reads them at its start or next reload.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write_access(&self, access: Access, networks: &Networks) -> Result<()> {
        for (name, block) in [("pg_hba.conf", render(access, networks)), ("pg_ident.conf", render_ident(&self.os_user))]
        {
            let path = self.data_dir.join(name);
            let text = files::read_or_empty(&path)?;
            let next = files::with_block_on_top(&text, &block);
            if next != text {
                files::replace(&path, &next, false)?;
            }
        }
        Ok(())
    }

    /// What our block of pg_hba.conf says; `None` without one.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn written_access(&self) -> Result<Option<Access>> {
        Ok(access_in(&files::read_or_empty(&self.data_dir.join("pg_hba.conf"))?))
    }
}

impl Postgres {
    /// Lets clients in, or keeps them out, and proves it: the postmaster has loaded the rules without an error, and
    /// after closing no session of a client is left.
    ///
    /// # Errors
    /// [`Error::AccessRules`] when a line cannot be read (the rules before stay in force); [`Error::TimedOut`] when
    /// sessions do not end; those of [`Postgres::reload`].
    pub async fn set_access(&self, access: Access, networks: &Networks) -> Result<()> {
        self.instance.write_access(access, networks)?;
        self.reload().await?;
        let doing = "checking the access rules";
        let sql = "SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL LIMIT 1";
        let bad = self.acts.query(sql, LOOK_LIMIT).await.map_err(Error::sql(doing))?.rows;
        if let Some(row) = bad.first() {
            let text = |column| row.get(column).unwrap_or_default().to_owned();
            return Err(Error::AccessRules { line: text(0), said: text(1) });
        }
        match access {
            Access::Open => Ok(()),
            Access::Closed => self.evict_clients().await,
        }
    }

    /// Ends every session of a client and waits until none is left. Only useful behind closed rules.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Sql`], [`Error::NotRunning`].
    pub async fn evict_clients(&self) -> Result<()> {
        let until = Instant::now() + EVICT_LIMIT;
        let doing = "ending clients' sessions";
        let dir = &self.instance.data_dir;
        loop {
            let mut left = 0_usize;
            // a login that began before the rules changed is not in the view yet: its title shows it
            let children = self.instance.running()?.children(dir);
            let rows = self.acts.query(CLIENTS, LOOK_LIMIT).await.map_err(Error::sql(doing))?.rows;
            let known: BTreeSet<i32> = rows.iter().filter_map(|r| r.parse(0)).collect();
            let logging_in = children.into_iter().filter(|c| !known.contains(&c.pid) && is_logging_in(&c.title));
            let clients = rows.iter().filter(|r| r.is_true(1)).filter_map(|r| r.parse(0));
            for pid in clients.chain(logging_in.map(|c| c.pid)) {
                if let Some(process) = Process::in_dir(pid, dir) {
                    left += 1;
                    process.signal(Signal::TERM)?;
                }
            }
            if left == 0 {
                return Ok(());
            }
            if Instant::now() >= until {
                let hint = "; a backend hangs: stop the server instead";
                return Err(Error::TimedOut { doing, limit: EVICT_LIMIT, hint });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// `postgres: lab_m1: app app 10.0.0.9(4711) authentication`
fn is_logging_in(title: &str) -> bool {
    title.starts_with("postgres")
        && matches!(title.rsplit(' ').next(), Some("authentication" | "initializing" | "startup"))
}
