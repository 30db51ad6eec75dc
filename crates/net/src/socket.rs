//! Options of the links' sockets: no delay, and a dead host is noticed.

use rustix::net::sockopt;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;

/// Silence after which the kernel asks whether the other host is there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(2);
/// Between two such questions.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(1);
/// Questions without an answer before the connection is dead.
const KEEPALIVE_PROBES: u32 = 3;
/// How long sent bytes may stay unacknowledged before the connection is dead, in milliseconds.
const UNACKNOWLEDGED_MS: u32 = 4_000;

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
