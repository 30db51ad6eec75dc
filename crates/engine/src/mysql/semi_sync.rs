//! Semi-synchronous replication: commits on the leader wait until replicas have what was logged. Without silent fallback: the
//! server never goes on alone. What a replica acknowledged is in its relay log, not applied.

use crate::host::FileError;
use crate::mysql::binlog::files;
use crate::mysql::config::ACK_TIMEOUT_MS;
use crate::mysql::threads::LOOK_LIMIT;
use crate::mysql::{Dialect, Error, Flavour, Mysql, Result, Thread};

/// After how many events the relay log of a replica that acknowledges nothing is flushed: the servers' own default. A flush for each
/// transaction would keep it from ever catching up with a leader under load.
const RELAXED: &str = "10000";

/// What commits on a leader wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SemiSync {
    /// Nothing.
    Off,
    /// Acknowledgements of this many replicas.
    Wait {
        /// 1 or more; MariaDB knows 1 only.
        required: u32,
    },
}

/// Whether a replica acknowledges what it receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Acknowledges {
    /// It counts for waiting commits.
    Yes,
    /// It does not: one that is quarantined, delayed, or about to leave.
    No,
}

/// The variables that make commits wait, or not, in the order in which they are set.
pub(crate) fn waits_by(dialect: Dialect, wanted: SemiSync) -> Vec<(String, String)> {
    let prefix = dialect.semi_sync_leader();
    let set = |name: &str, value: &str| (format!("{prefix}_{name}"), value.to_owned());
    let SemiSync::Wait { required } = wanted else { return vec![set("enabled", "OFF")] };
    let mut all = match dialect.flavour() {
        Flavour::Mysql => vec![set("wait_for_replica_count", &required.to_string()), set("wait_no_replica", "ON")],
        Flavour::Mariadb => vec![set("wait_no_slave", "ON")],
    };
    all.push(set("wait_point", "'AFTER_SYNC'"));
    all.push(set("timeout", &ACK_TIMEOUT_MS.to_string()));
    all.push(set("enabled", "ON"));
    all
}

impl Mysql {
    /// Makes commits wait, or not. In force for every commit that begins afterwards.
    ///
    /// # Errors
    /// [`Error::Setting`] for what the server cannot do; [`Error::NotTaken`], [`Error::Sql`].
    pub async fn set_semi_sync(&self, wanted: SemiSync) -> Result<()> {
        let doing = "setting semi-synchronous replication";
        self.check_semi_sync(wanted)?;
        for (key, value) in waits_by(self.dialect(), wanted) {
            self.set_global(doing, &key, &value).await?;
        }
        Ok(())
    }

    /// Refuses what the server cannot do.
    pub(crate) fn check_semi_sync(&self, wanted: SemiSync) -> Result<()> {
        let SemiSync::Wait { required } = wanted else { return Ok(()) };
        let refuse = |why: &str| Err(Error::Setting { key: "required".to_owned(), why: why.to_owned() });
        match (self.dialect().flavour(), required) {
            (_, 0) => refuse("commits that wait for nobody are asynchronous; choose durability async"),
            (Flavour::Mariadb, 2..) => {
                refuse("MariaDB waits for one acknowledgement; choose durability quorum with required = 1")
            }
            (Flavour::Mysql | Flavour::Mariadb, _) => Ok(()),
        }
    }

    /// Says whether this replica acknowledges. The servers heed it when a receiver starts, and a receiver that is bounced may
    /// lose what it received: so it is only changed while none runs. One that acknowledges has all of its relay log on the disk,
    /// also what it received before; one that does not receives at the speed of the network, as nobody counts on that.
    ///
    /// # Errors
    /// [`Error::Unapplied`] while a receiver runs and would have to be stopped; [`Error::NotTaken`], [`Error::Sql`].
    pub async fn set_acknowledges(&self, wanted: Acknowledges) -> Result<()> {
        let doing = "setting whether the replica acknowledges";
        let value = match wanted {
            Acknowledges::Yes => "ON",
            Acknowledges::No => "OFF",
        };
        if self.acknowledges().await? == wanted {
            // the file that a server starts with is as careful as for one that acknowledges
            return if wanted == Acknowledges::No { self.sync_relay_log(RELAXED).await } else { Ok(()) };
        }
        let key = format!("{}_enabled", self.dialect().semi_sync_replica());
        let view = self.look(LOOK_LIMIT).await?;
        if let Some(channel) = view.channels.iter().find(|c| c.receiver != Thread::Stopped) {
            let unapplied = channel.retrieved.beyond(&view.executed);
            let why = "the receiver runs; freeze it and follow again".to_owned();
            return Err(Error::Unapplied { doing, unapplied, why });
        }
        match wanted {
            Acknowledges::Yes => {
                self.sync_relay_log("1").await?;
                self.flush_relay_logs().await?;
                self.set_global(doing, &key, value).await
            }
            Acknowledges::No => {
                self.set_global(doing, &key, value).await?;
                self.sync_relay_log(RELAXED).await
            }
        }
    }

    async fn sync_relay_log(&self, every: &str) -> Result<()> {
        self.set_global("setting how safe the relay log is", "sync_relay_log", every).await
    }

    /// Has all that was received on the disk.
    async fn flush_relay_logs(&self) -> Result<()> {
        let data_dir = self.instance.data_dir.clone();
        let flushed = tokio::task::spawn_blocking(move || {
            let mut paths = files(&data_dir, "relay")?;
            paths.extend([data_dir.join("relay.index"), data_dir]);
            for path in paths {
                match std::fs::File::open(&path).and_then(|file| file.sync_all()) {
                    // applied, and deleted since
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    done => done.map_err(FileError::at("flush", &path))?,
                }
            }
            Ok(())
        });
        let lost = |e: tokio::task::JoinError| Error::Answer { doing: "flushing the relay log", answer: e.to_string() };
        flushed.await.map_err(lost)?.map_err(|error: FileError| error.into())
    }

    /// Whether this replica acknowledges, or would, once its receiver runs.
    pub(crate) async fn acknowledges(&self) -> Result<Acknowledges> {
        let key = format!("{}_enabled", self.dialect().semi_sync_replica());
        let found = self.value("asking whether the replica acknowledges", &format!("SELECT @@GLOBAL.{key}")).await?;
        Ok(if found == "1" { Acknowledges::Yes } else { Acknowledges::No })
    }
}
