//! A socket to a client or a server, plain or with TLS, polled without a buffer of its own: an idle session pins no memory
//! for reading. Sessions, logins and connections to servers use it; it knows no message.

use crate::socket::Socket;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

/// Bytes read at once, per thread and not per session.
const READ_BYTES: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// One side of a session.
pub(crate) enum Stream {
    /// No TLS.
    Plain(Socket),
    /// TLS.
    Tls(Box<TlsStream<Socket>>),
    /// Nothing any more: at its end, and takes nothing.
    Closed,
}

impl Stream {
    /// The other side's address, while it is there.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Plain(stream) => stream.tcp().peer_addr().ok(),
            Self::Tls(stream) => stream.get_ref().0.tcp().peer_addr().ok(),
            Self::Closed => None,
        }
    }

    /// The other side has read everything that was written: it has answered it.
    pub(crate) fn caught_up(&mut self) {
        match self {
            Self::Plain(socket) => socket.caught_up(),
            Self::Tls(stream) => stream.get_mut().0.caught_up(),
            Self::Closed => {}
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Closed => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Closed => Poll::Ready(Ok(0)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Closed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Closed => Poll::Ready(Ok(())),
        }
    }
}

/// Reads once into the thread's buffer and hands over what came; empty at the end of the stream.
pub(crate) fn poll_read_with<S: AsyncRead + Unpin, T>(
    stream: &mut S,
    cx: &mut Context<'_>,
    take: impl FnOnce(&[u8], &mut Context<'_>) -> T,
) -> Poll<io::Result<T>> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut buf = ReadBuf::new(buffer);
        ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(take(buf.filled(), cx)))
    })
}

/// Writes as much as the socket takes; what it does not is added to `rest`.
pub(crate) fn write_or_keep<S: AsyncWrite + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    rest: &mut Vec<u8>,
    mut data: &[u8],
) -> io::Result<()> {
    while !data.is_empty() && rest.is_empty() {
        match Pin::new(&mut *stream).poll_write(cx, data) {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(n)) => data = &data[n..],
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => break,
        }
    }
    rest.extend_from_slice(data);
    Ok(())
}

/// Writes what was kept. Ready once nothing is left.
pub(crate) fn poll_flush_kept<S: AsyncWrite + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    rest: &mut Vec<u8>,
) -> Poll<io::Result<()>> {
    let mut done = 0;
    while done < rest.len() {
        match Pin::new(&mut *stream).poll_write(cx, &rest[done..]) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(n)) => done += n,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {
                rest.drain(..done);
                return Poll::Pending;
            }
        }
    }
    // Gives the memory back: most sessions are idle most of the time.
    *rest = Vec::new();
    Pin::new(stream).poll_flush(cx)
}
