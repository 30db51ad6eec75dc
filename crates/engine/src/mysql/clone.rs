//! Copies a MySQL member's data from another one with the CLONE plugin. A small server of this member's own fetches it into
//! the staging folder, so that nothing is restarted half-way and the member's data directory is touched only by the rename at
//! the end. GTIDs come with the data; the server's UUID, number and settings are the member's own.

use crate::host::{Progress, Secret};
use crate::mysql::client::{ClientError, literal};
use crate::mysql::copying::{COPIER, COPY, COPY_LIMIT, Copied, Place, Private};
use crate::mysql::offer::{Offer, Plugin, check_copy};
use crate::mysql::{Credentials, Error, Mysql, Refusal, Result, accounts};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

const DOING: &str = "cloning the source";
/// How often progress is asked for.
const PROGRESS_POLL: Duration = Duration::from_millis(250);
/// How often it is tried again while the source gives another copy.
const TURN_POLL: Duration = Duration::from_millis(500);
/// What a source says then, and how the plugin tells what a source said.
const ONE_AT_A_TIME: u16 = 3_634;
const SOURCE_SAID: u16 = 3_862;
/// How long one such question may take: the disk is busy.
const PROGRESS_LIMIT: Duration = Duration::from_secs(20);
const PROGRESS: &str =
    "SELECT COALESCE(SUM(DATA), 0) AS done, COALESCE(SUM(ESTIMATE), 0) AS total FROM performance_schema.clone_progress";

/// Whom to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloneSource {
    /// Host, as this member reaches it: a name or an IPv4 address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Password of [`accounts::COPY`].
    pub password: Secret,
    /// The CA that must have signed the source's certificate. The plugin checks no name in it. `None`: TLS if there is any,
    /// unchecked.
    pub ca: Option<PathBuf>,
}

impl Mysql {
    /// Clones `source`, which offered `offer`, into the empty data directory. Whatever an earlier copy left in the staging
    /// folder is thrown away first. Nothing new may come for at most `quiet`.
    ///
    /// # Errors
    /// [`Refusal::Copy`], [`Refusal::NotEmpty`], [`Refusal::Room`], [`Error::Running`] before anything is done. [`Error::Sql`] with what the
    /// plugin said; [`Error::TimedOut`] when nothing comes: try again.
    pub async fn clone_from(
        &self,
        source: &CloneSource,
        offer: &Offer,
        credentials: &Credentials,
        progress: &Progress,
        quiet: Duration,
    ) -> Result<Copied> {
        check_copy(&self.instance.bin.version, offer)?;
        if source.host.contains(':') {
            let why = "MySQL's CLONE takes no IPv6 address; name the host".to_owned();
            return Err(Error::Setting { key: "host".to_owned(), why });
        }
        self.begin_copy(offer.bytes).await?;
        let copy = self.beside(COPY).await?;
        copy.instance.make_dirs()?;
        let copier = self.beside(COPIER).await?;
        copier.initialize(credentials).await?;
        // nothing of the copier's own is worth a log, and its progress is told by the performance schema
        let copier = Private::start(copier, &["--disable-log-bin", "--performance-schema=ON"]).await?;
        copier.sql.open_writes().await?;
        copier.sql.run_plugins(&offer.plugins).await?;
        copier.sql.set_donor(source).await?;
        let into = copy.instance.data_dir.display().to_string();
        copier.sql.fetch(source, &into, progress, quiet).await?;
        drop(copier);
        self.settle(copy, offer.uuid.as_deref(), &Place::default()).await
    }

    /// Runs the plugins that the source runs: the plugin copies between alike servers only.
    async fn run_plugins(&self, plugins: &[Plugin]) -> Result<()> {
        let own = self.offer().await?.plugins;
        for plugin in plugins.iter().filter(|plugin| !own.contains(plugin)) {
            let name = plugin.name.replace('`', "``");
            let install = format!("INSTALL PLUGIN `{name}` SONAME {}", literal(&plugin.library));
            if let Err(error) = self.act(DOING, &install).await {
                let (name, library, said) = (plugin.name.clone(), plugin.library.clone(), error.to_string());
                return Err(Refusal::Plugin { name, library, said }.into());
            }
        }
        Ok(())
    }

    async fn set_donor(&self, source: &CloneSource) -> Result<()> {
        let list = literal(&format!("{}:{}", source.host, source.port));
        self.act(DOING, &format!("SET GLOBAL clone_valid_donor_list = {list}")).await?;
        if let Some(ca) = &source.ca {
            self.act(DOING, &format!("SET GLOBAL clone_ssl_ca = {}", literal(&ca.display().to_string()))).await?;
        }
        Ok(())
    }

    /// Fetches the copy. While the source is busy with another one, it waits its turn, for at most `quiet`.
    async fn fetch(&self, source: &CloneSource, into: &str, progress: &Progress, quiet: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            match self.fetch_now(source, into, progress, quiet).await {
                Err(Error::Sql { source: ClientError::Server { code, message }, .. })
                    if begun.elapsed() < quiet && is_busy(code, &message) =>
                {
                    tracing::debug!(said = message, "the source gives another copy; waiting for its end");
                    tokio::time::sleep(TURN_POLL).await;
                }
                fetched => return fetched,
            }
        }
    }

    async fn fetch_now(&self, source: &CloneSource, into: &str, progress: &Progress, quiet: Duration) -> Result<()> {
        let statement = format!(
            "CLONE INSTANCE FROM {user}@{host}:{port} IDENTIFIED BY {password} DATA DIRECTORY = {into} {tls}",
            user = literal(accounts::COPY),
            host = literal(&source.host),
            port = source.port,
            password = literal(source.password.expose()),
            into = literal(into),
            tls = if source.ca.is_some() { "REQUIRE SSL" } else { "" },
        );
        let clone = self.acts.query(&statement, COPY_LIMIT);
        tokio::pin!(clone);
        let (mut before, mut since) = (0, Instant::now());
        loop {
            tokio::select! {
                cloned = &mut clone => {
                    cloned.map_err(Error::sql(DOING))?;
                    self.note(progress).await;
                    return Ok(());
                }
                () = tokio::time::sleep(PROGRESS_POLL) => {}
            }
            self.note(progress).await;
            if progress.done() != before {
                (before, since) = (progress.done(), Instant::now());
            }
            if since.elapsed() >= quiet {
                let hint = "; the source hangs or cannot be reached: try again";
                return Err(Error::TimedOut { doing: "waiting for more of the copy", limit: quiet, hint });
            }
        }
    }

    /// Takes over what the plugin says of its progress. It may be too busy to say; what counts is that something comes.
    async fn note(&self, progress: &Progress) {
        if let Ok(rows) = self.looks.query(PROGRESS, PROGRESS_LIMIT).await {
            let number = |name| rows.first().and_then(|row| row.parse::<u64>(name)).unwrap_or(0);
            progress.set(number("done"), number("total"));
        }
    }
}

/// Whether the source gives another copy now: it gives one at a time, and one that was broken off goes on there until that is
/// noticed.
fn is_busy(code: u16, message: &str) -> bool {
    code == ONE_AT_A_TIME || (code == SOURCE_SAID && message.contains(&ONE_AT_A_TIME.to_string()))
}
