//! One connection to the guard: bytes in, messages out, never blocking.
//! The supervisor owns them. What a message means is no business of this file.

use crate::protocol::{BadMessage, Numbered, NumberedReply, decode, encode};
use dauphin_model::Mono;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::net::sockopt::socket_peercred;
use rustix::process::getuid;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

/// Most bytes that may wait for a peer that does not read. Answers are small: a peer that lets this much pile up is
/// gone in all but name.
const OUT_BYTES_MAX: usize = 1024 * 1024;
/// Bytes taken from one connection before the others, and the deadline, have their turn.
const READ_BYTES_MAX: usize = 64 * 1024;

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Never used again for another one.
    pub(crate) id: u64,
    /// When it was accepted.
    pub(crate) since: Mono,
    /// The process at the other end.
    pub(crate) peer_pid: u32,
    stream: UnixStream,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// Nothing more will come, or may be sent.
    pub(crate) closed: bool,
}

impl Connection {
    /// Takes a connection on, if it comes from this user or root.
    pub(crate) fn new(id: u64, stream: UnixStream, since: Mono) -> io::Result<Self> {
        let peer = socket_peercred(&stream)?;
        if peer.uid != getuid() && !peer.uid.is_root() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        stream.set_nonblocking(true)?;
        let peer_pid = u32::try_from(peer.pid.as_raw_pid()).unwrap_or(0);
        Ok(Self { id, since, peer_pid, stream, inbox: Vec::new(), outbox: Vec::new(), closed: false })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether bytes wait to be sent.
    pub(crate) fn has_output(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Reads what is there.
    pub(crate) fn fill(&mut self) {
        let mut chunk = [0; 4096];
        let mut taken = 0;
        while taken < READ_BYTES_MAX && !self.closed {
            match self.stream.read(&mut chunk) {
                Ok(0) => self.closed = true,
                Ok(n) => {
                    taken += n;
                    self.inbox.extend_from_slice(chunk.get(..n).unwrap_or(&[]));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.closed = true,
            }
        }
    }

    /// The next whole message.
    pub(crate) fn next(&mut self) -> Result<Option<Numbered>, BadMessage> {
        decode(&mut self.inbox)
    }

    /// Sends a message, now or when the peer reads.
    pub(crate) fn say(&mut self, reply: &NumberedReply) {
        if encode(reply, &mut self.outbox).is_err() || self.outbox.len() > OUT_BYTES_MAX {
            self.closed = true;
        }
        self.flush();
    }

    /// Sends what waits, as far as the peer takes it.
    pub(crate) fn flush(&mut self) {
        while !self.outbox.is_empty() && !self.closed {
            match self.stream.write(&self.outbox) {
                Ok(n) if n > 0 => drop(self.outbox.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => self.closed = true,
            }
        }
    }
}
