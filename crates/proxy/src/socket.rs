//! A TCP socket that notices when the other host is gone without a word, and never takes a slow reader for a gone one.
//! Streams to clients and servers are made of it, and the listening sockets hand its options on to what they accept.

use rustix::fd::AsFd;
use rustix::net::sockopt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, ToSocketAddrs};

/// How long a server's host may say nothing at all before it counts as gone. A leader's is given up sooner where the agents
/// elect another one; this is for replicas, and for what no agent tells.
pub(crate) const SERVER_SILENCE_MAX: Duration = Duration::from_secs(5);

/// Questions without an answer before the connection is dead.
const PROBES: u32 = 3;

/// Of the time that a host may be silent, one part in so many lies between two questions; the rest passes before the first.
const PARTS: u32 = 5;

/// Most bytes that certainly fit into the other side's buffer, whether its program reads them or not.
const UNREAD_MAX: usize = 16 * 1024;

/// Sets the options on a socket, or on a listening one for all that it accepts.
pub(crate) fn watch(socket: impl AsFd, silence_max: Duration) -> io::Result<()> {
    // The kernel counts whole seconds.
    let every = (silence_max / PARTS).max(Duration::from_secs(1));
    let idle = silence_max.saturating_sub(every * PROBES).max(Duration::from_secs(1));
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, idle)?;
    sockopt::set_tcp_keepintvl(&socket, every)?;
    sockopt::set_tcp_keepcnt(&socket, PROBES)?;
    sockopt::set_tcp_user_timeout(&socket, milliseconds(silence_max))?;
    Ok(())
}

fn milliseconds(silence_max: Duration) -> u32 {
    u32::try_from(silence_max.as_millis()).unwrap_or(u32::MAX)
}

/// A connected socket.
///
/// Where nothing is under way the kernel asks the other host (keepalive). Bytes under way that are not acknowledged end the
/// connection after the same time (`TCP_USER_TIMEOUT`); but so does a buffer that stays full because the program on the other
/// side does not read, which may be a statement that waits for a lock, or a person who turns pages. Therefore that limit is
/// lifted while more is under way than a buffer certainly takes; the system's own limits hold for that long.
#[derive(Debug)]
pub(crate) struct Socket {
    tcp: TcpStream,
    silence_max: Duration,
    /// Bytes written since the other side had read everything.
    unread: usize,
}

impl Socket {
    /// A socket on which [`watch`] was called with this time.
    pub(crate) fn watched(tcp: TcpStream, silence_max: Duration) -> Self {
        Self { tcp, silence_max, unread: 0 }
    }

    /// Connects to a server.
    pub(crate) async fn connect(at: impl ToSocketAddrs) -> io::Result<Self> {
        let tcp = TcpStream::connect(at).await?;
        tcp.set_nodelay(true)?;
        watch(&tcp, SERVER_SILENCE_MAX)?;
        Ok(Self::watched(tcp, SERVER_SILENCE_MAX))
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// The other side has read everything: it has answered it.
    pub(crate) fn caught_up(&mut self) {
        if self.unread > UNREAD_MAX {
            self.allow(milliseconds(self.silence_max));
        }
        self.unread = 0;
    }

    fn sent(&mut self, bytes: usize) {
        let before = self.unread;
        self.unread = before.saturating_add(bytes);
        if before <= UNREAD_MAX && self.unread > UNREAD_MAX {
            self.allow(0);
        }
    }

    /// How long bytes may stay unacknowledged; 0: as long as the system lets them.
    fn allow(&self, milliseconds: u32) {
        // What cannot be set on a socket is gone already: the next read says so.
        let _ = sockopt::set_tcp_user_timeout(&self.tcp, milliseconds);
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        let written = ready!(Pin::new(&mut socket.tcp).poll_write(cx, data))?;
        socket.sent(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn bytes_that_need_not_fit_are_waited_for_until_the_other_side_has_caught_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut socket = Socket::connect(listener.local_addr().expect("bound")).await.expect("connected");
        let limit = |socket: &Socket| sockopt::tcp_user_timeout(socket.tcp()).expect("connected");
        let idle = sockopt::tcp_keepidle(socket.tcp()).expect("connected");
        let every = sockopt::tcp_keepintvl(socket.tcp()).expect("connected");
        assert_eq!(idle + every * PROBES, SERVER_SILENCE_MAX);
        assert_eq!(limit(&socket), 5_000);
        socket.write_all(&[0; UNREAD_MAX]).await.expect("written");
        assert_eq!(limit(&socket), 5_000);
        socket.write_all(&[0; 1]).await.expect("written");
        assert_eq!(limit(&socket), 0);
        socket.caught_up();
        assert_eq!(limit(&socket), 5_000);
    }

    #[tokio::test]
    async fn a_listening_socket_hands_its_options_on() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        watch(&listener, Duration::from_secs(60)).expect("set");
        let at = listener.local_addr().expect("bound");
        let (_client, (accepted, _)) =
            (TcpStream::connect(at).await.expect("connected"), listener.accept().await.expect("accepted"));
        assert!(sockopt::socket_keepalive(&accepted).expect("connected"));
        assert_eq!(sockopt::tcp_keepidle(&accepted).expect("connected"), Duration::from_secs(24));
        assert_eq!(sockopt::tcp_keepintvl(&accepted).expect("connected"), Duration::from_secs(12));
        assert_eq!(sockopt::tcp_user_timeout(&accepted).expect("connected"), 60_000);
    }
}
