//! One POST over HTTP/1.1, with or without TLS. No redirects, no proxies, no reuse; every wait and size has a limit.

use crate::error::SendError;
use crate::tls;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long one delivery may take, from the name's look-up to the end of the answer.
const DELIVERED_WITHIN: Duration = Duration::from_secs(10);
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// What of an answer is shown, in characters.
const ANSWER_CHARS_SHOWN: usize = 120;

/// Sends a body; what the other side answered if it took it.
pub(crate) async fn post(
    url: &str,
    headers: &[(&'static str, String)],
    body: Vec<u8>,
    ca_file: Option<&Path>,
) -> Result<String, SendError> {
    let work = send(url, headers, body, ca_file);
    tokio::time::timeout(DELIVERED_WITHIN, work).await.unwrap_or(Err(SendError::Slow(DELIVERED_WITHIN.as_secs())))
}

async fn send(
    url: &str,
    headers: &[(&'static str, String)],
    body: Vec<u8>,
    ca_file: Option<&Path>,
) -> Result<String, SendError> {
    // the text may be a secret: it is never part of an error
    let uri: Uri = url.parse().map_err(|_| SendError::Unreachable("its address cannot be read".to_owned()))?;
    let secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(SendError::Unreachable("its address is not http:// or https://".to_owned())),
    };
    let host = uri.host().map(|h| h.trim_matches(['[', ']']).to_owned());
    let host = host.ok_or_else(|| SendError::Unreachable("its address names no host".to_owned()))?;
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|e| SendError::Unreachable(e.to_string()))?;
    let request = request(&uri, headers, body)?;
    if !secure {
        return exchange(stream, request).await;
    }
    let ca_file = ca_file.map(Path::to_owned);
    let interrupted = |_| SendError::Tls("the CAs were not read to their end".to_owned());
    let config = tokio::task::spawn_blocking(move || tls::config(ca_file.as_deref())).await.map_err(interrupted)??;
    let name = ServerName::try_from(host).map_err(|e| SendError::Tls(e.to_string()))?;
    let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|e| SendError::Tls(e.to_string()))?;
    exchange(stream, request).await
}

fn request(uri: &Uri, headers: &[(&'static str, String)], body: Vec<u8>) -> Result<Request<Full<Bytes>>, SendError> {
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let authority = uri.authority().map_or("", |a| a.as_str());
    let mut builder = Request::post(path)
        .header(HOST, authority)
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("dauphin/", env!("CARGO_PKG_VERSION")));
    for (name, value) in headers {
        builder = builder.header(*name, value);
    }
    // what does not fit a header may be a secret: it is not shown
    let unfit = |_| SendError::Unreachable("its address or a secret does not fit a request".to_owned());
    builder.body(Full::new(Bytes::from(body))).map_err(unfit)
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<String, SendError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |e: hyper::Error| SendError::Unreachable(e.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let carrier = tokio::spawn(connection);
    let answered = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let bytes = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let text: String = String::from_utf8_lossy(&bytes).trim().chars().take(ANSWER_CHARS_SHOWN).collect();
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        if status.is_success() {
            Ok(format!("{status} {text}"))
        } else {
            Err(SendError::Answered { status: status.as_u16(), text })
        }
    }
    .await;
    carrier.abort();
    answered.map(|text: String| text.trim().to_owned())
}
