//! Options of the links' sockets: no delay, and a dead host is noticed.

use rustix::net::sockopt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream, lookup_host};

/// Silence after which the kernel asks whether the other host is there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(2);
/// Between two such questions.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(1);
/// Questions without an answer before the connection is dead.
const KEEPALIVE_PROBES: u32 = 3;
/// How long sent bytes may stay unacknowledged before the connection is dead, in milliseconds.
const UNACKNOWLEDGED_MS: u32 = 4_000;

/// Connects to the first address of `addr` (`host:port`) that answers.
pub(crate) async fn connect(addr: &str, service: Option<u8>) -> io::Result<TcpStream> {
    let Some(service) = service else { return TcpStream::connect(addr).await };
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, format!("{addr} has no address"));
    for to in lookup_host(addr).await? {
        // marked before it connects: the first packet counts too
        let socket = match to {
            SocketAddr::V4(_) => {
                let socket = TcpSocket::new_v4()?;
                sockopt::set_ip_tos(&socket, service)?;
                socket
            }
            SocketAddr::V6(_) => {
                let socket = TcpSocket::new_v6()?;
                sockopt::set_ipv6_tclass(&socket, u32::from(service))?;
                socket
            }
        };
        match socket.connect(to).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Prepares a connected socket.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MS)?;
    Ok(())
}
