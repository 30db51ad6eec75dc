//! The console: who connects to the database `dauphin` (or `pgbouncer`) on the write port talks to the proxy itself, in simple
//! queries. The login hands its clients over. It reads no statement of a client's and reaches no server.

mod command;
mod pause;
mod show;
mod stats;
mod table;

use crate::config::Operators;
use crate::hub::{Hub, Registered};
use crate::seat::Who;
use crate::session::End;
use crate::shard::{Seated, Shard, Shards};
use crate::stream::Stream;
use command::{Command, Wrong};
use dauphin_wire::postgres::frame::HEADER_BYTES;
use dauphin_wire::postgres::message;
use dauphin_wire::postgres::startup::Startup;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

/// Databases that are the console.
const NAMES: [&str; 2] = ["dauphin", "pgbouncer"];

/// Longest message that is taken, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// How long a client may take to read an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// What clients are told that ask the server about itself. Drivers take this for a PostgreSQL of that version.
const PARAMETERS: [(&str, &str); 9] = [
    ("server_version", concat!("14.0 (Dauphin ", env!("CARGO_PKG_VERSION"), ")")),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("TimeZone", "UTC"),
    ("integer_datetimes", "on"),
    ("standard_conforming_strings", "on"),
    ("default_transaction_read_only", "off"),
    ("in_hot_standby", "off"),
];

/// Whether this database is the console.
pub(crate) fn is_name(database: &str) -> bool {
    NAMES.contains(&database)
}

/// Why somebody may not use the console.
#[derive(Debug, Error)]
#[error(
    "user \"{0}\" may not use the proxy's console, which \"dauphin\" and \"pgbouncer\" are on this port: name it under \
     admin_users or stats_users in [proxy]"
)]
pub(crate) struct NotLetIn(String);

/// What somebody may do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// Everything.
    Admin,
    /// Look.
    Watch,
}

impl Right {
    /// A user's.
    ///
    /// # Errors
    /// [`NotLetIn`] when the configuration names the user nowhere.
    pub(crate) fn of(user: &str, operators: &Operators) -> Result<Self, NotLetIn> {
        let among = |names: &[String]| names.iter().any(|name| name == user);
        match (among(&operators.admins), among(&operators.watchers)) {
            (true, _) => Ok(Self::Admin),
            (false, true) => Ok(Self::Watch),
            (false, false) => Err(NotLetIn(user.to_owned())),
        }
    }
}

/// Why a command was not done.
#[derive(Debug)]
struct Refusal {
    code: &'static str,
    message: String,
    hint: Option<String>,
}

impl Refusal {
    fn new(code: &'static str, message: String) -> Self {
        Self { code, message, hint: None }
    }

    fn hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.to_owned());
        self
    }
}

impl From<Wrong> for Refusal {
    fn from(wrong: Wrong) -> Self {
        Self { code: "42601", message: wrong.message, hint: Some(wrong.hint) }
    }
}

/// A client of the console.
pub(crate) struct Console {
    hub: Arc<Hub>,
    shards: Shards,
    registered: Registered,
    seated: Seated,
    client: Stream,
    /// Received and not yet read.
    rest: Vec<u8>,
    /// What comes of a pipeline is skipped up to its Sync.
    skips: bool,
}

impl Console {
    /// A client that has proved who it is.
    pub(crate) fn new(
        shard: &Rc<Shard>,
        shards: Shards,
        registered: Registered,
        client: Stream,
        startup: &Startup,
    ) -> Self {
        let seated = shard.seat(registered.key.pid, Who::new(startup, &client));
        Self { hub: Arc::clone(&shard.hub), shards, registered, seated, client, rest: Vec::new(), skips: false }
    }

    fn user(&self) -> &str {
        &self.seated.seat.who.user
    }

    /// Answers until the client leaves or the proxy stops.
    pub(crate) async fn run(mut self) {
        self.hub.stats.logins.add();
        let mut out = Vec::new();
        message::put_authentication_ok(&mut out);
        for (name, value) in PARAMETERS {
            message::put_texts(&mut out, b'S', &[name, value]);
        }
        self.registered.key.put(&mut out);
        message::put(&mut out, b'Z', b"I");
        let mut views = self.hub.subscribe();
        loop {
            if !self.send(&out).await {
                return;
            }
            out.clear();
            let next = loop {
                if self.hub.is_stopping() {
                    self.send(&End::stopping().encode()).await;
                    return;
                }
                if self.hub.succession.is_over() {
                    self.send(&End::taken_over().encode()).await;
                    return;
                }
                tokio::select! {
                    next = self.next() => break next,
                    _ = views.changed() => {}
                }
            };
            let Some((tag, body)) = next else { return };
            match tag {
                b'Q' => {
                    self.skips = false;
                    self.query(&body, &mut out).await;
                    message::put(&mut out, b'Z', b"I");
                }
                b'S' => {
                    self.skips = false;
                    message::put(&mut out, b'Z', b"I");
                }
                b'P' | b'B' | b'D' | b'E' | b'C' | b'F' if !self.skips => {
                    self.skips = tag != b'F';
                    let refusal = Refusal::new("0A000", "the console takes simple queries only".into()).hint(
                        "psql and libpq send them; elsewhere: preferQueryMode=simple (pgjdbc), \
                         default_query_exec_mode=simple_protocol (pgx), simple_query (Rust).",
                    );
                    put_refusal(&mut out, &refusal);
                    if tag == b'F' {
                        message::put(&mut out, b'Z', b"I");
                    }
                }
                b'P' | b'B' | b'D' | b'E' | b'C' | b'H' => {}
                b'X' => return,
                _ => {
                    let end =
                        End::fatal(message::PROTOCOL_VIOLATION, format!("message {tag:#04x} makes no sense here"));
                    self.send(&end.encode()).await;
                    return;
                }
            }
        }
    }

    /// Answers one text; what is wrong with one command ends it.
    async fn query(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let text = message::split_text(body).map_or(body, |(text, _)| text);
        let commands = match command::parse(text) {
            Ok(commands) => commands,
            Err(wrong) => return put_refusal(out, &wrong.into()),
        };
        if commands.is_empty() {
            message::put(out, b'I', &[]);
        }
        for command in commands {
            match self.answer(command, out).await {
                Ok(tag) => message::put_texts(out, b'C', &[tag]),
                Err(refusal) => return put_refusal(out, &refusal),
            }
        }
    }

    /// Does a command and appends what it shows; what it is called when it is done.
    async fn answer(&mut self, command: Command, out: &mut Vec<u8>) -> Result<&'static str, Refusal> {
        let looks = matches!(command, Command::Show(_) | Command::Set);
        // As the configuration is by now.
        let right = Right::of(self.user(), &self.hub.rules().operators);
        let right = right.map_err(|not| Refusal::new("42501", not.to_string()))?;
        if !looks && right != Right::Admin {
            let text = format!("user \"{}\" may only look: it is not among admin_users in [proxy]", self.user());
            return Err(Refusal::new("42501", text));
        }
        self.seated.seat.interrupted.set(false);
        match command {
            Command::Show(shown) => {
                show::table(&self.hub, &self.shards, shown).await.encode(out);
                Ok("SHOW")
            }
            Command::Set => Ok("SET"),
            Command::Pause(name) => self.pause(name).await.map(|()| "PAUSE"),
            Command::Resume(name) => self.resume(name).await.map(|()| "RESUME"),
            Command::Reconnect(name) => self.reconnect(name).await.map(|()| "RECONNECT"),
            Command::Reload => {
                let reloaded = self.hub.reload().await.map_err(|why| {
                    Refusal::new("F0000", why).hint("Nothing has changed: the proxy goes on with what it read before.")
                })?;
                show::changes(&reloaded).encode(out);
                Ok("RELOAD")
            }
        }
    }

    /// The next message; none when the client is gone or makes no sense.
    async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some(header) = self.rest.first_chunk::<HEADER_BYTES>() {
                let [tag, a, b, c, d] = *header;
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                if !(4..MESSAGE_BYTES_MAX).contains(&length) {
                    let text = format!("a message of {length} bytes; the console takes at most {MESSAGE_BYTES_MAX}");
                    self.send(&End::fatal(message::PROTOCOL_VIOLATION, text).encode()).await;
                    return None;
                }
                if self.rest.len() > length {
                    let body = self.rest[HEADER_BYTES..=length].to_vec();
                    self.rest.drain(..=length);
                    return Some((tag, body));
                }
            }
            if self.client.read_buf(&mut self.rest).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Waits so long; whether the client has cancelled or left meanwhile, or the proxy stops.
    async fn gives_up(&mut self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        if self.rest.len() < MESSAGE_BYTES_MAX
            && let Ok(read) = timeout_at(until, self.client.read_buf(&mut self.rest)).await
            && read.unwrap_or(0) == 0
        {
            return true;
        }
        tokio::time::sleep_until(until).await;
        self.seated.seat.interrupted.get() || self.hub.is_stopping() || self.hub.succession.is_over()
    }

    /// Whether the client took it.
    async fn send(&mut self, bytes: &[u8]) -> bool {
        let sending = async {
            self.client.write_all(bytes).await?;
            self.client.flush().await
        };
        matches!(timeout_at(Instant::now() + ANSWER_TIMEOUT, sending).await, Ok(Ok(())))
    }
}

fn put_refusal(out: &mut Vec<u8>, refusal: &Refusal) {
    message::put_error(out, refusal.code, &refusal.message, None, refusal.hint.as_deref());
}
