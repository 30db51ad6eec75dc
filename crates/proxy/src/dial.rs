//! Connects to servers: plain, or with TLS when the cluster requires it. Sessions, the verifier lookup and cancel requests
//! call it. With TLS it sends nothing to a server that does not prove, by the cluster's CA, to be the member it looks for.

use crate::ProxyError;
use crate::config::Config;
use crate::server::OpenError;
use crate::socket::Socket;
use crate::stream::Stream;
use crate::tls;
use dauphin_model::{ClusterName, MemberName};
use dauphin_net::Peer;
use rustls::pki_types::ServerName;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::ToSocketAddrs;
use tokio_rustls::TlsConnector;

/// How long a connection may take, with its TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The packet that asks a server for TLS: its length, and the number 80877103.
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// What a server answers to the question for TLS when it speaks it.
const TAKES_TLS: u8 = b'S';

/// How servers are connected to.
pub(crate) struct Dial {
    /// How servers prove who they are; the CAs may be read again.
    tls: Option<(Mutex<TlsConnector>, ClusterName)>,
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls.is_some() { "Dial(tls)" } else { "Dial(plain)" })
    }
}

impl Dial {
    /// As the configuration says.
    ///
    /// # Errors
    /// [`ProxyError::Trust`] when the CA's file cannot be used.
    pub(crate) fn new(config: &Config) -> Result<Self, ProxyError> {
        let Some(servers) = &config.server_tls else { return Ok(Self { tls: None }) };
        Ok(Self { tls: Some((Mutex::new(tls::connector(servers)?), config.cluster.clone())) })
    }

    /// The CAs as the configuration says now; none where servers are not asked to prove anything.
    ///
    /// # Errors
    /// [`ProxyError::Trust`] when the CA's file cannot be used.
    pub(crate) fn renewed(&self, config: &Config) -> Result<Option<TlsConnector>, ProxyError> {
        config.server_tls.as_ref().filter(|_| self.tls.is_some()).map(tls::connector).transpose()
    }

    /// From now on servers are checked against these.
    pub(crate) fn trust(&self, connector: Option<TlsConnector>) {
        if let (Some((kept, _)), Some(connector)) = (&self.tls, connector) {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = connector;
        }
    }

    /// Whether connections are encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Without TLS.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { tls: None }
    }

    /// Connects to a member; also gives the address that answered.
    ///
    /// # Errors
    /// [`OpenError::NotYet`] while it does not answer, [`OpenError::Broken`] when it cannot prove who it is.
    pub(crate) async fn connect(
        &self,
        member: &MemberName,
        at: impl ToSocketAddrs,
    ) -> Result<(Stream, SocketAddr), OpenError> {
        let connect = async {
            let stream = Socket::connect(at).await?;
            let address = stream.tcp().peer_addr()?;
            match &self.tls {
                None => Ok((Stream::Plain(stream), address)),
                Some((connector, cluster)) => {
                    let connector = connector.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    Ok((encrypt(&connector, cluster, member, stream).await?, address))
                }
            }
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
            Ok(connected) => connected,
            Err(_) => Err(OpenError::NotYet(format!("{member} does not answer"))),
        }
    }
}

async fn encrypt(
    connector: &TlsConnector,
    cluster: &ClusterName,
    member: &MemberName,
    mut stream: Socket,
) -> Result<Stream, OpenError> {
    stream.write_all(&TLS_REQUEST).await?;
    // One byte and no more: what else comes before the handshake is taken as part of it, and fails.
    if stream.read_u8().await? != TAKES_TLS {
        let text = format!("{member} does not speak TLS, and sql_tls requires it; nothing was sent to it");
        return Err(OpenError::Broken(text));
    }
    let name = Peer::member(member).certificate_name(cluster);
    let name = ServerName::try_from(name)
        .map_err(|error| OpenError::Broken(format!("{member} cannot be named in a certificate: {error}")))?;
    match connector.connect(name, stream).await {
        Ok(stream) => Ok(Stream::Tls(Box::new(stream.into()))),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            let text = format!("the server does not prove to be {member} of {cluster} ({error}); check ca.pem on both");
            Err(OpenError::Broken(text))
        }
        Err(error) => Err(error.into()),
    }
}
