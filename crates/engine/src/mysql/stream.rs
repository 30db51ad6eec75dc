//! The stream of a copy between two agents: blocks of bytes, and an end that says that it is whole. A stream that just stops
//! is not whole, however much of it came. It goes through whatever the caller lays between: links with mutual TLS.

use serde::{Deserialize, Serialize};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// First bytes of a stream; another form would have another number.
const MAGIC: &[u8; 16] = b"dauphin copy 1.\n";
/// Most bytes of a block.
pub(crate) const BLOCK_BYTES_MAX: usize = 256 << 10;
/// Most bytes of what stands at the end.
const END_BYTES_MAX: usize = 1 << 20;
/// How often a source that has nothing to send says that it is there.
pub(crate) const PULSE: Duration = Duration::from_secs(5);

/// Instead of a block's length: the source is there and has nothing yet.
const NOTHING_YET: u32 = u32::MAX;
/// Instead of a block's length: the end comes.
const END: u32 = 0;

/// What stands at the end of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End<T> {
    /// All was sent: so many bytes, and what belongs to them.
    Whole { bytes: u64, about: T },
    /// The source could not go on.
    Broke { why: String },
}

/// Writes a stream.
pub(crate) struct Sender<W> {
    into: W,
    sent: u64,
    quiet: Duration,
}

impl<W: AsyncWrite + Unpin> Sender<W> {
    /// Begins a stream. No write waits longer than `quiet`.
    pub(crate) async fn begin(into: W, quiet: Duration) -> io::Result<Self> {
        let mut sender = Self { into, sent: 0, quiet };
        sender.put(MAGIC).await?;
        Ok(sender)
    }

    async fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, "whoever takes the copy takes nothing any more");
        tokio::time::timeout(self.quiet, self.into.write_all(bytes)).await.unwrap_or_else(|_| Err(late()))
    }

    /// Sends a block of at most [`BLOCK_BYTES_MAX`].
    pub(crate) async fn send(&mut self, block: &[u8]) -> io::Result<()> {
        for part in block.chunks(BLOCK_BYTES_MAX) {
            self.put(&u32::try_from(part.len()).unwrap_or(END).to_le_bytes()).await?;
            self.put(part).await?;
            self.sent += part.len() as u64;
        }
        Ok(())
    }

    /// Says that it is there.
    pub(crate) async fn pulse(&mut self) -> io::Result<()> {
        self.put(&NOTHING_YET.to_le_bytes()).await?;
        self.flush().await
    }

    /// Ends a stream of which all was sent.
    pub(crate) async fn whole<T: Serialize>(self, about: T) -> io::Result<u64> {
        let bytes = self.sent;
        self.end(&End::Whole { bytes, about }).await.map(|()| bytes)
    }

    /// Ends a stream that cannot go on.
    pub(crate) async fn broke(self, why: String) -> io::Result<()> {
        self.end(&End::<()>::Broke { why }).await
    }

    async fn end<T: Serialize>(mut self, end: &End<T>) -> io::Result<()> {
        let text = serde_json::to_vec(end)?;
        self.put(&END.to_le_bytes()).await?;
        self.put(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes()).await?;
        self.put(&text).await?;
        self.flush().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, "whoever takes the copy takes nothing any more");
        tokio::time::timeout(self.quiet, self.into.flush()).await.unwrap_or_else(|_| Err(late()))
    }
}

/// Reads a stream.
pub(crate) struct Receiver<R> {
    from: R,
    block: Vec<u8>,
    taken: u64,
    quiet: Duration,
}

impl<R: AsyncRead + Unpin> Receiver<R> {
    /// Begins to read. Nothing may come for at most `quiet`.
    pub(crate) async fn begin(from: R, quiet: Duration) -> io::Result<Self> {
        let mut receiver = Self { from, block: Vec::new(), taken: 0, quiet };
        let mut magic = [0; MAGIC.len()];
        receiver.fill(&mut magic).await?;
        if &magic == MAGIC { Ok(receiver) } else { Err(bad("it does not begin as a copy of this version of Dauphin")) }
    }

    async fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the source sends nothing any more");
        let read = tokio::time::timeout(self.quiet, self.from.read_exact(bytes)).await.unwrap_or_else(|_| Err(late()));
        match read {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(bad("it stops before its end; the source or the link went away"))
            }
            Err(error) => Err(error),
        }
    }

    async fn number(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes).await?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// The next block; `None`: the end comes.
    pub(crate) async fn next(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            match self.number().await? {
                NOTHING_YET => {}
                END => return Ok(None),
                length => {
                    let length = length as usize;
                    if length > BLOCK_BYTES_MAX {
                        return Err(bad("a block of it is too long"));
                    }
                    let mut block = std::mem::take(&mut self.block);
                    block.resize(length, 0);
                    self.fill(&mut block).await?;
                    self.taken += length as u64;
                    self.block = block;
                    return Ok(Some(&self.block));
                }
            }
        }
    }

    /// What stands at the end of a whole stream, after its last block.
    pub(crate) async fn end<T: for<'de> Deserialize<'de>>(mut self) -> io::Result<T> {
        let length = self.number().await? as usize;
        if length > END_BYTES_MAX {
            return Err(bad("its end is too long"));
        }
        let mut text = vec![0; length];
        self.fill(&mut text).await?;
        match serde_json::from_slice(&text)? {
            End::Whole { bytes, about } if bytes == self.taken => Ok(about),
            End::Whole { bytes, .. } => Err(bad(&format!("{bytes} bytes were sent and {} came", self.taken))),
            End::Broke { why } => Err(io::Error::other(format!("the source could not go on: {why}"))),
        }
    }
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_millis(200);

    /// A stream of two blocks, whole.
    async fn sent() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut sender = Sender::begin(&mut bytes, QUIET).await.expect("memory");
        sender.send(b"one").await.expect("memory");
        sender.pulse().await.expect("memory");
        sender.send(&[7; BLOCK_BYTES_MAX + 1]).await.expect("memory");
        sender.whole("the end").await.expect("memory");
        bytes
    }

    async fn read(bytes: &[u8]) -> Result<(usize, String), String> {
        let mut length = 0;
        let mut receiver = Receiver::begin(bytes, QUIET).await.map_err(|e| e.to_string())?;
        while let Some(block) = receiver.next().await.map_err(|e| e.to_string())? {
            length += block.len();
        }
        let end: String = receiver.end().await.map_err(|e| e.to_string())?;
        Ok((length, end))
    }

    #[tokio::test]
    async fn a_whole_stream_is_read_and_no_part_of_it_passes_for_one() {
        let bytes = sent().await;
        assert_eq!(read(&bytes).await, Ok((BLOCK_BYTES_MAX + 4, "the end".to_owned())));
        // cut anywhere: at the borders of blocks too
        for end in (0..bytes.len()).step_by(4099).chain(bytes.len() - 200..bytes.len()) {
            let said = read(&bytes[..end]).await.expect_err("a part");
            assert!(said.contains("stops before its end"), "{end}: {said}");
        }
        let mut shorter = bytes.clone();
        shorter.drain(16..16 + 7);
        assert!(read(&shorter).await.expect_err("a block is missing").contains("bytes were sent"));
        assert!(read(b"HTTP/1.1 404 Not Found").await.expect_err("no copy").contains("does not begin"));
    }

    #[tokio::test]
    async fn a_source_that_fails_says_why_and_one_that_is_silent_is_given_up() {
        let mut bytes = Vec::new();
        let mut sender = Sender::begin(&mut bytes, QUIET).await.expect("memory");
        sender.send(b"one").await.expect("memory");
        sender.broke("its disk is gone".to_owned()).await.expect("memory");
        assert!(read(&bytes).await.expect_err("broke").contains("its disk is gone"));

        let (near, far) = tokio::io::duplex(64);
        let mut sender = Sender::begin(far, QUIET).await.expect("room");
        let mut silent = Receiver::begin(near, QUIET).await.expect("begun");
        assert!(silent.next().await.expect_err("silent").to_string().contains("sends nothing"));
        drop(silent);
        // and who takes nothing
        let (_near, far) = tokio::io::duplex(16);
        let mut stuck = Sender::begin(far, QUIET).await.expect("room");
        assert!(stuck.send(b"one").await.expect_err("full").to_string().contains("takes nothing"));
        assert!(sender.pulse().await.is_err(), "whoever read it is gone");
    }
}
