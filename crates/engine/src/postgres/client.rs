//! A small PostgreSQL client: simple queries over the private unix socket, also in replication mode.
//! The sessions use it. It never authenticates with a password and never leaves this machine.

use bytes::{Buf, BytesMut};
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::{backend, frontend};
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Largest message taken from the server, in bytes. Our queries answer in kilobytes.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Why a conversation with the server failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection: nobody listens, or the socket is not there.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// The connection broke.
    #[error("connection lost: {0}")]
    Lost(io::Error),
    /// The server said no.
    #[error("{code}: {message}")]
    Server {
        /// SQLSTATE.
        code: String,
        /// The message.
        message: String,
    },
    /// The server wants a password on the local socket: its pg_hba.conf lacks our lines.
    #[error(
        "the server asks for a password on its local socket; the managed block at the top of pg_hba.conf is missing"
    )]
    Password,
    /// No answer in time: frozen, or its disk hangs.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// Bytes that are not the protocol.
    #[error("unexpected message from the server: {0}")]
    Protocol(String),
}

impl ClientError {
    /// The server is there but not ready: starting, stopping, recovering.
    #[must_use]
    pub fn is_not_ready(&self) -> bool {
        matches!(self, Self::Server { code, .. } if code.starts_with("57P0"))
    }

    /// The connection cannot be used any more.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Server { code, .. } => code.starts_with("57P0") || code.starts_with("08"),
            Self::Connect(_) | Self::Lost(_) | Self::Password | Self::TimedOut(_) | Self::Protocol(_) => true,
        }
    }
}

/// A warning or notice that came with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// `WARNING`, `NOTICE`…
    pub severity: String,
    /// The text.
    pub message: String,
}

/// One row, every column as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(pub Vec<Option<String>>);

impl Row {
    /// The column, if it is there and not NULL.
    #[must_use]
    pub fn get(&self, column: usize) -> Option<&str> {
        self.0.get(column)?.as_deref()
    }

    /// The column parsed; `None` when NULL or not of that form.
    #[must_use]
    pub fn parse<T: std::str::FromStr>(&self, column: usize) -> Option<T> {
        self.get(column)?.parse().ok()
    }

    /// Whether the column is a true boolean.
    #[must_use]
    pub fn is_true(&self, column: usize) -> bool {
        self.get(column) == Some("t")
    }
}

/// What a query gave: the rows of all its statements, and the notices that came along.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// Rows of every statement, one after the other.
    pub rows: Vec<Row>,
    /// Notices and warnings.
    pub notices: Vec<Notice>,
}

/// Whom to connect as, and how.
#[derive(Debug, Clone)]
pub struct Login {
    /// Role.
    pub user: String,
    /// Database.
    pub database: String,
    /// `application_name`.
    pub application: String,
    /// A walsender that also takes SQL (`replication=database`).
    pub replication: bool,
    /// Command-line style options for the session (`-c name=value`).
    pub options: String,
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    read: BytesMut,
    pid: i32,
    /// A query was begun and its end not seen (its future was dropped): the connection cannot be used again.
    out_of_step: bool,
}

impl Client {
    /// Connects within `limit`.
    ///
    /// # Errors
    /// [`ClientError`] as it names itself.
    pub async fn connect(socket: &Path, login: &Login, limit: Duration) -> Result<Self, ClientError> {
        match tokio::time::timeout(limit, Self::connect_unbounded(socket, login)).await {
            Ok(result) => result,
            Err(_) => Err(ClientError::TimedOut(limit)),
        }
    }

    async fn connect_unbounded(socket: &Path, login: &Login) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(socket).await.map_err(ClientError::Connect)?;
        let mut client = Self { stream, read: BytesMut::with_capacity(8 << 10), pid: 0, out_of_step: false };
        let mut parameters = vec![
            ("user", login.user.as_str()),
            ("database", login.database.as_str()),
            ("application_name", login.application.as_str()),
            ("client_encoding", "UTF8"),
            ("options", login.options.as_str()),
        ];
        if login.replication {
            parameters.push(("replication", "database"));
        }
        let mut out = BytesMut::new();
        frontend::startup_message(parameters, &mut out).map_err(ClientError::Lost)?;
        client.stream.write_all(&out).await.map_err(ClientError::Lost)?;
        loop {
            let message = client.next().await?;
            if let backend::Message::AuthenticationOk = message {
            } else if let backend::Message::BackendKeyData(key) = &message {
                client.pid = key.process_id();
            } else if let backend::Message::ReadyForQuery(_) = message {
                return Ok(client);
            } else if let backend::Message::ErrorResponse(body) = message {
                return Err(server_error(body.fields()));
            } else if is_quiet(&message) {
            } else {
                // every other message of this phase asks for some secret
                return Err(ClientError::Password);
            }
        }
    }

    /// The server process that serves this connection.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Runs one query (several statements are one) within `limit`. After a time-out or a dropped call the connection
    /// answers [`ClientError::Lost`] for ever.
    ///
    /// # Errors
    /// [`ClientError`] as it names itself.
    pub async fn query(&mut self, sql: &str, limit: Duration) -> Result<Answer, ClientError> {
        if std::mem::replace(&mut self.out_of_step, true) {
            return Err(ClientError::Lost(io::Error::other("an earlier query was given up")));
        }
        let result = match tokio::time::timeout(limit, self.query_unbounded(sql)).await {
            Ok(result) => result,
            Err(_) => Err(ClientError::TimedOut(limit)),
        };
        let usable = match &result {
            Ok(_) => true,
            Err(error) => !error.is_fatal(),
        };
        self.out_of_step = !usable;
        result
    }

    async fn query_unbounded(&mut self, sql: &str) -> Result<Answer, ClientError> {
        let mut out = BytesMut::new();
        frontend::query(sql, &mut out).map_err(ClientError::Lost)?;
        self.stream.write_all(&out).await.map_err(ClientError::Lost)?;
        let mut answer = Answer::default();
        let mut failed = None;
        loop {
            let message = match self.next().await {
                Ok(message) => message,
                // a fatal error comes just before the connection ends, and says more
                Err(lost) => return Err(failed.unwrap_or(lost)),
            };
            if let backend::Message::DataRow(body) = message {
                answer.rows.push(row(&body)?);
            } else if let backend::Message::ReadyForQuery(_) = message {
                return failed.map_or(Ok(answer), Err);
            } else if let backend::Message::ErrorResponse(body) = message {
                failed = Some(server_error(body.fields()));
            } else if let backend::Message::NoticeResponse(body) = message {
                let (severity, _, message) = fields(body.fields());
                answer.notices.push(Notice { severity, message });
            } else if !is_quiet(&message) {
                return Err(ClientError::Protocol("an answer to something that was not asked".to_owned()));
            }
        }
    }

    async fn next(&mut self) -> Result<backend::Message, ClientError> {
        loop {
            // the parser takes the authentication messages of every method and rejects what it does not know
            match backend::Message::parse(&mut self.read) {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(error) => return Err(ClientError::Protocol(error.to_string())),
            }
            if self.read.len() > MESSAGE_BYTES_MAX {
                return Err(ClientError::Protocol(format!("more than {MESSAGE_BYTES_MAX} bytes in one message")));
            }
            if self.stream.read_buf(&mut self.read).await.map_err(ClientError::Lost)? == 0 {
                self.read.advance(self.read.len());
                return Err(ClientError::Lost(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

/// Messages that change nothing for a simple query.
fn is_quiet(message: &backend::Message) -> bool {
    matches!(
        message,
        backend::Message::ParameterStatus(_)
            | backend::Message::BackendKeyData(_)
            | backend::Message::NoticeResponse(_)
            | backend::Message::NotificationResponse(_)
            | backend::Message::RowDescription(_)
            | backend::Message::CommandComplete(_)
            | backend::Message::EmptyQueryResponse
    )
}

fn row(body: &backend::DataRowBody) -> Result<Row, ClientError> {
    let buffer = body.buffer();
    let mut columns = Vec::new();
    let mut ranges = body.ranges();
    while let Some(range) = ranges.next().map_err(|e| ClientError::Protocol(e.to_string()))? {
        columns.push(range.map(|r| String::from_utf8_lossy(&buffer[r]).into_owned()));
    }
    Ok(Row(columns))
}

/// Severity, code and message.
fn fields(mut all: backend::ErrorFields<'_>) -> (String, String, String) {
    let (mut severity, mut code, mut message) = (String::new(), String::new(), String::new());
    while let Ok(Some(field)) = all.next() {
        let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'V' => severity = value,
            b'C' => code = value,
            b'M' => message = value,
            _ => {}
        }
    }
    (severity, code, message)
}

fn server_error(all: backend::ErrorFields<'_>) -> ClientError {
    let (_, code, message) = fields(all);
    ClientError::Server { code, message }
}
