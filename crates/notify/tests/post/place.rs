//! A place that notices are sent to: a small HTTP server of the test's own, which answers as it is told and notes all it got.

use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) head: String,
    pub(crate) body: serde_json::Value,
    pub(crate) raw: Vec<u8>,
}

pub(crate) struct Place {
    pub(crate) got: Arc<Mutex<Vec<Got>>>,
    task: JoinHandle<()>,
}

impl Place {
    /// Listens there; answers each request with the next of these statuses, the last one again and again.
    pub(crate) async fn open(port: u16, statuses: &[u16], tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a free port");
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let (noted, statuses) = (Arc::clone(&got), statuses.to_vec());
        let task = tokio::spawn(async move {
            let mut asked = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let status = statuses.get(asked).or(statuses.last()).copied().unwrap_or(200);
                let answered = match &tls {
                    None => answer(stream, status).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => answer(stream, status).await,
                        Err(_) => None,
                    },
                };
                if let Some(request) = answered {
                    asked += 1;
                    noted.lock().expect("no panic").push(request);
                }
            }
        });
        Self { got, task }
    }

    pub(crate) fn count(&self) -> usize {
        self.got.lock().expect("no panic").len()
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        let got = self.got.lock().expect("no panic");
        got.iter().map(|g| g.body["id"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, status: u16) -> Option<Got> {
    let mut bytes = Vec::new();
    let (head, at) = loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break (String::from_utf8_lossy(&bytes[..at]).to_lowercase(), at + 4);
        }
    };
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: "))?.trim().parse::<usize>().ok()?;
    while bytes.len() < at + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnote");
    stream.write_all(text.as_bytes()).await.ok()?;
    let _ = stream.shutdown().await;
    let raw = bytes[at..].to_vec();
    Some(Got { head, body: serde_json::from_slice(&raw).ok()?, raw })
}
