//! A client's first bytes: TLS, cancel requests, startup, SCRAM. The accept loop calls it for each connection.
//! Every length and every wait is bounded; exactly one startup is taken, and no SQL before the proof is right.

use crate::cancel;
use crate::console::{self, Console};
use crate::crowd::TooMany;
use crate::hub::Hub;
use crate::reload::Front;
use crate::session::{Port, Session};
use crate::shard::{Shard, Shards};
use crate::socket::Socket;
use crate::stream::Stream;
use crate::tls::{self, Clients};
use crate::track::own::Asked;
use crate::verifier::{LookupError, Verifiers};
use dauphin_wire::postgres::message;
use dauphin_wire::postgres::scram::{
    self, Binding, Keys, MESSAGE_BYTES_MAX, ScramError, Secret, ServerExchange, Verifier,
};
use dauphin_wire::postgres::startup::{self, BadStartup, First, Startup};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// First byte of a TLS record that carries a handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// Name of the protocol in TLS: required of clients that begin with TLS at once.
pub(crate) const ALPN: &[u8] = b"postgresql";

/// Both mechanisms, as clients name them.
const BOUND: &[u8] = scram::BOUND_MECHANISM.as_bytes();
const UNBOUND: &[u8] = scram::MECHANISM.as_bytes();

/// Pause before the verifier is asked for again while no server is there.
const LOOKUP_RETRY: Duration = Duration::from_millis(50);

/// What a login needs.
pub(crate) struct Door {
    pub(crate) hub: Arc<Hub>,
    /// Cancel requests find their session's by its number.
    pub(crate) shards: Shards,
    pub(crate) verifiers: Verifiers,
    /// As the configuration says by now.
    pub(crate) front: watch::Receiver<Front>,
    /// Makes mock verifiers; the same for the proxy's life.
    pub(crate) mock_secret: Vec<u8>,
}

/// Who came in.
pub(crate) enum Entered {
    /// A client of the cluster.
    Session(Box<Session>),
    /// A client of the proxy itself.
    Console(Box<Console>),
}

/// Why nobody came in.
#[derive(Debug, Error)]
pub(crate) enum LoginError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the client took too long to log in")]
    TooSlow,
    #[error("{0}")]
    Startup(#[from] BadStartup),
    #[error("{0}")]
    Scram(ScramError),
    #[error("password authentication failed for user \"{0}\"")]
    Password(String),
    #[error("the client breaks the protocol during login")]
    Protocol,
    #[error("the certificate is not one of user \"{user}\": it names {}", name.as_deref().unwrap_or("nobody"))]
    OtherUser { user: String, name: Option<String> },
    #[error("this proxy takes TLS connections only: sslmode=require")]
    TlsRequired,
    #[error("{0}")]
    Lookup(#[from] LookupError),
    #[error("{0}")]
    Setting(String),
    #[error("{0}")]
    Console(#[from] console::NotLetIn),
    #[error("{0}")]
    TooMany(#[from] TooMany),
    #[error("no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    #[error("the TLS handshake failed: {0}")]
    Tls(io::Error),
}

impl LoginError {
    /// What the client is told: SQLSTATE and message. None when it would not understand, or is gone.
    fn answer(&self) -> Option<(&'static str, String)> {
        let code = match self {
            Self::Io(_) | Self::TooSlow | Self::Tls(_) => return None,
            Self::Startup(BadStartup::Malformed) => return None,
            Self::Setting(_) => "22023",
            Self::Console(_) => "42501",
            Self::TooMany(_) => message::TOO_MANY_CONNECTIONS,
            Self::Startup(BadStartup::Version(..)) => "0A000",
            Self::Startup(BadStartup::NoUser) | Self::TlsRequired | Self::OtherUser { .. } => "28000",
            Self::Scram(_) | Self::Protocol => message::PROTOCOL_VIOLATION,
            Self::Password(_) => message::INVALID_PASSWORD,
            Self::Lookup(LookupError::NoServer(_)) => message::CANNOT_CONNECT_NOW,
            Self::Lookup(LookupError::Refused(_)) | Self::Random(_) => "58000",
        };
        Some((code, self.to_string()))
    }
}

impl Door {
    /// Brings a client in; none when it only wanted to cancel, or was refused.
    pub(crate) async fn enter(&self, shard: &Rc<Shard>, stream: Socket, port: Port) -> Option<Entered> {
        let mut deadline = Instant::now() + self.hub.rules().limits.handshake;
        let mut client = Stream::Plain(stream);
        let front = self.front.borrow().clone();
        let login = self.login(&mut client, &front, &mut deadline).await;
        let refused = match login {
            Ok(None) => return None,
            Ok(Some((startup, keys))) => {
                let is_for_console = port == Port::Write && console::is_name(startup.database());
                match (Asked::at_login(&startup.parameters), self.hub.register(shard.number, startup.spoken())) {
                    (_, Err(error)) => LoginError::Random(error),
                    (_, Ok(registered)) if is_for_console => {
                        match console::Right::of(startup.user(), &self.hub.rules().operators) {
                            Ok(_) => {
                                let shards = self.shards.clone();
                                let console = Console::new(shard, shards, registered, client, &startup);
                                return Some(Entered::Console(Box::new(console)));
                            }
                            Err(why) => LoginError::Console(why),
                        }
                    }
                    (Ok(asked), Ok(registered)) => match self.hub.count_in(startup.user(), startup.database()) {
                        Ok(guest) => {
                            let (known, secret) = ((registered, guest), Secret::Keys(keys));
                            let session = Session::new(shard, known, port, client, startup, secret, asked);
                            return Some(Entered::Session(Box::new(session)));
                        }
                        Err(why) => LoginError::TooMany(why),
                    },
                    (Err(why), _) => LoginError::Setting(why),
                }
            }
            Err(refused) => refused,
        };
        self.hub.stats.refused.add();
        tracing::debug!(%refused, "a login was refused");
        if let Some((code, text)) = refused.answer() {
            refuse(&mut client, code, &text).await;
        }
        None
    }

    async fn login(
        &self,
        client: &mut Stream,
        front: &Front,
        deadline: &mut Instant,
    ) -> Result<Option<(Startup, Keys)>, LoginError> {
        let first = timeout_at(*deadline, self.first(client, front)).await.map_err(|_| LoginError::TooSlow)??;
        let startup = match first {
            First::Startup(startup) => startup,
            First::Cancel(key) => {
                cancel::forward(&self.hub, &self.shards, &key).await;
                return Ok(None);
            }
            First::Tls | First::Gss => return Err(LoginError::Protocol),
        };
        match (&*client, &front.clients) {
            (Stream::Tls(client), Some(tls)) if tls.of_user => {
                let shown = client.get_ref().1.peer_certificates().and_then(<[_]>::first);
                let name = shown.and_then(tls::common_name);
                if name.as_deref() != Some(startup.user()) {
                    return Err(LoginError::OtherUser { user: startup.user().to_owned(), name });
                }
            }
            (Stream::Plain(_), _) if front.requires_tls() => return Err(LoginError::TlsRequired),
            _ => {}
        }
        let asked = Instant::now();
        let verifier = self.verifier(startup.user()).await?;
        // The client does not pay for our waiting.
        *deadline += asked.elapsed();
        let keys = timeout_at(*deadline, self.prove(client, front, &startup, verifier))
            .await
            .map_err(|_| LoginError::TooSlow)??;
        Ok(Some((startup, keys)))
    }

    /// The first packet that is not a question about encryption. Each such question is answered once.
    async fn first(&self, client: &mut Stream, front: &Front) -> Result<First, LoginError> {
        let mut byte = [0; 1];
        let clients = front.clients.as_deref();
        if let (Stream::Plain(stream), Some(_)) = (&*client, clients) {
            stream.tcp().peek(&mut byte).await?;
        }
        if byte == [TLS_HANDSHAKE] {
            start_tls(client, clients, true).await?;
        }
        let (mut gss_asked, mut tls_asked) = (false, matches!(client, Stream::Tls(_)));
        loop {
            match read_first(client).await? {
                First::Gss if !gss_asked => {
                    gss_asked = true;
                    send(client, b"N").await?;
                }
                First::Tls if !tls_asked => {
                    tls_asked = true;
                    if clients.is_some() {
                        send(client, b"S").await?;
                        start_tls(client, clients, false).await?;
                    } else {
                        send(client, b"N").await?;
                    }
                }
                other @ (First::Tls | First::Gss | First::Cancel(_) | First::Startup(_)) => return Ok(other),
            }
        }
    }

    /// The user's verifier, or one that no password fits. Waits, within the limit, while no server can be asked.
    async fn verifier(&self, user: &str) -> Result<(Verifier, bool), LoginError> {
        let deadline = Instant::now() + self.hub.rules().limits.wait;
        let mut views = self.hub.subscribe();
        loop {
            views.mark_unchanged();
            match self.verifiers.find(user).await {
                Ok(Some(verifier)) => return Ok((verifier, true)),
                Ok(None) => return Ok((Verifier::mock(user, &self.mock_secret), false)),
                Err(LookupError::NoServer(_)) if Instant::now() < deadline && !self.hub.is_stopping() => {
                    // Sooner when there is a new leader.
                    let _ = tokio::time::timeout(LOOKUP_RETRY, views.changed()).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn prove(
        &self,
        client: &mut Stream,
        front: &Front,
        startup: &Startup,
        (verifier, exists): (Verifier, bool),
    ) -> Result<Keys, LoginError> {
        let mut out = Vec::new();
        if startup.minor != startup.spoken() || !startup.options.is_empty() {
            message::put_negotiate(&mut out, startup.spoken(), &startup.options);
        }
        let end_point = match (&front.clients, &*client) {
            (Some(tls), Stream::Tls(_)) => tls.end_point.as_deref(),
            _ => None,
        };
        let offered = end_point.map(|_| scram::BOUND_MECHANISM).into_iter().chain([scram::MECHANISM]);
        message::put_sasl_mechanisms(&mut out, offered);
        send(client, &out).await?;
        let body = read_proof(client).await?;
        let (mechanism, data) = message::sasl_initial(&body).ok_or(LoginError::Protocol)?;
        let binding = match (mechanism, end_point) {
            (BOUND, Some(hash)) => Binding::EndPoint(hash),
            (UNBOUND, Some(_)) => Binding::Declined,
            (UNBOUND, None) => Binding::NotOffered,
            _ => return Err(LoginError::Protocol),
        };
        let mut random = [0; 18];
        getrandom::fill(&mut random)?;
        let begun = ServerExchange::begin(verifier, data, &scram::nonce_text(&random), binding);
        let (exchange, answer) = begun.map_err(LoginError::Scram)?;
        out.clear();
        message::put_sasl(&mut out, 11, &answer);
        send(client, &out).await?;
        let body = read_proof(client).await?;
        match exchange.finish(&body) {
            Ok((keys, last)) if exists => {
                out.clear();
                message::put_sasl(&mut out, 12, &last);
                send(client, &out).await?;
                Ok(keys)
            }
            Ok(_) | Err(ScramError::WrongProof) => Err(LoginError::Password(startup.user().to_owned())),
            Err(other) => Err(LoginError::Scram(other)),
        }
    }
}

async fn start_tls(client: &mut Stream, clients: Option<&Clients>, direct: bool) -> Result<(), LoginError> {
    let (Some(clients), Stream::Plain(stream)) = (clients, std::mem::replace(client, Stream::Closed)) else {
        return Err(LoginError::Protocol);
    };
    // First packets are read to the byte: what was sent ahead of the handshake is taken as part of it, and fails.
    let tls = clients.acceptor.accept(stream).await.map_err(LoginError::Tls)?;
    if direct && tls.get_ref().1.alpn_protocol() != Some(ALPN) {
        return Err(LoginError::Protocol);
    }
    *client = Stream::Tls(Box::new(tls.into()));
    Ok(())
}

async fn read_first(client: &mut Stream) -> Result<First, LoginError> {
    let mut head = [0; 4];
    client.read_exact(&mut head).await?;
    let mut packet = vec![0; startup::length(head)?];
    packet[..4].copy_from_slice(&head);
    client.read_exact(&mut packet[4..]).await?;
    Ok(startup::parse(&packet)?)
}

/// The body of a password message; the only kind of message that is taken here.
async fn read_proof(client: &mut Stream) -> Result<Vec<u8>, LoginError> {
    let mut header = [0; 5];
    client.read_exact(&mut header).await?;
    let [tag, a, b, c, d] = header;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if tag != b'p' || !(4..MESSAGE_BYTES_MAX).contains(&length) {
        return Err(LoginError::Protocol);
    }
    let mut body = vec![0; length - 4];
    client.read_exact(&mut body).await?;
    Ok(body)
}

async fn send(client: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    client.write_all(bytes).await?;
    client.flush().await
}

/// Tells a client that it is refused, and closes.
pub(crate) async fn refuse(client: &mut Stream, code: &str, text: &str) {
    let mut out = Vec::new();
    message::put_fatal(&mut out, code, text, None, None);
    let goodbye = async {
        send(client, &out).await?;
        client.shutdown().await
    };
    // A client that does not listen needs no answer.
    let _ = tokio::time::timeout(Duration::from_secs(2), goodbye).await;
}
