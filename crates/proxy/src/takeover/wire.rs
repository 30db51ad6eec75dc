//! What two processes say to each other in a takeover and after it: a length, a message as JSON, and with one of them the listening
//! sockets. Both ends use it. It decides nothing; what is too long or makes no sense is an error.

use super::FormerProcess;
use super::place::is_ours;
use rustix::cmsg_space;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::time::Duration;
use thiserror::Error;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Longest message, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Most sockets that are handed over.
pub(super) const SOCKETS_MAX: usize = 32;

/// Bytes that are read at once.
const READ_BYTES: usize = 4096;

/// A message. None is ever logged: there are clients' keys among them.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    /// The new process: who it is.
    Hello { version: u32, cluster: String, pid: u32, program: String },
    /// The process that runs: who it is, and what it knows of the cluster.
    Greeting { version: u32, pid: u32, program: String, term: u64, open: bool },
    /// The process that runs: there will be no takeover.
    Refused { why: String },
    /// The new process: it could take clients.
    Take,
    /// The process that runs: so many sockets come with this.
    Sockets { count: usize },
    /// The new process: it has them.
    Ready,
    /// The process that runs: it accepts nobody any more.
    Yours,
    /// The new process: it accepts. From here on there is no way back.
    Serving,
    /// The process that ran: it only serves the clients that it has.
    Draining { clients: u64 },
    /// The process that ran: how it and those before it get on.
    Status { processes: Vec<FormerProcess> },
    /// The new process: a cancel request whose key it does not know.
    Cancel { number: u64, key: Vec<u8> },
    /// The process that ran: that one is dealt with.
    Cancelled { number: u64 },
}

/// Why the other process is not understood.
#[derive(Debug, Error)]
pub(super) enum WireError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it has gone")]
    Gone,
    #[error("it is silent")]
    Silent,
    #[error("it says what makes no sense here: are both of versions that know each other?")]
    Nonsense,
    #[error("it is not of the same user")]
    Stranger,
    #[error("{0}")]
    Refused(String),
}

/// One end.
pub(super) struct Wire {
    stream: UnixStream,
    /// Received and not yet read.
    rest: Vec<u8>,
    sockets: Vec<OwnedFd>,
}

impl Wire {
    /// An end whose other one is of the same user.
    pub(super) fn new(stream: UnixStream) -> Result<Self, WireError> {
        if !is_ours(&stream) {
            return Err(WireError::Stranger);
        }
        Ok(Self { stream, rest: Vec::new(), sockets: Vec::new() })
    }

    /// The next message. Nothing is lost when it is not waited for to the end.
    pub(super) async fn recv(&mut self) -> Result<Said, WireError> {
        loop {
            if let Some(head) = self.rest.first_chunk::<4>() {
                let length = u32::from_be_bytes(*head) as usize;
                if length > MESSAGE_BYTES_MAX {
                    return Err(WireError::Nonsense);
                }
                if let Some(body) = self.rest.get(4..4 + length) {
                    let said = serde_json::from_slice(body).map_err(|_| WireError::Nonsense);
                    self.rest.drain(..4 + length);
                    return said;
                }
            }
            let (rest, sockets) = (&mut self.rest, &mut self.sockets);
            let stream = &self.stream;
            let read = stream.async_io(Interest::READABLE, || receive(stream, rest, sockets)).await?;
            if read == 0 {
                return Err(WireError::Gone);
            }
        }
    }

    /// The next message, which is due soon.
    pub(super) async fn recv_within(&mut self, limit: Duration) -> Result<Said, WireError> {
        timeout(limit, self.recv()).await.map_err(|_| WireError::Silent)?
    }

    /// The sockets that came so far.
    pub(super) fn sockets(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.sockets)
    }

    /// Says this, with sockets.
    pub(super) async fn send(&self, said: &Said, sockets: &[BorrowedFd<'_>]) -> Result<(), WireError> {
        let body = serde_json::to_vec(said).map_err(|_| WireError::Nonsense)?;
        let length = u32::try_from(body.len()).ok().filter(|length| *length as usize <= MESSAGE_BYTES_MAX);
        let length = length.ok_or(WireError::Nonsense)?;
        let bytes = [&length.to_be_bytes()[..], &body].concat();
        let mut sent = 0;
        while sent < bytes.len() {
            // With the first byte.
            let sockets = if sent == 0 { sockets } else { &[] };
            let rest = bytes.get(sent..).unwrap_or_default();
            sent += self.stream.async_io(Interest::WRITABLE, || transmit(&self.stream, rest, sockets)).await?;
        }
        Ok(())
    }
}

fn receive(stream: &UnixStream, rest: &mut Vec<u8>, sockets: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut bytes = [0; READ_BYTES];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let parts = &mut [IoSliceMut::new(&mut bytes)];
    let received = recvmsg(stream, parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(its) = message {
            // More than are ever sent are closed at once.
            sockets.extend(its.take(SOCKETS_MAX.saturating_sub(sockets.len())));
        }
    }
    rest.extend_from_slice(bytes.get(..received.bytes).unwrap_or_default());
    Ok(received.bytes)
}

fn transmit(stream: &UnixStream, bytes: &[u8], sockets: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::Error::other(format!("{} sockets are too many to hand over", sockets.len())));
    }
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsFd;
    use std::net::TcpListener;

    fn pair() -> (Wire, Wire) {
        let (one, other) = UnixStream::pair().expect("a pair");
        (Wire::new(one).expect("ours"), Wire::new(other).expect("ours"))
    }

    #[tokio::test]
    async fn sockets_arrive_with_their_message_whatever_comes_before_and_after() {
        let (one, mut other) = pair();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        one.send(&Said::Take, &[]).await.expect("sent");
        one.send(&Said::Sockets { count: 1 }, &[listener.as_fd()]).await.expect("sent");
        one.send(&Said::Ready, &[]).await.expect("sent");
        assert!(matches!(other.recv().await, Ok(Said::Take)));
        assert!(matches!(other.recv().await, Ok(Said::Sockets { count: 1 })));
        let [socket] = <[OwnedFd; 1]>::try_from(other.sockets()).expect("one socket");
        let its = TcpListener::from(socket);
        assert_eq!(its.local_addr().expect("bound"), listener.local_addr().expect("bound"));
        assert!(matches!(other.recv().await, Ok(Said::Ready)));
        drop(one);
        assert!(matches!(other.recv().await, Err(WireError::Gone)));
    }

    #[tokio::test]
    async fn what_is_too_long_or_makes_no_sense_is_an_error() {
        for bytes in [&[0xff; 8][..], &[0, 0, 0, 2, b'{', b'}'], &[0, 0, 0, 0]] {
            let (one, mut other) = pair();
            transmit(&one.stream, bytes, &[]).expect("sent");
            assert!(matches!(other.recv().await, Err(WireError::Nonsense)), "{bytes:?}");
        }
    }
}
