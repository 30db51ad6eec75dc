//! A client of PostgreSQL: simple protocol only. Which codes say that nothing was done is here.

use super::{Broken, DATABASE, Place, Rows};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Config, Error, NoTls, SimpleQueryMessage};

/// How long a host may take to answer.
const HOST_WITHIN: Duration = Duration::from_secs(2);
/// What a server says that is a replica, or that closes.
const READ_ONLY: &str = "25006";

pub(super) struct Session {
    client: Client,
    driver: JoinHandle<()>,
    warned: Arc<AtomicBool>,
}

impl Session {
    pub(super) async fn open(place: &Place) -> Result<Self, Broken> {
        let mut config = Config::new();
        config.host(&place.host).port(place.port).user(&place.user).password(&place.password).dbname(DATABASE);
        config.connect_timeout(HOST_WITHIN);
        if let Some(level) = place.read_level {
            config.options(format!("-c dauphin.read_level={level} -c dauphin.read_wait=100"));
        }
        let (client, mut connection) = config.connect(NoTls).await.map_err(|e| broken(&e))?;
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

    pub(super) async fn rows(&self, sql: &str) -> Result<Rows, Broken> {
        self.warned.store(false, Ordering::SeqCst);
        let messages = self.client.simple_query(sql).await.map_err(|e| broken(&e))?;
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

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // the socket closes with it, in the middle of whatever it does
        self.driver.abort();
    }
}

fn broken(error: &Error) -> Broken {
    error.code().map_or(Broken::Lost, |code| said(code.code()))
}

fn said(code: &str) -> Broken {
    Broken::Said { code: code.to_owned(), failed: certainly_failed(code), read_only: code == READ_ONLY }
}

/// Whether the server says with this code that nothing was done: a broken rule, a conflict, a read-only server. Not what
/// may come after the commit (a lost connection, a server that stops).
fn certainly_failed(code: &str) -> bool {
    let class = code.get(..2).unwrap_or_default();
    (matches!(class, "22" | "23" | "25" | "26" | "40" | "42") && code != "40003") || code == "53300"
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_histories::Outcome;
    use tokio_postgres::error::SqlState;

    #[test]
    fn only_what_certainly_failed_has_failed() {
        for code in
            [SqlState::UNIQUE_VIOLATION, SqlState::READ_ONLY_SQL_TRANSACTION, SqlState::T_R_SERIALIZATION_FAILURE]
        {
            assert_eq!(said(code.code()).outcome(), Outcome::Failed, "{code:?}");
        }
        for code in [
            SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN,
            SqlState::TRANSACTION_RESOLUTION_UNKNOWN,
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CONNECTION_FAILURE,
            SqlState::DISK_FULL,
        ] {
            assert_eq!(said(code.code()).outcome(), Outcome::Unknown, "{code:?}");
        }
        assert!(said(SqlState::READ_ONLY_SQL_TRANSACTION.code()).is_read_only());
    }
}
