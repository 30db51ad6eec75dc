//! A connection to a database, and what a client may conclude from how a statement ended. Simple protocol only: one
//! message out, one answer back. It never repeats a statement and never cancels one: it cuts its own socket.

use dauphin_histories::Outcome;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config, Error, NoTls, SimpleQueryMessage};

/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

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

/// A connection.
pub struct Session {
    client: Client,
    driver: JoinHandle<()>,
    warned: Arc<AtomicBool>,
}

/// Why a statement has no answer.
#[derive(Debug)]
pub enum Broken {
    /// The server said so, or the connection ended.
    Error(Error),
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
    pub async fn open(config: &Config) -> Result<Self, Broken> {
        let connected = timeout(CONNECT_WITHIN, config.connect(NoTls)).await.map_err(|_| Broken::TimedOut)?;
        let (client, mut connection) = connected.map_err(Broken::Error)?;
        let warned = Arc::new(AtomicBool::new(false));
        let heard = Arc::clone(&warned);
        let driver = tokio::spawn(async move {
            // a warning comes before the answer that it belongs to, on the same connection
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notice(notice) = message
                    && notice.severity() == "WARNING"
                {
                    heard.store(true, Ordering::SeqCst);
                }
            }
        });
        Ok(Self { client, driver, warned })
    }

    /// Runs statements and returns the rows of all of them, as text.
    ///
    /// # Errors
    /// [`Broken`]. After [`Broken::TimedOut`] the session must be dropped.
    pub async fn rows(&self, sql: &str, within: Duration) -> Result<Vec<Vec<Option<String>>>, Broken> {
        self.warned.store(false, Ordering::SeqCst);
        let answered = timeout(within, self.client.simple_query(sql)).await.map_err(|_| Broken::TimedOut)?;
        let messages = answered.map_err(Broken::Error)?;
        if self.warned.load(Ordering::SeqCst) {
            return Err(Broken::Warned);
        }
        let row = |message: SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.try_get(i).ok().flatten().map(str::to_owned)).collect())
            }
            _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }

    /// Whether it is of no use any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // the socket closes with it, in the middle of whatever it does
        self.driver.abort();
    }
}

impl Broken {
    /// What came of a single statement, or of COMMIT.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::TimedOut | Self::Warned => Outcome::Unknown,
            Self::Error(error) => match error.code() {
                Some(code) if certainly_failed(code) => Outcome::Failed,
                _ => Outcome::Unknown,
            },
        }
    }

    /// The server's code, or what else it was, for counting.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::TimedOut => "no answer in time".to_owned(),
            Self::Warned => "warned that replicas may lack it".to_owned(),
            Self::Error(error) => error.code().map_or_else(|| "connection lost".to_owned(), |c| c.code().to_owned()),
        }
    }
}

/// Whether the server says with this code that nothing was done: a broken rule, a conflict, a read-only server. Not what
/// may come after the commit (a lost connection, a server that stops).
fn certainly_failed(code: &SqlState) -> bool {
    let code = code.code();
    let class = code.get(..2).unwrap_or_default();
    (matches!(class, "22" | "23" | "25" | "26" | "40" | "42") && code != "40003") || code == "53300"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_certainly_failed_has_failed() {
        for code in
            [SqlState::UNIQUE_VIOLATION, SqlState::READ_ONLY_SQL_TRANSACTION, SqlState::T_R_SERIALIZATION_FAILURE]
        {
            assert!(certainly_failed(&code), "{code:?}");
        }
        for code in [
            SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN,
            SqlState::TRANSACTION_RESOLUTION_UNKNOWN,
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CONNECTION_FAILURE,
            SqlState::DISK_FULL,
        ] {
            assert!(!certainly_failed(&code), "{code:?}");
        }
        assert_eq!((Broken::TimedOut.outcome(), Broken::Warned.outcome()), (Outcome::Unknown, Outcome::Unknown));
    }
}
