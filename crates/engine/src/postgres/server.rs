//! [`Postgres`]: one member's server with its kept connections and the settings in force. The other modules add the acts.

use crate::postgres::config::{Live, Settings};
use crate::postgres::session::{Session, login};
use crate::postgres::{Instance, Result, config};
use tokio::sync::Mutex;

/// One member's PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    /// Where it lives.
    pub instance: Instance,
    /// What is written in `dauphin.conf`; whoever changes it holds the lock until the file is replaced.
    pub(crate) config: Mutex<(Settings, Live)>,
    /// Looks: takes SQL and replication commands.
    pub(crate) probe: Session,
    /// Acts.
    pub(crate) acts: Session,
    /// Asks what no look waits for.
    pub(crate) aside: Session,
}

impl Postgres {
    /// A server. What changes at run time is read back from `dauphin.conf`, so that a new agent goes on where the one
    /// before stopped.
    ///
    /// # Errors
    /// [`Error::File`](crate::postgres::Error::File) when the file is there and cannot be read.
    pub fn new(instance: Instance, settings: Settings) -> Result<Self> {
        let live = config::read_live(&instance)?;
        let socket = instance.socket();
        Ok(Self {
            config: Mutex::new((settings, live)),
            probe: Session::new(socket.clone(), login("dauphin_probe", true, "-c statement_timeout=5000")),
            acts: Session::new(socket.clone(), login("dauphin_acts", false, "")),
            aside: Session::new(socket, login("dauphin_aside", false, "-c statement_timeout=5000")),
            instance,
        })
    }

    /// What is in force at run time: whom it follows, what it waits for.
    pub async fn live(&self) -> Live {
        self.config.lock().await.1.clone()
    }

    /// The settings it was rendered with.
    pub async fn settings(&self) -> Settings {
        self.config.lock().await.0.clone()
    }

    /// Takes other settings; they are written at the next start. For a running server:
    /// [`Postgres::change_settings`].
    ///
    /// # Errors
    /// [`Error::Setting`](crate::postgres::Error::Setting).
    pub async fn set_settings(&self, settings: Settings) -> Result<()> {
        config::check_user(&settings.user)?;
        self.config.lock().await.0 = settings;
        Ok(())
    }

    /// Drops the kept connections; after a stop or start they lead nowhere.
    pub async fn forget_connections(&self) {
        self.probe.forget().await;
        self.acts.forget().await;
        self.aside.forget().await;
    }
}
