//! A connection that is kept, made again when it broke, with a time limit on everything.
//! Probes and acts use it. A server that hangs costs the caller the limit and nothing more.

use crate::postgres::client::{Answer, Client, ClientError, Login};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::Mutex;

/// The superuser role that Dauphin connects as, over the private socket only.
pub const SUPERUSER: &str = "dauphin";
/// How long a connection may take before the server counts as hanging, when nothing else is said.
pub const CONNECT_LIMIT: Duration = Duration::from_millis(2_000);
/// How long a statement may take on the server itself, in milliseconds: it must end even if we are gone.
const STATEMENT_TIMEOUT_MS: u32 = 30_000;

/// Options of every session of ours: nothing is logged, nothing waits for replicas, names mean the catalog's.
fn options(extra: &str) -> String {
    format!(
        "-c statement_timeout={STATEMENT_TIMEOUT_MS} -c synchronous_commit=local -c search_path=pg_catalog \
         -c log_statement=none -c log_min_duration_statement=-1 -c log_min_error_statement=panic \
         -c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0 {extra}"
    )
}

/// How to connect to the local server as Dauphin.
#[must_use]
pub fn login(application: &str, replication: bool, extra: &str) -> Login {
    Login {
        user: SUPERUSER.to_owned(),
        database: "postgres".to_owned(),
        application: application.to_owned(),
        replication,
        options: options(extra),
    }
}

/// A kept connection.
#[derive(Debug)]
pub struct Session {
    socket: PathBuf,
    login: Login,
    connection: Mutex<Option<Client>>,
}

impl Session {
    /// A session; it connects when it is first used.
    #[must_use]
    pub fn new(socket: PathBuf, login: Login) -> Self {
        Self { socket, login, connection: Mutex::new(None) }
    }

    /// Runs a query within `limit` (connecting included). A connection that had broken before is made again once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn query(&self, sql: &str, limit: Duration) -> Result<Answer, ClientError> {
        let mut kept = self.connection.lock().await;
        if let Some(mut client) = kept.take() {
            let result = client.query(sql, limit).await;
            match &result {
                Err(ClientError::Lost(_)) => {}
                Err(error) if error.is_fatal() => return result,
                Ok(_) | Err(_) => {
                    *kept = Some(client);
                    return result;
                }
            }
        }
        let mut client = Client::connect(&self.socket, &self.login, limit).await?;
        let result = client.query(sql, limit).await;
        if result.as_ref().err().is_none_or(|error| !error.is_fatal()) {
            *kept = Some(client);
        }
        result
    }

    /// Forgets the connection: the server behind it is another one now.
    pub async fn forget(&self) {
        *self.connection.lock().await = None;
    }
}
