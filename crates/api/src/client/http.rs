//! HTTP/1.1 as far as an agent's answers need it: one request a connection, bodies by length, in chunks or to the end.
//! Every wait and size has a limit; nothing here knows what is asked.

use crate::access::Token;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Longest wait for a connection.
const CONNECT_WAIT_MAX: Duration = Duration::from_millis(1_000);
/// Longest line of an answer, in bytes.
const LINE_BYTES_MAX: u64 = 16 << 20;
/// Longest answer, in bytes.
const BODY_BYTES_MAX: u64 = 64 << 20;
/// Most header lines.
const HEADERS_MAX: usize = 100;

/// One request.
pub(super) struct Call<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) token: Option<&'a Token>,
    pub(super) body: Option<&'a str>,
    /// Ask for progress lines.
    pub(super) lines: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The other side cannot have acted.
    NotSent(String),
    /// It may have.
    Broken(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(why) | Self::Broken(why) => f.write_str(why),
        }
    }
}

/// An answer: its head is read, its body not yet.
pub(super) struct Answered {
    pub(super) status: u16,
    body: BufReader<Body>,
}

impl Answered {
    /// The rest of the body.
    pub(super) fn text(&mut self) -> io::Result<String> {
        let mut text = String::new();
        (&mut self.body).take(BODY_BYTES_MAX).read_to_string(&mut text)?;
        Ok(text)
    }

    /// The next line that is not empty; `None` at the end.
    pub(super) fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            let mut line = String::new();
            if (&mut self.body).take(LINE_BYTES_MAX).read_line(&mut line)? == 0 {
                return Ok(None);
            }
            if !line.trim().is_empty() {
                return Ok(Some(line));
            }
        }
    }
}

/// Sends a request and reads the head of the answer; `silence` limits each wait for bytes.
pub(super) fn send(endpoint: &str, call: &Call<'_>, silence: Duration) -> Result<Answered, Failure> {
    let stream = connect(endpoint).map_err(|e| Failure::NotSent(in_words(&e)))?;
    let set = stream.set_read_timeout(Some(silence)).and_then(|()| stream.set_write_timeout(Some(CONNECT_WAIT_MAX)));
    set.map_err(|e| Failure::NotSent(in_words(&e)))?;
    let broken = |e: io::Error| Failure::Broken(in_words(&e));
    (&stream).write_all(head(endpoint, call).as_bytes()).map_err(broken)?;
    let mut reader = BufReader::new(stream);
    read_head(&mut reader).map_err(broken)
}

fn connect(endpoint: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in endpoint.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_WAIT_MAX) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn head(endpoint: &str, call: &Call<'_>) -> String {
    let accept = if call.lines { "application/x-ndjson" } else { "application/json" };
    let mut text = format!(
        "{} {} HTTP/1.1\r\nHost: {endpoint}\r\nAccept: {accept}\r\nConnection: close\r\n",
        call.method, call.path
    );
    if let Some(token) = call.token {
        text.push_str(&format!("Authorization: Bearer {}\r\n", token.reveal()));
    }
    if let Some(body) = call.body {
        text.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(call.body.unwrap_or_default());
    text
}

fn in_words(error: &io::Error) -> String {
    use io::ErrorKind::{ConnectionRefused, TimedOut, WouldBlock};
    let kind = error.kind();
    if kind == WouldBlock || kind == TimedOut {
        "no answer in time".to_owned()
    } else if kind == ConnectionRefused {
        "nobody listens there".to_owned()
    } else {
        error.to_string()
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not an HTTP answer: {what}"))
}

fn head_line(reader: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    reader.take(LINE_BYTES_MAX).read_line(&mut line)?;
    if !line.ends_with('\n') {
        return Err(malformed("it ends in its head"));
    }
    Ok(line.trim_end().to_owned())
}

fn read_head(reader: &mut BufReader<TcpStream>) -> io::Result<Answered> {
    let first = head_line(reader)?;
    let status = first
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1)?.parse().ok())
        .ok_or_else(|| malformed("no status"))?;
    let mut length = Length::ToTheEnd;
    for _ in 0..HEADERS_MAX {
        let line = head_line(reader)?;
        if line.is_empty() {
            let rest = std::mem::replace(reader, BufReader::new(reader.get_ref().try_clone()?));
            return Ok(Answered { status, body: BufReader::new(Body { stream: rest, length }) });
        }
        let Some((name, value)) = line.split_once(':') else { return Err(malformed("a header without colon")) };
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = Length::Left(value.parse().map_err(|_| malformed("its length"))?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked") {
            length = Length::Chunk(0);
        }
    }
    Err(malformed("too many headers"))
}

enum Length {
    ToTheEnd,
    Left(u64),
    /// What is left of this chunk.
    Chunk(u64),
}

/// A body as a stream of its own bytes.
struct Body {
    stream: BufReader<TcpStream>,
    length: Length,
}

impl Body {
    /// The size of the next chunk; 0 at the end.
    fn next_chunk(&mut self) -> io::Result<u64> {
        let mut line = head_line(&mut self.stream)?;
        if line.is_empty() {
            // the end of the chunk before
            line = head_line(&mut self.stream)?;
        }
        let size = line.split(';').next().unwrap_or_default().trim();
        u64::from_str_radix(size, 16).map_err(|_| malformed("the size of a chunk"))
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Length::Chunk(0) = self.length {
            match self.next_chunk()? {
                0 => self.length = Length::Left(0),
                size => self.length = Length::Chunk(size),
            }
        }
        let left = match &mut self.length {
            Length::ToTheEnd => return self.stream.read(buffer),
            Length::Left(left) | Length::Chunk(left) => left,
        };
        let most = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.stream.read(&mut buffer[..most])?;
        if read == 0 && most > 0 {
            return Err(malformed("it ends too early"));
        }
        *left -= read as u64;
        Ok(read)
    }
}
