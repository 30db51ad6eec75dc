//! Frames: a length, a kind, the number of the call, a channel, and a body that nobody here looks into.

use bytes::{BufMut, Bytes, BytesMut};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// Largest frame, in bytes, its head included.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a frame's head after the length: kind, number, channel.
const HEAD_BYTES: usize = 1 + 8 + 1;
/// Read buffer of a connection. Small: there are many connections and most say little.
pub(crate) const READ_BUFFER_BYTES: usize = 4 * 1024;
/// A body is read in steps of at most this, so that a length alone cannot make us reserve memory.
const BODY_STEP_BYTES: usize = 64 * 1024;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Client: do this and answer.
    Call,
    /// Client: do this; no answer.
    Note,
    /// Client: send me what happens.
    Subscribe,
    /// Client: no longer.
    Cancel,
    /// Server: the answer to a call, or that a subscription began.
    Reply,
    /// Server: refused; the body says why.
    Refused,
    /// Server: something happened.
    Event,
    /// Server: nothing more will.
    End,
}

impl Kind {
    const ALL: [Self; 8] =
        [Self::Call, Self::Note, Self::Subscribe, Self::Cancel, Self::Reply, Self::Refused, Self::Event, Self::End];

    fn parse(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    /// Which call or subscription. Notes have 0.
    pub(crate) id: u64,
    pub(crate) channel: u8,
    pub(crate) body: Bytes,
}

impl Frame {
    pub(crate) fn new(kind: Kind, id: u64, channel: u8, body: Bytes) -> Self {
        Self { kind, id, channel, body }
    }

    pub(crate) fn fits(&self) -> bool {
        self.body.len() + HEAD_BYTES <= FRAME_BYTES_MAX
    }

    fn head(&self) -> [u8; 4 + HEAD_BYTES] {
        let mut head = [0; 4 + HEAD_BYTES];
        // `fits` is checked before a frame is queued; a larger one would be cut off by the other side.
        let length = u32::try_from(self.body.len() + HEAD_BYTES).unwrap_or(u32::MAX);
        head[..4].copy_from_slice(&length.to_be_bytes());
        head[4] = self.kind as u8;
        head[5..13].copy_from_slice(&self.id.to_be_bytes());
        head[13] = self.channel;
        head
    }
}

/// Version of the link's protocol.
const VERSION: u8 = 1;

/// What the server says first: it has proven and accepted the client.
pub(crate) fn greeting() -> Frame {
    Frame::new(Kind::Reply, 0, 0, Bytes::from_static(&[VERSION]))
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Reads one frame; `None` when the other side ended cleanly between two.
pub(crate) async fn read<R: AsyncRead + Unpin>(from: &mut R) -> io::Result<Option<Frame>> {
    let mut length = [0; 4];
    if from.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut length[1..]).await?;
    let length = u32::from_be_bytes(length) as usize;
    if !(HEAD_BYTES..=FRAME_BYTES_MAX).contains(&length) {
        return Err(broken("a frame of impossible length"));
    }
    let mut head = [0; HEAD_BYTES];
    from.read_exact(&mut head).await?;
    let kind = Kind::parse(head[0]).ok_or_else(|| broken("a frame of unknown kind"))?;
    let mut id = [0; 8];
    id.copy_from_slice(&head[1..9]);
    let body = body(from, length - HEAD_BYTES).await?;
    Ok(Some(Frame { kind, id: u64::from_be_bytes(id), channel: head[9], body }))
}

async fn body<R: AsyncRead + Unpin>(from: &mut R, length: usize) -> io::Result<Bytes> {
    let mut body = BytesMut::with_capacity(length.min(BODY_STEP_BYTES));
    while body.len() < length {
        let step = (length - body.len()).min(BODY_STEP_BYTES);
        body.reserve(step);
        let mut limited = (&mut body).limit(step);
        if from.read_buf(&mut limited).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(body.freeze())
}

/// Writes queued frames until the queue's senders are gone or the connection fails. Flushes when the queue is empty.
pub(crate) async fn write_all<W: AsyncWrite + Unpin>(mut to: W, queue: &mut mpsc::Receiver<Frame>) -> io::Result<()> {
    while let Some(frame) = queue.recv().await {
        let mut next = Some(frame);
        while let Some(frame) = next {
            write(&mut to, &frame).await?;
            next = queue.try_recv().ok();
        }
        to.flush().await?;
    }
    to.shutdown().await
}

async fn write<W: AsyncWrite + Unpin>(to: &mut W, frame: &Frame) -> io::Result<()> {
    // One write for a small frame: one TLS record, one packet.
    if frame.body.len() <= READ_BUFFER_BYTES {
        let mut whole = BytesMut::with_capacity(4 + HEAD_BYTES + frame.body.len());
        whole.extend_from_slice(&frame.head());
        whole.extend_from_slice(&frame.body);
        return to.write_all(&whole).await;
    }
    to.write_all(&frame.head()).await?;
    to.write_all(&frame.body).await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn decode(mut bytes: &[u8]) -> io::Result<Option<Frame>> {
        read(&mut bytes).await
    }

    #[tokio::test]
    async fn frames_come_back_as_sent_and_noise_is_refused() {
        for kind in Kind::ALL {
            let frame = Frame::new(kind, 7, 3, Bytes::from(vec![9; 100_000]));
            let mut wire = Vec::new();
            write(&mut wire, &frame).await.expect("written");
            assert_eq!(decode(&wire).await.expect("read"), Some(frame));
            assert!(decode(&wire[..wire.len() - 1]).await.is_err());
        }
        assert!(decode(&[]).await.expect("a clean end").is_none());
        assert!(decode(&[0, 0, 0, 1, 0]).await.is_err(), "too short");
        assert!(decode(&[0xFF; 14]).await.is_err(), "too long");
        let mut unknown = vec![0, 0, 0, 10, 99];
        unknown.extend([0; 9]);
        assert!(decode(&unknown).await.is_err());
    }
}
