//! Opens connections to members: login with a password or with recovered keys, and the repetition of what a session had
//! set and prepared. Sessions and the verifier lookup call it. Every message of the server is bounded.

use crate::config::PROXY_ROLE;
use crate::dial::Dial;
use crate::stream::Stream;
use crate::track::{DIRTY, Known, Memory};
use dauphin_model::{MemberName, Target};
use dauphin_wire::postgres::cancel::CancelKey;
use dauphin_wire::postgres::frame::HEADER_BYTES;
use dauphin_wire::postgres::message::{self, Authentication, Report};
use dauphin_wire::postgres::scram::{self, ClientExchange, ScramError, Secret};
use dauphin_wire::postgres::startup::{MINOR_MAX, Startup};
use std::io;
use std::net::SocketAddr;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longest message taken from a server at login, in bytes.
const LOGIN_BYTES_MAX: usize = 64 * 1024;

/// Most messages of a server until it is ready after login.
const LOGIN_MESSAGES_MAX: usize = 256;

/// The packet with which the proxy's own role logs in: to ask, not for a client.
pub(crate) fn own_startup(database: &str) -> Vec<u8> {
    let parameters = [
        ("user", PROXY_ROLE),
        ("database", database),
        ("application_name", "dauphin proxy"),
        // Empty, so that nobody's function is called instead.
        ("search_path", ""),
        ("client_encoding", "UTF8"),
        ("client_min_messages", "warning"),
    ];
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Startup { minor: MINOR_MAX, parameters, options: Vec::new() }.encode()
}

/// Why no connection could be opened.
#[derive(Debug, Error)]
pub(crate) enum OpenError {
    /// The server is not there, or not yet ready: try again.
    #[error("{0}")]
    NotYet(String),
    /// Its access rules keep the client out: for now, while it is closed, or for good.
    #[error("{}", Report::parse(.0).text())]
    KeptOut(Vec<u8>),
    /// It refuses this client; the error's body, to be passed on.
    #[error("{}", Report::parse(.0).text())]
    Refused(Vec<u8>),
    /// It cannot be understood, or cannot prove who it is.
    #[error("{0}")]
    Broken(String),
    /// It took the client, but not everything that the session had.
    #[error("{0}")]
    NotRestored(String),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::NotYet(error.to_string())
    }
}

impl From<ScramError> for OpenError {
    fn from(error: ScramError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// One whole message.
pub(crate) struct Message {
    pub(crate) tag: u8,
    pub(crate) body: Vec<u8>,
}

/// A connection to a server, read message by message.
pub(crate) struct Server {
    pub(crate) stream: Stream,
    pub(crate) member: MemberName,
    pub(crate) address: SocketAddr,
    /// Received and not yet read.
    pub(crate) rest: Vec<u8>,
    /// For cancelling.
    pub(crate) key: Option<CancelKey>,
    /// What it reported of itself.
    pub(crate) parameters: Vec<(String, String)>,
}

impl Server {
    /// Connects and logs in.
    ///
    /// # Errors
    /// [`OpenError`], by what to do next.
    pub(crate) async fn open(dial: &Dial, target: &Target, startup: &[u8], secret: &Secret) -> Result<Self, OpenError> {
        let (stream, address) = dial.connect(&target.member, (target.host.as_str(), target.port)).await?;
        let member = target.member.clone();
        let mut server = Self { stream, member, address, rest: Vec::new(), key: None, parameters: Vec::new() };
        server.send(startup).await?;
        server.authenticate(secret).await?;
        server.until_ready().await?;
        Ok(server)
    }

    /// The first column of a statement's first row.
    ///
    /// # Errors
    /// [`OpenError`] when the server refuses or is gone.
    pub(crate) async fn ask(&mut self, sql: &str) -> Result<Option<String>, OpenError> {
        let mut query = Vec::new();
        message::put_query(&mut query, sql);
        self.send(&query).await?;
        self.answer().await
    }

    /// The first column of the first row that comes until the server is ready.
    ///
    /// # Errors
    /// [`OpenError`] when the server refuses or is gone.
    pub(crate) async fn answer(&mut self) -> Result<Option<String>, OpenError> {
        let mut found = None;
        loop {
            let Message { tag, body } = self.next().await?;
            match tag {
                b'D' if found.is_none() => found = message::first_column(&body).map(str::to_owned),
                b'N' if Report::parse(&body).is_cancelled_wait() => {
                    return Err(OpenError::NotYet("its wait for replicas was cancelled".to_owned()));
                }
                b'E' => {
                    let report = Report::parse(&body);
                    return Err(if report.is_fatal() {
                        OpenError::NotYet(report.text())
                    } else {
                        OpenError::Refused(body)
                    });
                }
                b'Z' => return Ok(found),
                _ => self.note(tag, &body),
            }
        }
    }

    /// What it reported under this name.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Result<Message, OpenError> {
        loop {
            if let Some(header) = self.rest.first_chunk::<HEADER_BYTES>() {
                let [tag, a, b, c, d] = *header;
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                if !(4..LOGIN_BYTES_MAX).contains(&length) {
                    return Err(OpenError::Broken(format!("the server announces {length} bytes")));
                }
                if self.rest.len() > length {
                    let body = self.rest[HEADER_BYTES..=length].to_vec();
                    self.rest.drain(..=length);
                    return Ok(Message { tag, body });
                }
            }
            if self.stream.read_buf(&mut self.rest).await? == 0 {
                return Err(OpenError::NotYet("the server closed the connection".into()));
            }
        }
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), OpenError> {
        self.stream.write_all(bytes).await?;
        // With TLS what is written may still wait inside.
        Ok(self.stream.flush().await?)
    }

    async fn authenticate(&mut self, secret: &Secret) -> Result<(), OpenError> {
        let mut random = [0; 18];
        getrandom::fill(&mut random).map_err(|error| OpenError::NotYet(error.to_string()))?;
        let (mut exchange, first) = ClientExchange::begin(scram::nonce_text(&random));
        // A server that asks for SASL has to prove itself before it may say that all is well.
        let (mut asked, mut proved) = (false, false);
        for _ in 0..LOGIN_MESSAGES_MAX {
            let Message { tag, body } = self.next().await?;
            let mut answer = Vec::new();
            match tag {
                b'R' => match Authentication::parse(&body) {
                    Some(Authentication::Ok) if proved || !asked => return Ok(()),
                    Some(Authentication::Sasl(mechanisms)) if !asked => {
                        if !Authentication::offers(mechanisms, scram::MECHANISM) {
                            return Err(OpenError::Broken("the server does not offer SCRAM-SHA-256".into()));
                        }
                        asked = true;
                        message::put_sasl_initial(&mut answer, scram::MECHANISM, &first);
                    }
                    Some(Authentication::SaslContinue(data)) if asked && !proved => {
                        message::put(&mut answer, b'p', &exchange.respond(secret, data)?);
                    }
                    Some(Authentication::SaslFinal(data)) if asked => {
                        exchange.verify(data)?;
                        proved = true;
                        continue;
                    }
                    Some(Authentication::Other(code)) => {
                        let what = format!("the server asks for authentication of kind {code}; use scram-sha-256");
                        return Err(OpenError::Broken(what));
                    }
                    _ => return Err(OpenError::Broken("the server's login makes no sense".into())),
                },
                b'E' => return Err(refusal(body)),
                // Servers before PostgreSQL 18 say that they speak 3.0; nothing differs but the length of the key.
                b'N' | b'v' => continue,
                _ => return Err(OpenError::Broken(format!("message {tag:#04x} during login"))),
            }
            self.send(&answer).await?;
        }
        Err(OpenError::Broken("the server's login does not end".into()))
    }

    async fn until_ready(&mut self) -> Result<(), OpenError> {
        for _ in 0..LOGIN_MESSAGES_MAX {
            let Message { tag, body } = self.next().await?;
            match tag {
                b'Z' => return Ok(()),
                b'K' => {
                    let key = CancelKey::parse(&body);
                    self.key =
                        Some(key.ok_or_else(|| OpenError::Broken("the server's cancel key makes no sense".into()))?);
                }
                b'E' => return Err(refusal(body)),
                _ => self.note(tag, &body),
            }
        }
        Err(OpenError::Broken("the server's login does not end".into()))
    }

    fn note(&mut self, tag: u8, body: &[u8]) {
        if tag == b'S'
            && let Some((name, value)) = message::parameter_status(body)
        {
            self.parameters.retain(|(key, _)| key != name);
            if self.parameters.len() < LOGIN_MESSAGES_MAX {
                self.parameters.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    /// Sets what a session had set, on a server that has `state` set. The session is as before, or an error says what is
    /// missing.
    ///
    /// # Errors
    /// [`OpenError::NotRestored`] when the server refuses part of it.
    pub(crate) async fn restore(&mut self, memory: &Memory, state: u64, known: &mut Known) -> Result<(), OpenError> {
        let (mut batch, mut answers) = (Vec::new(), 0);
        let clean = match state {
            0 => None,
            DIRTY => {
                known.clear();
                Some("DISCARD ALL")
            }
            _ => Some("RESET ALL"),
        };
        if let Some(clean) = clean {
            message::put_query(&mut batch, clean);
            answers += 1;
        }
        for text in memory.settings() {
            let mut body = text.to_vec();
            body.push(0);
            message::put(&mut batch, b'Q', &body);
            answers += 1;
        }
        known.unnamed = 0;
        self.repeat(&batch, answers).await
    }

    /// Sets what a session has seen reported, where this server reports something else: its own defaults may differ.
    ///
    /// # Errors
    /// [`OpenError::NotRestored`] when the server refuses part of it.
    pub(crate) async fn report_as(&mut self, memory: &Memory) -> Result<(), OpenError> {
        let (mut batch, mut answers) = (Vec::new(), 0);
        for (name, value) in memory.reported().iter() {
            if Memory::is_settable(name) && self.parameter(name).is_some_and(|now| now != value) {
                let quoted = value.replace('\'', "''").replace('\\', "\\\\");
                message::put_query(&mut batch, &format!("SELECT set_config('{name}', E'{quoted}', false)"));
                answers += 1;
            }
        }
        self.repeat(&batch, answers).await
    }

    async fn repeat(&mut self, batch: &[u8], answers: usize) -> Result<(), OpenError> {
        if answers == 0 {
            return Ok(());
        }
        self.send(batch).await?;
        let mut ready = 0;
        while ready < answers {
            let Message { tag, body } = self.next().await?;
            match tag {
                b'Z' => ready += 1,
                b'E' => {
                    let report = Report::parse(&body);
                    return Err(match report.is_fatal() {
                        true => OpenError::NotYet(report.text()),
                        false => OpenError::NotRestored(report.text()),
                    });
                }
                _ => self.note(tag, &body),
            }
        }
        Ok(())
    }
}

fn refusal(body: Vec<u8>) -> OpenError {
    let report = Report::parse(&body);
    match report.code {
        b"57P01" | b"57P02" | b"57P03" => OpenError::NotYet(report.text()),
        // Access rules: a closed server keeps everybody out by them. A role that may not log in has another routine.
        b"28000" if report.routine == b"ClientAuthentication" => OpenError::KeptOut(body),
        _ => OpenError::Refused(body),
    }
}
