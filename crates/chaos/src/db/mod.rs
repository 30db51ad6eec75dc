//! A connection to a database, and what a client may conclude from how a statement ended. What each engine's errors mean is in a
//! file of its own. One message out, one answer back; it never repeats a statement and never cancels one: it cuts its own socket.

mod mysql;
mod postgres;

use dauphin_histories::Outcome;
use dauphin_lab::Engine;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The database that clients use.
const DATABASE: &str = "app";

/// Rows of an answer, as text.
pub type Rows = Vec<Vec<Option<String>>>;

/// One clock of all clients.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// Starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Microseconds since it started.
    #[must_use]
    pub fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Where to connect, and as whom.
#[derive(Clone)]
pub struct Place {
    /// What listens there.
    pub engine: Engine,
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User.
    pub user: String,
    /// Password.
    pub password: String,
    /// From where the proxy may serve reads; where it reads no queries, there is nothing to choose.
    pub read_level: Option<&'static str>,
}

/// A connection.
pub struct Session(Inner);

enum Inner {
    Postgres(postgres::Session),
    Mysql(Box<mysql::Session>),
}

/// Why a statement has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// The server said so.
    Said {
        /// Its code.
        code: String,
        /// With it the server says that nothing was done.
        failed: bool,
        /// It takes no writes, and the connection is good for the next try.
        read_only: bool,
    },
    /// The connection ended, or there is none.
    Lost,
    /// The time ran out; the connection is of no use any more.
    TimedOut,
    /// It was done, and the server warned that replicas may lack it.
    Warned,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn open(place: &Place) -> Result<Self, Broken> {
        let connecting = async {
            Ok(Self(match place.engine {
                Engine::Postgres => Inner::Postgres(postgres::Session::open(place).await?),
                Engine::Mysql | Engine::Mariadb => Inner::Mysql(Box::new(mysql::Session::open(place).await?)),
            }))
        };
        timeout(CONNECT_WITHIN, connecting).await.unwrap_or(Err(Broken::TimedOut))
    }

    /// Runs statements and returns the rows of all of them, as text.
    ///
    /// # Errors
    /// [`Broken`]. After [`Broken::TimedOut`] the session must be dropped.
    pub async fn rows(&self, sql: &str, within: Duration) -> Result<Rows, Broken> {
        let asking = async {
            match &self.0 {
                Inner::Postgres(session) => session.rows(sql).await,
                Inner::Mysql(session) => session.rows(sql).await,
            }
        };
        timeout(within, asking).await.unwrap_or(Err(Broken::TimedOut))
    }

    /// Whether it is known to be of no use any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match &self.0 {
            Inner::Postgres(session) => session.is_closed(),
            Inner::Mysql(session) => session.is_closed(),
        }
    }
}

impl Broken {
    /// What came of a single statement, or of COMMIT.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Said { failed: true, .. } => Outcome::Failed,
            Self::Said { .. } | Self::Lost | Self::TimedOut | Self::Warned => Outcome::Unknown,
        }
    }

    /// Whether a replica said so, whose connection is good for the next try.
    #[must_use]
    pub const fn is_read_only(&self) -> bool {
        matches!(self, Self::Said { read_only: true, .. })
    }

    /// The server's code, or what else it was, for counting.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::TimedOut => "no answer in time".to_owned(),
            Self::Warned => "warned that replicas may lack it".to_owned(),
            Self::Lost => "connection lost".to_owned(),
            Self::Said { code, .. } => code.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_said_is_unknown() {
        for broken in [Broken::TimedOut, Broken::Warned, Broken::Lost] {
            assert_eq!((broken.outcome(), broken.is_read_only()), (Outcome::Unknown, false), "{broken:?}");
        }
    }
}
