//! A kept connection over the private socket, made again when it broke, with a time limit on everything.
//! Looks and acts use it. It authenticates by the system user alone and never leaves this machine.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error as DriverError, OptsBuilder, Row as DriverRow, Value};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long a connection may take before the server counts as hanging, when nothing else is said.
pub const CONNECT_LIMIT: Duration = Duration::from_millis(2_000);
/// Most rows that an answer keeps: looks answer in dozens, lists of sessions in thousands.
const ROWS_MAX: usize = 100_000;

/// What a session of ours sets first: its statements are in no log of statements and wait for no lock for long.
const SETUP: &str = "SET SESSION sql_log_off = ON, long_query_time = 31536000, lock_wait_timeout = 20, \
     wait_timeout = 86400, autocommit = ON, sql_mode = '', sql_log_bin = ";

/// Why a conversation with the server failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection, or one that broke.
    #[error("no connection: {0}")]
    Lost(String),
    /// The server said no.
    #[error("error {code}: {message}")]
    Server {
        /// Its number.
        code: u16,
        /// Its text.
        message: String,
    },
    /// No answer in time: frozen, a lock, or its disk hangs.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// More than any answer of ours has.
    #[error("more than {ROWS_MAX} rows came back")]
    TooMany,
}

impl ClientError {
    /// The connection cannot be used any more.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        match self {
            // shutting down; killed; closed by the server
            Self::Server { code, .. } => matches!(*code, 1053 | 1927 | 4031),
            Self::Lost(_) | Self::TimedOut(_) | Self::TooMany => true,
        }
    }
}

/// One row, every column as text, by the server's own column names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row(Vec<(String, Option<String>)>);

impl Row {
    /// The column of that name, if it is there and not NULL.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(column, _)| column.eq_ignore_ascii_case(name))?.1.as_deref()
    }

    /// The column at that place, if it is there and not NULL.
    #[must_use]
    pub fn at(&self, column: usize) -> Option<&str> {
        self.0.get(column)?.1.as_deref()
    }

    /// The named column parsed; `None` when NULL, empty or not of that form.
    #[must_use]
    pub fn parse<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }
}

impl FromIterator<(String, Option<String>)> for Row {
    fn from_iter<I: IntoIterator<Item = (String, Option<String>)>>(columns: I) -> Self {
        Self(columns.into_iter().collect())
    }
}

/// A kept connection.
#[derive(Debug)]
pub struct Session {
    socket: PathBuf,
    user: String,
    logged: bool,
    connection: Mutex<Option<Conn>>,
}

impl Session {
    /// A session that leaves nothing in the binary log; it connects when it is first used.
    #[must_use]
    pub fn new(socket: PathBuf, user: String) -> Self {
        Self { socket, user, logged: false, connection: Mutex::new(None) }
    }

    /// The same for what replicas shall have too.
    #[must_use]
    pub fn logged(socket: PathBuf, user: String) -> Self {
        Self { logged: true, ..Self::new(socket, user) }
    }

    /// Runs one statement within `limit` (connecting included). A connection that had broken before is made again once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn query(&self, sql: &str, limit: Duration) -> Result<Vec<Row>, ClientError> {
        let run = async {
            let mut kept = self.connection.lock().await;
            if let Some(mut conn) = kept.take() {
                match ask(&mut conn, sql).await {
                    Err(ClientError::Lost(_)) => {}
                    answer => {
                        *kept = answer.as_ref().err().is_none_or(|e| !e.is_fatal()).then_some(conn);
                        return answer;
                    }
                }
            }
            let mut conn = self.connect().await?;
            let answer = ask(&mut conn, sql).await;
            *kept = answer.as_ref().err().is_none_or(|e| !e.is_fatal()).then_some(conn);
            answer
        };
        // the connection that gave no answer goes with the future: nobody reads a late one
        tokio::time::timeout(limit, run).await.unwrap_or(Err(ClientError::TimedOut(limit)))
    }

    async fn connect(&self) -> Result<Conn, ClientError> {
        let socket = self.socket.display().to_string();
        let opts = OptsBuilder::default()
            .socket(Some(socket))
            .user(Some(self.user.as_str()))
            .max_allowed_packet(Some(64 << 20));
        let mut conn = Conn::new(opts.wait_timeout(Some(86_400))).await.map_err(said)?;
        conn.query_drop(format!("{SETUP}{}", if self.logged { "ON" } else { "OFF" })).await.map_err(said)?;
        Ok(conn)
    }

    /// Says goodbye: the server logs a connection that ends without as aborted.
    pub async fn close(self, limit: Duration) {
        let Some(conn) = self.connection.into_inner() else { return };
        // best effort: one that does not take it is gone
        let _ = tokio::time::timeout(limit, conn.disconnect()).await;
    }

    /// Forgets the connection: the server behind it is another one now.
    pub async fn forget(&self) {
        *self.connection.lock().await = None;
    }
}

async fn ask(conn: &mut Conn, sql: &str) -> Result<Vec<Row>, ClientError> {
    let mut rows: Vec<Row> = Vec::new();
    let mut result = conn.query_iter(sql).await.map_err(said)?;
    while let Some(row) = result.next().await.map_err(said)? {
        if rows.len() == ROWS_MAX {
            return Err(ClientError::TooMany);
        }
        rows.push(texts(row));
    }
    Ok(rows)
}

fn texts(row: DriverRow) -> Row {
    let columns = row.columns();
    let values = row.unwrap_raw();
    let named = columns.iter().zip(values).map(|(column, value)| {
        let text = match value {
            None | Some(Value::NULL) => None,
            Some(Value::Bytes(bytes)) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            // the text protocol sends nothing else
            Some(other) => Some(other.as_sql(true).trim_matches('\'').to_owned()),
        };
        (column.name_str().into_owned(), text)
    });
    named.collect()
}

fn said(error: DriverError) -> ClientError {
    match error {
        DriverError::Server(error) => ClientError::Server { code: error.code, message: error.message },
        other => ClientError::Lost(other.to_string()),
    }
}

/// A text as an SQL literal.
#[must_use]
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
